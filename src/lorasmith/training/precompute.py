"""The caching pass: pictures to latents, masks to weights, captions to what the denoiser is conditioned on.

It loads its own VAE and text encoder, one after the other, and frees them before training begins. One picture or
prompt per forward pass, so that an entry never depends on its neighbours and a killed pass loses one at most.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorasmith.config import TrainConfig
from lorasmith.datasets.buckets import Placed, crop_box
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import DatasetError
from lorasmith.events import Emit, Notice, Phase, Progress
from lorasmith.families import Family, Model
from lorasmith.families.instructions import unread
from lorasmith.families.latents import as_pictures
from lorasmith.jobfolder import Control
from lorasmith.training.cache import Cache
from lorasmith.training.masks import counting, latent_mask
from lorasmith.training.plan import Plan
from lorasmith.training.references import (
    NOTHING,
    Shown,
    of_previews,
    pixels_of_reference,
    shown_of,
    sizing,
    takes,
    turned,
)
from lorasmith.training.sampler import CAPTION_VARIANTS, wording
from lorasmith.training.setting import Pictures, Setting

Beginning = tuple[Item, Placed, bool]
"""An item, what is shown of it, and whether that is mirrored."""
_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def precompute(
    cache: Cache,
    setting: Setting,
    *,
    emit: Emit,
    control: Callable[[], Control],
    only: Iterable[str] | None = None,
) -> bool:
    """Make every entry that the run will read; existing ones are kept.

    Args:
        only: names of the pictures to encode; None for all of the plan.

    Returns:
        False when a pause or stop was asked for on the way.

    Raises:
        DatasetError: the latents of a picture are not finite, or a mask lets nothing through; the message names it.
    """
    plan, version, config, family = setting.plan, setting.version, setting.config, setting.family
    items = {item.name: item for item in version.items}
    wanted_items = set(items if only is None else only)
    latents = [
        (cache.latent_key(items[placed.item], placed, flip), items[placed.item], placed, flip)
        for placed in _all_placed(plan)
        for flip in ((False, True) if config.data.flip else (False,))
        if placed.item in wanted_items
    ]
    emit(Phase("caching"))
    if not _masks(cache, setting, wanted_items, control):
        return False
    missing = [entry for entry in latents if not cache.has(entry[0])]
    references = _missing_references(cache, setting, wanted_items)
    if missing or references:
        model = family.load(setting.base, parts=("vae",), dtype=torch.float32, device=setting.device)
        for done, (key, item, placed, flip) in enumerate(missing):
            if control().wanted != "run":
                return False
            pixels = pixels_in(setting.pictures, item, placed, flip).to(setting.device)
            with torch.no_grad():
                told = {name: tensor[0] for name, tensor in family.encode_conditions(model, pixels).items()}
                cache.put(key, {"latents": _finite(family.encode_images(model, pixels)[0], item), **told})
            emit(Progress(done + 1, len(missing) + len(references), unit="pictures"))
        for done, (key, sha256, flip) in enumerate(references, start=len(missing)):
            if control().wanted != "run":
                return False
            image = turned(setting.pictures.open_reference(sha256), flip)
            pixels = torch.from_numpy(pixels_of_reference(image, family, config.data.reference_resolution))
            with torch.no_grad():
                encoded_image = family.encode_images(model, pixels.to(setting.device))[0]
                cache.put(key, {"latents": _finite(encoded_image, items[references[key, sha256, flip]])})
            emit(Progress(done + 1, len(missing) + len(references), unit="pictures"))
        del model
        _free()
    if config.adapter.text_encoder:
        return True  # prompts are encoded live, by an encoder that is learning
    size = sizing(family, config)
    begins = beginnings_of_run(cache, plan, version, config, wanted_items) if family.prompts_see_beginning else {}
    tellings = tellings_of_run(plan, version, config, family, begins)
    prompts = [one for one in tellings if not cache.has(cache.prompt_key(*one, size))]
    if prompts:
        model = family.load(
            setting.base, parts=("text_encoders",), dtype=_FORMATS[family.text_precision], device=setting.device
        )
        _tell_of_cut(family, model, [prompt for prompt, _ in prompts], emit)
        seen: tuple[Shown, Image.Image] | None = None  # prompts of one picture follow each other
        for done, (prompt, shown) in enumerate(prompts):
            if control().wanted != "run":
                return False
            if shown.begins and (seen is None or seen[0] != shown):
                seen = shown, _first_frame(setting.pictures, begins[shown.begins])
            with torch.no_grad():
                encoded = _encoded(setting, model, prompt, shown, seen and seen[1])
            cache.put(cache.prompt_key(prompt, shown, size), {name: tensor[0] for name, tensor in encoded.items()})
            emit(Progress(done + 1, len(prompts), unit="prompts"))
        del model
        _free()
    return True


def _tell_of_cut(family: Family, model: Model, prompts: Sequence[str], emit: Emit) -> None:
    """Captions longer than the text encoder reads are learned from their beginning only."""
    cut = unread(family, model.base, model.extras.get("pipeline"), model.tokenizers, prompts)
    if cut:
        prompt, (length, beyond) = max(cut.items(), key=lambda entry: entry[1])
        said = f"{len(cut)} of {len(set(prompts))} captions are longer than {family.title} reads"
        emit(
            Notice(
                f"{said}: of '{prompt[:60]}…' the last {beyond} of {length} tokens are not learned.",
                "Shorten them on the dataset's page, under 'Edit captions', or put first what matters.",
            )
        )


def _masks(cache: Cache, setting: Setting, only: set[str], control: Callable[[], Control]) -> bool:
    """Masks come first, so that a run with one that cannot be used ends before anything is loaded."""
    masked = {item.name: item for item in counting(setting.version.items, setting.config)}
    for placed in _all_placed(setting.plan):
        item = masked.get(placed.item)
        if item is None or item.name not in only or cache.has(key := cache.mask_key(item, placed)):
            continue
        if control().wanted != "run":
            return False
        cells = latent_mask(setting.pictures, item, placed, setting.family)
        cache.put(key, {"mask": torch.from_numpy(cells)})
    return True


def _encoded(setting: Setting, model: Model, prompt: str, shown: Shown, first: Image.Image | None) -> dict[str, Tensor]:
    """One prompt, with the references or the first frame where the text encoder looks at them."""
    if shown.begins and first is not None:
        return setting.family.encode_instructions(model, [prompt], [[first]]).tensors
    if not shown.references:
        return setting.family.encode_prompts(model, [prompt]).tensors
    images = [turned(setting.pictures.open_reference(sha256), shown.flip) for sha256 in shown.references]
    side = setting.config.data.reference_resolution
    return setting.family.encode_instructions(model, [prompt], [images], side).tensors


def _missing_references(cache: Cache, setting: Setting, only: set[str]) -> dict[tuple[str, str, bool], str]:
    """References to encode: key, hash and mirror, each with the name of a picture that has it."""
    size = sizing(setting.family, setting.config)
    placed = {one.item for one in _all_placed(setting.plan)}
    found: dict[tuple[str, str, bool], str] = {}
    for item in setting.version.items if takes(setting.family) else ():
        if item.name not in only or item.name not in placed:
            continue
        for sha256 in item.references:
            for flip in (False, True) if setting.config.data.flip else (False,):
                key = cache.reference_key(sha256, flip, size)
                if (key, sha256, flip) not in found and not cache.has(key):
                    found[key, sha256, flip] = item.name
    return found


def beginnings_of_run(
    cache: Cache, plan: Plan, version: DatasetVersion, config: TrainConfig, only: set[str]
) -> dict[str, Beginning]:
    """Everything that prompts are read with the first frame of, by the key of its latents."""
    items = {item.name: item for item in version.items}
    return {
        cache.latent_key(items[placed.item], placed, flip): (items[placed.item], placed, flip)
        for placed in _all_placed(plan)
        for flip in ((False, True) if config.data.flip else (False,))
        if placed.item in only
    }


def _first_frame(pictures: Pictures, beginning: Beginning) -> Image.Image:
    """As the VAE sees it, but for a picture's 256 steps."""
    item, placed, flip = beginning
    pixels = pixels_in(pictures, item, replace(placed, frames=1), flip)
    first: Image.Image = as_pictures(pixels[:, :, 0])[0]
    return first


def tellings_of_run(
    plan: Plan,
    version: DatasetVersion,
    config: TrainConfig,
    family: Family,
    begins: Mapping[str, Beginning] = MappingProxyType({}),
) -> list[tuple[str, Shown]]:
    """Every prompt the run can need with the references it is read with, once; or with the first frames ``begins``."""
    if family.prompts_see_beginning:
        return _tellings_of_beginnings(config, begins)
    if not family.prompts_see_references:
        return [(prompt, NOTHING) for prompt in prompts_of_run(plan, version, config)]
    items = {item.name: item for item in version.items}
    variants = range(CAPTION_VARIANTS if config.data.shuffle_captions else 1)
    found: dict[tuple[str, Shown], None] = {}
    for placed in _all_placed(plan):
        item = items[placed.item]
        words = [
            wording(item.caption, variant, seed=config.seed, keep_tokens=config.data.keep_tokens)
            for variant in variants
        ]
        for flip in (False, True) if config.data.flip else (False,):
            found.update(dict.fromkeys((prompt, shown_of(item, family, flip)) for prompt in ("", *words)))
    prompts = preview_prompts(config)
    for prompt, shown in zip(prompts, of_previews(plan, version, family, len(prompts)), strict=True):
        found.update({("", shown): None, (prompt, shown): None})
    return list(found)


def _tellings_of_beginnings(config: TrainConfig, begins: Mapping[str, Beginning]) -> list[tuple[str, Shown]]:
    """Wordings and the empty prompt with their own first frame, previews in turn with those of the run."""
    drawn: dict[str, list[str]] = {}
    plain = list({placed.key: key for key, (_, placed, flip) in begins.items() if not flip}.values())
    for number, prompt in enumerate(preview_prompts(config) if plain else ()):
        drawn.setdefault(plain[number % len(plain)], []).append(prompt)
    variants = range(CAPTION_VARIANTS if config.data.shuffle_captions else 1)
    found: dict[tuple[str, Shown], None] = {}
    for key, (item, _, _) in begins.items():
        words = (wording(item.caption, n, seed=config.seed, keep_tokens=config.data.keep_tokens) for n in variants)
        found.update(dict.fromkeys((prompt, Shown(begins=key)) for prompt in ("", *words, *drawn.get(key, ()))))
    return list(found)


def prompts_of_run(plan: Plan, version: DatasetVersion, config: TrainConfig) -> list[str]:
    """Every prompt the run can need, once: wordings of the captions, the empty one, those of the previews."""
    captions = {item.name: item.caption for item in version.items}
    variants = range(CAPTION_VARIANTS if config.data.shuffle_captions else 1)
    found = {"": None}
    for placed in _all_placed(plan):
        for variant in variants:
            text = wording(captions[placed.item], variant, seed=config.seed, keep_tokens=config.data.keep_tokens)
            found[text] = None
    found.update(dict.fromkeys(preview_prompts(config)))
    return list(found)


def preview_prompts(config: TrainConfig) -> list[str]:
    """The prompts of the previews, ``[trigger]`` replaced."""
    return [prompt.replace("[trigger]", config.trigger_word) for prompt in config.sample.prompts]


def pixels_of(image: Image.Image, placed: Placed, flip: bool) -> Tensor:
    """The picture cropped around its centre and scaled into its bucket: (1, 3, H, W), fp32, -1..1."""
    box = crop_box(image.width, image.height, placed)
    fitted = image.resize((placed.width, placed.height), Image.Resampling.LANCZOS, box=box)
    if flip:
        fitted = fitted.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = np.asarray(fitted, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(values))


def pixels_in(pictures: Pictures, item: Item, placed: Placed, flip: bool) -> Tensor:
    """What is shown of an item: a picture (1, 3, H, W), or where the family takes clips a clip (1, 3, F, H, W)."""
    if not placed.fps:
        return pixels_of(pictures.open_image(item), placed, flip)
    if item.clip is None or (placed.frames == 1 and not placed.start):
        return pixels_of(pictures.open_image(item), placed, flip).unsqueeze(2)
    frames = pictures.open_frames(item, placed.numbers(item.clip))
    return torch.stack([pixels_of(frame, placed, flip) for frame in frames], dim=2)


def _all_placed(plan: Plan) -> list[Placed]:
    return [placed for bucket in plan.buckets for placed in bucket.placed] + list(plan.validation)


def _finite(latents: Tensor, item: Item) -> Tensor:
    if not torch.isfinite(latents).all():
        raise DatasetError(
            f"The latents of '{item.name}' are not finite (NaN or infinite).",
            "Look at the picture; if it is sound, the VAE of the base is damaged.",
        )
    return latents


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
