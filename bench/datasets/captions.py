"""Every caption operation previewed on 100,000 made-up captions of 12 tags, and applied to 10,000 of them.

    python bench/datasets/captions.py [--captions 100000] [--limit 0.5] [--mixed] [--json FILE]

Prints the time that making the index takes, then for every operation how many captions it changes, the best of three
previews (wall and processor time) and the time to apply it to 10,000. The exit status is 1 when a preview took longer
than the limit or applying longer than a second, in processor time.

``--mixed`` takes captions of every kind in place of tags alone: six in ten are tags, two are prose, one is tags and a
sentence, one is several lines.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from lorasmith.datasets.captions.bulk import CaptionIndex  # noqa: E402
from lorasmith.datasets.captions.operations import operation_from  # noqa: E402
from lorasmith.datasets.manifest import Item  # noqa: E402

T = TypeVar("T")

ADJECTIVES = [
    "blue",
    "red",
    "green",
    "long",
    "short",
    "white",
    "black",
    "small",
    "large",
    "open",
    "closed",
    "striped",
    "wet",
    "torn",
    "golden",
    "silver",
]
NOUNS = [
    "hair",
    "eyes",
    "shirt",
    "dress",
    "hat",
    "sky",
    "gloves",
    "boots",
    "ribbon",
    "skirt",
    "jacket",
    "smile",
    "flower",
    "sword",
    "window",
    "river",
]
FACES = ["^_^", ">_<", "o_o", ";)", ":d"]


class WordCounter:
    """Stands for a tokenizer: a token per word and per comma."""

    separable = True

    def count(self, text: str) -> int:
        return len(text.split()) + text.count(",")


def captions(count: int, seed: int = 0) -> list[str]:
    """Lines of about twelve tags, common and rare ones, in both spellings, some doubled."""
    rng = random.Random(seed)
    pairs = [f"{adjective}{space}{noun}" for adjective in ADJECTIVES for noun in NOUNS for space in " _"]
    rare = [f"{noun} {number}" for noun in NOUNS for number in range(400)]
    vocabulary = [*NOUNS, *FACES, r"saber \(fate\)", "poster (object)", *pairs, *rare]
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
    rng.shuffle(vocabulary)
    made = []
    for _ in range(count):
        tags = rng.choices(vocabulary, weights, k=rng.randint(9, 15))
        made.append(", ".join(["1girl", *tags]))
    return made


def mixed_captions(count: int, seed: int = 0) -> list[str]:
    """Captions of every kind, most of them distinct."""
    rng = random.Random(seed)
    made = captions(count, seed)
    for place in range(count):
        kind = place % 10
        scene = (rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(ADJECTIVES), rng.choice(NOUNS), place)
        prose = "A photograph of a girl with a {} {} in front of a {} {}, number {}. The light is soft.".format(*scene)
        if kind in (3, 7):
            made[place] = prose
        elif kind == 5:
            made[place] = f"{made[place]}, {prose}"
        elif kind == 9:
            made[place] = f"{made[place]}\n{prose}"
    return made


def operations(names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Each operation at least once, with options that make it touch much."""
    others = dict.fromkeys(names, "1girl, watercolor, blue hair")
    return [
        ("add_trigger_word", {"word": "ohwx"}),
        ("add_trigger_word", {"word": "ohwx", "position": "end"}),
        ("add_trigger_word", {"word": "ohwx", "position": "random"}),
        ("fill_placeholder", {"word": "ohwx"}),
        ("find_and_replace", {"find": "1girl", "replace": "girl"}),
        ("find_and_replace", {"find": "blue", "replace": "azure", "scope": "word"}),
        ("find_and_replace", {"find": "girl", "replace": "woman", "scope": "phrase", "ignore_case": True}),
        ("find_and_replace", {"find": "1girl,", "replace": "a girl,", "scope": "phrase"}),
        ("find_and_replace", {"find": r"(\w+)[ _]hair", "replace": r"hair (\1)", "scope": "regex"}),
        ("rename_tag", {"tag": "1girl", "to": "one girl"}),
        ("remove_tags", {"tags": ["1girl"]}),
        ("remove_tags", {"pattern": "* hair"}),
        ("remove_tags", {"tags": ["1girl"], "occurrences": "last"}),
        ("apply_blacklist", {"tags": ["blue *", "* 1??", "hat"]}),
        ("remove_duplicates", {}),
        ("merge_general", {}),
        ("apply_implications", {"implications": {"blue hair": "hair", "1girl": ["person", "human"]}}),
        ("apply_implications", {"implications": {"blue hair": "hair", "1girl": ["person", "human"]}, "how": "add"}),
        ("sort_tags", {}),
        ("sort_tags", {"by": "frequency", "keep_tokens": 1}),
        ("sort_tags", {"first": ["blue hair", "hat"], "trigger_word": "1girl"}),
        ("insert_tag", {"tag": "photo", "position": 3}),
        ("move_tag", {"tag": "1girl", "position": -1}),
        ("clean_up", {}),
        ("underscores_to_spaces", {}),
        ("spaces_to_underscores", {}),
        ("add_prefix", {"text": "photo of "}),
        ("add_suffix", {"text": ", watercolor"}),
        ("keep_first", {"count": 5}),
        ("limit_tokens", {"limit": 20}),
        ("append_captions", {"captions": others}),
        ("copy_captions", {"captions": others}),
    ]  # fmt: skip


def timed(action: Callable[[], T], best_of: int = 1) -> tuple[T, float, float]:
    """What it gives, and the least wall and processor time in seconds."""
    walls, cpus = [], []
    for _ in range(best_of):
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return result, min(walls), min(cpus)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--limit", type=float, default=0.5)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    items = [
        Item(name=f"{number:06}.png", image="0" * 64, original="0" * 64, width=1024, height=1024, caption=caption)
        for number, caption in enumerate((mixed_captions if options.mixed else captions)(options.captions))
    ]
    index, wall, cpu = timed(lambda: CaptionIndex(items, counter=WordCounter()))
    few = CaptionIndex(items[:10_000], counter=WordCounter())
    sys.stdout.write(f"{len(items):,} captions, index made in {wall:.2f} s wall, {cpu:.2f} s cpu\n\n")
    sys.stdout.write(f"{'operation':<58} {'changed':>8} {'preview s':>10} {'cpu s':>7} {'apply 10k s':>12}\n")
    slow, rows = [], []
    for name, arguments in operations([item.name for item in items]):
        operation = operation_from(name, arguments)
        shown, wall, cpu = timed(lambda operation=operation: index.preview(operation), best_of=3)  # type: ignore[misc]
        _, applied, applied_cpu = timed(lambda operation=operation: few.apply(operation), best_of=2)  # type: ignore[misc]
        said = f"{name} {', '.join(f'{key}={str(value)[:16]}' for key, value in arguments.items())}"
        sys.stdout.write(f"{said[:58]:<58} {shown.changed:>8,} {wall:>10.3f} {cpu:>7.3f} {applied:>12.3f}\n")
        rows.append({"operation": said, "changed": shown.changed, "seconds": wall, "processor_seconds": cpu})
        rows[-1]["apply_10k_processor_seconds"] = applied_cpu
        if cpu > options.limit or applied_cpu > 1:
            slow.append(name)
    sys.stdout.write(f"\ntoo slow: {', '.join(slow) or 'none'}\n")
    if options.json:
        options.json.write_text(json.dumps({"captions": len(items), "operations": rows}, indent=1), encoding="utf-8")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
