"""Opening a model that sees and writes, and asking it: transformers' own classes only, offline, nothing guessed.

No code of a repository runs: ``trust_remote_code`` is off, weights are safetensors, and chat templates are rendered by
transformers in a sandbox of Jinja. A model whose weights do not fill its architecture is refused, since transformers
would go on with random numbers in the holes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lorasmith.captioners.downloads import amount
from lorasmith.captioners.seeing.devices import Choice
from lorasmith.captioners.seeing.drawing import DrawEachRow
from lorasmith.captioners.seeing.folders import ModelFolder
from lorasmith.errors import EnvironmentProblem, InputError, OutOfMemory
from lorasmith.families.processors import still_processor

if TYPE_CHECKING:
    from PIL.Image import Image

_NO_MEMORY: Final = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate")


@dataclass(frozen=True)
class Search:
    """How the words of an answer are found."""

    max_new_tokens: int
    num_beams: int = 1
    repetition_penalty: float | None = None
    """None: the model's own."""
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    seeds: tuple[int, ...] = ()
    """One for each picture where words are drawn by chance; empty: the likeliest are taken, by beams if several."""


@dataclass(frozen=True)
class Said:
    """What a model said of one picture."""

    text: str
    tokens: tuple[int, ...]
    cut: bool
    """Whether it was not finished when its longest length was reached."""


@dataclass
class Opened:
    """A model that is ready."""

    folder: ModelFolder
    choice: Choice
    model: Any
    processor: Any
    ends: frozenset[int]
    """Tokens that end an answer."""
    forced_end: bool
    """Whether the last possible token is one of these, finished or not."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Of the latest question: rows that were searched, beams among them, and the length of what was given."""

    @property
    def tokenizer(self) -> Any:
        """Of its text."""
        return self.processor.tokenizer

    def encode(self, images: Sequence[Image], texts: Sequence[str] | None, **settings: Any) -> Any:
        """Pictures and prompts as the model takes them.

        Raises:
            InputError: one of the pictures cannot be looked at, such as one far too narrow.
        """
        given: dict[str, Any] = {"images": list(images), "return_tensors": "pt", **settings}
        if texts is not None:
            given["text"] = list(texts)
        try:
            inputs = self.processor(**given)
        except (ValueError, ZeroDivisionError) as cause:
            sizes = ", ".join(f"{image.width} x {image.height}" for image in images[:4])
            raise InputError(
                f"The picture cannot be prepared for {self.folder.name} ({sizes} pixels): {cause}.",
                "Crop or enlarge it.",
            ) from cause
        return inputs.to(self.model.device, dtype=self.model.dtype)

    def ask(self, inputs: Any, search: Search) -> list[Said]:
        """What it says of each picture.

        Raises:
            OutOfMemory: too many pictures at a time, or too large ones.
        """
        import torch
        from transformers import LogitsProcessorList

        count = len(inputs["pixel_values"]) if "image_grid_thw" not in inputs else len(inputs["image_grid_thw"])
        self.asked.clear()
        processors: list[Any] = [_Watch(self.asked)]
        if search.seeds:
            processors.append(DrawEachRow(search.seeds, search.temperature, search.top_p))
        most = self._most(inputs, search.max_new_tokens)
        given: dict[str, Any] = {
            "max_new_tokens": most,
            "num_beams": 1 if search.seeds else search.num_beams,
            "do_sample": False,
            "logits_processor": LogitsProcessorList(processors),
        }
        if search.repetition_penalty is not None:
            given["repetition_penalty"] = search.repetition_penalty
        if search.min_new_tokens:
            given["min_new_tokens"] = search.min_new_tokens
        with _memory_watched(self.choice.device, count, self.folder), torch.inference_mode():
            rows = self.model.generate(**inputs, **given)
        before = self.asked[0][1] if self.asked else 0
        return [self._said(row[before:].tolist(), most) for row in rows]

    def _most(self, inputs: Any, wanted: int) -> int:
        """How many tokens an answer may have: as many as wanted, and as the model has places for."""
        config = self.model.config
        places = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
        if not isinstance(places, int):
            return wanted
        taken = 1 + int(getattr(config, "num_query_tokens", 0) or 0)
        if "input_ids" in inputs and not getattr(config, "is_encoder_decoder", False):
            taken = int(inputs["input_ids"].shape[1])
        if taken >= places:
            raise InputError(
                f"The prompt is too long for {self.folder.name}: with the picture it has {taken} of {places} tokens.",
                "Shorten the prompt, or let it look at fewer pixels.",
            )
        return min(wanted, places - taken)

    def _said(self, tokens: list[int], most: int) -> Said:
        end = next((at for at, token in enumerate(tokens) if token in self.ends), None)
        at_last = end is not None and self.forced_end and end == most - 1
        cut = (end is None or at_last) and len(tokens) >= most
        own = tokens if end is None else tokens[:end]
        text = self.tokenizer.decode(own, skip_special_tokens=True)
        return Said(str(text).strip(), tuple(own), cut)


class _Watch:
    """Sees how many rows are searched and how long what was given is; changes nothing."""

    def __init__(self, seen: list[tuple[int, int]]) -> None:
        self._seen = seen

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if not self._seen:
            self._seen.append((int(input_ids.shape[0]), int(input_ids.shape[1])))
        return scores


def open_model(folder: ModelFolder, choice: Choice) -> Opened:
    """Load a model with its processor.

    Raises:
        EnvironmentProblem: it is of no architecture that transformers knows, is damaged, or needs what is not here.
        OutOfMemory: it does not fit.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: nothing is asked behind our back
    import transformers
    from transformers import AutoModelForImageTextToText

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    _refuse_unknown(folder)
    processor = _processor(folder)
    with _memory_watched(choice.device, 0, folder):
        try:
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder.path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told in the report, and refused
                **choice.arguments(),
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as cause:
            if _is_short_of_memory(cause):
                raise
            raise EnvironmentProblem(
                f"{folder.name} cannot be opened: {_first_line(cause)}.", "Name another model, or download it again."
            ) from cause
        if choice.quantization == "none" and "device_map" not in choice.arguments():
            model = model.to(choice.device)
    missing = sorted(report.get("missing_keys") or ()) + sorted(map(str, report.get("mismatched_keys") or ()))
    if missing:
        raise EnvironmentProblem(
            f"The weights of {folder.name} do not fill a model of the kind '{folder.kind}': {len(missing)} parts are "
            f"missing or of another shape, such as {missing[0]}.",
            "Most often it was made for code of its own; take a conversion for transformers, such as those of "
            "florence-community.",
        )
    model.eval()
    if processor.tokenizer.pad_token is None:  # then several prompts could not stand beside each other
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    writer = next(part for part in _writers(model))
    settings = writer.generation_config
    for part in _writers(model):  # what was meant for chance would warn, or end an answer early
        part.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None, max_length=None)
    return Opened(folder, choice, model, processor, _ends(model, settings), settings.forced_eos_token_id is not None)


def _writers(model: Any) -> Iterator[Any]:
    """The parts that write, the one whose settings count first: some models let a part of theirs do it."""
    for name in ("text_decoder", "language_model"):
        part = getattr(model, name, None)
        if part is not None and getattr(part, "generation_config", None) is not None and part.can_generate():
            yield part
    yield model


def _ends(model: Any, settings: Any) -> frozenset[int]:
    told = settings.eos_token_id
    ends = set(told if isinstance(told, list | tuple) else [] if told is None else [told])
    separator = getattr(getattr(model.config, "text_config", None), "sep_token_id", None)
    if model.config.model_type == "blip" and separator is not None:
        ends = {separator}  # what its own generate() ends at
    return frozenset(int(end) for end in ends)


def _refuse_unknown(folder: ModelFolder) -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if folder.kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    if folder.kind in CONFIG_MAPPING:
        message = f"{folder.name} is a model of the kind '{folder.kind}', which does not write about pictures."
        raise EnvironmentProblem(message, "Name a model that sees and writes.")
    if "auto_map" in folder.config:
        raise EnvironmentProblem(
            f"{folder.name} needs code of its own repository, which is never run here.",
            "Take a model that transformers knows, or run this one on a server of your own and use the captioner "
            "openai_compatible.",
        )
    raise EnvironmentProblem(
        f"The installed transformers does not know models of the kind '{folder.kind}'.",
        "Take another model, or a newer lorasmith.",
    )


def _processor(folder: ModelFolder) -> Any:
    """The processor, with transformers' image processors on Pillow: torchvision is not needed."""
    from transformers import AutoProcessor

    place: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        try:
            processor = AutoProcessor.from_pretrained(folder.path, backend="pil", **place)
        except ImportError:
            processor = _processor_without_video(folder)
    except ImportError as cause:
        raise EnvironmentProblem(
            f"{folder.name} needs a package that is not here: {_first_line(cause)}.",
            "Most often it is torchvision: install the one that fits torch, or take another model.",
        ) from cause
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise EnvironmentProblem(
            f"The processor of {folder.name} cannot be opened: {_first_line(cause)}.",
            "Its preprocessor_config.json and tokenizer.json have to lie beside its weights; download them again.",
        ) from cause
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise EnvironmentProblem(
            f"{folder.name} has no processor for pictures and text.",
            "Its preprocessor_config.json and tokenizer.json have to lie beside its weights; download them again.",
        )
    return processor


def _processor_without_video(folder: ModelFolder) -> Any:
    """A processor for pictures of a model that could also look at films, for which torchvision would be needed."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    known = getattr(transformers, PROCESSOR_MAPPING_NAMES.get(folder.kind, ""), None)
    if known is None or "video_processor" not in known.get_attributes():
        raise ImportError(f"the processor of the kind '{folder.kind}'")

    return still_processor(folder.path, known)


@contextlib.contextmanager
def _memory_watched(device: str, count: int, folder: ModelFolder) -> Iterator[None]:
    """Turn the many ways of saying that memory is short into ours."""
    try:
        yield
    except (MemoryError, RuntimeError) as cause:
        if not _is_short_of_memory(cause):
            raise
        import torch

        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        doing = f"look at {count} pictures at a time with" if count else f"load ({amount(folder.memory(16))} or more)"
        raise OutOfMemory(
            f"The memory of {device} is too short to {doing} {folder.name}.",
            "Set batch_size to 1, take a smaller model, or quantization=4bit on an NVIDIA card.",
        ) from cause


def _is_short_of_memory(cause: Exception) -> bool:
    import torch

    if isinstance(cause, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(cause, RuntimeError) and any(words in str(cause).lower() for words in _NO_MEMORY)


def _first_line(cause: BaseException) -> str:
    return (" ".join(str(cause).split("\n\n")[0].split())[:300] or type(cause).__name__).rstrip(".")
