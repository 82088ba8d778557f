"""OneTrainer: a ``concepts.json`` of folders, captions as .txt whose lines are variants, masks as ``-masklabel.png``.

Its fields stand in modules/util/config/ConceptConfig.py; files named ``-masklabel`` and ``-condlabel`` are no pictures
of their own to it (modules/dataLoader/mixin/DataLoaderText2ImageMixin.py). The ``-condlabel.png`` is the one
picture it can be given beside another, if its custom conditioning image is switched on; it trains no base that edits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Progress, Reading, losing
from lorasmith.datasets.layouts.clips import clips_made_anew
from lorasmith.datasets.layouts.naming import Group, groups_of, stems
from lorasmith.datasets.layouts.reading import SourceFiles, parent, parse_json, repeats_of, stem, text_of
from lorasmith.datasets.layouts.settings import Found, describe_rest
from lorasmith.datasets.layouts.writing import Export
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.datasets.store import DatasetStore

_FORMATS: Final = frozenset(("AVIF", "BMP", "JPEG", "PNG", "TIFF", "WEBP"))
_TYPES: Final[Mapping[Role, str]] = {
    "train": "STANDARD", "validation": "VALIDATION", "regularisation": "PRIOR_PREDICTION",
}  # fmt: skip
_ROLES: Final[Mapping[str, Role]] = {kind: role for role, kind in _TYPES.items()}
_MASK: Final = "-masklabel"
_CONDITION: Final = "-condlabel"
_VERSION: Final = 2


class OneTrainer(Layout):
    """A folder for each concept and ``concepts.json``."""

    name = "onetrainer"
    title = "OneTrainer"
    rank = 60

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        found = Found(SourceFiles(paths, open_bytes))
        read = [path for path in found.files.with_suffix(".json") if _read_concepts(found, path)]
        labels = _labels(found)
        if not read and not labels:
            return None
        describe_rest(found, read[0] if read else "the folder")
        _attach_labels(found, labels)
        if not read:
            found.said.clear()  # without a concepts.json every picture is named by its folder alone
        named = (
            f"{' and '.join(read)} lists concepts" if read else "pictures are named -masklabel.png or -condlabel.png"
        )
        return found.reading(self.name, f"{named}, as OneTrainer reads them.")

    def losses(self, version: DatasetVersion) -> list[Loss]:
        chosen = {item.name: name for group in groups_of(version.items) for item, name in _named(group, {})}
        return [
            *clips_made_anew(version),
            *losing.loss(
                "references",
                losing.where(version, lambda item: len(item.references) > 1),
                "OneTrainer holds one picture beside another; the first of several is written.",
            ),
            *losing.text_files(version),
            *losing.outer_space(version, "OneTrainer"),
            *losing.loss(
                "regularisation",
                losing.where(version, lambda item: item.role == "regularisation"),
                "OneTrainer has no class pictures; as PRIOR_PREDICTION it learns what the base predicts on them.",
            ),
            *losing.formats(version, _FORMATS, "OneTrainer", clips=True),
            *losing.origins(version, "OneTrainer"),
            *losing.names(version, chosen),
        ]

    def write(
        self,
        version: DatasetVersion,
        store: DatasetStore,
        folder: Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        export = Export(self.name, version, store, folder, force=force, progress=progress)
        concepts: list[dict[str, Any]] = []
        for group in groups_of(version.items):
            for item, name in _named(group, export.names_before):
                export.moving(f"{group.folder}/{name}", item, _FORMATS)
                export.caption(f"{group.folder}/{name}.txt", item)
                if item.mask is not None:
                    export.mask(f"{group.folder}/{name}{_MASK}.png", item)
                if item.references:
                    export.reference(f"{group.folder}/{name}{_CONDITION}", item, 0, {"PNG"})
            concepts.append(_concept(group, f"{export.root}/{group.folder}"))
        export.text("concepts.json", json.dumps(concepts, ensure_ascii=False, indent=4) + "\n")
        return export.finish(self.losses(version))


def _named(group: Group, before: Mapping[str, str]) -> list[tuple[Item, str]]:
    """Names that are not taken for masks."""
    chosen = stems(group.items, flat=True, before=before)
    return [(item, _plain_name(chosen[item.name])) for item in group.items]


def _plain_name(name: str) -> str:
    return f"{name}_" if name.endswith((_MASK, _CONDITION)) else name


def _concept(group: Group, path: str) -> dict[str, Any]:
    return {
        "__version": _VERSION,
        "name": group.concept,
        "path": path,
        "enabled": True,
        "type": _TYPES[group.role],
        "include_subdirectories": False,
        "balancing": float(group.repeats),
        "balancing_strategy": "REPEATS",
        "loss_weight": 1.0,
        "text": {"prompt_source": "sample"},
    }


def _labels(found: Found) -> list[str]:
    """Masks and conditions of pictures beside them, which are no pictures of their own."""
    known = {(parent(path), stem(path)) for path in found.files.pictures}
    labels = []
    for path in found.files.with_suffix(".png"):
        base = next((stem(path).removesuffix(one) for one in (_MASK, _CONDITION) if stem(path).endswith(one)), None)
        if base is not None and (parent(path), base) in known:
            labels.append(path)
    found.used.update(dict.fromkeys(labels, "belongs to the picture it is named after."))
    return labels


def _attach_labels(found: Found, labels: Sequence[str]) -> None:
    """Masks and conditions to the pictures they are named after."""
    named = {(parent(path), stem(path)): path for path in labels}
    for picture, described in list(found.described.items()):
        if picture in found.used:
            del found.described[picture]
            continue
        mask = named.get((parent(picture), stem(picture) + _MASK))
        condition = named.get((parent(picture), stem(picture) + _CONDITION))
        if mask is not None:
            found.used[mask] = f"is the mask of {picture}."
        if condition is not None:
            found.used[condition] = f"is a reference of {picture}."
        references = (condition,) if condition is not None else ()
        found.described[picture] = replace(described, mask=mask, references=references)


def _read_concepts(found: Found, path: str) -> bool:
    """Describe what a concepts.json names; False when it is something else."""
    if not found.files.speaks_of(path, '"path"'):
        return False
    content = parse_json(found.files, path)
    if isinstance(content, dict):  # a whole config holds the same list
        content = content.get("concepts")
    if not isinstance(content, list) or not content or not all(_is_concept(entry) for entry in content):
        return False
    found.used[path] = "is the list of concepts its pictures were described by."
    for number, concept in enumerate(content, start=1):
        where = f"{path}, concept {number}"
        named = text_of(concept, "path", path) or ""
        folder = found.files.folder(named, base=parent(path)) if named else None
        if folder is None:
            found.said.append(f"{where}: {named or 'its path'} is not in this source.")
            continue
        if concept.get("enabled") is False:
            found.said.append(f"{where}: it is switched off in OneTrainer; its pictures are taken all the same.")
        if concept.get("loss_weight", 1.0) != 1.0:
            found.said.append(f"{where}: loss_weight {concept['loss_weight']} is for the trainer.")
        _read_concept(found, concept, folder, path=path, where=where)
    return True


def _is_concept(entry: Any) -> bool:
    return isinstance(entry, dict) and "path" in entry and bool({"text", "type", "balancing", "repeats"} & set(entry))


def _read_concept(found: Found, concept: Mapping[str, Any], folder: str, *, path: str, where: str) -> None:
    strategy = concept.get("balancing_strategy", "REPEATS")
    balancing = concept.get("balancing", concept.get("repeats"))
    if strategy != "REPEATS":
        found.said.append(f"{where}: it is balanced by {strategy} ({balancing}), which is not followed; repeats are 1.")
        balancing = None
    repeats = repeats_of(balancing, found.said, where)
    kind = concept.get("type", "VALIDATION" if concept.get("validation_concept") is True else "STANDARD")
    role = _ROLES.get(kind)
    if role is None:
        found.said.append(f"{where}: type {kind!r} is not known; its pictures are for training.")
    captions = _caption_rule(found, concept.get("text"), path, where)
    for picture in found.files.below(folder, deep=concept.get("include_subdirectories") is True):
        found.described.setdefault(
            picture,
            Described(
                caption=captions(picture),
                repeats=repeats,
                role=role or "train",
                concept=text_of(concept, "name", path) or "",
            ),
        )


def _caption_rule(found: Found, text: Any, path: str, where: str) -> Callable[[str], str | None]:
    """Where a concept's captions come from: a .txt beside each, one file for all, or the file's name."""
    settings = text if isinstance(text, dict) else {}
    source = settings.get("prompt_source", "sample")
    if source == "filename":
        return stem
    if source == "concept":
        named = text_of(settings, "prompt_path", path) or ""
        prompts = found.files.find([named], base=parent(path)).get(named)
        if prompts is None:
            found.said.append(f"{where}: its captions are in {named}, which is not in this source.")
            return lambda _: None
        found.used[prompts] = "holds the captions of a whole concept."
        content = found.files.text(prompts)
        return lambda _: content
    return lambda _: None


plugin = OneTrainer()
