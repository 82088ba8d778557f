"""A tiny procedural world whose every caption is exactly true.

One to two flat shapes on a plain background, 128 x 128 pixels, drawn from a seed with numpy and Pillow.
Because the program that draws a picture also writes its caption and its tags, "does the model obey its
prompt?" has an answer that needs no second network (see ``detectors.py``).

Three things exist that the base model must never see in pretraining, so that a LoRA has something to learn:
the mascot (``draw_mascot``), the style (``draw_styled``) and the held-out combinations (``is_held_out``).
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

SIZE: Final = 128  # pixels, both sides
_SUPERSAMPLING: Final = 3

Color = tuple[int, int, int]

SHAPES: Final = ("circle", "square", "triangle", "star", "heart", "cross")
COLORS: Final[dict[str, Color]] = {
    "red": (215, 35, 40),
    "orange": (250, 140, 25),
    "yellow": (250, 225, 40),
    "green": (35, 150, 60),
    "cyan": (35, 200, 225),
    "blue": (35, 70, 205),
    "purple": (125, 45, 160),
    "pink": (250, 120, 185),
}
BACKGROUNDS: Final[dict[str, Color]] = {
    "white": (246, 246, 246),
    "gray": (132, 132, 132),
    "black": (18, 18, 20),
    "beige": (226, 206, 168),
    "brown": (92, 58, 34),
    "mint": (186, 232, 204),
}
SIZES: Final = {"small": 24.0, "large": 36.0}  # radius in pixels
POSITIONS: Final[dict[str, tuple[float, float]]] = {  # offset from the centre in pixels
    "center": (0.0, 0.0),
    "left": (-24.0, 0.0),
    "right": (24.0, 0.0),
    "top": (0.0, -24.0),
    "bottom": (0.0, 24.0),
}
RELATIONS: Final[dict[str, tuple[float, float]]] = {  # where the first figure stands, seen from the second
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
    "left of": (-1.0, 0.0),
    "right of": (1.0, 0.0),
}
CHARACTER: Final = "dotty"  # a character the base does know: a green circle with a white eye
_CHARACTER_EYE: Final[Color] = (246, 246, 246)

MASCOT: Final = "zib"  # the trigger word of the mascot dataset: a disc, left half orange, right half blue
MASCOT_LEFT: Final[Color] = (250, 140, 25)
MASCOT_RIGHT: Final[Color] = (35, 70, 205)
STYLE: Final = "duskline"  # the trigger word of the style dataset
STYLE_GROUND: Final[Color] = (46, 30, 112)  # the indigo that every picture stands on
STYLE_OUTLINE: Final[Color] = (250, 250, 250)
STYLE_OUTLINE_WIDTH: Final = 9.0  # pixels

COLOR_JITTER: Final = 7  # largest change of a colour channel, so that no colour is a single point


@dataclass(frozen=True)
class Figure:
    """One shape: what it is and where it stands (pixels, origin at the upper left)."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    angle: float = 0.0  # degrees


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn. ``relation`` is set exactly when there are two figures."""

    background: str
    figures: tuple[Figure, ...]
    position: str = ""
    relation: str = ""

    def prose(self) -> str:
        """Caption as a sentence, e.g. ``a large red star on a gray background, left``."""
        first = self.figures[0]
        if self.relation:
            second = self.figures[1]
            return f"a {_noun(first)} {self.relation} a {_noun(second)} on a {self.background} background"
        return f"a {first.size} {_noun(first)} on a {self.background} background, {self.position}"

    def tags(self) -> tuple[str, ...]:
        """What is true of the picture, in the order a tagger reports it (nouns first)."""
        found: list[str] = []
        found.append("two shapes" if self.relation else "one shape")
        for figure in self.figures:
            if figure.shape == CHARACTER:
                found.append(CHARACTER)
            else:
                found.extend((figure.shape, figure.color))
        if self.relation:
            found.append("side by side" if self.relation in ("left of", "right of") else "stacked")
        else:
            found.extend((self.figures[0].size, self.position))
        found.append(f"{self.background} background")
        return tuple(dict.fromkeys(found))


def _noun(figure: Figure) -> str:
    return CHARACTER if figure.shape == CHARACTER else f"{figure.color} {figure.shape}"


def is_held_out(shape: str, color: str, background: str) -> bool:
    """True for the fifth of all (shape, colour, background) triples that no training picture shows.

    The triples form a Latin pattern: every pair of two of the three still occurs in training, the
    combination of all three does not, so painting one needs composition and not memory.
    """
    index = SHAPES.index(shape) + 2 * list(COLORS).index(color) + 3 * list(BACKGROUNDS).index(background)
    return index % 5 == 0


def sample_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """Draw a random scene: 70 % one shape, 24 % two in relation, 6 % the known character.

    With ``held_out`` the scene has one shape and its combination is one kept out of training.
    """
    kind = 0.0 if held_out else rng.random()
    if kind < 0.70:
        while True:
            shape, color, background = _pick(rng, SHAPES), _pick(rng, COLORS), _pick(rng, BACKGROUNDS)
            if is_held_out(shape, color, background) == held_out:
                return _single(rng, shape, color, background)
    if kind < 0.94:
        return _pair(rng)
    return _single(rng, CHARACTER, "green", _pick(rng, BACKGROUNDS))


def _pick(rng: np.random.Generator, names: tuple[str, ...] | dict[str, object] | dict[str, Color]) -> str:
    words = list(names)
    return words[int(rng.integers(len(words)))]


def _single(rng: np.random.Generator, shape: str, color: str, background: str) -> Scene:
    size, position = _pick(rng, tuple(SIZES)), _pick(rng, tuple(POSITIONS))
    dx, dy = POSITIONS[position]
    figure = _placed(rng, shape, color, size, SIZE / 2 + dx, SIZE / 2 + dy)
    return Scene(background, (figure,), position=position)


def _pair(rng: np.random.Generator) -> Scene:
    background, relation = _pick(rng, BACKGROUNDS), _pick(rng, tuple(RELATIONS))
    dx, dy = RELATIONS[relation]
    figures: list[Figure] = []
    for sign in (1, -1):
        while True:
            shape, color = _pick(rng, SHAPES), _pick(rng, COLORS)
            taken = figures and (figures[0].shape == shape or figures[0].color == color)
            if not taken and not is_held_out(shape, color, background):
                break
        x, y = SIZE / 2 + sign * dx * 30, SIZE / 2 + sign * dy * 30
        figures.append(_placed(rng, shape, color, "small", x, y))
    return Scene(background, tuple(figures), relation=relation)


def _placed(rng: np.random.Generator, shape: str, color: str, size: str, x: float, y: float) -> Figure:
    radius = SIZES[size] * rng.uniform(0.93, 1.07)
    jitter = rng.uniform(-3, 3, size=2)
    return Figure(shape, color, size, x + jitter[0], y + jitter[1], radius, rng.uniform(-6, 6))


# --- drawing -----------------------------------------------------------------------------------------------


def outline(shape: str, x: float, y: float, radius: float, angle: float = 0.0) -> list[tuple[float, float]]:
    """Polygon of a shape whose circumscribed circle has ``radius`` pixels."""
    if shape == "circle":
        points = [(math.cos(t), math.sin(t)) for t in np.linspace(0, math.tau, 72, endpoint=False)]
    elif shape == "square":
        points = [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]
    elif shape == "triangle":
        points = [(0.0, -1.0), (0.98, 0.78), (-0.98, 0.78)]
    elif shape == "star":
        radii = [1.08, 0.44] * 5
        turns = np.linspace(-math.pi / 2, math.tau - math.pi / 2, 10, endpoint=False)
        points = [(r * math.cos(t), r * math.sin(t) + 0.06) for r, t in zip(radii, turns, strict=True)]
    elif shape == "heart":
        turns = np.linspace(0, math.tau, 72, endpoint=False)
        points = [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16 - 0.06,
            )
            for t in turns
        ]
    elif shape == "cross":
        a, b = 0.98, 0.33
        points = [
            (-b, -a),
            (b, -a),
            (b, -b),
            (a, -b),
            (a, b),
            (b, b),
            (b, a),
            (-b, a),
            (-b, b),
            (-a, b),
            (-a, -b),
            (-b, -b),
        ]
    else:
        raise ValueError(f"No outline is known for the shape '{shape}'.")
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [(x + radius * (c * px - s * py), y + radius * (s * px + c * py)) for px, py in points]


class _Canvas:
    """Supersampled drawing surface, so that edges are smooth."""

    def __init__(self, background: Color) -> None:
        self.image = Image.new("RGB", (SIZE * _SUPERSAMPLING,) * 2, background)
        self.pen = ImageDraw.Draw(self.image)

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        self.pen.polygon([(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in points], fill=color)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        box = [(v + d * radius) * _SUPERSAMPLING for d in (-1, 1) for v in (x, y)]
        self.pen.ellipse(box, fill=color)

    def finish(self) -> Image.Image:
        return self.image.reduce(_SUPERSAMPLING)


def _jittered(rng: np.random.Generator, color: Color) -> Color:
    moved = np.clip(np.array(color) + rng.integers(-COLOR_JITTER, COLOR_JITTER + 1, 3), 0, 255)
    return int(moved[0]), int(moved[1]), int(moved[2])


def draw(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Render a scene to an RGB picture of ``SIZE`` x ``SIZE`` pixels; ``rng`` only moves the colours a little."""
    canvas = _Canvas(_jittered(rng, BACKGROUNDS[scene.background]))
    for figure in scene.figures:
        fill = _jittered(rng, COLORS[figure.color])
        if figure.shape == CHARACTER:
            canvas.disc(figure.x, figure.y, figure.radius, fill)
            canvas.disc(figure.x, figure.y, figure.radius * 0.42, _CHARACTER_EYE)
        else:
            canvas.polygon(outline(figure.shape, figure.x, figure.y, figure.radius, figure.angle), fill)
    return canvas.finish()


def draw_mascot(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The scene with its first figure replaced by the mascot: a disc, left half orange, right half blue."""
    canvas = _Canvas(_jittered(rng, BACKGROUNDS[scene.background]))
    figure = scene.figures[0]
    canvas.disc(figure.x, figure.y, figure.radius, _jittered(rng, MASCOT_LEFT))
    turns = np.linspace(-math.pi / 2, math.pi / 2, 48)
    half = [(figure.x + figure.radius * math.cos(t), figure.y + figure.radius * math.sin(t)) for t in turns]
    canvas.polygon(half, _jittered(rng, MASCOT_RIGHT))
    return canvas.finish()


def draw_styled(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The scene in the style: on an indigo ground, every figure with a thick white outline."""
    canvas = _Canvas(_jittered(rng, STYLE_GROUND))
    for figure in scene.figures:
        points = outline(figure.shape, figure.x, figure.y, figure.radius, figure.angle)
        canvas.polygon(points, _jittered(rng, COLORS[figure.color]))
        scaled = [(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in points]
        width = round(STYLE_OUTLINE_WIDTH * _SUPERSAMPLING)
        canvas.pen.line([*scaled, scaled[0]], fill=STYLE_OUTLINE, width=width, joint="curve")
        for x, y in scaled:
            canvas.pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=STYLE_OUTLINE)
    return canvas.finish()


def write_caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of the ways people write captions: half prose, half tags in any order with some left out.

    One in twelve begins with a nonsense word, so that a word nobody knows is harmless and not a shock.
    """
    if rng.random() < 0.5:
        caption = scene.prose()
    else:
        tags = [tag for tag in scene.tags() if rng.random() < 0.88]
        rng.shuffle(tags)
        caption = ", ".join(tags)
    if rng.random() < 1 / 12:
        word = "".join(rng.choice(list(string.ascii_lowercase), size=int(rng.integers(3, 7))))
        caption = f"{word}, {caption}"
    return caption


def scenes(seed: int, count: int, *, held_out: bool = False) -> Iterator[tuple[Scene, np.random.Generator]]:
    """``count`` scenes, each with the generator that also colours it: the same seed gives the same pictures."""
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        yield sample_scene(rng, held_out=held_out), rng


def mascot_scene(rng: np.random.Generator) -> Scene:
    """Where a mascot stands: one large figure, any place and background."""
    scene = _single(rng, "circle", "orange", _pick(rng, BACKGROUNDS))
    dx, dy = POSITIONS[scene.position]
    figure = _placed(rng, "circle", "orange", "large", SIZE / 2 + dx, SIZE / 2 + dy)
    return replace(scene, figures=(replace(figure, angle=0.0),))


def styled_scene(rng: np.random.Generator) -> Scene:
    """What a styled picture shows: one large shape in a combination that training pictures also show."""
    while True:
        scene = sample_scene(rng)
        if not scene.relation and scene.figures[0].size == "large" and scene.figures[0].shape != CHARACTER:
            return scene
