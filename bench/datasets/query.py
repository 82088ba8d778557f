"""How long it takes to list, filter, count and describe 1,000, 10,000 and 100,000 pictures.

    python bench/datasets/query.py [--sizes 1000,10000,100000] [--repeat 5] [--out FILE]

Versions are made in memory: captions of 8 to 25 tags out of 2,000 as frequent as words are (Zipf), one in ten in prose.
Every figure is the median of the repeats in milliseconds of CPU time, since other work on the machine must not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.query import GivenFacts, parse_query
from lorasmith.datasets.statistics import describe
from lorasmith.datasets.tokens import counter_for

QUERIES = (
    "",
    "tag:blue_hair",
    "tag:*_hair -tag:solo",
    "cat",
    '"black dog" OR cat*',
    "caption:lack",
    "tags:>13",
    "words:<20 chars:>40",
    "name:*7.png width:>=1024 aspect:0.9..1.1",
    "style:prose",
    "missing:caption OR missing:mask",
    "(tag:blue_hair OR tag:tag_17) tags:10..20 -role:validation megapixels:>0.5 (cat OR -dog)",
    "missing:trigger",
    "tokens:>75",
)
GATE = 200.0  # milliseconds for 10,000 pictures, all but tokens


def made(count: int) -> DatasetVersion:
    """A version of ``count`` pictures, the same for the same count."""
    chance = random.Random(count)
    tags = [f"tag {i}" for i in range(1, 1996)] + ["blue hair", "long_hair", "solo", "cat", "black dog"]
    chance.shuffle(tags)
    weights = [1 / (rank + 2) for rank in range(len(tags))]
    items = []
    for index in range(count):
        if index % 10 == 9:
            caption = "A photograph of a black dog and a cat, taken near the river at dawn. It looks calm."
        else:
            drawn = dict.fromkeys(chance.choices(tags, weights, k=chance.randint(8, 25)))
            caption = ", ".join(["zib", *drawn] if index % 3 else drawn)
        sha = f"{index:064x}"
        size = chance.choice(((1024, 1024), (832, 1216), (1216, 832), (640, 480)))
        items.append(Item(f"set/{index:06}.png", sha, sha, *size, caption, provenance={"format": "jpeg"}))
    operation = Operation(name="import")
    return DatasetVersion(dataset="made", number=1, parent=None, operation=operation, created="", items=tuple(items))


def median_ms(work: Callable[[], object], repeat: int) -> float:
    took = []
    for _ in range(repeat):
        started = time.process_time()
        work()
        took.append(time.process_time() - started)
    return statistics.median(took) * 1000


def measured(size: int, repeat: int) -> dict[str, float]:
    """Milliseconds by query, and of the statistics, for one size."""
    version, counter = made(size), counter_for("sd")
    counter.count("loads the vocabulary")
    facts = GivenFacts(trigger="zib", counter=counter)
    took = {text: median_ms(partial(parse_query(text).select, version, facts), repeat) for text in QUERIES}
    few = max(1, repeat // 2)
    took["(statistics)"] = median_ms(partial(describe, version), few)
    took["(statistics with tokens)"] = median_ms(partial(describe, version, counter=counter, trigger_word="zib"), few)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    table: dict[str, dict[int, float]] = {}
    for size in sizes:
        for text, figure in measured(size, arguments.repeat).items():
            table.setdefault(text or "(all pictures)", {})[size] = figure
    sys.stdout.write(f"{'milliseconds of CPU':<96}" + "".join(f"{size:>10,}" for size in sizes) + "\n")
    for text, figures in table.items():
        sys.stdout.write(f"{text:<96}" + "".join(f"{figures[size]:>10.1f}" for size in sizes) + "\n")
    slow = [text for text in QUERIES[1:-1] if table[text].get(10_000, 0.0) > GATE]
    sys.stdout.write(f"over {GATE:.0f} ms at 10,000: {', '.join(slow) or 'none'}\n")
    if arguments.out:
        machine = f"{platform.machine()}, {os.cpu_count()} threads, Python {platform.python_version()}"
        rounded = {text: {size: round(ms, 1) for size, ms in row.items()} for text, row in table.items()}
        found = {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "milliseconds": rounded}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(1 if slow else 0)


if __name__ == "__main__":
    main()
