"""sd-scripts' own ``networks/resize_lora.py`` on a sample of modules, in a process of its own, for ``bench/lora.py``.

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
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_SCRIPT = Path("networks") / "resize_lora.py"


def beside(checkout: Path, file: Path, count: int, rank: int) -> dict[str, Any]:
    """Seconds of both for each of ``count`` modules of a file, their ratio, and how far the products lie apart."""
    from lorasmith.adapters.algebra import spectrum, truncated
    from lorasmith.adapters.opened import open_adapter

    if not (checkout / _SCRIPT).is_file():
        raise SystemExit(f"{checkout} is no checkout of sd-scripts: it has no {_SCRIPT}.")
    adapter = open_adapter(file)
    sample = adapter.matrices[:: max(1, len(adapter.matrices) // count)][:count]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "sample.npz"
        pieces = {
            f"{n}_{end}": adapter.file.read(m.pieces[end]) for n, m in enumerate(sample) for end in ("up", "down")
        }
        np.savez(place, **pieces)
        code = [sys.executable, str(Path(__file__)), str(checkout), str(place), str(len(sample)), str(rank)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(code, env=environment, capture_output=True, text=True, check=True)
        theirs = json.loads(done.stdout.strip().rpartition("\n")[2])
        products = np.load(f"{place}.out.npz")
        for number, module in enumerate(sample):
            factors, spent = adapter.factors(module), []
            for _ in range(5):
                started = time.perf_counter()
                cut = truncated(factors, spectrum(factors), rank)
                spent.append(time.perf_counter() - started)
            ours = statistics.median(spent)
            # Theirs leaves the scale in alpha; both products are those of the bare matrices.
            scale = np.float32(factors.up[0, 0] / pieces[f"{number}_up"][0, 0])
            wanted = products[str(number)]
            rows.append(
                {
                    "module": module.stem.text,
                    "shape": list(factors.layer),
                    "sd_scripts_seconds": round(theirs[number], 4),
                    "ours_seconds": round(ours, 5),
                    "times_faster": round(theirs[number] / ours),
                    "products_differ_by": float(np.abs(cut.product() / scale - wanted).max() / np.abs(wanted).max()),
                }
            )
    together = sum(row["sd_scripts_seconds"] for row in rows) / sum(row["ours_seconds"] for row in rows)
    return {"commit": _commit(checkout), "rank": rank, "times_faster_together": round(together), "modules": rows}


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

    theirs = _their_module(checkout)
    sample = np.load(place)
    spent: list[float] = []
    products: dict[str, Any] = {}
    for number in range(count):
        up, down = (torch.from_numpy(sample[f"{number}_{end}"]) for end in ("up", "down"))
        started = time.perf_counter()
        whole = theirs.merge_linear(down, up, "cpu")
        made = theirs.extract_linear(whole, rank, None, None, "cpu", 1.0)
        spent.append(time.perf_counter() - started)
        products[str(number)] = (made["lora_up"] @ made["lora_down"]).numpy()
    np.savez(f"{place}.out.npz", **products)
    return spent


if __name__ == "__main__":
    seconds = _run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write(json.dumps(seconds) + "\n")
