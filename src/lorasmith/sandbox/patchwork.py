"""A far wider world than the base's, for the VAE alone.

An adapter can only look right where the VAE can show it, so the VAE is trained on many-coloured patchwork:
gradients, stripes, checks, soft noise, outlines, split and dotted objects in any colour. The mascot and the
style are not among them by name, but everything they are made of is.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from lorasmith.sandbox import world

_SCALE = 2
_SIDE = world.SIZE * _SCALE


def draw_patchwork(rng: np.random.Generator) -> Image.Image:
    """One random picture, RGB, ``world.SIZE`` pixels square: 30 % world scenes, the rest anything."""
    if rng.random() < 0.30:
        return world.draw(world.sample_scene(rng), rng)
    image = Image.fromarray(_ground(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 6))):
        _draw_object(pen, rng)
    return image.reduce(_SCALE)


def _color(rng: np.random.Generator) -> world.Color:
    """Half the time near a colour of the world (where fidelity matters most), else any colour at all."""
    if rng.random() < 0.5:
        known = list({**world.COLORS, **world.BACKGROUNDS}.values())
        value = np.array(known[int(rng.integers(len(known)))]) + rng.integers(-20, 21, 3)
    else:
        value = rng.integers(0, 256, 3)
    r, g, b = (int(v) for v in np.clip(value, 0, 255))
    return r, g, b


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Background, uint8 (side, side, 3): flat, gradient, stripes, checks or soft noise."""
    first, second = (np.array(_color(rng), np.float32) for _ in range(2))
    kind = rng.random()
    if kind < 0.40:
        mask = np.zeros((_SIDE, _SIDE), np.float32)
    elif kind < 0.90:
        angle = rng.uniform(0, math.tau) if rng.random() < 0.5 else rng.integers(4) * math.pi / 2
        y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32) / _SIDE - 0.5
        along = x * math.cos(angle) + y * math.sin(angle)
        period = rng.uniform(0.07, 0.4)
        if kind < 0.65:
            mask = np.clip(along + 0.5, 0, 1)
        elif kind < 0.80:
            mask = (along / period % 1 < rng.uniform(0.3, 0.7)).astype(np.float32)
        else:
            across = -x * math.sin(angle) + y * math.cos(angle)
            mask = ((along / period % 1 < 0.5) ^ (across / period % 1 < 0.5)).astype(np.float32)
    else:
        cells = int(rng.integers(3, 17))
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        return np.asarray(noise.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)).copy()
    ground = (1 - mask[..., None]) * first + mask[..., None] * second
    return ground.round().astype(np.uint8)


def _draw_object(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0, _SIDE, 2)
    radius = rng.uniform(10, 42) * _SCALE
    shape = world.SHAPES[int(rng.integers(len(world.SHAPES)))]
    points = world.outline(shape, x, y, radius, rng.uniform(-30, 30))
    pen.polygon(points, fill=_color(rng))
    finish = rng.random()
    if finish < 0.25:  # two halves
        turn = rng.uniform(0, math.tau) if rng.random() < 0.5 else rng.integers(4) * math.pi / 2
        arc = np.linspace(turn, turn + math.pi, 32)
        if shape == "circle":
            pen.polygon([(x + radius * math.cos(t), y + radius * math.sin(t)) for t in arc], fill=_color(rng))
        else:
            pen.polygon(_half(points, x, y, turn), fill=_color(rng))
    elif finish < 0.50:  # an outline
        width = int(rng.integers(2, 10)) * _SCALE
        pen.line([*points, points[0]], fill=_color(rng), width=width, joint="curve")
    elif finish < 0.70:  # a dot or a ring
        inner = radius * rng.uniform(0.2, 0.7)
        pen.ellipse((x - inner, y - inner, x + inner, y + inner), fill=_color(rng))
    elif finish < 0.80:  # a bar across
        half, thick = radius * rng.uniform(0.5, 1.0), radius * rng.uniform(0.1, 0.3)
        pen.rectangle((x - half, y - thick, x + half, y + thick), fill=_color(rng))


def _half(points: list[tuple[float, float]], x: float, y: float, turn: float) -> list[tuple[float, float]]:
    """The part of a polygon around (x, y) that lies on one side, with the centre line as its edge."""
    side = [(px, py) for px, py in points if (px - x) * math.cos(turn) + (py - y) * math.sin(turn) >= 0]
    return side if len(side) >= 3 else points
