"""V1-V8: clips, and what of them a family of clips shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from lorasmith.datasets.checks.context import CheckContext
from lorasmith.datasets.checks.files import with_transform
from lorasmith.datasets.checks.finding import Check, Found, found, leave_out
from lorasmith.datasets.first_notes import OTHER_RATE
from lorasmith.datasets.manifest import Clip, Item

_MUCH: Final = 0.2
"""Share of a clip's frames that is worth a word when it is not shown."""


def _moving(context: CheckContext) -> list[tuple[Item, Clip]]:
    return [(item, item.clip) for item in context.items if item.clip is not None]


def _too_short(context: CheckContext) -> Iterator[Found]:
    frames = context.family.frames
    if frames is None:
        return
    short = [item.name for item, clip in _moving(context) if frames.window(frames.available(clip)) == 1]
    word = f"{frames.step + 1} at {frames.fps:g} a second"
    yield from found(
        short, "{clips} {has|have} fewer frames than the least that move ({word}): {a still is|stills are} trained.",
        word=word, repair=leave_out(),
    )  # fmt: skip


def _mixed_rates(context: CheckContext) -> Iterator[Found]:
    rates = Counter(round(clip.fps, 2) for _, clip in _moving(context))
    if not rates:
        return
    usual = rates.most_common(1)[0][0]
    odd = [item.name for item, clip in _moving(context) if abs(clip.fps - usual) > OTHER_RATE * usual]
    yield from found(odd, "{clips} {has|have} another frame rate than most ({word} a second).", word=f"{usual:g}")


def _odd_lengths(context: CheckContext) -> Iterator[Found]:
    frames = context.family.frames
    if frames is None:
        return
    odd = [
        item.name
        for item, clip in _moving(context)
        if frames.step < frames.available(clip) < frames.most and (frames.available(clip) - 1) % frames.step
    ]
    word = f"a multiple of {frames.step} and 1 more"
    yield from found(
        odd, "{clips} {is|are} of a length that is not {word}: the frames over that are not shown.", word=word
    )


def _cut_away(context: CheckContext) -> Iterator[Found]:
    frames = context.family.frames
    if frames is None:
        return
    long = [
        item.name
        for item, clip in _moving(context)
        if frames.available(clip) > frames.most and 1 - frames.most / frames.available(clip) > _MUCH
    ]
    word = f"{frames.most} frames"
    yield from found(
        long, "{clips} {is|are} longer than the {word} that are shown at once; the head alone is.", word=word
    )


def _uneven(context: CheckContext) -> Iterator[Found]:
    uneven = with_transform(context, "frame_rate")
    yield from found(
        uneven, "{clips} {has|have} frames that last unlike long, and {is|are} read at {its|their} mean rate."
    )


def _stills(context: CheckContext) -> Iterator[Found]:
    if not context.family.name or context.family.frames is not None:
        return
    names = [item.name for item, _ in _moving(context)]
    word = context.family.name
    yield from found(names, "{clips}, of which {word} trains the first frame.", word=word)


def _heard(context: CheckContext) -> Iterator[Found]:
    names = with_transform(context, "sound")
    yield from found(names, "{clips} {has|have} sound, which stays in {its|their} file and is not trained.")


def _unmapped(context: CheckContext) -> Iterator[Found]:
    flat = with_transform(context, "hdr_unmapped")
    yield from found(flat, "{clips} {is|are} HDR, and this ffmpeg could not map {its|their} light: gray and flat.")


CHECKS: Final = (
    Check(
        "V1", "warning", "clips too short to move",
        "A family of clips makes several frames one position of its latents; fewer are a picture.",
        "The temporal step of the family's VAE (4 for Wan and HunyuanVideo, 8 for LTX-Video).",
        "Use longer clips, or leave these out.", _too_short,
    ),
    Check(
        "V2", "info", "unlike frame rates",
        "Clips are shown at one rate; frames of the others are repeated or passed over, which stutters.",
        "Each moment shows the frame that is there then; nothing is blended.",
        "Bring them to one rate with the tool set_rate, the family's if you can.", _mixed_rates,
    ),
    Check(
        "V3", "info", "lengths that do not fit",
        "A window has n steps of frames and one more.", "The temporal step of the family's VAE.",
        "Trim the clips to such a length (the tools trim and cut_windows) if their end matters.", _odd_lengths,
    ),
    Check(
        "V4", "info", "clips longer than what is shown",
        "Of a clip longer than data.frames the head alone is trained unless data.cut says otherwise.",
        "The defaults of the family.",
        "Set data.cut to chunks or uniform, raise data.frames if memory allows, or use cut_windows or cut_scenes.",
        _cut_away,
    ),
    Check(
        "V5", "info", "uneven frame rates",
        "Motion in them is slower here and faster there than it was.", "The ledger of the import.",
        "Record them at a constant frame rate; the tool set_rate makes them even.", _uneven,
    ),
    Check(
        "V6", "info", "clips for a family of pictures",
        "What moves is not learned.", "The family takes no frames.",
        "Choose a family of clips, such as Wan, if they shall move.", _stills,
    ),
    Check(
        "V7", "info", "clips with sound",
        "What is heard is not learned, of a family that sounds (LTX-2) either: its adapter changes what is seen alone.",
        "The ledger of the import.",
        "Nothing, if the picture is what matters; captions need not say what is heard.", _heard,
    ),
    Check(
        "V8", "warning", "HDR that is not mapped",
        "PQ and HLG say brightness beyond that of a screen; read as if they were sRGB, all of it is pale.",
        "The ledger of the import; ITU-R BT.2100.",
        "Install an ffmpeg with zimg (pip install 'lorasmith[video]') and import again, or convert them to SDR.",
        _unmapped,
    ),
)  # fmt: skip
