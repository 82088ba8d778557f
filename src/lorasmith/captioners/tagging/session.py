"""A tagger in ONNX Runtime: which provider, what goes in, what comes out."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from lorasmith.captioners.tagging.layouts import Labels, Layout
from lorasmith.captioners.tagging.pixels import Sight, prepare
from lorasmith.errors import EnvironmentProblem, InputError, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_USUAL_SIDE: Final = 448  # pixels, where a model leaves its input size open
_PROVIDERS: Final = {
    "cuda": ("CUDAExecutionProvider", "CUDA", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "DirectML", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "CoreML", "onnxruntime"),
    "cpu": ("CPUExecutionProvider", "the CPU", "onnxruntime"),
}
"""Device to provider, words and package; in this order ``auto`` takes the first that is there."""
_NO_MEMORY: Final = ("allocate memory", "bad allocation", "out of memory", "bad_alloc")


@dataclass
class Model:
    """A tagger that is ready."""

    session: Any
    layout: Layout
    labels: Labels
    sight: Sight
    batch: int | None
    """Pictures that it takes at a time, no fewer and no more; None takes any number."""
    input_name: str
    output_name: str
    device: str
    """In words."""
    sha256: str
    """Of model and list of tags together."""

    def probabilities(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """(pictures, tags), 0 to 1. A model with a fixed batch gets blank pictures to fill it.

        Raises:
            InputError: what comes out is no probability.
            OutOfMemory: too many at a time.
            EnvironmentProblem: model and list do not belong together.
        """
        return self.run(np.stack([prepare(image, self.sight) for image in images]))

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same of prepared pixels."""
        if self.batch is None:
            return self._checked(self._run(pixels))
        count = len(pixels)
        rows = []
        for start in range(0, count, self.batch):
            some = pixels[start : start + self.batch]
            if len(some) < self.batch:
                some = np.concatenate([some, np.zeros((self.batch - len(some), *some.shape[1:]), np.float32)])
            rows.append(self._run(some))
        return self._checked(np.concatenate(rows)[:count])

    def _run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        try:
            (rows,) = self.session.run([self.output_name], {self.input_name: pixels})
        except (errors.RuntimeException, errors.Fail, MemoryError) as cause:
            reason = " ".join(str(cause).split())
            if isinstance(cause, MemoryError) or any(words in reason.lower() for words in _NO_MEMORY):
                raise OutOfMemory(
                    f"The memory does not hold {len(pixels)} pictures at a time in this tagger.",
                    "Set batch_size to 1, or name a smaller model.",
                ) from cause
            raise EnvironmentProblem(
                f"Tagging failed inside ONNX Runtime: {reason[:300]}.",
                "Try batch_size=1, device 'cpu' or another model.",
            ) from cause
        return np.asarray(rows, dtype=np.float32)

    def _checked(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        if rows.ndim != 2 or rows.shape[1] != len(self.labels):
            raise EnvironmentProblem(
                f"The tagger answers with an array {rows.shape} and its list has {len(self.labels)} tags.",
                "Download the model and its list of tags from one place.",
            )
        if not np.isfinite(rows).all():
            raise InputError("The tagger's answer holds values that are no numbers.", "Use another model.")
        if self.layout.logits or (self.layout.kind == "PixAI" and self.output_name == "logits"):
            rows = 1 / (1 + np.exp(-rows.clip(-80, 80)))
        elif len(rows) and (rows.min() < -1e-3 or rows.max() > 1 + 1e-3):
            raise InputError("The tagger's answer holds values that are no probabilities.", "Use a model in WD layout.")
        clipped: NDArray[np.float32] = rows.clip(0, 1)
        return clipped


def open_model(layout: Layout, device: str) -> Model:
    """Open a tagger.

    Args:
        layout: its files.
        device: ``auto``, ``cpu``, ``cuda``, ``directml`` or ``coreml``.

    Raises:
        EnvironmentProblem: onnxruntime, the device or the files are missing, damaged or no tagger.
    """
    labels = layout.labels()
    session, words = _session(layout.model, device)
    if len(session.get_inputs()) != 1:
        raise EnvironmentProblem(f"The model in {layout.folder} has more than one input.", "Use a tagger.")
    entry = session.get_inputs()[0]
    shape = list(entry.shape)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise EnvironmentProblem(f"The model in {layout.folder} takes {shape}, not RGB pictures.", "Use a tagger.")
    channels_first = shape[3] != 3
    height, width = (shape[2], shape[3]) if channels_first else (shape[1], shape[2])
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise EnvironmentProblem(
            f"The model in {layout.folder} takes {width} x {height} pixels, not a square.", "Use another."
        )
    output = _output(session, layout)
    count = output.shape[-1] if output.shape else None
    if isinstance(count, int) and count != len(labels):
        raise EnvironmentProblem(
            f"The model in {layout.folder} answers with {count} numbers and its list has {len(labels)} tags.",
            "Download both files from one place.",
        )
    side = height if isinstance(height, int) else width if isinstance(width, int) else _USUAL_SIDE
    return Model(
        session=session,
        layout=layout,
        labels=labels,
        sight=Sight(side, channels_first, layout.bgr, layout.padding, layout.mean, layout.deviation),
        batch=shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None,
        input_name=entry.name,
        output_name=output.name,
        device=words,
        sha256=_sha256(layout.model, layout.table),
    )


def _session(path: Path, device: str) -> tuple[Any, str]:
    try:
        import onnxruntime
    except ImportError as cause:
        raise EnvironmentProblem(
            "Tagging needs onnxruntime, which is not installed.", "Run `pip install 'lorasmith[caption]'`."
        ) from cause
    chosen = _choose(device, onnxruntime.get_available_providers())
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors only: its warnings about fusions mean nothing to anyone here
    # Idle threads that spin take the cores from the decoders that work ahead.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    threads = os.environ.get("OMP_NUM_THREADS", "")  # honoured here, since wheels without OpenMP ignore it
    settings.intra_op_num_threads = int(threads) if threads.isdigit() else 0
    errors = onnxruntime.capi.onnxruntime_pybind11_state
    providers = list(dict.fromkeys([_PROVIDERS[chosen][0], "CPUExecutionProvider"]))
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except (errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.NoSuchFile, errors.NotImplemented,
            errors.InvalidArgument, errors.RuntimeException) as cause:  # fmt: skip
        reason = str(cause).splitlines()[0]
        raise EnvironmentProblem(
            f"The tagger's {path} cannot be opened: {reason}.", "Delete it and let it be downloaded again (--download)."
        ) from cause
    if _PROVIDERS[chosen][0] in session.get_providers():
        return session, _PROVIDERS[chosen][1]
    if device == "auto":  # ONNX Runtime goes on without a provider whose libraries it cannot load
        return session, f"the CPU, since {_PROVIDERS[chosen][1]} could not be started"
    raise EnvironmentProblem(
        f"ONNX Runtime could not start {_PROVIDERS[chosen][1]}.", "Check its driver and libraries, or tag on the CPU."
    )


def _choose(device: str, available: Sequence[str]) -> str:
    if device == "auto":
        return next((name for name, (provider, _, _) in _PROVIDERS.items() if provider in available), "cpu")
    if device not in _PROVIDERS:
        raise EnvironmentProblem(
            f"Taggers know no device called '{device}'.", f"There are: auto, {', '.join(_PROVIDERS)}."
        )
    provider, words, package = _PROVIDERS[device]
    if provider not in available:
        raise EnvironmentProblem(
            f"The installed onnxruntime cannot use {words}.", f"Run `pip install {package}`, or tag on the CPU."
        )
    return device


def _output(session: Any, layout: Layout) -> Any:
    outputs = session.get_outputs()
    by_name = {output.name: output for output in outputs}
    for name in layout.outputs:
        if name in by_name:
            return by_name[name]
    return outputs[1] if layout.refined and len(outputs) > 1 else outputs[0]


def _sha256(*paths: Path) -> str:
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
