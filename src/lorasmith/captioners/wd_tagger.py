"""Booru tags from a WD tagger: an ONNX model with its list of tags, run by onnxruntime.

A folder in WD layout holds ``model.onnx`` (input pixels BGR 0-255, output one probability per tag) and
``selected_tags.csv`` (``tag_id,name,category,count``; category 9 is the rating, 0 general, 4 character). Size, layout
and names of the input are read from the model. ``thresholds.json`` (``{"general": 0.35, "character": 0.85}``) in the
folder sets its own defaults.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from PIL import Image
from pydantic import Field

import lorasmith
from lorasmith.captioners import Answer, Captioner, Tag
from lorasmith.config import Section
from lorasmith.datasets.captions.kaomoji import is_kaomoji
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CATEGORIES: Final = {"9": "rating", "0": "general", "4": "character"}
_USUAL_SIZE: Final = 448  # pixels, where a model leaves its input size open
_FILES: Final = ("model.onnx", "selected_tags.csv")


@dataclass(frozen=True)
class KnownModel:
    """A published tagger and the threshold at which its precision equals its recall."""

    repository: str
    aliases: tuple[str, ...]
    general_threshold: float
    character_threshold: float = 0.85


KNOWN_MODELS: Final = (
    KnownModel("SmilingWolf/wd-vit-tagger-v3", ("wd-vit-v3", "wd14-vit-v3"), 0.2614),
    KnownModel("SmilingWolf/wd-swinv2-tagger-v3", ("wd-swinv2-v3", "wd14-swinv2-v3"), 0.2653),
    KnownModel("SmilingWolf/wd-convnext-tagger-v3", ("wd-convnext-v3", "wd14-convnext-v3"), 0.2682),
    KnownModel("SmilingWolf/wd-vit-large-tagger-v3", ("wd-vit-large-v3",), 0.2606),
    KnownModel("SmilingWolf/wd-eva02-large-tagger-v3", ("wd-eva02-large-v3",), 0.5296),
    KnownModel("SmilingWolf/wd-v1-4-vit-tagger-v2", ("wd14-vit-v2",), 0.3537),
    KnownModel("SmilingWolf/wd-v1-4-convnext-tagger-v2", ("wd14-convnext-v2",), 0.3685),
    KnownModel("SmilingWolf/wd-v1-4-convnextv2-tagger-v2", ("wd14-convnextv2-v2",), 0.3710),
    KnownModel("SmilingWolf/wd-v1-4-swinv2-tagger-v2", ("wd14-swinv2-v2",), 0.3771),
    KnownModel("SmilingWolf/wd-v1-4-moat-tagger-v2", ("wd14-moat-v2",), 0.3771),
)

Threshold = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class _Label:
    name: str
    category: str


@dataclass
class _Loaded:
    """A model that is ready: its session, how it wants its pixels, and what its outputs mean."""

    session: Any
    input_name: str
    output_name: str
    side: int
    channels_first: bool
    batch: int | None  # None takes any number of pictures
    labels: list[_Label]
    general_threshold: float
    character_threshold: float
    options: WdTagger.Options


class WdTagger(Captioner):
    """Tags by a model in WD layout."""

    name = "wd_tagger"
    title = "WD tagger (booru tags)"

    class Options(Section):
        """How pictures are tagged."""

        model: Annotated[str, Field(min_length=1)] = "sandbox"
        """``sandbox``, or a folder with model.onnx and selected_tags.csv."""
        general_threshold: Threshold | None = None
        """Least probability of a general tag, 0 to 1. Left out: the model's own default."""
        character_threshold: Threshold | None = None
        """Least probability of a character tag, 0 to 1. Left out: the model's own default."""
        exclude_tags: tuple[str, ...] = ()
        """Tags that never enter a caption, with spaces or underscores."""
        order: Literal["probability", "model"] = "probability"
        """Order of the tags: the most probable first, or as the model lists them. Characters always lead."""
        replace_underscores: bool = True
        """Write spaces for underscores, except in kaomoji."""
        batch_size: Annotated[int, Field(ge=1, le=256)] = 8
        """Pictures at a time, 1 to 256; fewer need less memory."""

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    def load(self, options: Section, *, device: str) -> None:
        """Open the model; ``device`` is ``auto``, ``cpu`` or ``cuda``.

        Raises:
            EnvironmentProblem: onnxruntime, the model's files or the device are missing, or the files are damaged.
            ConfigError: the options are another captioner's.
        """
        if not isinstance(options, WdTagger.Options):
            raise ConfigError("These are not the options of wd_tagger.", "Give the options that wd_tagger lists.")
        folder, known = find_model(options.model)
        labels = read_labels(folder / _FILES[1])
        session = _open_session(folder / _FILES[0], device)
        usual = _default_thresholds(folder, known)
        self._loaded = _describe(session, folder, labels, usual, options)

    def caption(self, images: Sequence[Image.Image]) -> list[Answer]:
        """Tags of each picture (RGB, any size) as a comma-separated caption.

        Raises:
            InputError: the model answers with something that is no probability.
        """
        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("load() must be called before caption()")
        answers: list[Answer] = []
        chunk = loaded.batch or max(1, len(images))
        for start in range(0, len(images), chunk):
            batch = [prepare(image, loaded.side) for image in images[start : start + chunk]]
            answers.extend(_answer(loaded, row) for row in _probabilities(loaded, batch))
        return answers


def find_model(model: str) -> tuple[Path, KnownModel | None]:
    """The folder of a model, and what is known of it if it is a published one.

    Raises:
        EnvironmentProblem: it is not on this machine; the hint says what to download and where from.
    """
    folder = Path(lorasmith.__file__).parent / "sandbox" / "weights" / "tagger" if model == "sandbox" else Path(model)
    folder = folder.expanduser()
    wanted = model.rstrip("/\\").replace("\\", "/")
    known = next((k for k in KNOWN_MODELS if wanted in (k.repository, *k.aliases)), None)
    by_folder = next((k for k in KNOWN_MODELS if folder.name in (k.repository.partition("/")[2], *k.aliases)), None)
    if folder.is_dir():
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if not missing:
            return folder, known or by_folder
        raise EnvironmentProblem(
            f"The tagger in {folder} lacks {' and '.join(missing)}.",
            f"A WD tagger is a folder with {' and '.join(_FILES)}.",
        )
    if known is not None:
        raise EnvironmentProblem(
            f"The tagger {known.repository} is not on this machine.",
            f"Download {' and '.join(_FILES)} from https://huggingface.co/{known.repository} into a folder "
            "and give that folder as 'model'.",
        )
    if model == "sandbox":
        raise EnvironmentProblem("The sandbox tagger is not part of this installation.", "Reinstall lorasmith.")
    names = ", ".join(k.aliases[0] for k in KNOWN_MODELS)
    raise EnvironmentProblem(
        f"There is no tagger at {model}.", f"Give a folder in WD layout, 'sandbox' or one of: {names}."
    )


def read_labels(path: Path) -> list[_Label]:
    """The tags of ``selected_tags.csv``, one per output of the model, in order.

    Raises:
        EnvironmentProblem: the file is no such list.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        labels = [_Label(row["name"], _CATEGORIES.get(row["category"].strip(), "other")) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as cause:
        raise EnvironmentProblem(f"{path} is not a tagger's list of tags: {cause}.", "Download it again.") from cause
    if not any(label.category == "general" for label in labels):
        raise EnvironmentProblem(f"{path} lists no general tag (category 0).", "Download it again.")
    return labels


def prepare(image: Image.Image, side: int) -> NDArray[np.float32]:
    """A picture as the model was trained to see it: (side, side, 3) BGR, 0-255, padded to a square with white.

    Scaled before it is padded: the same pixels as the other way round, at a third of the cost on large pictures.
    """
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    canvas = Image.new("RGB", (side, side), (255, 255, 255))
    canvas.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.ascontiguousarray(np.asarray(canvas, dtype=np.float32)[:, :, ::-1])


def display_name(tag: str) -> str:
    """A tag with spaces for underscores, unless it is a kaomoji."""
    return tag if is_kaomoji(tag) else tag.replace("_", " ")


# --- the model -----------------------------------------------------------------------------------------------


def _open_session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as cause:
        raise EnvironmentProblem(
            "Tagging needs onnxruntime, which is not installed.", "Run `pip install 'lorasmith[caption]'`."
        ) from cause
    providers = ["CPUExecutionProvider"]
    if device in ("cuda", "auto") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    elif device == "cuda":
        raise EnvironmentProblem(
            "The installed onnxruntime cannot use CUDA.", "Run `pip install onnxruntime-gpu`, or tag on the CPU."
        )
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors only: its warnings about fusions mean nothing to anyone here
    threads = os.environ.get("OMP_NUM_THREADS", "")  # honoured here, since wheels without OpenMP ignore it
    settings.intra_op_num_threads = int(threads) if threads.isdigit() else 0
    errors = onnxruntime.capi.onnxruntime_pybind11_state
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except (errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.NoSuchFile, errors.NotImplemented,
            errors.InvalidArgument, errors.RuntimeException) as cause:  # fmt: skip
        reason = str(cause).splitlines()[0]
        raise EnvironmentProblem(f"The tagger's {path} cannot be opened: {reason}.", "Download it again.") from cause


def _describe(
    session: Any, folder: Path, labels: list[_Label], usual: tuple[float, float], options: WdTagger.Options
) -> _Loaded:
    """Read from the model what it expects; refuse one that is no WD tagger."""
    if len(session.get_inputs()) != 1:
        raise EnvironmentProblem(f"The model in {folder} has more than one input.", "Use a model in WD layout.")
    entry, output = session.get_inputs()[0], session.get_outputs()[0]
    shape = list(entry.shape)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise EnvironmentProblem(f"The model in {folder} takes {shape}, not RGB pictures.", "Use a model in WD layout.")
    channels_first = shape[3] != 3
    height, width = (shape[2], shape[3]) if channels_first else (shape[1], shape[2])
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise EnvironmentProblem(
            f"The model in {folder} takes {width} x {height} pixels, not a square.", "Use another."
        )
    outputs = output.shape[-1] if output.shape else None
    if isinstance(outputs, int) and outputs != len(labels):
        raise EnvironmentProblem(
            f"The model in {folder} answers with {outputs} numbers and its list has {len(labels)} tags.",
            "Download both files from one place.",
        )
    general, character = options.general_threshold, options.character_threshold
    return _Loaded(
        session=session,
        input_name=entry.name,
        output_name=output.name,
        side=height if isinstance(height, int) else width if isinstance(width, int) else _USUAL_SIZE,
        channels_first=channels_first,
        batch=shape[0] if isinstance(shape[0], int) else None,
        labels=labels,
        general_threshold=usual[0] if general is None else general,
        character_threshold=usual[1] if character is None else character,
        options=options,
    )


def _default_thresholds(folder: Path, known: KnownModel | None) -> tuple[float, float]:
    """General and character threshold: the folder's own, else the published model's, else the usual ones."""
    usual = (known.general_threshold, known.character_threshold) if known else (0.35, 0.85)
    path = folder / "thresholds.json"
    if not path.is_file():
        return usual
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        own = float(raw.get("general", usual[0])), float(raw.get("character", usual[1]))
    except (OSError, ValueError, AttributeError, TypeError) as cause:
        raise EnvironmentProblem(
            f"{path} is damaged: {cause}.", 'Write {"general": 0.35, "character": 0.85}.'
        ) from cause
    if not all(0 <= value <= 1 for value in own):
        raise EnvironmentProblem(f"{path} holds thresholds outside of 0 to 1.", "Correct it.")
    return own


def _probabilities(loaded: _Loaded, batch: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(pictures, tags), 0 to 1. A model with a fixed batch gets white pictures to fill it."""
    pixels = np.stack(batch)  # (N, side, side, 3)
    if loaded.batch is not None and len(batch) < loaded.batch:
        pixels = np.concatenate([pixels, np.full((loaded.batch - len(batch), *pixels.shape[1:]), 255, np.float32)])
    if loaded.channels_first:
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    (rows,) = loaded.session.run([loaded.output_name], {loaded.input_name: pixels})
    rows = np.asarray(rows, dtype=np.float32)[: len(batch)]
    if rows.shape != (len(batch), len(loaded.labels)):
        raise EnvironmentProblem(
            f"The tagger answers with an array {rows.shape} for {len(batch)} pictures and {len(loaded.labels)} tags.",
            "Download model.onnx and selected_tags.csv from one place.",
        )
    if not np.isfinite(rows).all() or rows.min() < -1e-3 or rows.max() > 1 + 1e-3:
        raise InputError("The tagger's answer holds values that are no probabilities.", "Use a model in WD layout.")
    clipped: NDArray[np.float32] = rows.clip(0, 1)
    return clipped


def _answer(loaded: _Loaded, row: NDArray[np.float32]) -> Answer:
    """Tags over their thresholds as a caption; the most probable rating is among the tags and not in the caption."""
    options = loaded.options
    excluded = {tag.strip().replace(" ", "_").casefold() for tag in options.exclude_tags}
    chosen: dict[str, list[Tag]] = {"character": [], "general": [], "rating": []}
    thresholds = {"character": loaded.character_threshold, "general": loaded.general_threshold, "rating": 0.0}
    for label, probability in zip(loaded.labels, row.tolist(), strict=True):
        if label.category not in chosen or probability < thresholds[label.category]:
            continue
        if label.name.replace(" ", "_").casefold() in excluded:
            continue
        shown = display_name(label.name) if options.replace_underscores else label.name
        chosen[label.category].append(Tag(shown, label.category, probability))
    if options.order == "probability":
        for tags in chosen.values():
            tags.sort(key=lambda tag: -tag.probability)  # stable: the model's order between equals
    in_caption = [*chosen["character"], *chosen["general"]]
    rating = [max(chosen["rating"], key=lambda tag: tag.probability)] if chosen["rating"] else []
    return Answer(", ".join(tag.name for tag in in_caption), (*in_caption, *rating))


plugin = WdTagger()
