"""sd-scripts' own ``networks/resize_lora.py`` on a module of every shape, in its own process, for ``bench/lora.py``.

The folder is a checkout of https://github.com/kohya-ss/sd-scripts that lies outside this project. Only the arithmetic
of that file is run (``merge_linear``, ``extract_linear`` with its ``rank_resize``); the modules of its library that it
names for reading and logging are stood in for, because they load a whole trainer. Reading is counted for neither.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
_SCRIPT = Path("networks") / "resize_lora.py"


def beside(checkout: Path, file: Path, rank: int) -> dict[str, Any]:
    """Both beside each other on one module of every shape in a file, processor time; and over all modules together.

    A module's figures are those of its shape, so that the average counts every shape as often as the file has it. For
    the smallest shapes their own decomposition is a matter of milliseconds, and the times are few. The products differ
    by the rounding of their fp32: ``truncated_products_differ_by`` in the bench says how far ours are from fp64.
    """
    from lorasmith.adapters.algebra import spectrum, truncated
    from lorasmith.adapters.opened import open_adapter

    if not (checkout / _SCRIPT).is_file():
        raise SystemExit(f"{checkout} is no checkout of sd-scripts: it has no {_SCRIPT}.")
    adapter = open_adapter(file)
    counts = Counter(module.layer for module in adapter.matrices)
    sample = list({module.layer: module for module in adapter.matrices}.values())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "sample.npz"
        pieces = {
            f"{n}_{end}": adapter.file.read(m.pieces[end]) for n, m in enumerate(sample) for end in ("up", "down")
        }
        np.savez(str(place), allow_pickle=False, **pieces)
        code = [sys.executable, str(Path(__file__)), str(checkout), str(place), str(len(sample)), str(rank)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(code, env=environment, capture_output=True, text=True, check=True)
        theirs = json.loads(done.stdout.strip().rpartition("\n")[2])
        products = np.load(f"{place}.out.npz")
        for number, module in enumerate(sample):
            factors, spent = adapter.factors(module), []
            with threadpool_limits(limits=1, user_api="blas"):  # as the tool works: one thread a layer
                for _ in range(9):
                    started = time.process_time()
                    cut = truncated(factors, spectrum(factors), rank)
                    spent.append(time.process_time() - started)
            ours = statistics.median(spent)
            # Theirs leaves the scale in alpha; both products are those of the bare matrices.
            scale = np.float32(factors.up[0, 0] / pieces[f"{number}_up"][0, 0])
            wanted = products[str(number)]
            rows.append(
                {
                    "shape": list(factors.layer),
                    "modules": counts[module.layer],
                    "sd_scripts_seconds": round(theirs[number], 4),
                    "ours_seconds": round(ours, 5),
                    "times_faster": round(theirs[number] / ours),
                    "products_differ_by": float(np.abs(cut.product() / scale - wanted).max() / np.abs(wanted).max()),
                }
            )
    rows.sort(key=lambda row: row["times_faster"])
    both = [sum(row["modules"] * row[name] for row in rows) for name in ("sd_scripts_seconds", "ours_seconds")]
    return {
        "commit": _commit(checkout),
        "rank": rank,
        "seconds": "of processor, reading and writing not counted",
        "all_modules": {
            "modules": sum(counts.values()),
            "sd_scripts_seconds": round(both[0], 1),
            "ours_seconds": round(both[1], 3),
            "times_faster": round(both[0] / both[1]),
        },
        "least_times_faster": rows[0]["times_faster"],
        "shapes": rows,
    }


def _commit(checkout: Path) -> str:
    found = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if (checkout / ".git").exists() else ""


def _their_module(checkout: Path) -> Any:
    """Their file as a module, with empty stand-ins for the parts of their library that it names."""
    for name in ("library", "library.train_util", "library.model_util", "library.utils"):
        sys.modules[name] = types.ModuleType(name)
    library: Any = sys.modules["library"]
    utils: Any = sys.modules["library.utils"]
    utils.setup_logging = lambda *_, **__: None
    library.train_util, library.model_util = sys.modules["library.train_util"], sys.modules["library.model_util"]
    spec = importlib.util.spec_from_file_location("resize_lora", checkout / _SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(checkout: Path, place: Path, count: int, rank: int) -> list[float]:
    """In the process of its own: seconds for each module; the products go into a file beside."""
    import torch

    torch.set_num_threads(1)  # processor time is then that of one thread on both sides
    theirs = _their_module(checkout)
    sample = np.load(place)
    spent: list[float] = []
    products: dict[str, Any] = {}
    for number in range(count):
        up, down = (torch.from_numpy(sample[f"{number}_{end}"]) for end in ("up", "down"))
        started = time.process_time()
        whole = theirs.merge_linear(down, up, "cpu")
        made = theirs.extract_linear(whole, rank, None, None, "cpu", 1.0)
        spent.append(time.process_time() - started)
        products[str(number)] = (made["lora_up"] @ made["lora_down"]).numpy()
    np.savez(f"{place}.out.npz", allow_pickle=False, **products)
    return spent


if __name__ == "__main__":
    seconds = _run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write(json.dumps(seconds) + "\n")
