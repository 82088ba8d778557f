"""``python -m lorasmith.sources.pages docs/sources``: a page for every source, from its options and its own words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from lorasmith.config import choices
from lorasmith.credentials import WANTED
from lorasmith.sources import Source, sources

_BY_PATH = ("folder", "url", "zip")


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    found = {f"{name}.md": page(source) for name, source in sources().items()}
    rows = [f"| [{s.name}]({s.name}.md) | {s.title} | `{command(s, s.examples[0])}` |" for s in sources().values()]
    lines = [
        "# Sources",
        "",
        "Where pictures can come from. `--dry-run` lists what would come before anything is fetched; everything that",
        "comes is accounted for in the ledger, and where each picture is from goes into its provenance. An interrupted",
        "import is asked for again in the same words, and goes on where it stopped.",
        "",
        "| source | what | for example |",
        "|---|---|---|",
        *rows,
    ]
    return found | {"README.md": "\n".join([*lines, "", WRITTEN]) + "\n"}


WRITTEN = "Written by `python -m lorasmith.sources.pages docs/sources`; a test fails when it is stale."


def page(source: Source) -> str:
    """One source."""
    options = type(source).Options
    lines = [f"# {source.name}: {source.title}", "", _words(type(source).__doc__), "", "```sh"]
    lines += [command(source, example) for example in source.examples]
    lines += ["```", "", "## Options", ""]
    if options.model_fields:
        lines += ["| option | type | default | |", "|---|---|---|---|"]
    for name, field in options.model_fields.items():
        kind = _kind(field.annotation)
        default = json.dumps(field.default, ensure_ascii=False, default=str)
        lines.append(f"| `--{name.replace('_', '-')}` | {kind} | `{default}` | {_words(field.description)} |")
    if not options.model_fields:
        lines.append("None of its own; those of `lorasmith import` count.")
    for service in source.services:
        lines += ["", "## Secret", "", f"`lorasmith secrets set {service}` keeps {WANTED[service]}."]
    for notice in source.notices(source.examples[0], options()):
        lines += [
            "",
            f"## {notice.title}",
            "",
            _words(notice.text),
            "",
            f"Agreed to once, with `--accept {notice.id}`.",
        ]
    return "\n".join([*lines, "", WRITTEN]) + "\n"


def command(source: Source, example: str) -> str:
    """An example as it is typed."""
    quoted = f'"{example}"' if any(sign in example for sign in " ?&*()") else example
    return f"lorasmith import {quoted}" if source.name in _BY_PATH else f"lorasmith import {source.name} {quoted}"


def write(folder: Path) -> None:
    """Write all pages, and remove those of sources that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for old in folder.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _words(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").replace("|", "\\|").split())


def _kind(annotation: Any) -> str:
    """A type in words."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if type(None) in get_args(annotation):
        return _kind(next(part for part in get_args(annotation) if part is not type(None)))
    if choices(annotation):
        return ", ".join(str(word) for word in choices(annotation) if str(word))
    if get_origin(annotation) in (tuple, frozenset, list):
        return "texts, with commas between"
    return {int: "integer", float: "number", bool: "yes or no", str: "text"}.get(annotation, str(annotation))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
