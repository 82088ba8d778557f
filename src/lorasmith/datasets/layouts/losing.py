"""What a target loses, in sentences. Each function gives a list, empty when nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from lorasmith.datasets.layouts import Loss
from lorasmith.datasets.layouts.naming import Group, concept_of, renamed
from lorasmith.datasets.layouts.pictures import stored_format
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.datasets.origins import origin_of

_ROLE_WORDS: Mapping[Role, str] = {
    "train": "training", "validation": "validation", "regularisation": "regularisation",
}  # fmt: skip


def loss(what: str, items: Iterable[Item], sentence: str) -> list[Loss]:
    """One loss, its sentence beginning with how many pictures it concerns; nothing when it concerns none."""
    names = tuple(item.name for item in items)
    if not names:
        return []
    count = f"{len(names)} picture{'s' if len(names) != 1 else ''}"
    return [Loss(what, names, f"{count}: {sentence}")]


def where(version: DatasetVersion, test: Callable[[Item], bool]) -> list[Item]:
    """The items for which something is true."""
    return [item for item in version.items if test(item)]


def plain_text(caption: str) -> str:
    """A caption as a text file can hold it: LF between lines, none at the end, no NUL, no byte order mark."""
    text = caption.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.lstrip("\ufeff").rstrip("\n")


def several_lines(item: Item) -> bool:
    """Whether a caption has more than one line once it stands in a file."""
    return "\n" in plain_text(item.caption)


def text_files(version: DatasetVersion) -> list[Loss]:
    """Characters of captions that a .txt cannot hold."""
    changed = where(version, lambda item: plain_text(item.caption) != item.caption)
    return loss("characters", changed, "line ends become LF; NUL, a leading mark and last line ends go.")


def outer_space(version: DatasetVersion, trainer: str) -> list[Loss]:
    """Space around captions, which trainers strip when they read; the file keeps it."""
    spaced = where(version, lambda item: plain_text(item.caption).strip() != plain_text(item.caption))
    return loss("space", spaced, f"{trainer} strips the space around the caption when it reads it.")


def lines(version: DatasetVersion, sentence: str) -> list[Loss]:
    """Captions of several lines, which the target does not take as variants."""
    return loss("lines", where(version, several_lines), sentence)


def masks(version: DatasetVersion, trainer: str) -> list[Loss]:
    """Masks, for a target that has none."""
    return loss("masks", where(version, lambda item: item.mask is not None), f"{trainer} has no place for their masks.")


def clips(version: DatasetVersion) -> list[Loss]:
    """What moves, of which pictures alone are written."""
    moving = where(version, lambda item: item.clip is not None)
    return loss("clips", moving, "what moves is left behind; the first frame is written as a picture.")


def references(version: DatasetVersion, trainer: str) -> list[Loss]:
    """Reference pictures, for a target that has none."""
    paired = where(version, lambda item: bool(item.references))
    return loss("references", paired, f"{trainer} has no place for the pictures they are made from.")


def repeats(version: DatasetVersion, trainer: str) -> list[Loss]:
    """Repeats, for a target that has none."""
    shown = where(version, lambda item: item.repeats != 1)
    return loss("repeats", shown, f"{trainer} does not say how often a picture is shown; each counts once.")


def concepts(version: DatasetVersion, trainer: str) -> list[Loss]:
    """Concepts, for a target that has none."""
    return loss("concept", where(version, lambda item: item.concept != ""), f"{trainer} does not name their concept.")


def folder_concepts(groups: Sequence[Group]) -> list[Loss]:
    """Concepts whose folder cannot carry their exact name."""
    bent = [item for group in groups if concept_of(group.folder) != group.concept for item in group.items]
    return loss("concept", bent, "the name of their concept is changed to fit a folder.")


def origins(version: DatasetVersion, trainer: str) -> list[Loss]:
    """Where pictures are from, for a target that has no place for it."""
    told = where(version, lambda item: bool(origin_of(item)))
    return loss("origin", told, f"{trainer} does not keep address, author and licence; the dataset does.")


def roles(version: DatasetVersion, known: Collection[str], sentence: str) -> list[Loss]:
    """Items whose role the target does not know, a loss for each such role; ``{}`` in the sentence is the role."""
    found: list[Loss] = []
    for role in ("validation", "regularisation"):
        if role not in known:
            concerned = where(version, lambda item, role=role: item.role == role)  # type: ignore[misc]
            found += loss("role", concerned, sentence.format(_ROLE_WORDS[role]))
    return found


def formats(version: DatasetVersion, readable: Collection[str], trainer: str, *, clips: bool = False) -> list[Loss]:
    """Pictures in a format the target does not read; they become PNG of the same pixels. ``clips``: it takes videos."""
    foreign = where(version, lambda i: stored_format(i) not in readable and not (clips and i.clip is not None))
    kinds = ", ".join(sorted({stored_format(item) for item in foreign}))
    return loss("formats", foreign, f"{trainer} does not read {kinds}; they become PNG with the same pixels.")


def names(version: DatasetVersion, chosen: Mapping[str, str]) -> list[Loss]:
    """Pictures that get another name than the dataset's; ``chosen`` maps an item's name to its path without suffix."""
    other = where(version, lambda item: item.name in chosen and renamed(item, chosen[item.name]))
    return loss("names", other, "they get another file name; the export's record keeps which is which.")


def converted_loss(converted: Collection[str], told: Sequence[Loss]) -> list[Loss]:
    """What was converted although the version did not tell its format."""
    known = {name for one in told if one.what == "formats" for name in one.items}
    untold = tuple(name for name in converted if name not in known)
    return [Loss("formats", untold, f"{len(untold)} converted to PNG with the same pixels.")] if untold else []
