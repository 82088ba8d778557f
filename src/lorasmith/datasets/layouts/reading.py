"""Reading what other programs wrote about pictures: their paths found again inside the source, their files parsed.

A path in someone's TOML or JSONL names a file of the machine it was written on. It is only ever looked up among the
files of the source, by the longest part of it that is there; nothing outside is opened, and two pictures never share
the line of one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from lorasmith.errors import DatasetError

MOST_REPEATS: Final = 10_000
_DRIVE: Final = re.compile(r"^[A-Za-z]:/?")
_TOML_LINE: Final = re.compile(r"\(at line (\d+)")


class SourceFiles:
    """The files of one source, asked by name.

    Args:
        paths: every file, relative, as the ledger names it.
        open_bytes: the content of one of them.
    """

    def __init__(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> None:
        self.paths = paths
        self.open_bytes = open_bytes

    # Every layout makes one of these and most never ask for more than a suffix, so each table is made when it is used.

    @cached_property
    def pictures(self) -> list[str]:
        return [path for path in self.paths if is_picture(path)]

    @cached_property
    def folders(self) -> set[str]:
        return {above for folder in {parent(path) for path in self.paths} for above in _with_those_above(folder)}

    @cached_property
    def _by_flat(self) -> dict[str, str]:
        return {flat(path): path for path in self.paths}

    @cached_property
    def _picture_stems(self) -> set[str]:
        return {str(PurePosixPath(flat(path)).with_suffix("")) for path in self.pictures}

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _by_last_part(self._by_flat)

    @cached_property
    def _folders_by_name(self) -> dict[str, list[str]]:
        return _by_last_part(sorted(self.folders))

    def with_suffix(self, *suffixes: str) -> list[str]:
        """Paths of files with one of these suffixes, in any case."""
        return [path for path in self.paths if PurePosixPath(flat(path)).suffix.lower() in suffixes]

    def named(self, *names: str) -> list[str]:
        """Paths of files whose last part is one of these names, in any case."""
        return [path for path in self.paths if PurePosixPath(flat(path)).name.lower() in names]

    def below(self, folder: str, *, deep: bool = True) -> list[str]:
        """Pictures in a folder of the source, ``""`` being all of it."""
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in self.pictures if flat(path).startswith(prefix)]
        return inside if deep else [path for path in inside if "/" not in flat(path)[len(prefix) :]]

    def text(self, path: str) -> str:
        """The text of a file, line ends as they are and no byte order mark.

        Raises:
            DatasetError: it is no text.
        """
        try:
            return decode_caption(self.open_bytes(path))[0]
        except ValueError as cause:
            raise DatasetError(f"{path} cannot be read: {cause}.", "Save it as UTF-8 text.") from cause

    def speaks_of(self, path: str, *words: str) -> bool:
        """Whether a file is text in which one of these words stands.

        Asked before a settings file is parsed: one that is damaged and a layout's own must be named, while a
        stranger's file, such as the JSON beside each picture of a download, is neither parsed nor complained about.
        """
        bare = flat(path)[: -len(PurePosixPath(flat(path)).suffix) or None]
        if bare in self._picture_stems or is_picture(bare):
            return False
        try:
            text = self.text(path)
        except DatasetError:
            return False
        return any(word in text for word in words)

    def beside(self, picture: str, suffix: str) -> str | None:
        """The file of the same path but for the suffix."""
        stem = flat(picture)[: -len(PurePosixPath(flat(picture)).suffix) or None]
        return self._by_flat.get(stem + suffix)

    def find(self, references: Iterable[str], *, base: str = "") -> dict[str, str]:
        """Which file of the source each reference means; those that mean none are missing from the answer.

        ``base`` is the folder of the file that holds the references. When two references end up at one file, the one
        that agrees with more of its path has it, so that a stranger's line is never taken for a picture's own.
        """
        holders: dict[str, tuple[float, str]] = {}
        for reference in references:
            found = self._match(reference, base, self._by_name, self._by_flat)
            if found is not None and holders.get(found[0], (0, ""))[0] < found[1]:
                holders[found[0]] = (found[1], reference)
        return {reference: self._by_flat[key] for key, (_, reference) in holders.items()}

    def folder(self, reference: str, *, base: str = "") -> str | None:
        """The folder of the source that a reference means (``""`` for its root), or None."""
        if _join(base, reference) == "":
            return ""
        found = self._match(reference, base, self._folders_by_name, self.folders)
        return found[0] if found is not None else None

    def _match(
        self, reference: str, base: str, by_name: Mapping[str, Sequence[str]], known: Container[str]
    ) -> tuple[str, float] | None:
        """The one thing whose path agrees longest with the reference, and how many parts agree."""
        if not _is_absolute(reference):
            exact = _join(base, reference)
            if exact is not None and exact in known:
                return exact, 1_000_000
        parts = _clean(reference)
        if not parts:
            return None
        scored = [(_agreement(parts, path.split("/")), path) for path in by_name.get(parts[-1], ())]
        best = max((score for score, _ in scored), default=0.0)
        winners = [path for score, path in scored if score == best]
        return (winners[0], best) if len(winners) == 1 else None


def flat(path: str) -> str:
    """A path with ``/`` between its parts, whatever it came with."""
    return path.replace("\\", "/")


def is_picture(path: str) -> bool:
    """Whether a path ends like that of a picture or of a video."""
    return PurePosixPath(flat(path)).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def parent(path: str) -> str:
    """The folder a path lies in, ``""`` for the root."""
    return flat(path).rpartition("/")[0]


def stem(path: str) -> str:
    """The last part of a path without its suffix."""
    return PurePosixPath(flat(path)).stem


def parse_json(files: SourceFiles, path: str) -> Any:
    """A JSON file.

    Raises:
        DatasetError: it is damaged; the message names the line.
    """
    return _json(files.text(path), path, 0)


def parse_jsonl(files: SourceFiles, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, each with the number of its line, from 1.

    Raises:
        DatasetError: a line is damaged or holds no object; the message names it.
    """
    for number, line in enumerate(files.text(path).split("\n"), start=1):  # splitlines() would cut at U+2028 too
        if not line.strip():
            continue
        value = _json(line, path, number)
        if not isinstance(value, dict):
            raise DatasetError(f"{path} is damaged: line {number} holds no object.", "Write one JSON object a line.")
        yield number, value


def parse_toml(files: SourceFiles, path: str) -> dict[str, Any]:
    """A TOML file.

    Raises:
        DatasetError: it is damaged; the message names the line.
    """
    text = files.text(path).replace("\r\n", "\n") + "\n"
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        line = _TOML_LINE.search(str(cause))
        where = f" in line {line[1]}" if line else ""
        reason = str(cause).partition(" (at ")[0] or "too deep"
        raise DatasetError(
            f"{path} is damaged{where}: {reason}.", "Correct it, or remove it and import again."
        ) from cause


class _WithoutAliases(yaml.SafeLoader):
    """Values that stand where they stand: ten lines of aliases that name each other are more than any memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not followed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def parse_yaml(files: SourceFiles, path: str) -> Any:
    """A YAML file, plain values only.

    Raises:
        DatasetError: it is damaged; the message names the line.
    """
    try:
        return yaml.load(files.text(path), Loader=_WithoutAliases)  # noqa: S506 (a SafeLoader that does less)
    except (yaml.YAMLError, RecursionError, ValueError) as cause:
        mark = getattr(cause, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        reason = getattr(cause, "problem", None) or "it is no YAML"
        raise DatasetError(
            f"{path} is damaged{where}: {reason}.", "Correct it, or remove it and import again."
        ) from cause


def tables(value: Any, path: str, what: str) -> list[dict[str, Any]]:
    """A list of tables, as ``[[datasets]]`` makes one; nothing at all is an empty list.

    Raises:
        DatasetError: it is anything else.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DatasetError(f"{path} is damaged: '{what}' is not a list of tables.", "Correct it and import again.")
    return value


def text_of(table: Mapping[str, Any], key: str, path: str) -> str | None:
    """A setting that must be text.

    Raises:
        DatasetError: it is something else.
    """
    value = table.get(key)
    if value is None or isinstance(value, str):
        return value
    raise DatasetError(f"{path} is damaged: '{key}' is {value!r}, not a text.", "Correct it and import again.")


def repeats_of(value: Any, said: list[str], where: str, *, offset: int = 0) -> int:
    """How often a picture is shown, from what a file says; what cannot be followed is added to ``said``."""
    if value is None:
        return 1
    number = value + offset if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not 1 <= number <= MOST_REPEATS:
        said.append(f"{where}: repeats {value!r} cannot be followed; 1 is used.")
        return 1
    if number != int(number):
        said.append(f"{where}: repeats {value!r} is no whole number; {max(1, round(number))} is used.")
    return max(1, round(number))


def unknown_settings(table: Mapping[str, Any], followed: Iterable[str], where: str) -> list[str]:
    """A sentence that lists the settings of a table that have no meaning here; empty when there are none."""
    rest = sorted(set(table) - set(followed))
    if not rest:
        return []
    values = ", ".join(f"{key} = {_short(table[key])}" for key in rest)
    return [f"{where}: {values} {'is' if len(rest) == 1 else 'are'} for the trainer and not part of the dataset."]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _json(text: str, path: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as cause:
        number = line or cause.lineno
        raise DatasetError(
            f"{path} is damaged in line {number}: {cause.msg}.", "Correct it, or remove it and import again."
        ) from cause
    except (RecursionError, ValueError) as cause:
        raise DatasetError(f"{path} is damaged: it is no sensible JSON.", "Remove it and import again.") from cause


def _is_absolute(reference: str) -> bool:
    flattened = flat(reference)
    return flattened.startswith(("/", "~")) or _DRIVE.match(flattened) is not None


def _clean(reference: str) -> list[str]:
    """The parts of a foreign path that can name something here."""
    return [part for part in _DRIVE.sub("", flat(reference)).split("/") if part not in ("", ".", "..", "~")]


def _join(base: str, reference: str) -> str | None:
    """A relative reference from a folder of the source; None when it is absolute or climbs out."""
    if _is_absolute(reference):
        return None
    parts = [part for part in base.split("/") if part]
    for part in flat(reference).split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _with_those_above(folder: str) -> Iterator[str]:
    """A folder and all it lies in, but for the root."""
    while folder:
        yield folder
        folder = parent(folder)


def _by_last_part(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(path.rpartition("/")[2], []).append(path)
    return found


def _agreement(reference: Sequence[str], path: Sequence[str]) -> float:
    """How many parts agree from the end on; a path that agrees as a whole goes before one that does not."""
    count = 0
    for a, b in zip(reversed(reference), reversed(path), strict=False):
        if a != b:
            break
        count += 1
    return count + (0.5 if count == len(path) else 0.0)
