"""Datasets of the Hugging Face hub: ZIPs, folders of pictures with ``metadata.*``, Parquet, WebDataset shards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic import field_validator

from lorasmith.config import Section
from lorasmith.datasets.archive import open_source
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import natural_key, safe_item_name, why_unsafe
from lorasmith.datasets.source import CAPTION_SUFFIXES, IMAGE_SUFFIXES, SIDECAR_SUFFIXES, Limits
from lorasmith.errors import InputError
from lorasmith.fetching import shown
from lorasmith.sources import Errand, Haul, Limit, Listing, Offered, Source, left_out
from lorasmith.sources.bringing import bring_files
from lorasmith.sources.hub import HOSTS, HUB, HubFile, HubPlace, HubRepository, parse_place

Split = Literal["", "train", "validation", "test"]
_PACKED: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".parquet")
_ALWAYS_BESIDE: Final = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_OF_SPLIT: Final = re.compile(
    r"(?:^|[/_.-])(?:(?P<train>train(?:ing)?)|(?P<validation>validation|valid|val|dev)|(?P<test>test(?:ing)?|eval(?:uation)?))"
    r"(?=[/_.-]|$)",
    re.IGNORECASE,
)
_WEIGHTS: Final = (".safetensors", ".ckpt", ".gguf", ".bin", ".pt", ".pth", ".onnx")


class HuggingFace(Source):
    """Brings a dataset of the Hugging Face hub, whole or in part: ZIPs, folders of pictures with captions or a
    ``metadata.jsonl``, Parquet tables with pictures inside, WebDataset shards. A public one needs no token; for a
    private or gated one, keep yours with ``lorasmith secrets set huggingface``. The licence of its card goes into the
    provenance of every picture. Large files are held to the SHA-256 that the hub gives."""

    name = "huggingface"
    title = "A dataset of Hugging Face"
    examples = ("owner/name", "https://huggingface.co/datasets/owner/name", "hf://datasets/owner/name@main/data")
    services = ("huggingface",)

    class Options(Section):
        """Which part of a dataset."""

        revision: str = ""
        """A branch, a tag or a commit; left out, what the link says, or main."""
        subfolder: str = ""
        """Only what lies below this folder."""
        config: str = ""
        """Which configuration, where the dataset's card defines several."""
        split: Split = ""
        """train, validation or test, told by the names of files; left out, all."""
        include: tuple[str, ...] = ()
        """Only files that one of these patterns fits, such as *.png or train/*; a ? is one character, a * any."""
        limit: Limit = None
        """How many pictures at most, the first by name, 1 to 1000000; shards are fetched one by one until there are so
        many."""
        endpoint: str = HUB
        """The hub, or a mirror of it. Your token goes to huggingface.co only."""

        @field_validator("endpoint")
        @classmethod
        def _is_an_address(cls, value: str) -> str:
            if not value.lower().startswith(("https://", "http://")):
                raise ValueError("it has to begin with https://")
            return value

    def accepts(self, location: str) -> bool:
        text = location.strip().lower()
        if text.startswith("hf://"):
            return True
        if not text.startswith(("https://", "http://")) or len(text.split()) != 1:
            return False
        host, _, path = text.partition("://")[2].partition("/")
        return host in HOSTS and bool(path.strip("/"))

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        assert isinstance(options, HuggingFace.Options)
        place = _asked_place(parse_place(location), options)
        repository = HubRepository(place, options.endpoint, errand)
        facts = repository.facts()
        listed, is_file = repository.files(facts.commit, place.path)
        start = len(place.path) - len(PurePosixPath(place.path).name) if is_file else len(place.path) + bool(place.path)
        sorted_out = _sort(listed, _Wanted(options, _patterns_of(facts.card, options, place)), start)
        if not sorted_out.readable:
            raise InputError(*_nothing_there(place, options, listed))
        chosen = _first(sorted_out, options.limit)
        base = {"license": facts.license, "revision": facts.commit, "page": place.page(options.endpoint)}
        files = [
            Offered(
                safe_item_name(one.path[start:]),
                repository.address(facts.commit, one.path),
                one.size,
                one.sha256,
                "any",
            )
            for one in chosen.readable
        ]
        return Listing(
            source=self.name,
            location=shown(location) if "://" in location else location,
            name=PurePosixPath(place.path).stem or place.name,
            files=tuple(files),
            origin={key: value for key, value in base.items() if value},
            left_out=tuple(chosen.left_out),
            said=_said(options, chosen.readable),
        )

    def bring(self, listing: Listing, options: Section, errand: Errand) -> Haul:
        assert isinstance(options, HuggingFace.Options)
        if options.limit is None:
            return bring_files(listing, errand)
        packed = [file for file in listing.files if _is_packed(file.path)]
        plain = [file for file in listing.files if not _is_packed(file.path)]
        have = sum(_is_picture(file.path) for file in plain)
        haul = None
        for count in range(len(packed) + 1):
            if count or plain:
                haul = bring_files(replace(listing, files=(*plain, *packed[:count])), errand)
            if have + (_pictures_in(haul, packed[:count]) if haul and count else 0) >= options.limit:
                break
        assert haul is not None
        rest = packed[count:]
        detail = f"was not needed for {options.limit} pictures."
        unneeded = tuple(left_out(file.path, detail) for file in rest)
        return replace(haul, missed=(*haul.missed, *unneeded), limit=options.limit)


@dataclass(frozen=True)
class _Wanted:
    """Which files the options ask for."""

    options: HuggingFace.Options
    patterns: tuple[str, ...] | None
    """Of the configuration, within the repository; None: there is none."""

    def why_not(self, path: str, shown_path: str) -> str | None:
        """The end of a sentence about a file that was not asked for."""
        if self.patterns is not None and not any(_fits(path, pattern) for pattern in self.patterns):
            return "belongs to another configuration."
        if self.options.split and not _beside(path) and _split_of(path) != self.options.split:
            return f"is not of the split {self.options.split}."
        include = self.options.include
        if include and not any(_fits(shown_path, one) or _fits(path, one) for one in include):
            return "fits none of the patterns asked for."
        return None


@dataclass
class _Sorted:
    readable: list[HubFile]
    left_out: list[Fate]


def _asked_place(place: HubPlace, options: HuggingFace.Options) -> HubPlace:
    """The place with what the options add to it.

    Raises:
        InputError: link and options contradict each other.
    """
    if options.revision and place.revision not in ("", options.revision):
        raise InputError(
            f"The link names the revision '{place.revision}' and the option '{options.revision}'.", "Keep one."
        )
    subfolder = options.subfolder.strip("/")
    if subfolder and (why := why_unsafe(subfolder)) is not None:
        raise InputError(f"The subfolder '{options.subfolder}' {why}.", "Name a folder of the dataset.")
    path = "/".join(part for part in (place.path, subfolder) if part)
    return replace(place, revision=options.revision or place.revision, path=path)


def _sort(listed: Iterable[HubFile], wanted: _Wanted, start: int) -> _Sorted:
    """By what a file is called: what an import can read and was asked for, and the rest."""
    found = _Sorted([], [])
    for file in sorted(listed, key=lambda one: natural_key(one.path)):
        path = file.path[start:]
        why = _why_unread(path) or wanted.why_not(file.path, path)
        if why is None:
            found.readable.append(file)
        else:
            found.left_out.append(left_out(safe_item_name(path), why))
    if not any(_is_picture(file.path) or _is_packed(file.path) for file in found.readable):
        found.readable.clear()
    return found


def _why_unread(path: str) -> str | None:
    pure = PurePosixPath(path)
    if why_unsafe(path) is not None:
        return "has a name that is not followed."
    if any(part.startswith(".") for part in pure.parts):
        return "is hidden or lies in a hidden folder."
    if pure.suffix.lower() in (*IMAGE_SUFFIXES, *CAPTION_SUFFIXES, *SIDECAR_SUFFIXES) or _is_packed(path):
        return None
    return "is neither a picture nor about one."


def _is_picture(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def _is_packed(path: str) -> bool:
    return path.lower().endswith(_PACKED) and not _beside(path)


def _beside(path: str) -> bool:
    return PurePosixPath(path).name.lower() in _ALWAYS_BESIDE


def _split_of(path: str) -> str:
    """The split that a path names; train where it names none, as the hub has it."""
    found = _OF_SPLIT.search(path)
    return str(found.lastgroup) if found is not None else "train"


def _fits(path: str, pattern: str) -> bool:
    """Whether a pattern fits; ``**/`` may be no folder at all."""
    return fnmatchcase(path, pattern) or ("**/" in pattern and fnmatchcase(path, pattern.replace("**/", "")))


def _patterns_of(card: Mapping[str, Any], options: HuggingFace.Options, place: HubPlace) -> tuple[str, ...] | None:
    """The files of the configuration that was asked for, or of the default one where the card has several.

    Raises:
        InputError: there is no such configuration, or several and none is the default.
    """
    told = card.get("configs")
    configs = {
        str(one["config_name"]): one for one in told or () if isinstance(one, dict) and one.get("config_name")
    } if isinstance(told, list) else {}  # fmt: skip
    if options.config:
        if options.config not in configs:
            known = f"It has: {', '.join(sorted(configs))}." if configs else "Its card defines none; leave it out."
            raise InputError(f"{place.repository} has no configuration '{options.config}'.", known)
        return _data_files(configs[options.config], options.split)
    if len(configs) < 2 or place.path or options.include:
        return None
    default = next((one for name, one in configs.items() if one.get("default") is True or name == "default"), None)
    if default is None:
        names = ", ".join(sorted(configs))
        raise InputError(
            f"{place.repository} has several configurations: {names}.", "Choose one with --config, or a --subfolder."
        )
    return _data_files(default, options.split)


def _data_files(config: Mapping[str, Any], split: str) -> tuple[str, ...] | None:
    """Patterns of a configuration; None when it does not say which files it means."""
    told = config.get("data_files")
    rows = told if isinstance(told, list) else [told] if told else []
    patterns: list[str] = []
    for row in rows:
        paths = row.get("path") if isinstance(row, dict) else row
        if isinstance(row, dict) and split and str(row.get("split", split)) != split:
            continue
        patterns += [str(path) for path in paths] if isinstance(paths, list) else [str(paths)]
    folder = str(config.get("data_dir") or "").strip("/")
    if not patterns:
        return (f"{folder}/*",) if folder else None
    return tuple(f"{folder}/{pattern}" if folder else pattern for pattern in patterns)


def _first(sorted_out: _Sorted, limit: int | None) -> _Sorted:
    """No more single pictures than were asked for; what is packed is counted when it is here."""
    pictures = [file for file in sorted_out.readable if _is_picture(file.path)]
    if limit is None or len(pictures) <= limit:
        return sorted_out
    beyond = {file.path for file in pictures[limit:]}
    stems = {str(PurePosixPath(path).with_suffix("")) for path in beyond}
    stems -= {str(PurePosixPath(file.path).with_suffix("")) for file in pictures[:limit]}
    kept: list[HubFile] = []
    fates = list(sorted_out.left_out)
    detail = f"is beyond the {limit} pictures that were asked for."
    for file in sorted_out.readable:
        pure = PurePosixPath(file.path)
        of_beyond = pure.suffix.lower() in CAPTION_SUFFIXES and str(pure.with_suffix("")) in stems
        if file.path in beyond or of_beyond:
            fates.append(left_out(safe_item_name(file.path), detail))
        else:
            kept.append(file)
    return _Sorted(kept, fates)


def _said(options: HuggingFace.Options, chosen: Sequence[HubFile]) -> tuple[str, ...]:
    packed = sum(_is_packed(file.path) for file in chosen)
    if options.limit is not None and packed:
        return (f"Of {packed} archives so many are fetched, one by one, as {options.limit} pictures take.",)
    return ()


def _pictures_in(haul: Haul, packed: Sequence[Offered]) -> int:
    """How many pictures the archives hold that are here; a damaged one holds none, and the import says so."""
    total = 0
    place = haul.places[0]
    for file in packed:
        path = place if place.is_file() else place / safe_item_name(file.path)
        if not path.is_file():
            continue
        try:
            with closing(open_source(path, Limits())) as opened:
                total += sum(entry.kind == "image" for entry in opened.scan()[0])
        except InputError:
            continue
    return total


def _nothing_there(place: HubPlace, options: HuggingFace.Options, listed: Sequence[HubFile]) -> tuple[str, str]:
    """The sentence for a repository of which nothing is left."""
    page = place.page(options.endpoint)
    if not listed:
        return f"{place.repository} is empty.", f"See {page}."
    unread = [file for file in listed if _why_unread(file.path) is None]
    if unread and any(_is_picture(file.path) or _is_packed(file.path) for file in unread):
        splits = sorted({_split_of(file.path) for file in unread if not _beside(file.path)})
        hint = f"Its splits are: {', '.join(splits)}." if options.split else "Ask for more: leave out --include."
        return f"None of the {len(listed)} files of {place.repository} is what was asked for.", hint
    if any(file.path.lower().endswith(_WEIGHTS) for file in listed):
        return (
            f"{place.repository} holds a model and no pictures.",
            f"`lorasmith bases add {page}` makes a base known.",
        )
    return (
        f"{place.repository} holds no pictures that can be read: {len(listed)} files of other kinds.",
        f"See {page}; a dataset that a program builds or that only links to pictures cannot be brought.",
    )


plugin = HuggingFace()
