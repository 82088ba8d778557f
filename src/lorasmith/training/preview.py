"""Pictures during training: fixed seeds, so that over the steps only the adapter changes.

Prompts were encoded by the caching pass; the VAE is loaded at the first preview and then waits on the CPU.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lorasmith.config import SampleConfig
from lorasmith.datasets.clips.writing import animated_webp
from lorasmith.events import Emit, Phase, Sample
from lorasmith.families import Family, Framing, Model
from lorasmith.families.beginnings import FIRST
from lorasmith.families.beginnings import begun as begun_with
from lorasmith.files import write_atomically
from lorasmith.training.batches import Batches
from lorasmith.training.objective import shifted
from lorasmith.training.references import NOTHING, Shown


@dataclass(frozen=True)
class _Beginning:
    """Size in pixels and frames, and what the denoiser is told of the picture it begins with."""

    width: int
    height: int
    frames: int
    fps: float
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    shown: Shown = NOTHING


@dataclass
class Preview:
    """Draws the previews of one run.

    Args:
        folder: ``samples`` of the job.
        prompts: as the user wrote them, ``[trigger]`` replaced.
        side: pixels of the square pictures.
        frames: of a preview, 1 where the family takes pictures alone.
    """

    folder: Path
    prompts: Sequence[str]
    config: SampleConfig
    side: int
    frames: int
    family: Family
    model: Model
    batches: Batches
    device: torch.device
    shown: Sequence[Shown] = ()
    """The references of each prompt, for families that edit."""
    goes_on: bool = False
    """Whether a family that may begin with a picture does so here."""
    _vae: Any = field(default=None)

    @torch.no_grad()
    def draw(self, step: int, emit: Emit, precision: AbstractContextManager[None]) -> None:
        """Draw every prompt at this step; pictures that exist are kept: they would come out the same."""
        emit(Phase("sampling"))
        self.folder.mkdir(exist_ok=True)
        for number, prompt in enumerate(self.prompts):
            path = self.folder / f"{step:06d}-{number}.png"
            seed = self.config.seed + number
            if not path.exists():
                with precision:
                    begun = self._begin(number)
                    shown = begun.shown if begun.shown.begins else self.shown[number] if self.shown else NOTHING
                    latents = self._denoise(prompt, seed, begun, shown)
                self._write(path, self._decode(latents))
            moving = path.with_suffix(".webp")
            clip = f"{self.folder.name}/{moving.name}" if moving.exists() else ""
            emit(Sample(step, f"{self.folder.name}/{path.name}", prompt, seed, clip))

    def _begin(self, number: int) -> _Beginning:
        """What the preview of that number begins with: nothing, or a picture of the dataset, in its size, where the
        denoiser is told of one."""
        names = self.batches.names()
        always = bool(self.family.blank_conditions(self.model, self.side, self.side, self.frames))
        moving = [name for name in names if self.batches.placed(name).frames > 1]
        among = names if always else moving if self.goes_on and self.frames > 1 else []
        turned = among[number % len(among) :] + among[: number % len(among)] if among else []
        found = next((name for name in turned if self.batches.is_cached(name, self.prompts[number])), None)
        if found is None:
            return _Beginning(self.side, self.side, self.frames, self.batches.placed(names[0]).fps)
        placed = self.batches.placed(found)
        if always:
            conditions = self.batches.conditions([(placed.key, False)])
            shown = self.batches.shown(placed.key)
            return _Beginning(placed.width, placed.height, placed.frames, placed.fps, conditions, shown)
        first = begun_with(self.batches.latents(placed.key)[None, :, :1].to(self.device), torch.ones(1))
        return _Beginning(placed.width, placed.height, self.frames, placed.fps, first)

    def _denoise(self, prompt: str, seed: int, begun: _Beginning, shown: Shown) -> Tensor:
        """Latents (1, C, h, w) or (1, C, f, h, w) of a prompt, by the base's own scheduler, guided as the family is."""
        guided = self.config.guidance_scale > 1 and self.family.guidance(self.model) == "classifier_free"
        prompts = ["", prompt] if guided else [prompt]
        size = (begun.width, begun.height, begun.frames)
        framings = [Framing.whole(*size, begun.fps)] * len(prompts)
        conditioning = self.batches.conditioning(prompts, framings, self.config.guidance_scale, [shown] * len(prompts))
        rows_of = {name: tensor.expand(len(prompts), *tensor.shape[1:]) for name, tensor in begun.conditions.items()}
        conditioning = conditioning.joined_with(rows_of)
        shape = (1, *self.family.latent_shape(self.model, *size))
        latents: Tensor = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        latents = latents.to(self.device)

        def predict(inputs: Tensor, time: Tensor) -> Tensor:
            rows = inputs.expand(len(prompts), *inputs.shape[1:])
            prediction = self.family.denoise(self.model, rows, time.expand(len(rows)), conditioning)
            if not guided:
                return prediction
            without, prompted = prediction.chunk(2)
            return without + self.config.guidance_scale * (prompted - without)

        if self.model.objective != "flow":
            return self._discrete(latents, predict)
        shift = self.family.shift_for(self.model)(*size)
        kept = self.goes_on or self.family.keeps_beginning(self.model)
        return self._flow(latents, predict, shift, begun.conditions.get(FIRST) if kept else None)

    def _discrete(self, latents: Tensor, predict: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        scheduler = type(self.model.scheduler).from_config(self.model.scheduler.config)
        scheduler.set_timesteps(self.config.steps, device=self.device)
        latents = latents * scheduler.init_noise_sigma
        count = int(scheduler.config.num_train_timesteps)
        for timestep in scheduler.timesteps:
            inputs = scheduler.scale_model_input(latents, timestep)
            prediction = predict(inputs, (timestep.float() + 0.5) / count)
            latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
        return latents

    def _flow(
        self, noise: Tensor, predict: Callable[[Tensor, Tensor], Tensor], shift: float, first: Tensor | None = None
    ) -> Tensor:
        """Euler's method from noise to data, over noise levels shifted as the family's are for this size.

        ``first`` (1, C, 1, h, w) is what the clip begins with; it goes its straight way and is not painted.
        """
        levels = shifted(torch.linspace(1, 0, self.config.steps + 1, device=self.device), shift)
        latents = noise
        for level, following in pairwise(levels):
            latents = latents + (following - level) * predict(latents, level)
            if first is not None:
                along = (1 - following) * first + following * noise[:, :, :1]
                latents = torch.cat([along, latents[:, :, 1:]], dim=2)
        return latents

    def _write(self, path: Path, frames: list[Image.Image]) -> None:
        """The first frame as the picture, a clip beside it. The picture comes last, for it says that all is there."""
        if len(frames) > 1:
            fps = self.batches.placed(self.batches.names()[0]).fps
            write_atomically(path.with_suffix(".webp"), animated_webp(frames, fps))
        content = io.BytesIO()
        frames[0].save(content, format="PNG")
        write_atomically(path, content.getvalue())

    def _decode(self, latents: Tensor) -> list[Image.Image]:
        if self._vae is None:
            self._vae = self.family.load(self.model.base, parts=("vae",), dtype=torch.float32, device="cpu")
        self._vae.vae.to(self.device)
        pixels = self.family.decode_latents(self._vae, latents)[0]  # (3, H, W) or (3, F, H, W)
        self._vae.vae.to("cpu")
        values = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
        frames = values.reshape(3, -1, *values.shape[-2:]).permute(1, 2, 3, 0).numpy()  # (F, H, W, 3)
        return [Image.fromarray(frame) for frame in frames]
