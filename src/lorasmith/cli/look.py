"""demo and doctor: what it can do, and what this machine can."""

from __future__ import annotations

from pathlib import Path

import click

from lorasmith.cli.session import Session, plain, verb

_CANNOT_TRAIN = 6


@verb("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("lorasmith-demo"),
    show_default=True,
    metavar="FOLDER",
    help="Where the report goes, and the demo's own home unless --home names one.",
)
@click.option("--style", is_flag=True, help="Learn a style in place of a mascot.")
@click.option("--quick", is_flag=True, help="Fewer steps and pictures: shows the way, proves less.")
@click.option("--open", "open_report", is_flag=True, help="Open the report in the browser.")
def demo(session: Session, out: Path, style: bool, quick: bool, open_report: bool) -> None:
    """See the whole way at work, on this machine.

    Imports a ZIP of pictures with hostile extras, checks and captions them, trains a LoRA, kills the worker and goes
    on, certifies the file, paints with and without it, measures what was learned, and writes one page about all of it.
    """
    from lorasmith.demo.tour import run
    from lorasmith.studio import Studio

    studio = Studio(session.home or out / "home")
    report = run(studio, out, style=style, quick=quick, say=session.note).absolute()
    if open_report:
        click.launch(report.as_uri())
    session.answer({"report": str(report), "home": str(studio.home)}, str(report))


@verb("doctor")
@click.pass_context
def doctor(context: click.Context, session: Session) -> None:
    """Say what this machine can do and what it lacks.

    Ends with exit code 6 when it cannot train.
    """
    from lorasmith.doctor import examine

    diagnosis = examine(session.studio.home)
    session.answer(plain(diagnosis), *diagnosis.lines())
    context.exit(0 if diagnosis.can_train else _CANNOT_TRAIN)
