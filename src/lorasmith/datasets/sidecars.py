"""What files beside the pictures say about them: captions, and where a picture came from.

Matched by name and never by position. In this order; the first that says something wins, the rest is named in the
ledger:

1. what a layout says (``layouts/``)
2. ``name.txt``               the text as it is
3. ``name.caption``           likewise
4. ``name.json``, ``name.jpg.json``   one picture: ``caption``, ``text``, ``prompt``, ``description`` or ``tags``
5. ``name.jpg.txt``           one tag a line, as gallery-dl writes; taken only when every line is one word
6. ``.jsonl``, ``.csv``, ``.tsv`` and ``.json`` about many pictures: a column with the file's name, a column with text

gallery-dl's metadata gives a caption from its tags by kind: characters, series, species, artists, general, lore; tags
about the file itself (``meta``) stay out. Post, address, rating, score and artist go to the item's provenance.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from lorasmith.datasets.names import collision_key
from lorasmith.datasets.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_TEXT_KEYS: Final = ("caption", "text", "prompt", "description")
_FILE_KEYS: Final = ("file_name", "filename", "file", "image", "image_path", "file_path", "filepath", "path", "img")
_ORDER: Final = ("character", "copyright", "species", "artist", "general", "lore")
_SILENT: Final = ("meta", "metadata", "invalid", "deprecated", "rating")
_DELIMITERS: Final = (",", ";", "\t", "|")
_KEPT: Final = ("id", "rating", "score", "source", "md5", "license")
_LONGEST_VALUE: Final = 2_000
_LONGEST_TAG: Final = 100
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_ONE_WORD: Final = re.compile(r"[^\s,]+")

RANK: Final = {"layout": 0, "txt": 1, "caption": 2, "json": 3, "tag_lines": 4, "table": 5}


class NotReadableError(ValueError):
    """A sidecar whose bytes are no such file; the message completes "cannot be read: ..."."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one file says about one picture. ``caption`` None: nothing."""

    file: int
    """Index of the file that says it."""
    rank: int
    exact: bool
    caption: str | None
    provenance: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(slots=True)
class Heard:
    """What one file was found to say: about which pictures, and what could not be used of it."""

    about: dict[int, Statement] = field(default_factory=dict)
    form: str = ""
    """In words, e.g. ``gallery-dl metadata``; empty when the file says nothing in a form that is read."""
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A caption or sidecar file that was read."""

    path: str
    text: str
    encoding: str
    """In words when it is not plain UTF-8."""


class PictureNames:
    """Finds pictures by what files call them. Paths are relative with ``/``; an index is into ``paths``.

    Each way to look is prepared when it is first needed: captions beside the pictures need one of the four.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = [path.replace("\\", "/") for path in paths]

    @cached_property
    def _by_path(self) -> dict[str, Sequence[int]]:
        return _indexes(self.paths)

    @cached_property
    def _by_stem(self) -> dict[str, Sequence[int]]:
        return _indexes(map(stem, self.paths))

    @cached_property
    def _by_last(self) -> dict[str, Sequence[int]]:
        return _indexes(path.rpartition("/")[2] for path in self.paths)

    @cached_property
    def _by_last_stem(self) -> dict[str, Sequence[int]]:
        return _indexes(stem(path.rpartition("/")[2]) for path in self.paths)

    def of_stem(self, wanted: str) -> tuple[list[int], bool]:
        """Pictures called so but for their suffix, and whether in the same spelling; else the same but for case."""
        similar = list(self._by_stem.get(collision_key(wanted), ()))
        exact = [index for index in similar if stem(self.paths[index]) == wanted]
        return (exact, True) if exact else (similar, False)

    def of_path(self, wanted: str) -> tuple[list[int], bool]:
        """The picture called exactly so; else the same but for case."""
        similar = list(self._by_path.get(collision_key(wanted), ()))
        exact = [index for index in similar if self.paths[index] == wanted]
        return (exact, True) if exact else (similar if len(similar) == 1 else [], False)

    def of_key(self, key: str, folder: str) -> list[int]:
        """What a table in ``folder`` means by a file's name or path: the nearest that is not ambiguous."""
        flat = re.sub(r"^(\./)+", "", key.strip().replace("\\", "/"))
        if not flat:
            return []
        below = f"{folder}/{flat}" if folder else flat
        named = PurePosixPath(flat).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
        for candidate in (below, flat):
            found = self.of_path(candidate)[0] or ([] if named else self.of_stem(candidate)[0])
            if found:
                return found
        last = flat.rpartition("/")[2]
        similar = self._by_last.get(collision_key(last), ())
        if not similar and not named:
            similar = self._by_last_stem.get(collision_key(last), ())
        near = [i for i in similar if not folder or self.paths[i].startswith(f"{folder}/")]
        return near if len(near) == 1 else []


def _indexes(keys: Iterable[str]) -> dict[str, Sequence[int]]:
    """Places of each key, spellings that collide together; mostly one, so that a tuple takes less than a list."""
    places: dict[str, Sequence[int]] = {}
    for index, key in enumerate(map(collision_key, keys)):
        places[key] = (*places[key], index) if key in places else (index,)
    return places


def stem(path: str) -> str:
    """The path without its suffix, as captions are matched: in full, never by position."""
    return str(PurePosixPath(path.replace("\\", "/")).with_suffix(""))


def hear(index: int, sidecar: Sidecar, names: PictureNames) -> Heard:
    """What the file says about which pictures.

    Raises:
        NotReadableError: its suffix promises JSON or CSV, and its bytes are something else.
    """
    path = sidecar.path.replace("\\", "/")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in (".txt", ".caption"):
        return _plain(index, sidecar, path, "txt" if suffix == ".txt" else "caption", names)
    folder = path.rpartition("/")[0]
    if suffix == ".json":
        return _json(index, sidecar, path, names)
    rows = _json_lines(sidecar.text) if suffix == ".jsonl" else _csv_rows(sidecar.text, names, folder)
    return _table(index, rows, folder, names, f"a table ({suffix[1:].upper()})")


def _plain(index: int, sidecar: Sidecar, path: str, kind: str, names: PictureNames) -> Heard:
    found, exact = names.of_stem(stem(path))
    if found:
        statement = Statement(index, RANK[kind], exact, sidecar.text)
        return Heard(dict.fromkeys(found, statement), "caption")
    found, exact = names.of_path(stem(path))
    tags = sidecar.text.split("\n") if found else []
    tags = [tag.strip() for tag in tags if tag.strip()]
    if len(tags) > 1 and all(_ONE_WORD.fullmatch(tag) and len(tag) <= _LONGEST_TAG for tag in tags):
        statement = Statement(index, RANK["tag_lines"], exact, ", ".join(tags))
        return Heard(dict.fromkeys(found, statement), f"{len(tags)} tags, one a line, as gallery-dl writes them")
    return Heard()


def _json(index: int, sidecar: Sidecar, path: str, names: PictureNames) -> Heard:
    content = _parsed(sidecar.text)
    found, exact = names.of_path(stem(path))
    if not found:
        found, exact = names.of_stem(stem(path))
    if isinstance(content, list) and len(content) == 1 and found and isinstance(content[0], dict):
        content = content[0]
    if isinstance(content, dict) and found:
        if _is_post(content):
            caption, provenance = _post(content)
            return Heard(
                dict.fromkeys(found, Statement(index, RANK["json"], exact, caption, provenance)),
                _post_in_words(content, caption),
            )
        caption = _caption_of(content)
        if caption is not None:
            statement = Statement(index, RANK["json"], exact, caption, _short(content))
            return Heard(dict.fromkeys(found, statement), "caption in JSON")
    if isinstance(content, dict) and not found and (_is_post(content) or _caption_of(content) is not None):
        return Heard(remarks=["there is no picture of the same name beside it"])
    heard = _table(index, list(_json_rows(content)), path.rpartition("/")[0], names, "a table (JSON)")
    if not heard.about and isinstance(content, dict):
        heard.remarks.clear()  # any program's settings look like a table of which no row fits
    return heard


def _table(
    index: int, rows: Sequence[tuple[str, str | None, Mapping[str, Any]]], folder: str, names: PictureNames, form: str
) -> Heard:
    heard = Heard()
    strangers: list[str] = []
    again: list[str] = []
    for key, caption, provenance in rows:
        found = names.of_key(key, folder)
        if not found:
            strangers.append(key)
        elif caption is not None or provenance:
            if any(picture in heard.about for picture in found):
                again.append(key)
                continue
            heard.about.update(dict.fromkeys(found, Statement(index, RANK["table"], True, caption, provenance)))
    if heard.about:
        heard.form = form
        if strangers:
            heard.remarks.append(f"{_rows(len(strangers))} no picture of the source ({_examples(strangers)}).")
        if again:
            heard.remarks.append(f"{_rows(len(again))} a picture named before and were not used ({_examples(again)}).")
    elif rows:
        heard.remarks.append(f"its {len(rows)} rows name no picture of the source ({_examples(strangers)})")
    return heard


def _rows(count: int) -> str:
    return f"{count:,} of its rows name" if count != 1 else "1 of its rows names"


def _examples(keys: Sequence[str]) -> str:
    shown = ", ".join(" ".join(key.split())[:60] for key in keys[:3])
    return shown + (", ..." if len(keys) > 3 else "")


# --- JSON --------------------------------------------------------------------------------------------------------


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        reason = "it is nested too deeply" if isinstance(cause, RecursionError) else f"it is no JSON ({cause})"
        raise NotReadableError(reason) from cause


def _json_lines(text: str) -> list[tuple[str, str | None, Mapping[str, Any]]]:
    rows: list[tuple[str, str | None, Mapping[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _row(_parsed(line))
        except NotReadableError as cause:
            raise NotReadableError(f"line {number}: {cause}") from cause
        if row is not None:
            rows.append(row)
    return rows


def _json_rows(content: Any) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    """Rows of ``[{file, caption}]``, of ``{path: caption}`` and ``{path: {caption, ...}}``, also under ``captions``."""
    if isinstance(content, dict) and isinstance(content.get("captions"), dict | list):
        content = content["captions"]
    if isinstance(content, list):
        yield from (row for row in map(_row, content) if row is not None)
    elif isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, dict):
                yield key, _caption_of(value), _short(value)
            elif isinstance(value, str | list):
                yield key, _as_text(value), {}


def _row(row: Any) -> tuple[str, str | None, Mapping[str, Any]] | None:
    if not isinstance(row, dict):
        return None
    lowered = {str(key).strip().lower(): value for key, value in row.items()}
    key = next((lowered[k] for k in _FILE_KEYS if isinstance(lowered.get(k), str) and lowered[k].strip()), None)
    return None if key is None else (key, _caption_of(lowered), _short(lowered))


def _caption_of(content: Mapping[str, Any]) -> str | None:
    """``caption`` (or its like), followed by ``tags`` as kohya's own reader does; None when there is neither."""
    text = next((t for k in _TEXT_KEYS if (t := _as_text(content.get(k))) is not None), None)
    tags = _tag_text(content.get("tags"))
    if text is None or tags is None or text == tags:
        return text if text is not None else tags
    return ", ".join(part for part in (text, tags) if part)


def _as_text(value: Any) -> str | None:
    """A text, or several as lines, one variant each; NUL and lone surrogates cannot be stored and count as nothing."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    return value.rstrip("\r\n") if isinstance(value, str) and _is_storable(value) else None


def _tag_text(value: Any) -> str | None:
    if isinstance(value, str):
        return _as_text(value)
    tags = [tag for tag in _listed(value) if _is_storable(tag)]
    return ", ".join(tags) if tags else None


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [tag.strip() for tag in value if isinstance(tag, str) and tag.strip()] if isinstance(value, list) else []


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _short(content: Mapping[str, Any]) -> dict[str, Any]:
    """ai-toolkit's second, shorter caption, kept beside."""
    short = _as_text(content.get("caption_short"))
    return {"caption_short": short} if short else {}


# --- posts of galleries ------------------------------------------------------------------------------------------


def _is_post(content: Mapping[str, Any]) -> bool:
    """gallery-dl names the site and the kind of page in every file; a site's own JSON has an id, and tags by kind."""
    if isinstance(content.get("category"), str) and isinstance(content.get("subcategory"), str):
        return True
    return "id" in content and ("tag_string" in content or isinstance(content.get("tags"), dict))


def _post(content: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    groups = _tag_groups(content)
    named = [tag for kind in _ORDER for tag in groups.pop(kind, [])]
    quiet = {tag for kind in _SILENT for tag in groups.pop(kind, [])}
    known = {*named, *quiet}
    everything = [*named, *(tag for tags in groups.values() for tag in tags if tag not in known)]
    tags = [tag for tag in dict.fromkeys(everything) if _is_storable(tag)]
    return (", ".join(tags) or None), _provenance(content, content_artists(content))


def content_artists(content: Mapping[str, Any]) -> list[str]:
    """The artists a post names, as tags."""
    return _tag_groups(content).get("artist", [])


def _tag_groups(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Tags by kind; under ``""`` those of which the kind is not said."""
    tags = content.get("tags")
    if isinstance(tags, dict):
        return {str(kind): _listed(values) for kind, values in tags.items()}
    groups: dict[str, list[str]] = {}
    for key, value in content.items():
        kind = key.removeprefix("tags_") if key.startswith("tags_") else key.removeprefix("tag_string_")
        if kind != key:
            groups.setdefault(kind, _listed(value))
    groups[""] = _listed(tags if tags is not None else content.get("tag_string"))
    return groups


def _provenance(content: Mapping[str, Any], artists: Sequence[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if isinstance(content.get("category"), str):
        kept["site"] = content["category"]
    for key in _KEPT:
        value = content.get(key)
        if key == "score" and isinstance(value, dict):
            value = value.get("total")
        if _is_plain(value):
            kept["post" if key == "id" else "origin" if key == "source" else key] = value
    sources = content.get("sources")
    if "origin" not in kept and isinstance(sources, list) and sources and _is_plain(sources[0]):
        kept["origin"] = sources[0]
    if _is_plain(content.get("file_url")):
        kept["url"] = content["file_url"]
    if artists:
        kept["artist"] = ", ".join(artists)[:_LONGEST_VALUE]
    return kept


def _is_plain(value: Any) -> bool:
    """A number, or a text of a sane length with something in it."""
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST_VALUE and _is_storable(value)
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _post_in_words(content: Mapping[str, Any], caption: str | None) -> str:
    site = content.get("category")
    words = "gallery-dl metadata" if isinstance(content.get("subcategory"), str) else "a post's metadata"
    origin = f" of {site}" if isinstance(site, str) and _is_plain(site) else ""
    return f"{words}{origin}{'' if caption else ' without tags'}"


# --- CSV ---------------------------------------------------------------------------------------------------------


def _csv_rows(text: str, names: PictureNames, folder: str) -> list[tuple[str, str | None, Mapping[str, Any]]]:
    """Rows by the first delimiter under which the first line names a file column and a caption column.

    Without such a heading, two columns count whose first cell is a picture of the source. (``csv.Sniffer`` guesses
    from frequencies, and takes commas inside captions for columns.)
    """
    for delimiter in _DELIMITERS:
        try:
            lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error:
            continue
        lines = [line for line in lines if any(cell.strip() for cell in line)]
        if not lines:
            return []
        heading = [cell.strip().lower() for cell in lines[0]]
        if set(heading) & set(_FILE_KEYS) and set(heading) & {*_TEXT_KEYS, "tags"}:
            whole = [_whole(line, len(heading), heading[-1] in (*_TEXT_KEYS, "tags"), delimiter) for line in lines[1:]]
            records = (dict(zip(heading, line, strict=False)) for line in whole)
            return [row for row in map(_row, records) if row is not None]
        if len(lines[0]) >= 2 and names.of_key(lines[0][0], folder):
            whole = [_whole(line, 2, True, delimiter) for line in lines]
            return [(line[0], _as_text(line[1]), {}) for line in whole if len(line) == 2]
    return []


def _whole(line: list[str], columns: int, text_is_last: bool, delimiter: str) -> list[str]:
    """The line with as many cells as there are columns: a last caption without quotes gets its commas back."""
    if len(line) <= columns:
        return line
    if not text_is_last:
        raise NotReadableError(f"the line of {line[0][:60]!r} has more columns than the heading; quote its caption")
    return [*line[: columns - 1], delimiter.join(line[columns - 1 :])]
