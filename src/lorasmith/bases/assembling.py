"""Puts a base together from files: its denoisers, its encoders and its VAE, each where it lies.

What a family needs, it says itself (``Family.made_of``); which part a file is, its header says (``parts``). Nothing is
copied but tokenizers and small configs, which go into ``<home>/bases/<name>.parts``. A part is taken by itself only
where no other file could be meant; else its owner names it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from lorasmith.bases.detection import family_named
from lorasmith.bases.experts import needed, refuse_swapped, said_of, same_kind, title_of, wanted_note
from lorasmith.bases.header import Header, read_bytes_of
from lorasmith.bases.parts import EXPERT, FILES, TITLES, Component, FoundPart, kinds_of, part_of, parts_inside, words_of
from lorasmith.bases.quantised import hidden
from lorasmith.bases.reading import index_of, read_configs, read_header
from lorasmith.bases.recognition import ANSWER, recognise
from lorasmith.bases.registry import BaseRegistry, RegisteredBase
from lorasmith.bases.vocabularies import VOCABULARIES, fits, folders_in, write
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from lorasmith.families import Detection, Family

Source = Literal["given", "inside", "here", "shipped", "optional", "missing"]
_EMBEDDED: Final = "spiece_model"
_LARGEST_WORDS: Final = 60_000_000
_CONFIGS: Final = {"schedule": "scheduler_config.json", "pictures": "preprocessor_config.json"}


@dataclass(frozen=True)
class Need:
    """One thing that a base needs beside its denoiser, and where it comes from."""

    component: str
    """diffusers' name of the place it takes."""
    kind: str
    title: str
    source: Source = "missing"
    path: Path | None = None
    """A file, or the folder of a tokenizer."""
    note: str = ""
    """Why this one was taken; of what is missing, what to do."""

    @property
    def is_words(self) -> bool:
        """Whether it is a tokenizer or a processor."""
        return self.kind in VOCABULARIES


@dataclass(frozen=True)
class Plan:
    """What a denoiser is, and everything else that its base needs."""

    path: Path
    family: str
    variant: str
    title: str
    needs: tuple[Need, ...]

    @property
    def missing(self) -> tuple[Need, ...]:
        """What nobody has named and what is not here."""
        return tuple(need for need in self.needs if need.source == "missing")


def plan(
    header: Header, detection: Detection, *, given: Sequence[Path] = (), registry: BaseRegistry | None = None
) -> Plan:
    """Everything that a denoiser needs to be a base, with what is given and what the home has.

    Args:
        header: of the denoiser.
        detection: of it.
        given: files of text encoders and VAEs, and folders of tokenizers, in any order.
        registry: of the home.

    Raises:
        BaseError: the family cannot be put together, or something given is none of its parts.
    """
    family = family_named(detection.family)
    inside = {part.kind.name: part for part in parts_inside(header).values()}
    beside = (part_of(read_header(path)) for path in given if path.is_file())
    wanted = family.made_with(detection.variant, kinds_of(inside.values(), beside))
    if not wanted or header.layout != "single_file":
        what = "is a folder, and whole" if header.layout == "folder" else "cannot be put together from single files"
        published = next((base.repository for base in family.pretrained), "")
        hint = (
            "Use it as it is." if header.layout == "folder" else f"Get its folder: `lorasmith bases add {published}`."
        )
        raise BaseError(f"{header.path.name} is {detection.title}, which {what}.", hint)
    encoders = {name: part for name, part in wanted.items() if part.kind in TITLES or part.kind == EXPERT}
    files, folders = _given(header, detection, encoders, given)
    needs = [
        _expert_need(name, part, files, header, family, registry)
        if part.kind == EXPERT
        else _part_need(name, part, files, inside, header, registry)
        for name, part in encoders.items()
    ]
    rows = {need.kind: _rows(need, header) for need in needs if need.path is not None and need.kind != EXPERT}
    words = [
        _words_need(name, part, wanted, rows, needs, folders, registry)
        for name, part in wanted.items()
        if part.kind in VOCABULARIES
    ]
    used = {need.path for need in words}
    idle = [folder for folder in folders if folder not in {p if p is None else _root(p, folders) for p in used}]
    if idle and not any(need.source == "missing" for need in words):
        raise BaseError(
            f"The words in {idle[0].name} belong to no text encoder of {detection.title}.", "Leave that folder out."
        )
    return Plan(header.path, detection.family, detection.variant, detection.title, (*needs, *words))


def _root(path: Path, folders: Sequence[Path]) -> Path:
    return next((folder for folder in folders if folder in (path, path.parent)), path)


def _given(
    header: Header, detection: Detection, encoders: Mapping[str, Component], given: Sequence[Path]
) -> tuple[dict[str, Path], list[Path]]:
    """Files by the kind of part they are, and folders; each is refused that fits nowhere."""
    files: dict[str, Path] = {}
    folders: list[Path] = []
    needs = " and ".join(dict.fromkeys(TITLES.get(part.kind, "its other expert") for part in encoders.values()))
    pair = any(part.kind == EXPERT for part in encoders.values())
    for path in given:
        if not path.exists():
            raise BaseError(f"There is no file {path}.", "Check the path.")
        if path.is_dir():
            folders.append(path)
            continue
        own = read_header(path)
        found = part_of(own)
        expert = found is None and pair and same_kind(header, own)
        if expert and path.samefile(header.path):
            raise BaseError(f"{path.name} is named twice: the two experts are two files.", "Name the other one too.")
        if found is None and not expert:
            seen = recognise(own)
            none = (
                " too, and no part of one"
                if same_kind(header, own)
                else f", and none of the parts of {detection.title}"
            )
            raise BaseError(f"{path.name} is {seen.title}{none}.", f"It needs {needs}.")
        if found is not None and found.kind.name not in {part.kind for part in encoders.values()}:
            raise BaseError(
                f"{path.name} is {found.kind.title} ({found.evidence[1]}), which {detection.title} does not have.",
                f"It needs {needs}.",
            )
        if packed := hidden(own):
            raise BaseError(
                f"{path.name} is packed as {packed}, which is not read here.",
                "Take its bf16, fp16, fp8 or int8 form, or GGUF.",
            )
        kind, title = (EXPERT, detection.title) if found is None else (found.kind.name, found.kind.title)
        other = files.get(kind)
        if other is not None and not other.samefile(path):
            raise BaseError(f"{other.name} and {path.name} are both {title}.", "Name one of them.")
        files[kind] = path
    return files, folders


def _expert_need(
    name: str, part: Component, files: Mapping[str, Path], header: Header, family: Family,
    registry: BaseRegistry | None,
) -> Need:  # fmt: skip
    """The other denoiser of a pair, which nobody but its owner can tell from the first."""
    words, word = family.experts, family.experts[name]
    first = words[family.denoiser_part]
    said, need = said_of(header), Need(name, EXPERT, title_of(word))
    refuse_swapped(header, first, words, first=first)
    if EXPERT in files:
        path = files[EXPERT].absolute()
        own = read_header(path)
        answers = registry.answers_for(path) if registry is not None else {}
        told = {f"{ANSWER}{question}": answer for question, answer in answers.items()}
        other = replace(own, metadata={**own.metadata, **told})
        refuse_swapped(other, word, words, first=first)
        if said.choice and not needed(said, words):
            raise BaseError(
                f"{header.path.name} is {said.choice} ({said.because}), which has no second denoiser.",
                f"Leave {path.name} out.",
            )
        return replace(need, source="given", path=path, note=said_of(other).because or "as you say")
    note = wanted_note(said, word, header.path)
    if part.optional and not needed(said, words):
        return replace(need, source="optional", note=f"only where the release has two: {note}")
    return replace(need, note=note)


def _part_need(
    name: str, part: Component, files: Mapping[str, Path], inside: Mapping[str, FoundPart], header: Header,
    registry: BaseRegistry | None,
) -> Need:  # fmt: skip
    need = Need(name, part.kind, TITLES[part.kind])
    if part.kind in files:
        return replace(need, source="given", path=files[part.kind].absolute(), note="as you say")
    if part.kind in inside:
        return replace(need, source="inside", path=header.path.absolute(), note="in the same file")
    here = [one for one in registry or () if one.variant == part.kind and one.kind != "base" and one.present()]
    usual = f"such as {FILES[part.kind]}" if FILES[part.kind] else ""
    if len(here) == 1 and not _alike(part.kind):
        return replace(need, source="here", path=Path(here[0].path), note=f"the only one here: {here[0].name}")
    if here:
        names = " or ".join(f"{one.name} ({one.path})" for one in here[:3])
        reason = "only you know whether it is the right one" if len(here) == 1 else "there are several here"
        return replace(need, note=f"{reason}: {names}")
    return replace(need, note=usual)


def _alike(kind: str) -> bool:
    from lorasmith.bases.parts import PARTS

    return any(one.alike for one in PARTS if one.name == kind)


def _rows(need: Need, header: Header) -> int:
    """Rows of the table of words of a text encoder that was found; 0 for a VAE."""
    assert need.path is not None
    own = header if need.source == "inside" else read_header(need.path)
    found = next((p for p in parts_inside(own).values() if p.kind.name == need.kind), None) or part_of(own)
    return words_of(own, found) if found is not None else 0


def _words_need(
    name: str, part: Component, wanted: Mapping[str, Component], rows: Mapping[str, int], needs: Sequence[Need],
    folders: Sequence[Path], registry: BaseRegistry | None,
) -> Need:  # fmt: skip
    vocabulary = VOCABULARIES[part.kind]
    need = Need(name, part.kind, vocabulary.title)
    if vocabulary.shipped:
        return replace(need, source="shipped", note="comes with lorasmith")
    encoder = name.replace("tokenizer", "text_encoder") if name.startswith("tokenizer") else "text_encoder"
    encoder = "text_conditioner" if name == "t5_tokenizer" else encoder
    read_by = wanted[encoder] if encoder in wanted else next(iter(wanted.values()))
    count = rows.get(read_by.kind, 0)
    for given in folders:
        for folder in folders_in(given, vocabulary):
            if not count or fits(folder, count):
                return replace(need, source="given", path=folder.absolute(), note="as you say")
    holder = next((one for one in needs if one.kind == read_by.kind and one.path is not None), None)
    if holder is not None and holder.path is not None and _embeds(holder.path):
        return replace(need, source="inside", path=holder.path, note="in the file of its text encoder")
    for record in registry or ():
        lent = _of_folder_base(record, part)
        if lent is not None and (not count or fits(lent, count)):
            return replace(need, source="here", path=lent, note=f"those of {record.name}")
    cached = _cached(vocabulary.repository, vocabulary.files)
    if cached is not None and (not count or fits(cached, count)):
        return replace(need, source="here", path=cached, note="in the Hugging Face cache")
    looked = f"not in {' or '.join(folder.name for folder in folders)}; " if folders else ""
    return replace(need, note=looked + vocabulary.fetch())


def _embeds(path: Path) -> bool:
    shape = read_header(path).shapes.get(_EMBEDDED, ())
    return len(shape) == 1 and 0 < shape[0] <= _LARGEST_WORDS and path.suffix.lower() == ".safetensors"


def _of_folder_base(record: RegisteredBase, part: Component) -> Path | None:
    """The folder of these words in a folder base, by what its family says it is made of."""
    path = Path(record.path)
    if record.kind != "base" or not path.is_dir() or not record.present():
        return None
    from lorasmith.bases.detection import registered_families

    family = registered_families().get(record.family)
    for name, other in (family.made_of(record.variant) if family is not None else {}).items():
        if other.kind == part.kind and any((path / name).glob("*")):
            return path / name
    return None


def _cached(repository: str, files: Sequence[str]) -> Path | None:
    """The folder of a tokenizer in the local Hugging Face cache; nothing is downloaded."""
    from importlib.util import find_spec

    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, name) for name in files]
    return Path(found[0]).parent if found and all(isinstance(one, str) for one in found) else None  # type: ignore[arg-type]


def refuse_missing(made: Plan) -> None:
    """Refuse a plan that lacks something, with all that it lacks.

    Raises:
        BaseError: it does.
    """
    if not made.missing:
        return
    lacking = ", ".join(f"{need.title} ({need.component})" for need in made.missing)
    notes = "; ".join(f"{need.component}: {need.note}" for need in made.missing)
    raise BaseError(
        f"{made.path.name} is the denoiser of {made.title}, and still lacks {lacking}.",
        f"Name each, on the command line by --with. {notes}.",
    )


def assemble(registry: BaseRegistry, record: RegisteredBase, made: Plan, shipped: Path) -> RegisteredBase:
    """Make a registered denoiser a whole base: its parts by reference, its configs and words in a folder of the home.

    Args:
        registry: of the home.
        record: of the denoiser.
        made: what it is made of.
        shipped: the folder of the shipped configs of its denoiser.

    Raises:
        BaseError: something is missing; nothing is changed then.
    """
    refuse_missing(made)
    family = family_named(made.family)
    folder = registry.folder / f"{record.name}.parts"
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(draft, made, family, shipped)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    parts = {need.component: str(need.path) for need in made.needs if not need.is_words and need.path is not None}
    return registry.assembled(record.name, parts, folder)


def _write(folder: Path, made: Plan, family: Family, shipped: Path) -> None:
    """A folder in diffusers layout without weights: index, configs, words, schedule."""
    folder.mkdir(parents=True)
    stated = read_configs(shipped)["model_index"]
    index: dict[str, Any] = {key: value for key, value in stated.items() if not isinstance(value, list)}
    denoiser = family.denoiser_part
    by_name = {need.component: need for need in made.needs}
    having = [need.kind for need in made.needs if need.path is not None]
    wanted = family.made_with(made.variant, having)
    experts = [name for name, part in wanted.items() if part.kind == EXPERT and by_name[name].path is not None]
    for name in (denoiser, *experts):
        index[name] = stated[denoiser]
        _copy(shipped / denoiser / "config.json", folder / name / "config.json")
    index |= family.states(made.variant, having)
    for name, part in wanted.items():
        if part.kind == EXPERT:
            continue
        library = "diffusers" if part.kind.startswith(("vae", "schedule")) else "transformers"
        index[name] = [library, part.class_name]
        config = shipped.parent / "parts" / f"{part.config or part.kind}.json"
        config = config if config.is_file() else shipped.parent.parent / "parts" / config.name
        if part.kind in VOCABULARIES:
            write(VOCABULARIES[part.kind], _source(by_name[name]), folder / name)
        else:
            _copy(config, folder / name / _CONFIGS.get(part.kind.partition("_")[0], "config.json"))
    if (shipped / "scheduler").is_dir():
        index["scheduler"] = stated["scheduler"]
        _copy(shipped / "scheduler" / "scheduler_config.json", folder / "scheduler" / "scheduler_config.json")
    (folder / index_of(shipped)).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _source(need: Need) -> Path | bytes | None:
    if need.path is not None and need.path.is_file():
        return read_bytes_of(need.path, [_EMBEDDED])[_EMBEDDED]
    return need.path


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
