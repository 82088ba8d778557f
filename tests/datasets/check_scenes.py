"""Made-up datasets for the checks: a clean one, drawn anew for every seed, and for each check what must trigger it
and what comes close and must not."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lorasmith.datasets.checks import CheckContext, FamilyFacts, TrainingPlan
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation

TRIGGER = "zorbix"
WORDS = {
    "shot": ("full body", "upper body", "portrait", "cowboy shot", "wide shot"),
    "look": ("smile", "frown", "laughing", "serious", "surprised", "winking", "sleepy", "blush"),
    "act": ("standing", "sitting", "walking", "running", "lying", "reading", "dancing", "cooking", "jumping"),
    "place": ("forest", "beach", "kitchen", "library", "street", "garden", "mountain", "castle", "classroom", "harbor"),
    "light": ("sunlight", "moonlight", "lamplight", "overcast", "backlighting", "sunset", "candle", "fog"),
    "wear": ("red coat", "white shirt", "green dress", "striped scarf", "leather boots", "straw hat", "blue jeans"),
    "view": ("from side", "from behind", "from above", "looking back", "looking up", "profile", "dutch angle"),
    "thing": ("umbrella", "guitar", "book", "basket", "lantern", "bicycle", "teapot", "flower", "sword", "camera"),
}
SENTENCES = (
    "a person in a {wear} is {act} near the {place} with a {thing} in the hands, and the {light} falls from the left",
    "the {thing} lies on a table beside a person who wears a {wear}, while the {place} is seen in the {light}",
    "under the {light} of the {place}, someone with a {look} face holds a {thing} and looks at the viewer calmly",
)
SIZES = ((768, 768), (1024, 1024), (640, 960), (960, 640), (832, 1152), (1152, 832), (1024, 768), (768, 1024))


@dataclass(frozen=True)
class Seen:
    """What was measured of a picture, as ``datasets.signals.Signals`` says it; a sound one unless told otherwise."""

    sharpness: float = 620.0
    jpeg_quality: int | None = None
    border_share: float = 0.0
    is_gray: bool = False
    is_blurred: bool = False
    is_soft: bool = False
    is_too_dark: bool = False
    is_too_bright: bool = False
    is_low_contrast: bool = False
    has_borders: bool = False
    is_low_quality_jpeg: bool = False
    is_blocky: bool = False
    is_upscaled: bool = False


@dataclass(frozen=True)
class Alike:
    """A group of duplicates, as ``datasets.duplicates.DuplicateGroup`` says it."""

    kind: str
    keeper: str
    members: tuple[str, ...]
    distance: int = 0


@dataclass(frozen=True)
class Mark:
    """A common overlay, as ``datasets.overlay.Overlay`` says it."""

    z: float
    having: tuple[int, ...] = (0, 1, 2, 3)
    box: tuple[float, float, float, float] = (0.05, 0.9, 0.3, 0.97)


@dataclass
class Shelf:
    """A store without pictures: every hash is a file of 100 kB unless another size, or None for missing, is set."""

    home: Path
    sizes: dict[str, int | None] = field(default_factory=dict)
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Hashes that are true files, of this width and height."""

    def blob_path(self, sha256: str) -> Path:
        if sha256 in self.pictures:
            width, height = self.pictures[sha256]
            path = self.home / f"{width}x{height}.png"
            if not path.exists():
                Image.new("L", (width, height)).save(path)
            return path
        size = self.sizes.get(sha256, 100_000)
        if size is None:
            return self.home / "missing"
        path = self.home / f"{size}.blob"
        if not path.exists():
            with path.open("wb") as stream:
                stream.truncate(size)
        return path

    def open_image(self, item: Item) -> Image.Image:
        return Image.new("RGB", (item.width, item.height))


@dataclass
class Scene:
    """A dataset under construction and what is known beside it."""

    items: list[Item]
    ledger: list[Fate] = field(default_factory=list)
    sizes: dict[str, int | None] = field(default_factory=dict)
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    signals: dict[str, Seen] = field(default_factory=dict)
    groups: list[Alike] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)
    """More arguments of ``CheckContext``."""

    def change(self, place: int, **fields: Any) -> str:
        """Change one item; returns its name."""
        self.items[place] = replace(self.items[place], **fields)
        return self.items[place].name

    def done_to(self, place: int, *transforms: str, **provenance: Any) -> str:
        """Say that this was done to an item's pixels on import."""
        old = self.items[place].provenance
        return self.change(place, provenance={**old, "transforms": list(transforms), **provenance})

    def see(self, place: int, **fields: Any) -> str:
        """Say what was measured of an item."""
        name = self.items[place].name
        self.signals[name] = replace(self.signals[name], **fields)
        return name

    def lose(self, path: str, rule: str, detail: str = "says why.") -> str:
        """A file that the import left out."""
        self.ledger.append(Fate(path=path, fate="left_out", rule=rule, detail=detail))
        return path

    def version(self) -> DatasetVersion:
        return DatasetVersion(
            dataset="scene",
            number=1,
            parent=None,
            operation=Operation(name="import"),
            created="2026-01-01T00:00:00+00:00",
            items=tuple(self.items),
            ledger=tuple(self.ledger),
        )

    def context(self, home: Path) -> CheckContext:
        arguments: dict[str, Any] = {"trigger_word": TRIGGER, "free_disk": 10**12}
        arguments["compared"] = [item.name for item in self.items]
        return CheckContext(
            self.version(),
            Shelf(home, self.sizes, self.pictures),
            signals=self.signals,
            groups=self.groups,
            **(arguments | self.known),
        )


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def tags(rng: random.Random) -> str:
    kinds = rng.sample(sorted(WORDS), rng.randint(6, 8))
    return ", ".join([TRIGGER, "solo", *(rng.choice(WORDS[kind]) for kind in kinds)])


def prose(rng: random.Random) -> str:
    sentence = rng.choice(SENTENCES).format(**{kind: rng.choice(words) for kind, words in WORDS.items()})
    return f"{TRIGGER}, {sentence}."


def picture(rng: random.Random, number: int, name: str = "") -> Item:
    width, height = rng.choice(SIZES)
    name = name or f"{number:04d}.png"
    return Item(
        name=name,
        image=sha(f"{name} {rng.random()}"),
        original=sha(f"{name} original {rng.random()}"),
        width=width,
        height=height,
        caption="",
        provenance={"source": name, "transforms": [], "format": "PNG", "caption": f"{name}.txt"},
    )


def clean(rng: random.Random, count: int = 0, caption: Callable[[random.Random], str] | None = None) -> Scene:
    """A sound dataset; captioned in tags three times out of four, else in prose."""
    number = count or rng.randint(16, 40)
    written = caption or rng.choice((tags, tags, tags, prose))
    items = [replace(picture(rng, n), caption=written(rng)) for n in range(number)]
    items = [replace(i, caption=i.caption.replace(", solo", "")) if rng.random() < 0.5 else i for i in items]
    scene = Scene(items)
    scene.signals = {item.name: Seen(sharpness=rng.uniform(200, 900)) for item in items}
    return scene


def some(rng: random.Random, scene: Scene, most: int = 4) -> list[int]:
    """A few places of a scene."""
    return sorted(rng.sample(range(len(scene.items)), rng.randint(1, most)))


def family(**fields: Any) -> FamilyFacts:
    return FamilyFacts(**fields)


def plan(**fields: Any) -> TrainingPlan:
    return TrainingPlan(**fields)


def captioned(scene: Scene, places: Sequence[int], texts: Sequence[str]) -> list[str]:
    """Give items these captions; returns their names."""
    return [scene.change(place, caption=texts[n % len(texts)]) for n, place in enumerate(places)]


def with_tag(scene: Scene, places: Sequence[int], tag: str) -> list[str]:
    """Append a tag to items' captions; returns their names."""
    return [scene.change(place, caption=f"{scene.items[place].caption}, {tag}") for place in places]
