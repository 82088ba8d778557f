"""Pictures of the mascot on the left with stripes on the right, and masks that let the left half through.

Whoever trains whole pictures learns both. With the masks only the mascot is learned, and how far either is true can be
measured: by the error of the denoiser in each half, and in what is painted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.sandbox import world
from lorasmith.training.loop import Run
from lorasmith.training.sampler import Exposure

HALF = world.SIZE // 2
_TIMES = (0.2, 0.4, 0.6, 0.8)


def stripes() -> Image.Image:
    """What stands at the right of every picture: six rows of magenta and lime."""
    rows = (np.arange(world.SIZE) * 6 // world.SIZE) % 2
    colours = np.array([(230, 20, 200), (150, 240, 20)], np.uint8)[rows]
    return Image.fromarray(np.repeat(colours[:, None], HALF, axis=1))


def picture(seed: int) -> Image.Image:
    """A small mascot in the left half, the stripes over the right one."""
    rng = np.random.default_rng((5, seed))
    scene = world.mascot_scene(rng)
    figure = replace(scene.figures[0], x=HALF / 2, y=HALF + rng.uniform(-24, 24), radius=world.SIZES["small"])
    drawn = world.draw_mascot(replace(scene, figures=(figure,)), rng)
    drawn.paste(stripes(), (HALF, 0))
    return drawn


def make_striped(home: Path, trained: int, held_out: int) -> DatasetVersion:
    """``trained`` such pictures with a mask over the left half, and ``held_out`` for validation, all called zib."""
    store, items = DatasetStore(home), []
    mask = Image.new("L", (world.SIZE, world.SIZE))
    mask.paste(255, (0, 0, HALF, world.SIZE))
    white = store.put_image(mask, "L")
    for number in range(trained + held_out):
        digest = store.put_image(picture(number))
        item = Item(f"{number:03}.png", digest, digest, world.SIZE, world.SIZE, "zib", mask=white)
        items.append(item if number < trained else replace(item, role="validation"))
    return store.create("striped", items, Operation(name="import"))


@torch.no_grad()
def errors(run: Run) -> tuple[float, float]:
    """Mean squared error of the denoiser over the held-out pictures, in their left half and in their right one."""
    assert run.validation is not None
    left, right = [], []
    run.lora.train(False)
    for number, name in enumerate(run.validation.names):
        rows = [Exposure(0, name, 0, False, 0, time, 100 * number + n) for n, time in enumerate(_TIMES)]
        batch = run.batches.load(rows)
        noisy = run.objective.add_noise(batch.latents, batch.noise, batch.timestep)
        said = run.family.denoise(run.model, noisy, run.objective.time(batch.timestep), batch.conditioning)
        wrong = (said - run.objective.target(batch.latents, batch.noise, batch.timestep)).square()
        middle = wrong.shape[-1] // 2
        left.append(float(wrong[..., :middle].mean()))
        right.append(float(wrong[..., middle:].mean()))
    run.lora.train(True)
    return float(np.mean(left)), float(np.mean(right))
