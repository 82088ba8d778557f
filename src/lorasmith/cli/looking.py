"""dataset duplicates, see: what pictures have in common, and what a trainer makes of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.completion import complete_trainer
from lorasmith.cli.lens import dataset_argument, lens_of, lens_options, where_option
from lorasmith.cli.progress import meter
from lorasmith.cli.session import Session, count, listed, plain, table, verb, visible
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorasmith.datasets.eyes.seen import Seen, Tally

_EXAMPLES: Final = 5
_KINDS: Final = {
    "bytes": "the same file",
    "pixels": "the same pixels",
    "near": "nearly the same",
    "similar": "alike",
    "turned": "mirrored or turned",
}


@verb("duplicates")
@dataset_argument
def duplicates(session: Session, reference: str) -> None:
    """Find pictures that are there more than once.

    Each group says which one to keep and why. The query `dup:near` means the same pictures, and `lorasmith check`
    mends them.
    """
    curate = session.studio.curate
    version = curate.version(reference)
    with meter(session, "comparing") as progress:
        groups = curate.duplicates(version, progress=progress)
    lines: list[str] = []
    for group in groups:
        also = [f"{group.distance} bits apart at most"] if group.distance else []
        also += ["across roles"] if group.across_roles else []
        also += ["captions differ"] if group.captions_differ else []
        lines.append(f"{_KINDS[group.kind]}{' (' + ', '.join(also) + ')' if also else ''}")
        lines.append(f"  keep {visible(group.keeper)}: {group.reason}")
        lines.append(f"       {listed(group.others, 8)}")
    extra = sum(len(group.others) for group in groups)
    ending = f"{count(len(groups), 'group')}; {count(extra, 'picture')} could go." if groups else "No duplicates."
    found = [plain(group) | {"others": list(group.others)} for group in groups]
    session.answer({"reference": version.reference, "groups": found}, *lines, f"{version.reference}: {ending}")


@verb("see")
@dataset_argument
@click.option("--trainer", required=True, shell_complete=complete_trainer, help="sd_scripts, ai_toolkit, musubi ...")
@click.option("--originals", is_flag=True, help="The files as they came, without lorasmith between.")
@where_option()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a PNG per picture: as it is meant, and beside it as it is trained.",
)
@lens_options("batch_size")
def see(
    session: Session, reference: str, trainer: str, originals: bool, where: str, out: Path | None, **lens: Any
) -> None:
    """Show what a trainer would really see.

    Which pictures it turns, crops, enlarges or skips, and which text is left of their captions, by the rules of its
    own program. Nothing of it is run.
    """
    if out is not None and out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"The folder {out} is not empty.", "Name a new one.")
    curate, looked_at = session.studio.curate, lens_of(session, lens)
    version = curate.version(reference)
    with meter(session, "looking") as progress:
        seen = curate.see(version, trainer, looked_at, originals=originals, where=where, progress=progress)
    from lorasmith.datasets.eyes import eye_name
    from lorasmith.datasets.eyes.seen import tally

    found = tally(seen)
    written: list[Path] = []
    if out is not None:
        from lorasmith.datasets.eyes.beside import write_beside

        with meter(session, "drawing") as progress:
            written = write_beside(seen, out, progress=progress)
    document = {
        "reference": version.reference,
        "trainer": eye_name(trainer),
        "tally": plain(found),
        "seen": [one.to_dict() for one in seen],
        "pictures": [str(path) for path in written],
    }
    lines = _seen_lines(seen, found)
    session.answer(document, *lines, *([f"{count(len(written), 'picture')} in {out}"] if written else []))


def _seen_lines(seen: Sequence[Seen], found: Sequence[Tally]) -> list[str]:
    outcomes: Counter[str] = Counter(one.outcome for one in seen)
    words = {"read": "read", "skipped": "skipped without a word", "stops": "that stop the run"}
    parts = [f"{outcomes[outcome]} {said}" for outcome, said in words.items() if outcomes[outcome]]
    lines = [f"{count(len(seen), 'picture')}: {', '.join(parts) or 'none'}."]
    clean = sum(not one.differences for one in seen)
    lines.append(f"{count(clean, 'picture')} as meant." if found else "All of it as it is meant.")
    if found:
        rows = [(one.severity, one.id, len(one.items), one.example) for one in found]
        lines += ["", *table(("severity", "what", "pictures", "for example"), rows)]
    examples = [one for one in seen if one.differences][:_EXAMPLES] or list(seen[:1])
    if examples:
        lines += ["", "Examples:"]
    for one in examples:
        fit = (
            f"{one.size[0]}x{one.size[1]} -> {one.fit.target[0]}x{one.fit.target[1]}"
            if one.fit is not None
            else one.outcome
        )
        if one.frames:
            windows = f" in {count(len(one.frames), 'window')}" if len(one.frames) > 1 else ""
            fit += f"x{len(one.frames[0])}{windows}, frames {one.frames_in_words}"
        lines.append(f"  {visible(one.item)}  {fit}")
        lines += [f"    {note.severity}: {note.sentence}" for note in one.differences]
        lines += [f"    text: {visible(text)}" for text in one.texts[:3]]
        lines += [f"    cut off: {visible(cut)}" for cut in one.cut[:3] if cut.strip()]
    return lines
