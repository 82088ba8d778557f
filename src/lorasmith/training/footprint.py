"""How much memory a training step takes, found by walking through it without numbers.

The step runs on fake tensors (shapes and formats only, torch's ``FakeTensorMode``), forwards and backwards, while
every storage that comes to life or dies is counted: the peak is what the real step would hold, gradient
checkpointing and attention kernels included. Nothing is allocated, so it also works right after a device ran out.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lorasmith.config import TrainConfig
from lorasmith.datasets.buckets import table_of
from lorasmith.families import Conditioning
from lorasmith.families.beginnings import begun
from lorasmith.training.loop import Run

_WEIGHTS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LATENT: Final = 8  # pixels to a latent position, of all families that edit
# Numbers kept per trained number besides itself and its gradient.
_STATES: Final = {"adamw": 2.0, "adamw_8bit": 0.5, "adafactor": 0.1, "lion": 1.0, "prodigy": 4.0}


@dataclass(frozen=True)
class Footprint:
    """Bytes on the device. ``total`` is the most a step holds at once."""

    weights: int
    """The frozen base."""
    adapter: int
    """The trained tensors with their gradients, the optimizer's state and the average."""
    step: int
    """What a forward and backward pass adds at its peak."""

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.step


def footprint(run: Run, config: TrainConfig) -> Footprint:
    """What training ``config`` with the model of ``run`` would occupy.

    ``config`` may differ from the run's own in batch size, resolution, frames, the size of references, precision, rank
    and checkpointing. The largest bucket and the most references are assumed, of the longest clip of the run or of the
    config's frames where those are fewer; a text encoder in training counts with its weights only, and so do experts
    but the first.
    """
    denoisers = run.family.denoisers(run.model).values()
    frozen = [p for denoiser in denoisers for p in denoiser.parameters() if not p.requires_grad]
    width = _WEIGHTS[config.mixed_precision].itemsize
    others = [p for encoder in run.model.text_encoders.values() for p in encoder.parameters() if not p.requires_grad]
    weights = sum(p.numel() for p in (*frozen, *others)) * width
    trained = sum(t.numel() for t in run.lora.parameters.values()) * config.adapter.rank / run.config.adapter.rank
    copies = 2 + _STATES[config.optimizer.name] + (1 if config.ema_decay else 0)
    return Footprint(weights, int(trained * copies * torch.float32.itemsize), _step(run, config))


def _step(run: Run, config: TrainConfig) -> int:
    """The peak of one forward and backward pass over a batch of the largest bucket, bytes."""
    resolution = config.data.resolution or run.family.default_resolution
    table = table_of(resolution, run.family.bucket_multiple)
    side = max(table, key=lambda shape: shape[0] * shape[1]) if config.data.buckets else (resolution, resolution)
    frames = min(config.data.frames or run.frames, run.frames)
    shape = (config.train_batch_size, *run.family.latent_shape(run.model, *side, frames))
    framing = replace(run.batches.framing(run.batches.names()[0]), size=side, frames=frames)
    with torch.no_grad():
        names = run.batches.names()
        if run.family.prompts_see_beginning:  # one that was read; in a rehearsal, few are
            names = [next(name for name in names if run.batches.is_cached(name))]
        shown = max(map(run.batches.shown, names), key=lambda one: len(one.references))
        sample = run.batches.conditioning([""], [framing], shown=[shown]).tensors
        sample = {**sample, **_references(run, config, sample)}
        blank = run.family.blank_conditions(run.model, *side, frames)
        if config.data.first_frame_conditioning and run.family.may_begin_with_picture and frames > 1:
            still = torch.zeros(1, *shape[1:])[:, :, :1]  # a time for every token takes memory
            blank = blank | begun(still, torch.ones(1))
        sample = {**sample, **{name: tensor.to(run.device) for name, tensor in blank.items()}}
    live = _Live()
    dtype = _WEIGHTS[config.mixed_precision]
    with _checkpointing(run, config.gradient_checkpointing), FakeTensorMode(allow_non_fake_inputs=True) as fake:
        substitutes = {
            name: _pretend(fake, parameter, dtype) for name, parameter in run.model.denoiser.named_parameters()
        }
        noisy = torch.empty(shape, device=run.device)
        time = torch.empty(shape[0], device=run.device)
        rows = {name: tensor[:1].expand(shape[0], *tensor.shape[1:]) for name, tensor in sample.items()}
        conditioning = Conditioning(rows)
        autocast = torch.autocast(run.device.type, dtype=dtype, enabled=dtype != torch.float32)
        with live, _replaced(run.model.denoiser, substitutes):
            with autocast:
                prediction = run.family.denoise(replace(run.model, experts={}), noisy, time, conditioning)
            torch.autograd.backward(prediction.square().mean())
    return live.peak


def _references(run: Run, config: TrainConfig, sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """The references of the picture that has most of them, where they would be of another size than the run's."""
    side = config.data.reference_resolution
    if side == run.config.data.reference_resolution:
        return {}
    found = {}
    for name in (f"reference_{number}" for number in range(len(sample))):
        if name in sample:
            height, width = sample[name].shape[-2:]
            size = run.family.reference_size(width * _LATENT, height * _LATENT, side)
            found[name] = torch.zeros(1, *run.family.latent_shape(run.model, *size), device=run.device)
    return found


def _pretend(fake: FakeTensorMode, parameter: Tensor, dtype: torch.dtype) -> torch.nn.Parameter:
    """A parameter of the same shape without numbers; frozen ones in the format that the run would load."""
    with fake:
        empty = torch.empty(
            parameter.shape, dtype=parameter.dtype if parameter.requires_grad else dtype, device=parameter.device
        )
        return torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)


@contextmanager
def _replaced(module: torch.nn.Module, substitutes: dict[str, torch.nn.Parameter]) -> Iterator[None]:
    """Inside, the module computes with other parameters, its buffers being as they are."""
    owners = {name: module.get_submodule(name.rpartition(".")[0]) for name in substitutes}
    own = {name: owner._parameters[name.rpartition(".")[2]] for name, owner in owners.items()}
    try:
        for name, owner in owners.items():
            owner._parameters[name.rpartition(".")[2]] = substitutes[name]
        yield
    finally:
        for name, owner in owners.items():
            owner._parameters[name.rpartition(".")[2]] = own[name]


@contextmanager
def _checkpointing(run: Run, wanted: bool) -> Iterator[None]:
    """Inside, the denoiser's gradient checkpointing is on or off as wanted."""
    denoiser: Any = run.model.denoiser

    def switch(on: bool) -> None:
        denoiser.enable_gradient_checkpointing() if on else denoiser.disable_gradient_checkpointing()

    switch(wanted)
    try:
        yield
    finally:
        switch(run.config.gradient_checkpointing)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that operations make, for as long as each is alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()
        self._turned: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settled = self._settled(func, args)
        result = settled if settled is not None else func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._count(value)
        return result

    def _settled(self, func: Any, args: Any) -> Any:
        """What depends on numbers that are not there: masks are taken to let everything through, so that what they
        are turned into lets nothing through, and a question to one number is answered with yes."""
        if not any(isinstance(one, FakeTensor) for one in tree_iter(args)):
            return None
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return True
        if func is torch.ops.aten.index.Tensor and len(args[1]) == 1 and args[1][0].dtype == torch.bool:
            turned = any(args[1][0] is one for one in self._turned)
            return torch.ops.aten.slice.Tensor(args[0], 0, 0, 0 if turned else args[0].shape[0])
        if func is torch.ops.aten.bitwise_not.default and args[0].dtype == torch.bool:
            result = func(*args)
            self._turned.append(result)
            return result
        return None

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
