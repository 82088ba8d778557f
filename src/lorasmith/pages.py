"""``python -m lorasmith.pages docs``: a page for every captioner and source, written from the plugin itself.

The paragraphs by hand are the docstring of the plugin's module; the table of options is its ``Options``. Plugins of
other packages get no page here.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.config import Section
from lorasmith.fields import fields_of

_NOTE: Final = "Written by `python -m lorasmith.pages docs`; a test fails when it is stale."


@dataclass(frozen=True)
class Room:
    """A room of plugins that have pages."""

    name: str
    """Also the folder of the pages."""
    title: str
    says: str
    plugins: Callable[[], Mapping[str, Any]]
    usage: Callable[[Any], Sequence[str]]
    """Lines of the section that says how one of them is used."""
    further: Callable[[Any], str] = lambda plugin: ""
    """Paragraphs after those of the module."""


def rooms() -> tuple[Room, ...]:
    """All rooms whose plugins have pages."""
    return (
        Room(
            "captioners",
            "Captioners",
            "`lorasmith caption DATASET --with NAME` lets one of these describe the pictures of a dataset. An option "
            "is set with `--set OPTION=VALUE`; in Python it is an argument of `studio.caption`.",
            _captioners,
            _how_to_caption,
        ),
        Room(
            "sources",
            "Sources",
            "`lorasmith import` brings pictures from these places; `--dry-run` lists what would come before anything "
            "is fetched. Options are written as `--option VALUE`. Everything that comes is accounted for in the "
            "ledger, and where each picture is from goes into its provenance. An interrupted import is asked for "
            "again in the same words, and goes on where it stopped.",
            _sources,
            _how_to_import,
            lambda source: type(source).__doc__ or "",
        ),
    )


def pages() -> dict[str, str]:
    """Every page by its path under the folder of the documentation."""
    made: dict[str, str] = {}
    for room in rooms():
        plugins = _own(room.plugins())
        if not plugins:
            continue
        made[f"{room.name}/README.md"] = _index(room, plugins)
        made |= {f"{room.name}/{name}.md": _page(room, plugin) for name, plugin in plugins.items()}
    return made


def write(folder: Path) -> list[Path]:
    """Write all pages, and remove those of plugins that are gone; the pages."""
    written = []
    for room in rooms():
        for old in (folder / room.name).glob("*.md"):
            old.unlink()
    for path, text in pages().items():
        page = folder / path
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8", newline="\n")
        written.append(page)
    return written


# --- rooms ---------------------------------------------------------------------------------------------------


def _captioners() -> Mapping[str, Any]:
    from lorasmith.captioners.run import captioners

    return captioners()


def _sources() -> Mapping[str, Any]:
    import lorasmith.sources
    from lorasmith.plugins import discover

    return discover(lorasmith.sources, lorasmith.sources.Source)


def _own(plugins: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in plugins.items() if type(one).__module__.partition(".")[0] == "lorasmith"}


def _how_to_caption(captioner: Any) -> list[str]:
    lines = ["```", f"lorasmith caption DATASET --with {captioner.name}", "```", ""]
    names: dict[str, list[str]] = {}
    for alias, options in captioner.aliases().items():
        names.setdefault(_settings(options), []).append(f"`{alias}`")
    if names:
        lines += ["Other names that may stand for it, and what they set:", "", "| names | options |", "|---|---|"]
        lines += [f"| {', '.join(same)} | {options} |" for options, same in names.items()]
        lines.append("")
    return lines


def _how_to_import(source: Any) -> list[str]:
    from lorasmith.credentials import WANTED

    lines = ["```", *(source.command(example) for example in source.examples), "```", ""]
    for service in source.services:
        lines += [f"`lorasmith secrets set {service}` keeps its key: {WANTED[service]}.", ""]
    for notice in source.notices(source.examples[0], type(source).Options()):
        lines += [f"**{notice.title}.** {' '.join(notice.text.split())} Agreed to with `--accept {notice.id}`.", ""]
    return lines


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in options.items())


# --- pages ---------------------------------------------------------------------------------------------------


def _index(room: Room, plugins: Mapping[str, Any]) -> str:
    rows = [f"| [{name}]({name}.md) | {_cell(plugin.title)} |" for name, plugin in plugins.items()]
    return "\n".join([f"# {room.title}", "", _NOTE, "", room.says, "", "| name | what it is |", "|---|---|", *rows, ""])


def _page(room: Room, plugin: Any) -> str:
    told = f"{sys.modules[type(plugin).__module__].__doc__ or ''}\n\n{inspect.cleandoc(room.further(plugin))}"
    lines = [f"# {plugin.name}: {plugin.title}", "", _NOTE, "", *_prose(told), "## How to use it", ""]
    lines += room.usage(plugin)
    lines += ["## Options", "", *_options(type(plugin).Options)]
    return "\n".join(lines).rstrip() + "\n"


def _prose(docstring: str) -> Iterator[str]:
    """A docstring's paragraphs as Markdown; what is indented stays as it stands."""
    for paragraph in docstring.strip().split("\n\n"):
        lines = paragraph.splitlines()
        if all(line.startswith("    ") for line in lines):
            yield from ("```", *(line[4:] for line in lines), "```", "")
        else:
            yield from (" ".join(" ".join(lines).split()).replace("``", "`"), "")


def _options(section: type[Section]) -> list[str]:
    if not section.model_fields:
        return ["There is nothing to choose."]
    rows = ["| option | type | default | bounds | meaning |", "|---|---|---|---|---|"]
    for field in fields_of(section):
        default = "needed" if field.needed else _default(field.default)
        meaning = " ".join((section.model_fields[field.key].description or "").replace("``", "`").split())
        what, bounds = field.type_words(between=", ", each="`{}`"), "; ".join(field.bound_words())
        rows.append(f"| `{field.key}` | {_cell(what)} | {default} | {_cell(bounds)} | {_cell(meaning)} |")
    return rows


def _default(value: Any) -> str:
    if value is None:
        return "left out"
    if value in ("", (), [], {}):
        return "empty"
    plain = list(value) if isinstance(value, tuple | set | frozenset) else value
    return f"`{json.dumps(plain, ensure_ascii=False, default=str)}`".replace('`"', "`").replace('"`', "`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for page in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        sys.stdout.write(f"{page}\n")
