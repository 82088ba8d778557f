"""Runs of a tiny base, and what its pipeline does, watched."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lorasmith.bases import family_of, open_base
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.families import Base, Conditioning, Family, Framing, Model
from lorasmith.families.latents import as_pictures
from lorasmith.families.references import named
from lorasmith.jobfolder import Control
from lorasmith.training.assembly import assemble
from lorasmith.training.cache import Cache, encoders_of
from lorasmith.training.loop import Run, restore, train
from lorasmith.training.plan import plan
from lorasmith.training.precompute import precompute
from lorasmith.training.references import pixels_of_reference
from lorasmith.training.setting import Setting
from tests.families.moving import with_clips
from tests.families.tiny import Record
from tests.training.home import make_dataset, quick_config
from tests.training.runs import Said

ALL = ("denoiser", "text_encoders", "vae")
PLAIN: Mapping[str, Any] = {
    "objective.min_snr_gamma": None,
    "objective.noise_offset": 0.0,
    "data.flip": False,
    "data.shuffle_captions": False,
    "sample.prompts": [],
    "checkpoint.every_steps": 0,
    "data.validation_fraction": 0.0,
    "adapter.targets": "attention",
    "adapter.dropout": 0.0,
    "ema_decay": None,
}


def run_of(home: Path, weights: Path, out: str = "out", **changes: Any) -> Run:
    """Cached and assembled at step 0, over pictures of three shapes and captions of several lengths; of a family of
    clips, over clips of several lengths too."""
    base = open_base(str(weights))
    family = family_of(base)
    shown = {"data.frames": 1 + 2 * family.frame_step, "data.cut": "uniform"} if family.frame_step else {}
    config = quick_config(weights, **{**PLAIN, **shown, **changes})
    version = with_clips(home, make_dataset(home), family.least_frames) if family.frame_step else make_dataset(home)
    if family.reference_pictures[1]:
        version = with_references(home, version, family)
        config = config.model_copy(update={"data": config.data.model_copy(update={"reference_resolution": 64})})
    setting = Setting(
        config, plan(config, version, family, base), version, DatasetStore(home), family, base, torch.device("cpu")
    )
    cache = Cache(home / "cache", *encoders_of(base))
    assert precompute(cache, setting, emit=Said(), control=Control)
    (home / out).mkdir(exist_ok=True)
    return assemble(setting, cache, home / out)


def ends_alike_when_cut(whole: Run, home: Path, weights: Path, **changes: Any) -> None:
    """Stop a run like ``whole`` (ended) after two steps, go on in a new one, and compare what both trained."""
    first = run_of(home, weights, "cut", **changes)
    assert train(first, Said(), lambda: Control(wanted="stop" if first.step == 2 else "run")) == "stopped"
    second = run_of(home, weights, "cut", **changes)
    saved = second.checkpoints.newest(Said())
    assert saved is not None
    restore(second, saved)
    train(second, Said(), Control)
    ends, found = whole.lora.state(), second.lora.state()
    assert ends.keys() == found.keys() and all(torch.equal(ends[key], value) for key, value in found.items())


def picture_of(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Smooth noise."""
    rough = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def with_references(home: Path, version: DatasetVersion, family: Family) -> DatasetVersion:
    """The dataset with references for every picture: of two shapes, and as many as the family takes, or fewer."""
    store = DatasetStore(home)
    most = min(2, family.reference_pictures[1])
    sizes = ((64, 64), (96, 64))
    items = [
        replace(
            item,
            references=tuple(
                store.put_image(picture_of(100 + 7 * number + place, *sizes[number // 3 % 2]))
                for place in range(most - number % 2 if most > 1 else most)
            ),
        )
        for number, item in enumerate(version.items)
    ]
    return store.commit(version, items, Operation(name="test")) if version.items != tuple(items) else version


def load(weights: Path, dtype: torch.dtype = torch.float32) -> tuple[Base, Family, Model]:
    base = open_base(str(weights))
    family = family_of(base)
    return base, family, family.load(base, parts=ALL, dtype=dtype, device="cpu")


def encoded(
    family: Family,
    model: Model,
    prompts: list[str],
    side: int | tuple[int, int],
    guidance: float,
    length: int = 1,
    begun: Tensor | None = None,
    references: Sequence[Sequence[Image.Image]] = (),
    area: int | None = 64,
) -> Conditioning:
    """Prompts as training sees them: encoded one by one, cached, joined, framed; with a small reference for each where
    the family edits and none are given.

    ``side`` is that of a square, or width and height. ``begun`` is the clip whose first frame the denoiser is told of,
    where it is told of one; else that is noise.
    """
    width, height = (side, side) if isinstance(side, int) else side
    framing = Framing.whole(width, height, length, family.default_fps)
    if family.reference_pictures[0] and not references:
        kinds = [sum(prompt.encode()) for prompt in prompts]  # a prompt's are the same wherever it stands
        references = [[picture_of(kind, 64 + 32 * (kind % 2), 64)] for kind in kinds]
    pairs = dict(zip(prompts, references or [()] * len(prompts), strict=False))
    first = as_pictures(begun[:, :, 0])[0] if begun is not None else picture_of(11, width, height)

    def told(prompt: str) -> tuple[dict[str, Tensor], list[Tensor]]:
        those = pairs[prompt]
        seen = [first] if family.prompts_see_beginning else those
        words = (
            family.encode_instructions(model, [prompt], [seen], area)
            if seen
            else family.encode_prompts(model, [prompt])
        )
        pixels = [torch.from_numpy(pixels_of_reference(one, family, area)) for one in those]
        latents = [family.encode_images(model, one)[0] for one in pixels]
        return {n: t[0].float() for n, t in words.tensors.items()}, latents

    with torch.no_grad():
        known = {prompt: told(prompt) for prompt in dict.fromkeys(prompts)}
        rows = Conditioning.joined([known[prompt][0] for prompt in prompts])
        whole = Conditioning({**rows.tensors, **named([known[prompt][1] for prompt in prompts])})
        conditioning = family.frame(model, whole, [framing] * len(prompts), guidance)
        if begun is None:
            generator = torch.Generator().manual_seed(11)
            blank = family.blank_conditions(model, width, height, length)
            first = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in blank.items()}
        else:
            first = dict(family.encode_conditions(model, begun))
        return conditioning.joined_with({n: t.expand(len(prompts), *t.shape[1:]) for n, t in first.items()})


def with_small_references(monkeypatch: pytest.MonkeyPatch) -> int:
    """Tell the pipelines of Qwen-Image-Edit to bring references to the area of this side and not of 1024, which takes
    most of a test's time; what their language model sees stays as large as it is."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus

    side, large = 64, 512
    for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus):
        theirs = module.calculate_dimensions

        def smaller(area: int, ratio: float, theirs: Callable[..., Any] = theirs) -> Any:
            return theirs(side * side if area > large * large else area, ratio)

        monkeypatch.setattr(module, "calculate_dimensions", smaller)
    return side


@dataclass
class Heard:
    """What a denoiser was called with, its arguments by name."""

    calls: list[dict[str, Any]]

    @classmethod
    def on(cls, denoiser: Any) -> Heard:
        heard, signature = cls([]), inspect.signature(type(denoiser).forward)

        def listen(module: Any, args: Any, kwargs: Any) -> None:
            bound = signature.bind(module, *args, **kwargs).arguments
            heard.calls.append({n: v for n, v in bound.items() if n not in ("self", "return_dict") and _says(v)})

        denoiser.register_forward_pre_hook(listen, with_kwargs=True)
        return heard


def _says(value: Any) -> bool:
    return value is not None and not (isinstance(value, dict) and not value)


def assert_alike(ours: Any, theirs: Any, where: str) -> None:
    """The same numbers, in whatever they are nested."""
    if isinstance(theirs, Tensor):
        assert ours.shape == theirs.shape or ours.numel() == theirs.numel(), (where, ours.shape, theirs.shape)
        torch.testing.assert_close(
            ours.detach().float().reshape(theirs.shape),
            theirs.detach().float(),
            rtol=1e-4,
            atol=1e-4,
            msg=lambda m: f"{where}: {m}",
        )
    elif isinstance(theirs, Mapping):
        assert set(ours) == set(theirs), where
        for name, value in theirs.items():
            assert_alike(ours[name], value, f"{where}.{name}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_alike(one, other, f"{where}[{number}]")
    else:
        assert ours == theirs, where


def beginning(record: Record, size: tuple[int, int] | None = None) -> tuple[Image.Image, Tensor]:
    """A picture, and a clip (1, 3, F, H, W) that begins with it; ``size`` is width and height."""
    width, height = size or (record.side, record.side)
    rough = torch.randint(0, 256, (record.length, height, width, 3), generator=torch.Generator().manual_seed(4))
    picture = Image.fromarray(rough[0].byte().numpy())
    return picture, (rough.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]


def noise_of(record: Record, family: Family, model: Model, seed: int, size: tuple[int, int] | None = None) -> Tensor:
    """What the pipeline draws from a seed, in the shape that the family denoises; ``size`` is width and height."""
    shape = family.latent_shape(model, *(size or (record.side, record.side)), record.length)
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
