"""Runs of a tiny base, and what its pipeline does, watched."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lorasmith.bases import family_of, open_base
from lorasmith.datasets.store import DatasetStore
from lorasmith.families import Base, Conditioning, Family, Framing, Model
from lorasmith.jobfolder import Control
from lorasmith.training.assembly import assemble
from lorasmith.training.cache import Cache, encoders_of
from lorasmith.training.loop import Run
from lorasmith.training.plan import plan
from lorasmith.training.precompute import precompute
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
    version = with_clips(home, make_dataset(home)) if family.frame_step else make_dataset(home)
    setting = Setting(
        config, plan(config, version, family, base), version, DatasetStore(home), family, base, torch.device("cpu")
    )
    cache = Cache(home / "cache", *encoders_of(base))
    assert precompute(cache, setting, emit=Said(), control=Control)
    (home / out).mkdir(exist_ok=True)
    return assemble(setting, cache, home / out)


def load(weights: Path, dtype: torch.dtype = torch.float32) -> tuple[Base, Family, Model]:
    base = open_base(str(weights))
    family = family_of(base)
    return base, family, family.load(base, parts=ALL, dtype=dtype, device="cpu")


def encoded(
    family: Family,
    model: Model,
    prompts: list[str],
    side: int,
    guidance: float,
    length: int = 1,
    begun: Tensor | None = None,
) -> Conditioning:
    """Prompts as training sees them: encoded one by one, cached, joined, framed.

    ``begun`` is the clip whose first frame the denoiser is told of, where it is told of one; else that is noise.
    """
    framing = Framing.whole(side, side, length, family.default_fps)
    with torch.no_grad():
        known = {
            prompt: {n: t[0].float() for n, t in family.encode_prompts(model, [prompt]).tensors.items()}
            for prompt in dict.fromkeys(prompts)
        }
        rows = [known[prompt] for prompt in prompts]
        conditioning = family.frame(model, Conditioning.joined(rows), [framing] * len(rows), guidance)
        if begun is None:
            generator = torch.Generator().manual_seed(11)
            blank = family.blank_conditions(model, side, side, length)
            told = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in blank.items()}
        else:
            told = family.encode_conditions(model, begun)
        return conditioning.joined_with({n: t.expand(len(rows), *t.shape[1:]) for n, t in told.items()})


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


def beginning(record: Record) -> tuple[Image.Image, Tensor]:
    """A picture, and a clip (1, 3, F, H, W) that begins with it."""
    rough = torch.randint(
        0, 256, (record.length, record.side, record.side, 3), generator=torch.Generator().manual_seed(4)
    )
    picture = Image.fromarray(rough[0].byte().numpy())
    return picture, (rough.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]


def noise_of(record: Record, family: Family, model: Model, seed: int) -> Tensor:
    """What the pipeline draws from a seed, in the shape that the family denoises."""
    shape = family.latent_shape(model, record.side, record.side, record.length)
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
