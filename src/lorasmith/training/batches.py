"""From exposures to tensors on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorasmith.config import TrainConfig
from lorasmith.datasets.buckets import Placed, crop_box
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import DatasetError
from lorasmith.families import Conditioning, Family, Framing, Model
from lorasmith.families.beginnings import begun, learned
from lorasmith.families.references import named
from lorasmith.training.cache import Cache
from lorasmith.training.masks import counting
from lorasmith.training.objective import AnyObjective
from lorasmith.training.plan import Plan
from lorasmith.training.references import NOTHING, Shown, read_by_prompt, shown_of, sizing
from lorasmith.training.sampler import Exposure, begins, wording


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs, on the device."""

    latents: Tensor  # (B, C, h, w), of clips (B, C, f, h, w)
    noise: Tensor  # as the latents
    timestep: Tensor  # (B,)
    conditioning: Conditioning
    weight: Tensor | None  # (B,) of each picture's loss; None when all weigh the same
    mask: (
        Tensor | None
    )  # (B, 1, h, w), of clips (B, 1, f or 1, h or 1, w or 1): each position's weight in the loss; None: all alike

    def weigh(self, loss: Tensor) -> Tensor:
        """The loss of each picture (B,) times its weight."""
        return loss if self.weight is None else loss * self.weight


class Batches:
    """Reads the cache; with a text encoder in training, encodes prompts as it is now."""

    def __init__(
        self,
        plan: Plan,
        version: DatasetVersion,
        config: TrainConfig,
        *,
        cache: Cache,
        family: Family,
        model: Model,
        objective: AnyObjective,
        device: torch.device,
    ) -> None:
        self._placed = {p.key: p for bucket in plan.buckets for p in bucket.placed}
        self._placed |= {p.key: p for p in plan.validation}
        by_name = {item.name: item for item in version.items}
        self._items = {key: by_name[placed.item] for key, placed in self._placed.items()}
        masked = {item.name for item in counting(version.items, config)}
        self._masked = {key for key, item in self._items.items() if item.name in masked}
        self._config, self._cache, self._family, self._model = config, cache, family, model
        self._objective, self._device = objective, device
        self._side, self._fps = plan.resolution, next(iter(self._placed.values())).fps

    def load(self, exposures: Sequence[Exposure]) -> Batch:
        """The batch of these exposures."""
        latents = torch.stack([self.latents(e.item, e.flip) for e in exposures])
        conditions = self.conditions([(e.item, e.flip) for e in exposures])
        noise = torch.stack([self._objective.draw_noise(latents.shape[1:], e.noise_seed) for e in exposures])
        placed = self._placed[exposures[0].item]  # all of one bucket
        times = torch.tensor([e.time for e in exposures], dtype=torch.float64)
        timestep = self._objective.timestep(times, (placed.width, placed.height, placed.frames))
        given = self._given(exposures, latents)
        masks = self._masks(exposures, latents.shape)
        if self._family.keeps_beginning(self._model):
            masks = _both(masks, learned(torch.ones(len(latents)), latents).to(self._device))
        if given is not None:
            conditions |= {n: t.to(self._device) for n, t in begun(latents[:, :, :1], given).items()}
            masks = _both(masks, learned(given, latents).to(self._device))
        return Batch(
            latents.to(self._device),
            noise.to(self._device),
            timestep.to(self._device),
            self.conditioning(
                [self.prompt(e.item, e.variant) for e in exposures],
                [self.framing(e.item) for e in exposures],
                shown=[self.shown(e.item, e.flip) for e in exposures],
            ).joined_with(conditions),
            self._weight(exposures),
            masks,
        )

    def _given(self, exposures: Sequence[Exposure], latents: Tensor) -> Tensor | None:
        """Which rows begin with their first frame, (B,); None where none does. Of one frame nothing would be left."""
        share = self._config.data.first_frame_conditioning if self._family.may_begin_with_picture else 0.0
        if not share or latents.shape[2] == 1:
            return None
        given = torch.tensor([begins(exposure, share) for exposure in exposures])
        return given if given.any() else None

    def _weight(self, exposures: Sequence[Exposure]) -> Tensor | None:
        """Regularisation pictures hold on to what the base knows; how strongly is the config's choice."""
        prior = self._config.data.prior_loss_weight
        roles = [self._items[e.item].role for e in exposures]
        if prior is None or "regularisation" not in roles:
            return None
        return torch.tensor([prior if role == "regularisation" else 1.0 for role in roles], device=self._device)

    def _masks(self, exposures: Sequence[Exposure], shape: torch.Size) -> Tensor | None:
        """What counts of each picture, mirrored as it is; a picture without a mask among others counts everywhere."""
        if not any(e.item in self._masked for e in exposures):
            return None
        least = self._config.objective.unmasked_weight
        rows = [self.mask(e.item, e.flip) if e.item in self._masked else torch.ones(shape[-2:]) for e in exposures]
        masks = torch.stack(rows).view(shape[0], *(1 for _ in shape[1:-2]), *shape[-2:])
        return (least + (1 - least) * masks).to(self._device)

    def mask(self, item: str, flip: bool = False) -> Tensor:
        """What the mask of a picture lets through, (h, w), 0 to 1, on the CPU."""
        placed = self._placed[item]
        mask = self._cache.get(self._cache.mask_key(self._items[item], placed))["mask"]
        return mask.flip(-1) if flip else mask

    def prompt(self, item: str, variant: int | None) -> str:
        """The wording an exposure is trained with."""
        data = self._config.data
        return wording(self._items[item].caption, variant, seed=self._config.seed, keep_tokens=data.keep_tokens)

    def names(self) -> list[str]:
        """All pictures that have a bucket, and windows of clips (``Placed.key``), which an exposure calls its item."""
        return list(self._placed)

    def placed(self, item: str) -> Placed:
        """The bucket of a picture."""
        return self._placed[item]

    def latents(self, item: str, flip: bool = False) -> Tensor:
        """The latents of a picture (C, h, w), or of a clip (C, f, h, w), on the CPU.

        Raises:
            DatasetError: the cache holds NaN or infinity for it.
        """
        latents = self._cache.get(self._cache.latent_key(self._items[item], self._placed[item], flip))["latents"]
        if not torch.isfinite(latents).all():
            raise DatasetError(
                f"The cached latents of '{item}' are not finite.", "Delete the cache folder of the home and resume."
            )
        return latents

    def conditions(self, shown: Sequence[tuple[str, bool]]) -> dict[str, Tensor]:
        """What the denoiser is told of these pictures and mirrors themselves, a row each, on the device."""
        keys = [self._cache.latent_key(self._items[name], self._placed[name], flip) for name, flip in shown]
        rows = [{n: t for n, t in self._cache.get(key).items() if n != "latents"} for key in keys]
        return {name: torch.stack([row[name] for row in rows]).to(self._device) for name in rows[0]}

    def is_cached(self, item: str, prompt: str = "") -> bool:
        """Whether its latents are there, and the prompt where that is read with its first frame; in a rehearsal, few
        are."""
        if not self._cache.has(self._cache.latent_key(self._items[item], self._placed[item], False)):
            return False
        shown = self.shown(item)
        return not shown.begins or self._cache.has(self._cache.prompt_key(prompt, shown))

    def framing(self, item: str) -> Framing:
        """How a picture lies in its bucket."""
        placed, whole = self._placed[item], self._items[item]
        left, top, _, _ = crop_box(whole.width, whole.height, placed)
        corner = (round(left * placed.scale), round(top * placed.scale))
        size = (placed.width, placed.height)
        return Framing((whole.width, whole.height), corner, size, placed.frames, placed.fps)

    def shown(self, item: str, flip: bool = False) -> Shown:
        """The references of a picture, where the family takes any, and its first frame where the prompt is read with
        it."""
        if self._family.prompts_see_beginning:
            return Shown(begins=self._cache.latent_key(self._items[item], self._placed[item], flip))
        return shown_of(self._items[item], self._family, flip)

    def _references(self, shown: Sequence[Shown]) -> dict[str, Tensor]:
        """Latents of the references of each row, on the device, as ``families.references`` names them."""
        if not any(one.references for one in shown):
            return {}
        size = sizing(self._family, self._config)
        rows = [
            [
                self._cache.get(self._cache.reference_key(sha256, one.flip, size))["latents"].to(self._device)
                for sha256 in one.references
            ]
            for one in shown
        ]
        return named(rows)

    def conditioning(
        self,
        prompts: Sequence[str],
        framings: Sequence[Framing] = (),
        guidance: float | None = None,
        shown: Sequence[Shown] = (),
    ) -> Conditioning:
        """Encoded prompts on the device, one row each.

        Args:
            prompts: as they were cached.
            framings: one per prompt; without them whole pictures of the run's resolution are meant.
            guidance: what a denoiser with embedded guidance is told; None for what training tells it.
            shown: the references of each row; without them there are none.
        """
        shown = shown or [NOTHING] * len(prompts)
        if self._config.adapter.text_encoder:
            encoded = self._family.encode_prompts(self._model, prompts)
        else:
            size = sizing(self._family, self._config)
            keys = [
                self._cache.prompt_key(prompt, read_by_prompt(one, self._family), size)
                for prompt, one in zip(prompts, shown, strict=True)
            ]
            encoded = Conditioning.joined([self._cache.get(key) for key in keys], self._device)
        encoded = Conditioning({**encoded.tensors, **self._references(shown)})
        if guidance is None:
            told = self._config.objective.guidance
            guidance = self._family.training_guidance if told is None else told
        whole = [Framing.whole(self._side, self._side, 1, self._fps)] * len(prompts)
        return self._family.frame(self._model, encoded, framings or whole, guidance)


def _both(masks: Tensor | None, weights: Tensor) -> Tensor:
    """What counts where both let something through."""
    return weights if masks is None else masks * weights
