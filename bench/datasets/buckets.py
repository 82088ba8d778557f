"""How long a bucket plan, a split and a look through every trainer's eye take, and how that grows.

    python bench/datasets/buckets.py [--sizes 1000 10000 100000] [--out FILE.json]

Sizes of pictures are drawn: a third of them distinct, the rest the usual ones. No picture is decoded: an export is
seen from the manifest alone. Prints one line per size and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorasmith.datasets.bucket_plan import plan_buckets
from lorasmith.datasets.eyes import eyes
from lorasmith.datasets.eyes.seeing import look
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.roles import balance_concepts, split_validation
from lorasmith.datasets.store import DatasetStore
from lorasmith.families.sd import plugin as family

USUAL = ((1024, 1024), (1536, 1024), (1024, 1536), (1920, 1080), (1080, 1920), (768, 1024), (3000, 2000))


def made(count: int) -> DatasetVersion:
    """A version of ``count`` items whose pictures are nowhere."""
    rng = random.Random(count)
    items = []
    for number in range(count):
        drawn = (rng.randint(200, 4000), rng.randint(200, 4000))
        width, height = drawn if rng.random() < 1 / 3 else rng.choice(USUAL)
        name, sha256 = f"{number:06d}.png", f"{number:064x}"
        caption = "ohwx, a cat on a mat, left"
        items.append(
            Item(name, sha256, sha256, width, height, caption, concept=rng.choice("abcd"), repeats=1 + number % 2)
        )
    operation = Operation(name="import")
    return DatasetVersion(dataset="made", number=1, parent=None, operation=operation, created="", items=tuple(items))


def seconds(work: Callable[[], Any]) -> float:
    """Best of three."""
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return round(min(taken), 4)


def measure(count: int) -> dict[str, Any]:
    version, store = made(count), DatasetStore(Path("nowhere"))
    pairs = [(f"{n:06d}.png", f"{n + 1:06d}.png") for n in range(0, count - 1, 10)]
    return {
        "items": count,
        "plan": seconds(lambda: plan_buckets(version, family=family, resolution=1024, batch_size=4, epochs=1)),
        "split": seconds(lambda: split_validation(version, fraction=0.1, groups=pairs)),
        "balance": seconds(lambda: balance_concepts(version)),
        "look": {
            name: seconds(lambda name=name: look(version, store, name, resolution=1024))  # type: ignore[misc]
            for name in eyes()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = []
    for count in arguments.sizes:
        found.append(measure(count))
        sys.stdout.write(json.dumps(found[-1]) + "\n")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
