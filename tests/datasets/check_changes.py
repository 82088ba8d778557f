"""Changes to a made-up dataset that a check has to see or to let pass.

A change returns the names of the items that have to be found, an empty list for findings about the whole set. What it
touches, and how, varies with the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from lorasmith.datasets.buckets import Frames
from lorasmith.datasets.manifest import Clip, Fate
from tests.datasets.check_scenes import (
    TRIGGER,
    WORDS,
    Alike,
    Scene,
    captioned,
    clean,
    picture,
    plan,
    prose,
    sha,
    some,
    tags,
    with_tag,
)  # fmt: skip
from tests.datasets.check_scenes import family as facts

Change = Callable[[Scene, random.Random], list[str]]


def in_tags(rng: random.Random) -> Scene:
    return clean(rng, caption=tags)


def in_prose(rng: random.Random) -> Scene:
    return clean(rng, caption=prose)


def nothing(scene: Scene, rng: random.Random) -> list[str]:
    return []


def left_out(*files: tuple[str, str]) -> Change:
    """Files of the source that were left out, each path with its rule."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        return [scene.lose(path, rule) for path, rule in rng.sample(files, rng.randint(1, len(files)))]

    return change


def paired(
    *, alone: bool = False, own: bool = False, counts: tuple[int, int] = (1, 1), wider: float = 1.0, larger: float = 1.0
) -> Change:
    """References for all pictures, and what is odd about those of a few, whose names are returned."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        odd = set(some(rng, scene)[: len(scene.items) // 3])
        for place, item in enumerate(scene.items):
            scale, width = (larger, wider) if place in odd else (1.0, 1.0)
            size = (max(1, round(item.width * scale * width)), max(1, round(item.height * scale)))
            those = [sha(f"{item.name} reference {n}") for n in range(counts[1] if place in odd else counts[0])]
            scene.pictures.update(dict.fromkeys(those, size))
            if place in odd and own:
                those[0] = item.image
            scene.change(place, references=() if place in odd and alone else tuple(those))
        return [scene.items[place].name for place in odd]

    return change


def moving(*frames: int, fps: tuple[float, float] = (16.0, 16.0), family: str = "wan") -> Change:
    """Clips for all, those of a few of these many frames and of the second rate; the names of the few."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        taken = Frames(4, 33, 16.0) if family == "wan" else None
        scene.known["family"] = facts(name=family, frames=taken)
        odd = set(some(rng, scene)[: len(scene.items) // 3])
        for place, item in enumerate(scene.items):
            count, rate = (rng.choice(frames), fps[1]) if place in odd else (33, fps[0])
            clip = Clip(video=sha(f"{item.name} video"), frames=count, fps=rate, width=item.width, height=item.height)
            scene.change(place, clip=clip)
        return [scene.items[place].name for place in sorted(odd)]

    return change


def all_moving(family: str) -> Change:
    """Clips for all; the names of all."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        moving(33, family=family)(scene, rng)
        return [item.name for item in scene.items]

    return change


def transformed(*words: str) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        return [scene.done_to(place, rng.choice(words)) for place in some(rng, scene)]

    return change


def seen(**fields: object) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        return [scene.see(place, **fields) for place in some(rng, scene)]

    return change


def written(*texts: str) -> Change:
    """Some captions replaced by these."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        return captioned(scene, some(rng, scene), rng.sample(texts, len(texts)))

    return change


def tagged(*options: str) -> Change:
    """One of these tags, or lists of tags, appended to some captions."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = []
        for place in some(rng, scene):
            names += with_tag(scene, [place], rng.choice(options))
        return names

    return change


def sized(*sizes: tuple[int, int]) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = []
        for place in some(rng, scene):
            width, height = rng.choice(sizes)
            names.append(scene.change(place, width=width, height=height))
        return names

    return change


def known(**arguments: object) -> Change:
    """Something said about the target and nothing changed; a finding about the whole set."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        scene.known |= arguments
        return []

    return change


def both(first: Change, second: Change) -> Change:
    """Two changes; the items are those of both."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        return [*first(scene, rng), *second(scene, rng)]

    return change


def quietly(first: Change, second: Change) -> Change:
    """Two changes; the items are those of the second."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        first(scene, rng)
        return second(scene, rng)

    return change


def numbered(count: int) -> Callable[[random.Random], Scene]:
    return lambda rng: clean(rng, count)


# Files


def missing_blob(scene: Scene, rng: random.Random) -> list[str]:
    places = some(rng, scene)
    for place in places:
        scene.sizes[scene.items[place].image] = None
    return [scene.items[place].name for place in places]


def named(before: str, after: str, **provenance: object) -> Change:
    """Items renamed from one suffix to another."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = []
        for place in some(rng, scene):
            old = scene.items[place]
            name = old.name.replace(before, after)
            new = {**old.provenance, "source": name, **provenance}
            names.append(scene.change(place, name=name, provenance=new))
        return names

    return change


def twin(suffix: str) -> Change:
    """A second picture named like another but for what ``suffix`` says."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        place = rng.randrange(len(scene.items))
        other = scene.items[place]
        name = other.name.replace(".png", suffix)
        scene.items.append(replace(picture(rng, 0, name), caption=tags(rng)))
        return [other.name, name]

    return change


def case_twin(scene: Scene, rng: random.Random) -> list[str]:
    place = rng.randrange(len(scene.items))
    first = scene.change(place, name="Portrait.png", provenance={"source": "Portrait.png"})
    second = replace(picture(rng, 0, "portrait.png"), caption=tags(rng))
    scene.items.append(second)
    return [first, second.name]


def renamed(scene: Scene, rng: random.Random) -> list[str]:
    return [scene.change(p, provenance={**scene.items[p].provenance, "source": "con.png"}) for p in some(rng, scene)]


def of_bytes(size: int, **fields: int) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        places = some(rng, scene)
        for place in places:
            scene.sizes[scene.items[place].original] = size
            scene.change(place, **fields)
        return [scene.items[place].name for place in places]

    return change


def of_format(word: str, first: Change) -> Change:
    """A change whose items came in this format."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = set(first(scene, rng))
        places = [place for place, item in enumerate(scene.items) if item.name in names]
        return [scene.change(p, provenance={**scene.items[p].provenance, "format": word}) for p in places]

    return change


def borrowed(trainer: str) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        scene.known["trainer"] = trainer
        scene.change(0, name="cat.png", provenance={"source": "cat.png"})
        crop = "cat_0_12_90_90.png"
        return [scene.change(1, name=crop, caption="", provenance={"source": crop})]

    return change


# Duplicates


def copied(scene: Scene, rng: random.Random) -> list[str]:
    place = rng.randrange(len(scene.items))
    copy = replace(scene.items[place], name="copy.png", provenance={"source": "copy.png", "caption": "copy.txt"})
    scene.items.append(copy)
    return [scene.items[place].name, copy.name]


def alike(kind: str, *, role: str = "train", same_caption: bool = True) -> Change:
    """A group of two or three; all but its keeper in another role."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        places = rng.sample(range(len(scene.items)), rng.randint(2, 3))
        names = [scene.items[place].name for place in places]
        for place in places[1:]:
            scene.change(place, role=role)
            if same_caption:
                scene.change(place, caption=scene.items[places[0]].caption)
        scene.groups.append(Alike(kind, names[0], tuple(names), 3))
        return names if role == "train" else names[1:]

    return change


def two_captions(scene: Scene, rng: random.Random) -> list[str]:
    names = copied(scene, rng)
    scene.change(len(scene.items) - 1, caption=f"{TRIGGER}, umbrella, wide shot, harbor, fog, striped scarf, night sky")
    return names


# Captions


def blank(*, had_file: bool) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = []
        for place in some(rng, scene):
            kept = {k: v for k, v in scene.items[place].provenance.items() if had_file or k != "caption"}
            names.append(scene.change(place, caption=rng.choice(("", " ", "\n")), provenance=kept))
        return names

    return change


def misread(scene: Scene, rng: random.Random) -> list[str]:
    name = scene.items[rng.randrange(len(scene.items))].name
    scene.ledger.append(Fate(path="x.txt", fate="converted", rule="caption", detail="was read.", item=name))
    return [name]


def without_trigger(scene: Scene, rng: random.Random) -> list[str]:
    return [scene.change(p, caption=scene.items[p].caption.replace(TRIGGER, "someone")) for p in some(rng, scene)]


def reworded_trigger(scene: Scene, rng: random.Random) -> list[str]:
    options = (TRIGGER.upper(), f"({TRIGGER})", f"{TRIGGER}'s", f"photo of {TRIGGER}")
    for place in some(rng, scene):
        scene.change(place, caption=scene.items[place].caption.replace(TRIGGER, rng.choice(options)))
    scene.items.append(replace(picture(rng, 900, "class.png"), caption=tags(rng).replace(TRIGGER, "someone"),
                               role="regularisation"))  # fmt: skip
    return []


def late_trigger(scene: Scene, rng: random.Random) -> list[str]:
    scene.known["plan"] = plan(keep_tokens=1, steps=1500)
    return [scene.change(p, caption=_moved_back(scene.items[p].caption)) for p in some(rng, scene)]


def _moved_back(caption: str) -> str:
    return f"{caption.removeprefix(TRIGGER + ', ')}, {TRIGGER}"


def shared_caption(share: float) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        count = max(1, int(share * len(scene.items)))
        places = rng.sample(range(len(scene.items)), count)
        return captioned(scene, places, [tags(rng)])

    return change


def spelled(usual: str, other: str, times: int = 8) -> Change:
    """One tag on many captions and its other spelling on one or two."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        places = rng.sample(range(len(scene.items)), times + 2)
        with_tag(scene, places[:times], usual)
        return with_tag(scene, places[times : times + rng.randint(1, 2)], other)

    return change


def any_of(*changes: Change) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        return rng.choice(changes)(scene, rng)

    return change


def on_all(tag: str) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        with_tag(scene, range(len(scene.items)), tag)
        return []

    return change


def on_most(tag: str, share: float) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        with_tag(scene, range(int(share * len(scene.items))), tag)
        return []

    return change


def list_of_tags(scene: Scene, rng: random.Random) -> list[str]:
    listed = {word.replace(" ", "_") for words in WORDS.values() for word in words} | {"solo", "saber_(fate)"}
    scene.known["known_tags"] = frozenset(listed)
    return []


# Sets


def concepts(few: int, repeats: int) -> Change:
    """Two concepts, the second of a few pictures with these repeats, the first of the others with one."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        for place in range(len(scene.items)):
            scene.change(place, concept="b" if place < few else "a", repeats=repeats if place < few else 1)
        return [item.name for item in scene.items[:few]]

    return change


def foldered(*folders: str) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = []
        for place, item in enumerate(list(scene.items)):
            folder = folders[place % len(folders)]
            name = scene.change(place, name=f"{folder}/{item.name}", provenance={"source": f"{folder}/{item.name}"})
            if not folder[0].isdigit():
                names.append(name)
        return names

    return change


def one_size(scene: Scene, rng: random.Random) -> list[str]:
    for place in range(len(scene.items)):
        scene.change(place, width=768, height=768)
    return []


def odd_one_out(scene: Scene, rng: random.Random) -> list[str]:
    one_size(scene, rng)
    scene.known["plan"] = plan(batch_size=4, steps=600)
    return [scene.change(0, width=640, height=960)]


def burst(scene: Scene, rng: random.Random) -> list[str]:
    names = tuple(item.name for item in scene.items)
    scene.groups.append(Alike("similar", names[0], names[: int(0.8 * len(names))], 6))
    return []


def addressed(**more: str) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        return [scene.done_to(p, source_url="https://example.org/1", **more) for p in some(rng, scene)]

    return change


def rated(*ratings: str) -> Change:
    """Ratings in turn; the items are those rated explicit."""

    def change(scene: Scene, rng: random.Random) -> list[str]:
        names = []
        for place in range(len(scene.items)):
            rating = ratings[place % len(ratings)]
            names += with_tag(scene, [place], rating) if "explicit" in rating else []
            if "explicit" not in rating:
                with_tag(scene, [place], rating)
        return names

    return change


def large_and_small(small: tuple[int, int], large: tuple[int, int]) -> Change:
    def change(scene: Scene, rng: random.Random) -> list[str]:
        few = max(2, len(scene.items) // 5)
        for place in range(len(scene.items)):
            width, height = small if place < few else large
            scene.change(place, width=width, height=height)
        return [item.name for item in scene.items[:few]]

    return change


def without(scene: Scene, words: tuple[str, ...]) -> Scene:
    """A scene whose captions lack these tags, so that a change alone says something about them."""
    for place, item in enumerate(scene.items):
        kept = [tag for tag in item.caption.split(", ") if tag not in words]
        scene.change(place, caption=", ".join([*kept, "plaster wall"]) if place % 2 else ", ".join(kept))
    return scene
