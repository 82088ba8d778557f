"""How fast the tools of LoRA files are, on files of the real shapes with random weights.

    python bench/lora.py [--out bench/results/lora.json] [--quick] [--sd-scripts FOLDER]

resize      an SDXL LoRA (722 modules) and a FLUX LoRA from rank 64 to 16, beside the plain way, an SVD of the whole
            product, on a sample of the same modules in the same run; with --sd-scripts, a checkout that lies outside
            the project, beside that program's own resize_lora.py too, module by module
merge       eight SDXL LoRAs of rank 64 into one of rank 64, with the largest resident memory
inspect     the whole process of ``lorasmith lora inspect``, and the work of it
header      what a file is, from its header

Every tool runs in a process of its own, on as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.sd_scripts import beside  # noqa: E402

from lorasmith.adapters.arrays import Planned, write  # noqa: E402

_TIMED = """
import json, resource, sys, time
{imports}
started = time.perf_counter()
{work}
seconds = time.perf_counter() - started
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch" in sys.modules]))
"""


def layers_of(name: str) -> dict[str, tuple[int, ...]]:
    """The layers that a usual LoRA of a model stands beside."""
    from tests.bases.corpus import MODELS, build

    model = next(model for model in MODELS if model.name == name)
    inside = ("attentions.",) if model.family == "sdxl" else ("transformer_blocks.",)
    return {
        key.removesuffix(".weight"): shape
        for key, shape in build(model).items()
        if key.endswith(".weight") and len(shape) == 2 and any(word in key for word in inside) and "norm" not in key
    }


def make(path: Path, layers: dict[str, tuple[int, ...]], rank: int, *, kohya: bool, seed: int) -> None:
    """A LoRA with random matrices in fp16."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Planned] = {}
    for name, (rows, columns) in layers.items():
        stem = f"lora_unet_{name.replace('.', '_')}" if kohya else f"transformer.{name}"
        ends = ("lora_down", "lora_up") if kohya else ("lora_A", "lora_B")
        for end, shape in zip(ends, ((rank, columns), (rows, rank)), strict=True):
            tensors[f"{stem}.{end}.weight"] = Planned(
                shape, "F16", lambda shape=shape: rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
            )
        if kohya:
            tensors[f"{stem}.alpha"] = Planned((), "F32", lambda: np.asarray(np.float32(rank / 2)))
    write(path, tensors, {"format": "pt"})


def timed(imports: str, work: str) -> dict[str, float]:
    """Seconds and largest memory of a piece of work in a fresh process."""
    code = _TIMED.format(imports=imports, work=work)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, memory, torch = json.loads(done.stdout.strip().rpartition("\n")[2])
    if torch:
        raise SystemExit("a tool loaded torch")
    return {"seconds": round(seconds, 3), "memory_mb": round(memory / 1e6)}


def plain_way(path: Path, count: int) -> float:
    """Seconds per module of the plain way: the product whole, ``torch.linalg.svd`` of it, cut."""
    import torch

    from lorasmith.adapters.opened import open_adapter

    adapter = open_adapter(path)
    modules = adapter.matrices[:: max(1, len(adapter.matrices) // count)][:count]
    spent = 0.0
    for module in modules:
        up = torch.from_numpy(adapter.file.read(module.pieces["up"]))
        down = torch.from_numpy(adapter.file.read(module.pieces["down"]))
        started = time.perf_counter()
        left, values, right = torch.linalg.svd(up @ down)
        _ = (left[:, :16] * values[:16]) @ right[:16]
        spent += time.perf_counter() - started
    return spent / len(modules)


def equality(path: Path, count: int) -> float:
    """Largest difference of a truncated product to the plain way's, over the largest entry."""
    import torch

    from lorasmith.adapters.algebra import spectrum, truncated
    from lorasmith.adapters.opened import open_adapter

    adapter = open_adapter(path)
    worst = 0.0
    for module in adapter.matrices[:: max(1, len(adapter.matrices) // count)][:count]:
        factors = adapter.factors(module)
        whole = torch.from_numpy(factors.up).double() @ torch.from_numpy(factors.down).double()
        left, values, right = torch.linalg.svd(whole, full_matrices=False)
        wanted = ((left[:, :16] * values[:16]) @ right[:16]).numpy()
        got = truncated(factors, spectrum(factors), 16).product()
        worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return worst


def headers(paths: list[Path]) -> dict[str, float]:
    """Milliseconds to say what a file is, the table read already."""
    from lorasmith.adapters.arrays import TensorFile
    from lorasmith.adapters.dialects.recognition import recognise_adapter

    found: dict[str, float] = {}
    for path in paths:
        spent = []
        for _ in range(7):
            started = time.perf_counter()
            file = TensorFile.open(path)
            recognise_adapter(file.shapes, file.metadata)
            spent.append(time.perf_counter() - started)
        found[path.stem] = round(statistics.median(spent) * 1000, 2)
    return found


def whole_process(arguments: list[str]) -> float:
    """Seconds of a command line, from nothing to its end; the median of five."""
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        subprocess.run(
            [sys.executable, "-m", "lorasmith.cli", *arguments], env=environment, check=True, capture_output=True
        )
        spent.append(time.perf_counter() - started)
    return round(statistics.median(spent), 3)


def measure(folder: Path, quick: bool, checkout: Path | None = None) -> dict[str, Any]:
    """All figures."""
    sdxl, flux = layers_of("sdxl"), layers_of("flux dev")
    files = [folder / f"sdxl{number}.safetensors" for number in range(2 if quick else 8)]
    for number, path in enumerate(files):
        make(path, sdxl, 64, kohya=True, seed=number)
    big = folder / "flux.safetensors"
    make(big, flux, 64, kohya=False, seed=99)
    resizing = "from pathlib import Path\nfrom lorasmith.adapters.tools.resizing import resize"
    merging = "from pathlib import Path\nfrom lorasmith.adapters.tools.merging import Ingredient, merge"
    inspecting = "from pathlib import Path\nfrom lorasmith.adapters.tools.describing import describe"
    names = ", ".join(f"Ingredient(Path({str(path)!r}), 0.5)" for path in files)
    figures: dict[str, Any] = {"modules": {"sdxl": len(sdxl), "flux": len(flux)}}
    for name, path in (("sdxl", files[0]), ("flux", big)):
        out = folder / f"{name}-16.safetensors"
        figures[f"resize_{name}_64_to_16"] = timed(
            resizing, f"resize(Path({str(path)!r}), Path({str(out)!r}), rank=16)"
        )
        figures[f"inspect_{name}"] = timed(inspecting, f"describe(Path({str(path)!r}))")
    out = folder / "merged.safetensors"
    figures["merge_sdxl"] = timed(merging, f"merge([{names}], Path({str(out)!r}), rank=64)") | {"files": len(files)}
    figures["header_ms"] = headers([files[0], big])
    figures["inspect_command_seconds"] = whole_process(["lora", "inspect", str(files[0])])
    ours = figures["resize_sdxl_64_to_16"]["seconds"] / len(sdxl)
    theirs = plain_way(files[0], 3 if quick else 4)
    figures["plain_svd_seconds_per_module"] = round(theirs, 4)
    figures["ours_seconds_per_module"] = round(ours, 6)
    figures["times_faster_per_module"] = round(theirs / ours)
    if checkout is not None:
        figures["beside_sd_scripts"] = beside(checkout, files[0], 3 if quick else 5, 16)
    figures["truncated_products_differ_by"] = equality(files[0], 3 if quick else 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of kohya-ss/sd-scripts outside this project")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), chosen.quick, chosen.sd_scripts)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as cores"),
        "figures": figures,
    }
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
