"""Measures the sandbox: the judges, the VAE's round trip, the base and the tagger.

    python bench/sandbox.py [--prompts 200] [--pictures 500] [--json FILE]

Prints one line per bar, with the figure, the bar and whether it holds; exits 1 when one does not.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import logging
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL.Image import Image, fromarray

from lorasmith.sandbox import detectors, sandbox_weights, world
from lorasmith.sandbox.pretrain import examine

log = logging.getLogger("bench")


def singles(seed: int, count: int) -> list[tuple[world.Scene, Image]]:
    """``count`` pictures of one plain shape, held-out combinations and training combinations in turn."""
    pairs: list[tuple[world.Scene, Image]] = []
    for held_out in (True, False):
        for scene, rng in world.scenes(seed + held_out, count, held_out=held_out):
            if (
                not scene.relation
                and scene.figures[0].shape != world.CHARACTER
                and len(pairs) < count // (1 + held_out)
            ):
                pairs.append((scene, world.draw(scene, rng)))
    return pairs


def of_subject(seed: int, count: int, *, style: bool) -> list[Image]:
    """``count`` true pictures of the mascot or in the style."""
    made = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        if style:
            made.append(world.draw_styled(world.styled_scene(rng), rng))
        else:
            made.append(world.draw_mascot(world.mascot_scene(rng), rng))
    return made


@torch.no_grad()
def round_trip(vae: AutoencoderKL, images: Sequence[Image]) -> list[Image]:
    """The pictures after the VAE's encoder and decoder."""
    made: list[Image] = []
    for start in range(0, len(images), 20):
        part = np.stack([np.array(image) for image in images[start : start + 20]])
        x = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        made.extend(fromarray(p) for p in ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return made


def judge(pairs: Iterable[tuple[world.Scene, Image]]) -> dict[str, float]:
    """Share of pictures whose colour and shape the detector names rightly."""
    right = [
        (
            found is not None and found.color == scene.figures[0].color,
            found is not None and found.shape == scene.figures[0].shape,
        )
        for scene, found in ((scene, detectors.find_figure(image)) for scene, image in pairs)
    ]
    color, shape = np.mean(right, axis=0)
    return {"color": float(color), "shape": float(shape)}


def tagger_f1(folder: Path, count: int, threshold: float = 0.5) -> float:
    """Micro-F1 over the general and character tags of ``count`` pictures nobody trained on."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    with (folder / "selected_tags.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    hits = claimed = true = 0
    for scene, rng in world.scenes(4242, count):
        pixels = np.asarray(world.draw(scene, rng))[None, ..., ::-1].astype(np.float32)
        probabilities = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(pixels)})[0][0]
        said = {
            row["name"].replace("_", " ")
            for row, p in zip(rows, probabilities, strict=True)
            if row["category"] != "9" and p >= threshold
        }
        wanted = set(scene.tags())
        hits, claimed, true = hits + len(said & wanted), claimed + len(said), true + len(wanted)
    return 2 * hits / (claimed + true)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pipe = StableDiffusionPipeline.from_pretrained(sandbox_weights() / "base", safety_checker=None)
    pairs = singles(31, 400)
    mascots, styled = of_subject(32, 200, style=False), of_subject(33, 200, style=True)
    restored = list(zip((s for s, _ in pairs), round_trip(pipe.vae, [i for _, i in pairs]), strict=True))
    renders, trips = judge(pairs), judge(restored)
    base = examine(pipe, count=options.prompts, seed=1234)
    figures = [
        ("judge on true renders, colour", renders["color"], 0.97),
        ("judge on true renders, shape", renders["shape"], 0.97),
        ("judge on true renders, mascot", float(np.mean([detectors.shows_mascot(i) for i in mascots])), 0.97),
        ("judge on true renders, style", float(np.mean([detectors.shows_style(i) for i in styled])), 0.97),
        ("VAE round trip, colour", trips["color"], 0.97),
        ("VAE round trip, shape", trips["shape"], 0.97),
        (
            "VAE round trip, mascot",
            float(np.mean([detectors.shows_mascot(i) for i in round_trip(pipe.vae, mascots)])),
            0.97,
        ),
        (
            "VAE round trip, style",
            float(np.mean([detectors.shows_style(i) for i in round_trip(pipe.vae, styled)])),
            0.97,
        ),
        (f"base, {options.prompts} held-out prompts, colour", base["color"], 0.90),
        (f"base, {options.prompts} held-out prompts, shape", base["shape"], 0.85),
        (
            f"tagger, micro-F1 on {options.pictures} pictures",
            tagger_f1(sandbox_weights() / "tagger", options.pictures),
            0.95,
        ),
    ]
    for name, value, bar in figures:
        log.info("%-46s %6.1f %%   bar %3.0f %%   %s", name, 100 * value, 100 * bar, "ok" if value >= bar else "BELOW")
    if options.json:
        record = {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "figures": {name: round(value, 4) for name, value, _ in figures},
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if all(value >= bar for _, value, bar in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
