"""Generated photographs, drawings and damage, so that recall and false alarms can be counted."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lorasmith.sandbox import world


def photograph(rng: np.random.Generator, width: int = 1024, height: int = 768) -> Image.Image:
    """Colours and texture at every scale (each octave alike, as in photographs), objects with edges, a little noise."""
    clouds = np.zeros((height, width, 3), np.float32)
    cells = 3
    while cells < max(width, height):
        coarse = rng.normal(0, 1, (max(2, cells * height // width), cells, 3)).astype(np.float32)
        coarse = 0.7 * coarse.mean(axis=2, keepdims=True) + 0.3 * coarse
        layers = [Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        clouds += np.stack([np.asarray(layer) for layer in layers], -1) * 14.0
        cells = cells * 2 + 1
    clouds += rng.uniform(90, 150, 3).astype(np.float32)
    image = Image.fromarray(np.clip(clouds, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 9))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.03, 0.2) * width
        shape = world.SHAPES[int(rng.integers(len(world.SHAPES)))]
        color = tuple(int(v) for v in rng.integers(20, 236, 3))
        pen.polygon(world.outline(shape, x, y, radius, rng.uniform(0, 360)), fill=color)
    grain = rng.normal(0, 2.0, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def drawing(rng: np.random.Generator, side: int = 768) -> Image.Image:
    """Flat shapes with clean edges on one ground."""
    canvas = Image.new("RGB", (2 * side, 2 * side), tuple(int(v) for v in rng.integers(0, 256, 3)))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(2, 9))):
        x, y = rng.uniform(0, 2 * side, 2)
        shape = world.SHAPES[int(rng.integers(len(world.SHAPES)))]
        points = world.outline(shape, x, y, rng.uniform(0.05, 0.4) * side, rng.uniform(0, 360))
        pen.polygon(points, fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return canvas.reduce(2)


def scene(rng: np.random.Generator) -> Image.Image:
    """One of the sandbox's: one or two shapes on a plain background, 128 pixels."""
    return world.draw(world.sample_scene(rng), rng)


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def enlarged(image: Image.Image, factor: float, how: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The same size, of which only 1/factor is its own."""
    small = image.resize((round(image.width / factor), round(image.height / factor)), Image.Resampling.LANCZOS)
    return small.resize(image.size, how)


def letterboxed(image: Image.Image, share: float, color: tuple[int, int, int], *, upright: bool) -> Image.Image:
    """Within bars that take that share of the height (or, upright, of the width), half on either side."""
    canvas = Image.new("RGB", image.size, color)
    bar = round(share / 2 * (image.width if upright else image.height))
    if upright:
        canvas.paste(image.crop((bar, 0, image.width - bar, image.height)), (bar, 0))
    else:
        canvas.paste(image.crop((0, bar, image.width, image.height - bar)), (0, bar))
    return canvas


def watermarked(image: Image.Image, text: str, alpha: int, place: tuple[float, float]) -> Image.Image:
    """Text in white over the picture, 1/25 of its height, at a place given as shares of width and height."""
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    font = ImageFont.load_default(size=image.height / 25)
    position = (place[0] * image.width, place[1] * image.height)
    ImageDraw.Draw(layer).text(position, text, font=font, fill=(255, 255, 255, alpha))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
