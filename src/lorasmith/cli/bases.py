"""bases: the base weights of this home, where they come from and what they are."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorasmith.bases.needs import verdict
from lorasmith.bases.recognition import as_document
from lorasmith.bases.registry import as_facts
from lorasmith.bases.scanning import worth_keeping
from lorasmith.cli.app import Group
from lorasmith.cli.placing import answer_queued, placement_of, queue_options
from lorasmith.cli.session import Session, count, plain, shared_options, size, table
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.bases.recognition import Recognition
    from lorasmith.bases.wanting import Wanted
    from lorasmith.shelf import Shelf


with_option = click.option(
    "--with",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="A text encoder or a VAE, or the folder of a tokenizer; once for each.",
)


@click.group("bases", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@click.pass_context
def bases(context: click.Context) -> None:
    """Find, add and look at base weights.

    Without a command it lists them.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@bases.verb("list")
def list_bases(session: Session) -> None:
    """List the bases of this home, and what this machine can train of them."""
    _list(session)


def _list(session: Session) -> None:
    shelf = session.studio.bases
    machine = shelf.machine()
    rows, facts = [], []
    for base in shelf.list():
        here = verdict(base.parameters, machine) if base.kind in ("base", "denoiser") else ""
        state = _state(shelf, base.kind, base.family) if base.present() else "moved or changed"
        rows.append((base.name, base.title, size(base.size), state, here))
        facts.append(as_facts(base) | {"trainable": shelf.trainable(base.family), "estimate": here})
    hint = (
        "No bases yet. `lorasmith bases scan` looks on this machine, `lorasmith bases catalogue` shows well-known ones."
    )
    lines = table(("base", "what", "size", "", "this machine"), rows) if rows else [hint]
    if rows:
        lines.append("The estimates follow from the number of parameters alone; a rehearsal measures.")
    session.answer({"bases": facts, "machine": plain(machine)}, *lines)


def _state(shelf: Shelf, kind: str, family: str) -> str:
    if kind not in ("base", "denoiser"):
        return "a part"
    return "trainable" if shelf.trainable(family) else "not trainable here yet"


@bases.verb("add")
@click.argument("link", metavar="LINK|PATH|ID")
@click.option("--name", default="", help="What to call it; otherwise its own name.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before a download.")
@with_option
@queue_options
def add(
    session: Session, link: str, name: str, dry_run: bool, yes: bool, files: tuple[Path, ...], **place: Any
) -> None:
    """Make a base known: from a link, an id or a path.

    LINK may be a Civitai page or download link, an AIR, a Hugging Face repository or file (org/name, hf://), or the
    address of a file. A PATH is referred to where it is; nothing is copied.

    With --with it is a denoiser that becomes a base with those parts, as by `lorasmith bases assemble`.
    """
    if files:
        _assemble(session, link, files, name, dry_run)
        return
    placement = placement_of(session, place)
    if placement is not None:
        if dry_run:
            raise ConfigError("--queue does not go with --dry-run.", "Leave out one of them.")
        answer_queued(session, session.studio.enqueue.fetch_base(link, name, placement))
        return
    shelf = session.studio.bases
    wanted = shelf.wanted(link)
    if not isinstance(wanted, Path):
        lines = _wanted_lines(wanted)
        if dry_run:
            session.answer({"wanted": plain(wanted) | {"size": wanted.size}}, *lines)
            return
        for line in lines:
            session.note(line)
        if not yes and not session.json and session.live and not click.confirm("Fetch it?", default=True, err=True):
            raise ConfigError("Nothing was fetched.", "Run it again when you want it.")
    elif dry_run:
        path, found = shelf.recognise(str(wanted))
        session.answer({"path": str(path), "recognised": as_document(found)}, *_recognised_lines(shelf, path, found))
        return
    added = shelf.add(link if isinstance(wanted, Path) else wanted, name=name, progress=_progress(session))
    base = added.base
    words = "is now a base of this home" if added.new else "was here already"
    lines = [f"{base.name} {words}: {base.title}, {size(base.size)}, at {base.path}"]
    lines += [f"  {note}" for note in added.notes]
    if base.license:
        lines.append(f"  Licence: {base.license}")
    session.answer({"base": as_facts(base), "new": added.new, "notes": list(added.notes)}, *lines)


@bases.verb("assemble")
@click.argument("reference", metavar="NAME|PATH")
@with_option
@click.option("--name", default="", help="What to call the base, where it is new.")
@click.option("--dry-run", is_flag=True, help="Say what it needs and what is missing, and change nothing.")
def assemble(session: Session, reference: str, files: tuple[Path, ...], name: str, dry_run: bool) -> None:
    """Put a base together from files: a denoiser, its text encoders and its VAE, as ComfyUI keeps them.

    What is registered here and can be no other is taken by itself; the rest is named with --with, in any order.

    \b
      lorasmith bases assemble flux1-dev-Q8_0.gguf --with clip_l.safetensors --with t5xxl_fp8_e4m3fn.safetensors
          --with ae.safetensors --with t5-words
    """
    _assemble(session, reference, files, name, dry_run)


def _assemble(session: Session, reference: str, files: tuple[Path, ...], name: str, dry_run: bool) -> None:
    shelf = session.studio.bases
    made = shelf.parts(reference, files)
    rows = [(need.component, need.title, need.source, need.note) for need in made.needs]
    lines = [f"{made.path.name} is the denoiser of {made.title}; it needs:", *table(("", "what", "", ""), rows)]
    needs = [plain(need) for need in made.needs]
    if dry_run:
        if made.missing:
            lines.append(f"{count(len(made.missing), 'part')} missing.")
        session.answer({"path": str(made.path), "needs": needs, "missing": len(made.missing)}, *lines)
        return
    added = shelf.assemble(reference, files, name=name)
    lines.append(f"{added.base.name} is a whole base now, {size(added.base.size)} in all; nothing was copied.")
    session.answer({"base": as_facts(added.base), "new": added.new, "needs": needs}, *lines)


def _wanted_lines(wanted: Wanted) -> Sequence[str]:
    about = wanted.size if wanted.size is not None else wanted.about_bytes
    lines = [f"{wanted.title or wanted.name} from {wanted.page}: {count(len(wanted.files), 'file')}"]
    lines[0] += f", {size(about)}" if about else ", size not told"
    lines += [f"  Licence: {wanted.license}"] if wanted.license else []
    return [*lines, *(f"  {note}" for note in wanted.notes)]


def _progress(session: Session) -> Callable[[Any], None] | None:
    if not session.live:
        return None

    def show(transfer: Any) -> None:
        total = f" of {size(transfer.total)}" if transfer.total else ""
        click.echo(f"\r{size(transfer.done)}{total}".ljust(40), err=True, nl=False)

    return show


@bases.verb("scan")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER]...")
@click.option("--add", "remember", is_flag=True, help="Remember the bases that are found; nothing is copied.")
def scan(session: Session, folders: tuple[Path, ...], remember: bool) -> None:
    """Look for bases of ComfyUI, A1111, Forge, InvokeAI and the Hugging Face cache.

    FOLDER is where a program lies, or any folder with weights; otherwise the usual places are looked at.
    """
    shelf = session.studio.bases
    result = shelf.scan(folders, add=remember)
    facts, rows = [], []
    for seen in result.sightings:
        found = seen.found
        state = _state(shelf, found.kind, found.family) if found is not None and worth_keeping(found) else ""
        what = found.title if found is not None else seen.problem
        rows.append((seen.path.name, what, state, seen.place.program))
        document = as_document(found) if found is not None else None
        facts.append(
            {"path": str(seen.path), "program": seen.place.program, "recognised": document, "problem": seen.problem}
        )
    lines = table(("file", "what", "", "of"), rows) if rows else []
    where = ", ".join(str(place) for place in result.places) or "the usual places"
    if not rows:
        lines = [
            f"No weights in {where}.",
            "Name a folder, or get one: `lorasmith bases catalogue` shows well-known bases.",
        ]
    elif remember:
        lines.append(f"{count(len(result.added), 'base')} remembered; `lorasmith bases list` shows them.")
    else:
        lines.append("Run it again with --add to remember the bases.")
    added = [record.name for record in result.added]
    session.answer({"places": [str(p) for p in result.places], "found": facts, "added": added}, *lines)


@bases.verb("show")
@click.argument("reference", metavar="NAME|PATH")
@click.option("--hash", "with_hash", is_flag=True, help="Work out its SHA-256, if it is not known yet.")
def show(session: Session, reference: str, with_hash: bool) -> None:
    """Say what weights are, with the evidence and what stays open."""
    shelf = session.studio.bases
    known = next((base for base in shelf.list() if base.name == reference), None)
    if known is not None and with_hash:
        known = shelf.hash(known.name)
    path, found = shelf.recognise(reference)
    lines = _recognised_lines(shelf, path, found)
    if known is not None:
        lines += [f"  {word}: {value}" for word, value in (("Licence", known.license), ("From", known.origin)) if value]
        lines += [f"  SHA-256: {known.sha256}"] if known.sha256 else []
        lines += [f"  {part}: {file}" for part, file in known.parts.items()]
        lines += [f"  answered: {question} is {choice}" for question, choice in known.answers.items()]
    record = as_facts(known) if known is not None else None
    session.answer({"path": str(path), "recognised": as_document(found), "record": record}, *lines)


@bases.verb("answer")
@click.argument("name")
@click.argument("question", required=False)
@click.argument("choice", required=False)
@click.option("--clear", is_flag=True, help="Take the answer back.")
def answer(session: Session, name: str, question: str | None, choice: str | None, clear: bool) -> None:
    """Answer what the tensors of a base leave open; the answer is kept.

    Without a QUESTION it lists what is asked. The CHOICE is one of the words shown.

    \b
      lorasmith bases answer my-sd2
      lorasmith bases answer my-sd2 prediction v_prediction
    """
    shelf = session.studio.bases
    if question is not None:
        if (choice is None) != clear:
            raise ConfigError("Give either an answer or --clear.", f"Run `lorasmith bases answer {name}` for a list.")
        shelf.answer(name, question, choice or "")
    asked = shelf.questions(name)
    lines = [f"{name} leaves nothing open."] if not asked else []
    for one in asked:
        lines.append(f"{one.question.name}: {one.question.text}")
        lines.append(f"  {'answered: ' + one.answer if one.answer else 'open'} (of {', '.join(one.question.choices)})")
    session.answer({"name": name, "questions": [plain(one) for one in asked]}, *lines)


def _recognised_lines(shelf: Shelf, path: Path, found: Recognition) -> list[str]:
    lines = [f"{path.name} is {found.title}", f"  at {path}"]
    if found.is_base:
        lines[0] += f" ({_state(shelf, found.kind, found.family)})"
        lines.append(f"  certainty {found.confidence:.0%}, {found.parameters / 1e9:.2f} billion parameters")
        lines.append(f"  {verdict(found.parameters, shelf.machine())}")
        if found.kind == "denoiser":
            lines.append("  the denoiser alone: its VAE and text encoders have to come from elsewhere")
            lines.append(f"  `lorasmith bases assemble {shlex.quote(str(path))} --dry-run` says which it needs")
    lines += [f"  because {reason}" for reason in found.evidence]
    for question in found.questions:
        lines.append(f"  open: {question.text}")
        if question.suggestion:
            lines.append(f"    most likely {question.suggestion}: {question.because}")
    return lines


@bases.verb("forget")
@click.argument("name")
@click.option("--delete", is_flag=True, help="Delete its weights too, if they lie in this home.")
def forget(session: Session, name: str, delete: bool) -> None:
    """Take a base off the list; its weights stay, unless --delete."""
    base = session.studio.bases.forget(name, delete=delete)
    words = "and its weights are gone" if delete else f"is off the list; its weights stay at {base.path}"
    session.answer({"name": base.name, "path": base.path, "deleted": delete}, f"{base.name} {words}.")


@bases.verb("convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The file to write; otherwise beside it.")
def convert(session: Session, file: Path, out: Path | None) -> None:
    """Turn a .ckpt, .pt or .bin into .safetensors, in a locked process.

    A pickle is a program. This opens it where it can do nothing, and lets tensors through and nothing else.
    """
    made = session.studio.bases.convert(file, out)
    left = f"; left out: {', '.join(made.left_out[:5])}" if made.left_out else ""
    line = f"{made.path}: {count(made.tensors, 'tensor')}, {size(made.size)}, equal bit by bit{left}"
    session.answer(plain(made), line, f"  `lorasmith bases add {made.path}` makes it known.")


@bases.verb("catalogue")
@click.argument("family", required=False)
@click.option("--trainable", is_flag=True, help="Only what can be trained here today.")
def catalogue(session: Session, family: str | None, trainable: bool) -> None:
    """Show well-known bases with their licences and what this machine can train."""
    shelf = session.studio.bases
    book, machine = shelf.catalogue(), shelf.machine()
    entries = [e for e in (book.of(family) if family else book.entries) if not trainable or shelf.trainable(e.family)]
    rows, facts = [], []
    for entry in entries:
        here = verdict(int(entry.parameters_b * 1e9), machine)
        state = "" if shelf.trainable(entry.family) else "not trainable here yet"
        rows.append((entry.id, entry.title, entry.license + (" (gated)" if entry.gated else ""), here, state))
        facts.append(
            plain(entry)
            | {"page": entry.page, "trainable": not state, "estimate": here, "denoiser_bytes": entry.denoiser_bytes}
        )
    lines = table(("id", "what", "licence", "this machine", ""), rows) if rows else ["The catalogue has none."]
    if len(entries) <= 8:
        lines += [f"{e.title}: {e.publishing} {e.warning}".rstrip() for e in entries]
    lines.append(f"As of {book.date}; no legal advice. `lorasmith bases add ID` gets one.")
    session.answer({"date": book.date, "bases": facts}, *lines)
