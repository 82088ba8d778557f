"""ai-toolkit (ostris), which also trains behind Replicate's FLUX trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from types import MappingProxyType
from typing import ClassVar, Final

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Fit, Size, scaled_then_cut
from lorasmith.datasets.eyes.moving import USUAL_RATE, SeenFrames, shown
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.eyes.text import Undecodable, bom_notes, read_text, stops_on_encoding
from lorasmith.datasets.manifest import Clip

_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
_PLACEHOLDERS: Final = ("[trigger]", "[name]")


class AiToolkit(TrainerEye):
    """Lines are one text, commas are split and joined, EXIF is applied."""

    name: ClassVar[str] = "ai_toolkit"
    title: ClassVar[str] = "ai-toolkit"
    commit: ClassVar[str] = "ostris/ai-toolkit 27a03a91, 2026-08-21"
    default_step: ClassVar[int] = 16
    steps: ClassVar = MappingProxyType({"flux": 32, "sd3": 32, "qwen_image": 32, "chroma": 32, "ltx2": 32})
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("jpg, jpeg, png and webp only, in any case of the suffix; hidden files are passed over.",
             "toolkit/data_loader.py AiToolkitDataset"),
        Fact("EXIF orientation is applied; colour profiles are ignored and transparency is dropped.",
             "toolkit/dataloader_mixins.py load_and_process_image"),
        Fact("The whole caption file, not stripped; split at commas and joined with ', ', which doubles spaces.",
             "toolkit/dataloader_mixins.py CaptionProcessingDTOMixin.get_caption"),
        Fact("default_caption stands in for a missing or blank caption.",
             "toolkit/dataloader_mixins.py load_caption"),
        Fact("[trigger] and [name] become the trigger word, which is put in front with a space where it is missing.",
             "toolkit/prompt_utils.py inject_trigger_into_prompt"),
        Fact("Each picture has its own bucket: its own shape, sides rounded to the step, area at most that of the "
             "resolution. It is never enlarged but for that rounding.", "toolkit/buckets.py get_bucket_for_image_size"),
        Fact("Steps are twice the model's: 16 for SD and SDXL, 32 for FLUX and SD3, set by the model and not by "
             "bucket_tolerance.", "toolkit/stable_diffusion_model.py get_bucket_divisibility"),
        Fact("Bicubic, cut in the middle.", "toolkit/dataloader_mixins.py load_and_process_image"),
        Fact("With auto_frame_count, as an export writes it, a clip gives as many frames as it has at fps, brought to "
             "the step of the VAE and 1 more, from its beginning; there is no most.",
             "toolkit/dataloader_mixins.py get_auto_frame_count, load_and_process_video"),
        Fact("With num_frames the whole clip is squeezed into that many frames, or stretched to them, unless "
             "shrink_video_to_frames is off.", "the same"),
        Fact("Videos are decoded by OpenCV, which turns them by their rotation and does not look at times or the shape "
             "of pixels.", "the same; OpenCV's CAP_PROP_ORIENTATION_AUTO"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        path = PurePath(name)
        if path.suffix.lower() not in _SUFFIXES:
            sentence = f"{self.title} reads jpg, jpeg, png and webp only, not {path.suffix or 'this'}: never trained."
            return Note("format", "error", sentence)
        if path.name.startswith("."):
            return Note("format", "error", f"{self.title} passes over hidden files: it is never trained.")
        return None

    def reading(self, file: PictureFile) -> Reading:
        return Reading(orientation=True, profile=False, alpha="dropped", deep="clipped")

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        side, step = settings.resolution, self.step(settings)

        def square(width: int, height: int) -> Fit | str:
            short = min(width, height)  # the middle square is cut first, then scaled
            left, top = round((width - short) / 2), round((height - short) / 2)
            return Fit((width, height), (side, side), (left, top, left + short, top + short), "bicubic")

        def fit(width: int, height: int) -> Fit | str:
            target = _bucket(width, height, side, step)
            scale = max(target[0] / width, target[1] / height)
            scaled = (math.ceil(width * scale), math.ceil(height * scale))
            return scaled_then_cut((width, height), scaled, target, "bicubic")

        return fit if settings.buckets else square

    moves: ClassVar[bool] = True
    upright: ClassVar[frozenset[str]] = frozenset({"turned"})

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        last = clip.frames - 1
        if settings.frames:
            gap = last / (settings.frames - 1) if settings.frames > 1 else 0.0
            squeezed = [min(last, round(number * gap)) for number in range(settings.frames)]
            return shown(clip, [squeezed], self.rate(settings))
        step = settings.clips.step if settings.clips is not None else 4
        count = max(0, int(clip.frames / clip.fps * USUAL_RATE) - 1) // step * step + 1
        found = [min(last, round(number * clip.fps / USUAL_RATE)) for number in range(count)]
        notes: tuple[Note, ...] = ()
        if settings.clips is not None and count > settings.clips.most:
            sentence = f"All its {count} frames are trained at once, which takes memory; cut it into windows first."
            notes = (Note("clip", "warning", sentence),)
        return shown(clip, [found], self.rate(settings), notes)

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        text = ""
        notes: tuple[Note, ...] = ()
        if file.content is not None:
            try:
                text = read_text(file.content)
            except Undecodable:
                return stops_on_encoding(self.title)
            notes = bom_notes(text)
        blank = not text.strip()
        if blank and settings.default_caption:
            text = settings.default_caption
            sentence = f"It has no caption: default_caption ('{text}') stands in."
            notes = (Note("caption_missing", "info", sentence),)
        elif blank:
            missing = file.content is None
            sentence = f"It has {'no caption file' if missing else 'an empty caption'} and no default_caption."
            notes += (Note("caption_missing" if missing else "caption_empty", "warning", sentence),)
        joined = ", ".join(text.split(","))
        if ",  " in joined and ",  " not in text:
            sentence = "Every ', ' becomes ',  ' with two spaces, because it is split at the comma and joined again."
            notes += (Note("caption_spacing", "info", sentence),)
        if "\n" in text.strip():
            notes += (Note("caption_lines", "info", "All its lines are one caption, line ends included."),)
        seen = _with_trigger(joined, settings.trigger_word)
        if seen != joined:
            what = f"'{settings.trigger_word}' is put into the caption." if settings.trigger_word else (
                "[trigger] is removed, because no trigger word is set.")  # fmt: skip
            notes += (Note("caption_trigger", "info" if settings.trigger_word else "warning", what),)
        return SeenCaption((seen,), notes)


plugin = AiToolkit()


def _bucket(width: int, height: int, side: int, step: int) -> Size:
    """The picture's own shape, brought to the area and rounded to steps; of four roundings the nearest in area."""
    area, most = width * height, side * side
    wanted = min(area, most)
    scale = math.sqrt(wanted / area)
    across, down = width * scale / step, height * scale / step
    found = [
        (w * step, h * step)
        for w in (math.floor(across), math.ceil(across))
        for h in (math.floor(down), math.ceil(down))
        if w > 0 and h > 0 and w * h * step * step <= most
    ]
    if not found:
        return max(1, math.floor(across)) * step, max(1, math.floor(down)) * step
    return min(found, key=lambda size: abs(size[0] * size[1] - wanted))


def _with_trigger(text: str, trigger: str) -> str:
    for placeholder in _PLACEHOLDERS:
        text = text.replace(placeholder, trigger)
    return f"{trigger} {text}" if trigger.strip() and trigger not in text else text
