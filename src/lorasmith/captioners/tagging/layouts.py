"""What a folder with a tagger looks like, and what that says about its tags and pixels.

    WD      model.onnx, selected_tags.csv                    BGR 0-255, probabilities
    PixAI   the same and preprocess.json                     RGB, stretched, mean and deviation 0.5
    CL      model_optimized.onnx, tag_mapping.json           BGR, -1 to 1, logits; may lie in a subfolder
    Camie   <name>.onnx, <name>-metadata.json (v2)           RGB with ImageNet's mean on its grey, logits, the second
            model_*.onnx, metadata.json (v1)                 output is the refined one; v1: RGB 0-1 on black

Sizes and order of axes are read from the model itself. Categories are those each list states for each tag, wherever
in the list it stands.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.captioners.tagging.pixels import WHITE, Triple
from lorasmith.errors import EnvironmentProblem

_DANBOORU: Final = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"}
_CATEGORIES: Final = {"series": "copyright", "ip": "copyright"}
_HALF: Final[Triple] = (0.5, 0.5, 0.5)
_IMAGENET_MEAN: Final[Triple] = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION: Final[Triple] = (0.229, 0.224, 0.225)
_IMAGENET_GREY: Final = (124, 116, 104)
_CL_MODELS: Final = ("model_optimized.onnx", "model.onnx")
_CAMIE_V1_MODELS: Final = ("model_refined.onnx", "model_initial.onnx", "model.onnx")
Labels = tuple[tuple[str, str], ...]
"""Name and category of each output, in order."""


@dataclass(frozen=True)
class Layout:
    """A tagger's files and what its kind says of it."""

    kind: str
    folder: Path
    model: Path
    table: Path
    read: Callable[[Path], Labels]
    bgr: bool = True
    padding: tuple[int, int, int] | None = WHITE
    mean: Triple | None = None
    deviation: Triple = (1.0, 1.0, 1.0)
    logits: bool = False
    outputs: tuple[str, ...] = ()
    """Names of the output to read, best first; none of them there: the last one for ``refined``, else the first."""
    refined: bool = False
    general_threshold: float = 0.35
    character_threshold: float = 0.85

    def labels(self) -> Labels:
        """The tags, one for each output of the model.

        Raises:
            EnvironmentProblem: the file is no such list.
        """
        try:
            labels = self.read(self.table)
        except (OSError, ValueError, csv.Error, KeyError, AttributeError, TypeError, IndexError) as cause:
            raise EnvironmentProblem(
                f"{self.table} is not a tagger's list of tags: {cause}.",
                "Delete it and let it be downloaded again (--download).",
            ) from cause
        if not any(category == "general" for _, category in labels):
            raise EnvironmentProblem(
                f"{self.table} lists no general tag.", "Delete it and let it be downloaded again (--download)."
            )
        return labels


def recognise(folder: Path) -> Layout | None:
    """The tagger in a folder or in one of its subfolders (the last by name, which is the newest); None for none."""
    here = _recognise(folder)
    if here is not None or not folder.is_dir():
        return here
    inside = (_recognise(path) for path in sorted(folder.iterdir(), reverse=True) if path.is_dir())
    return next((layout for layout in inside if layout is not None), None)


def what_is_missing(folder: Path) -> tuple[str, str]:
    """Sentence and hint for a folder that is no tagger."""
    lists = ("selected_tags.csv", "tag_mapping.json", "metadata.json")
    missing = [] if any(folder.glob("*.onnx")) else ["model.onnx"]
    if not any((folder / name).is_file() for name in lists) and not any(folder.glob("*-metadata.json")):
        missing.append("selected_tags.csv")
    return (
        f"The tagger in {folder} lacks {' and '.join(missing) or 'a model that belongs to its list of tags'}.",
        "A tagger is a folder with model.onnx and selected_tags.csv, or one in the layout of CL, Camie or PixAI.",
    )


def _recognise(folder: Path) -> Layout | None:
    def first(*names: str) -> Path | None:
        return next((folder / name for name in names if (folder / name).is_file()), None)

    if (table := first("selected_tags.csv")) and (model := first("model.onnx")):
        preprocess = first("preprocess.json")
        if preprocess is not None:
            return _pixai(folder, model, table, preprocess)
        return Layout("WD", folder, model, table, _read_csv)
    if (table := first("tag_mapping.json")) and (model := first(*_CL_MODELS)):
        return Layout(
            "CL", folder, model, table, _read_mapping, mean=_HALF, deviation=_HALF, logits=True,
            general_threshold=0.55, character_threshold=0.60,
        )  # fmt: skip
    for table in sorted(folder.glob("*-metadata.json")):
        model = folder / table.name.replace("-metadata.json", ".onnx")
        if model.is_file():
            return Layout(
                "Camie", folder, model, table, _read_camie, bgr=False, padding=_IMAGENET_GREY, mean=_IMAGENET_MEAN,
                deviation=_IMAGENET_DEVIATION, logits=True, outputs=("refined_predictions",), refined=True,
                general_threshold=0.26, character_threshold=0.26,
            )  # fmt: skip
    if (table := first("metadata.json")) and (model := first(*_CAMIE_V1_MODELS)):
        return Layout(
            "Camie", folder, model, table, _read_camie, bgr=False, padding=(0, 0, 0), mean=(0.0, 0.0, 0.0),
            logits=True, outputs=("refined_predictions",), refined=True,
            general_threshold=0.26, character_threshold=0.26,
        )  # fmt: skip
    return None


def _pixai(folder: Path, model: Path, table: Path, preprocess: Path) -> Layout:
    mean, deviation, padding = _HALF, _HALF, None
    try:
        stages = json.loads(preprocess.read_text(encoding="utf-8"))["stages"]
        for stage in stages:
            if stage["type"] == "normalize":
                mean, deviation = (_triple(stage[key]) for key in ("mean", "std"))
            padding = WHITE if str(stage["type"]).startswith("pad") else padding
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise EnvironmentProblem(
            f"{preprocess} does not say how pictures are prepared: {cause}.",
            "Delete it and let it be downloaded again (--download).",
        ) from cause
    return Layout(
        "PixAI", folder, model, table, _read_csv, bgr=False, padding=padding, mean=mean, deviation=deviation,
        outputs=("prediction", "logits"), general_threshold=0.30,
    )  # fmt: skip


def _triple(values: Any) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def _read_csv(path: Path) -> Labels:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return tuple((row["name"], _DANBOORU.get(row["category"].strip(), "other")) for row in rows)


def _read_mapping(path: Path) -> Labels:
    """``{"0": {"tag": ..., "category": "General"}, ...}``, or ``idx_to_tag`` and ``tag_to_category``."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if "idx_to_tag" in document:
        return _by_index(document["idx_to_tag"], document["tag_to_category"])
    return tuple((document[str(n)]["tag"], _category(document[str(n)]["category"])) for n in range(len(document)))


def _read_camie(path: Path) -> Labels:
    document = json.loads(path.read_text(encoding="utf-8"))
    mapping = document.get("dataset_info", document).get("tag_mapping", document)
    return _by_index(mapping["idx_to_tag"], mapping["tag_to_category"])


def _by_index(names: Mapping[str, str], categories: Mapping[str, str]) -> Labels:
    ordered = [names[str(n)] for n in range(len(names))]
    return tuple((name, _category(categories.get(name, "other"))) for name in ordered)


def _category(stated: str) -> str:
    name = stated.strip().casefold()
    return _CATEGORIES.get(name, name)
