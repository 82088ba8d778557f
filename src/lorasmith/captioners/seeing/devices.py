"""Where a model works and in which numbers: chosen by what there is and what fits, and said."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Literal

import psutil

from lorasmith.captioners.downloads import amount
from lorasmith.captioners.seeing.folders import ModelFolder
from lorasmith.errors import EnvironmentProblem, OutOfMemory

Precision = Literal["auto", "bfloat16", "float16", "float32"]
Quantization = Literal["none", "8bit", "4bit"]
_BITS: Final = {"bfloat16": 16, "float16": 16, "float32": 32}
_QUANTIZED_BITS: Final = {"8bit": 9, "4bit": 5}  # a little above, for what stays as it is
_LESS: Final = "Take a smaller model, or quantization=4bit on an NVIDIA card, or --device cpu."
_NEEDED: Final = ("torch", "transformers", "safetensors")
# What sees is small, and loses most by it; heads and the way from one to the other too. A pattern is matched against
# the whole path of a module, from its beginning, and where a part lies in it differs from model to model.
KEPT_WHOLE: Final = tuple(
    rf"(.*\.)?{part}"
    for part in (
        "vision_tower", "vision_model", "visual", "multi_modal_projector", "qformer", "language_projection", "lm_head",
        "cls",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Where and how a model is loaded."""

    device: str
    precision: str
    quantization: Quantization
    words: str

    def arguments(self) -> dict[str, Any]:
        """For ``from_pretrained``."""
        import torch

        given: dict[str, Any] = {"dtype": getattr(torch, self.precision)}
        if self.quantization != "none":
            from transformers import BitsAndBytesConfig

            four = self.quantization == "4bit"
            given["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=four,
                load_in_8bit=not four,
                llm_int8_skip_modules=list(KEPT_WHOLE),
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=getattr(torch, self.precision),
            )
        if self.device.startswith("cuda") and find_spec("accelerate") is not None:
            given["device_map"] = {"": self.device}
        return given


def refuse_what_is_missing(quantization: Quantization) -> None:
    """Refuse before anything is loaded.

    Raises:
        EnvironmentProblem: a package is missing.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise EnvironmentProblem(
                f"This captioner needs {package}, which is not installed.", "Run `pip install 'lorasmith[train]'`."
            )
    if quantization == "none":
        return
    for package in ("bitsandbytes", "accelerate"):
        if find_spec(package) is None:
            raise EnvironmentProblem(
                f"quantization={quantization} needs the package {package}, which is not installed.",
                "Run `pip install 'lorasmith[quantize]'`, or leave quantization out.",
            )


def bits_of(precision: Precision, quantization: Quantization) -> int | None:
    """Bits of one weight under these options; None where that is decided by the device."""
    return _QUANTIZED_BITS.get(quantization) or _BITS.get(precision)


def choose(folder: ModelFolder, device: str, precision: Precision, quantization: Quantization) -> Choice:
    """Where a model works.

    ``auto`` takes the card where there is one, and never goes on without it: a model too large for it is refused.

    Raises:
        EnvironmentProblem: there is no such device, or it cannot do what is asked.
        OutOfMemory: the model does not fit.
    """
    import torch

    where = _device(device)
    if quantization != "none" and not where.startswith("cuda"):
        raise EnvironmentProblem(
            f"quantization={quantization} works on NVIDIA cards, and this captioner would work on {where}.",
            "Leave quantization out, or take a smaller model.",
        )
    free = _free(where)
    chosen: str = precision
    if precision == "auto":
        if where.startswith("cuda"):
            chosen = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        elif where == "cpu":  # half numbers are slow there, so only where whole ones do not fit
            chosen = "float32" if folder.widest <= 32 and folder.memory(32) <= free else "bfloat16"
        else:
            chosen = "float16"
    needed = folder.memory(_QUANTIZED_BITS.get(quantization, _BITS[chosen]))
    if needed > free:
        raise OutOfMemory(
            f"{folder.name} needs about {amount(needed)} of memory as {_form(chosen, quantization)}, and {where} has "
            f"{amount(free)} free.",
            _LESS,
        )
    name = torch.cuda.get_device_name(where) if where.startswith("cuda") else where
    words = f"{name} as {_form(chosen, quantization)} (about {amount(needed)} of {amount(free)} free memory)"
    return Choice(where, chosen, quantization, words)


def _device(device: str) -> str:
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.partition(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there:
        raise EnvironmentProblem(f"There is no device called '{device}'.", "There are: auto, cpu, cuda, mps.")
    if not there[kind]:
        raise EnvironmentProblem(
            f"torch finds no {kind} device on this machine.", "`lorasmith doctor` says what is missing; or use cpu."
        )
    number = device.partition(":")[2]
    if kind == "cuda" and number and not (number.isdigit() and int(number) < torch.cuda.device_count()):
        raise EnvironmentProblem(
            f"There is no card {number}; there are {torch.cuda.device_count()}.", "Name cuda:0, or cuda alone."
        )
    return device


def _free(device: str) -> int:
    """Bytes that are free there."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _form(precision: str, quantization: Quantization) -> str:
    return precision if quantization == "none" else quantization
