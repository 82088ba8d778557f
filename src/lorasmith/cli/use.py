"""generate, inspect, certify: what can be done with a LoRA file."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from lorasmith.cli.placing import answer_queued, placement_of, queue_options
from lorasmith.cli.session import Session, count, plain, verb
from lorasmith.cli.watching import reporter
from lorasmith.errors import ConfigError
from lorasmith.events import Event, Notice

_FAILED_CERTIFICATE = 5


@verb("generate")
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@click.option("--base", required=True, help="A folder in diffusers layout, a .safetensors file, or 'sandbox'.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="NAME[:WEIGHT]",
    help="A name in the library or a path, with how strongly it counts (1 if left out); repeatable.",
)
@click.option(
    "--grid-weights",
    metavar="WEIGHT,...",
    help="Paint every --adapter alone at each of these weights, for every prompt and seed; 0 shows the base.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For bases that edit: the picture to edit; repeatable, in order.",
)
@click.option("--negative-prompt", help="What to steer away from.")
@click.option("--seed", type=int, help="Seed of the first picture; the next ones count on from it.")
@click.option("--count", type=int, help="Pictures per prompt.")
@click.option("--steps", type=int, help="Denoising steps.")
@click.option("--guidance-scale", type=float, help="Classifier-free guidance.")
@click.option("--scheduler", help="Sampler; otherwise the base's own.")
@click.option("--width", type=int, help="Pixels.")
@click.option("--height", type=int, help="Pixels.")
@click.option("--frames", type=int, help="Frames of a clip, for families of clips; 1 is a picture.")
@click.option("--fps", type=float, help="Frames a second that clips are written at.")
@click.option("--first-frame", metavar="FILE", help="The picture that clips begin with, for families that take one.")
@click.option("--batch-size", type=int, help="Pictures painted at once.")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda", "mps")), help="Where to paint.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Copy the pictures there."
)
@queue_options
def generate(
    session: Session,
    prompts: tuple[str, ...],
    adapters: tuple[str, ...],
    references: tuple[Path, ...],
    grid_weights: str | None,
    out: Path | None,
    **values: Any,
) -> None:
    """Paint pictures with a base and adapters.

    A PROMPT may call up an adapter by itself: "ohwx on red <lora:photos:0.8>". Every picture carries its prompt, seed
    and settings in its metadata. With --grid-weights a labelled picture of the whole grid, grid.png, lies beside them.
    """
    place = placement_of(session, values)
    request = {key: value for key, value in values.items() if value is not None}
    request["prompts"] = list(prompts)
    if references:
        request["references"] = [str(path.absolute()) for path in references]
    if grid_weights is None:
        request["adapters"] = [_adapter_use(text) for text in adapters]
    else:
        request["grid"] = _grid(adapters, grid_weights)
    if place is not None:
        if out is not None:
            raise ConfigError("--out cannot wait for pictures that --queue puts off.", "Leave out one of the two.")
        answer_queued(session, session.studio.enqueue.generate(request, placement=place))
        return
    with reporter(session) as report:
        pictures = session.studio.generate(request, on_event=report)
    paths = [picture.path for picture in pictures]
    clips = [file for picture in pictures for file in (picture.clip, picture.video) if file is not None]
    sheet = [_sheet(paths[0])] if grid_weights is not None and paths else []
    if out is not None:
        paths, sheet = list(_copied(paths, out)), list(_copied(sheet, out, "grid-"))
        clips = list(_copied(clips, out))
    document: dict[str, Any] = {
        "images": [plain(picture) | {"path": str(path)} for picture, path in zip(pictures, paths, strict=True)]
    }
    if sheet:
        document["grid"] = str(sheet[0])
    session.answer(document, *(str(path) for path in (*paths, *clips, *sheet)))


def _adapter_use(text: str) -> dict[str, Any]:
    """``name`` or ``name:0.8``; the colon of a Windows drive is part of the name."""
    name, colon, weight = text.rpartition(":")
    try:
        return {"name": name, "weight": float(weight)} if colon and name else {"name": text}
    except ValueError:
        if weight[:1] in ("/", "\\") or "." in weight:
            return {"name": text}
        raise ConfigError(f"'{weight}' in '{text}' is not a weight.", "Write for example photos:0.8.") from None


def _grid(adapters: Sequence[str], weights: str) -> dict[str, Any]:
    """The grid of a request from its adapters, which bring no weights of their own, and ``0,0.5,1``."""
    if not adapters:
        raise ConfigError("--grid-weights is given without an adapter.", "Name one or more with --adapter.")
    uses = [_adapter_use(text) for text in adapters]
    weighted = [use["name"] for use in uses if "weight" in use]
    if weighted:
        raise ConfigError(
            f"The adapter '{weighted[0]}' has a weight of its own beside --grid-weights.", "Keep one of the two."
        )
    try:
        numbers = [float(text) for text in weights.split(",")]
    except ValueError:
        raise ConfigError(f"'{weights}' is no list of weights.", "Write for example --grid-weights 0,0.5,1.") from None
    return {"adapters": [use["name"] for use in uses], "weights": numbers}


def _sheet(picture: Path) -> Path:
    """The labelled picture of a grid, from the path of one of its pictures: in the job folder or beside the picture."""
    beside = picture.parent / "grid.png"
    return beside if beside.is_file() else picture.parent.parent / "grid.png"


def _copied(paths: Iterable[Path], folder: Path, prefix: str = "") -> Iterable[Path]:
    """Copies under the next free numbers of a folder; nothing there is written over."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for path in paths:
        while (target := folder / f"{prefix}{number:05d}{path.suffix}").exists():
            number += 1
        shutil.copyfile(path, target)
        yield target.absolute()


@verb("inspect")
@click.argument("adapter")
def inspect(session: Session, adapter: str) -> None:
    """Say what is in a LoRA file.

    ADAPTER is a path or a name in the library.
    """
    from lorasmith.cli.lora.looking import described

    found = session.studio.inspect(adapter)
    entries = count(len(found.metadata), "entry", "entries")
    session.answer(plain(found), *described(found), f"  metadata: {entries}; `lora inspect` looks deeper")


@verb("certify")
@click.argument("adapter")
@click.option("--base", required=True, help="A folder in diffusers layout, a .safetensors file, or 'sandbox'.")
@queue_options
@click.pass_context
def certify(context: click.Context, session: Session, /, adapter: str, base: str, **turn: Any) -> None:
    """Prove that a LoRA file loads and counts.

    ADAPTER is a path or a name in the library, whoever made it. A file that fails ends it with exit code 5.
    """
    place = placement_of(session, turn)
    if place is not None:
        answer_queued(session, session.studio.enqueue.certify(adapter, base, place))
        return
    notices: list[Event] = []
    sentences: list[str] = []
    with reporter(session) as report:

        def say(event: Event) -> None:
            held = isinstance(event, Notice) and not session.json_events
            (notices.append if held else report)(event)

        try:
            certificate = session.studio.certify(adapter, base, on_event=say)
            sentences = certificate.sentences()
        finally:  # what the certificate does not say itself
            for notice in notices:
                if getattr(notice, "message", "") not in sentences:
                    report(notice)
    session.answer(plain(certificate), *sentences)
    context.exit(0 if certificate.passed else _FAILED_CERTIFICATE)
