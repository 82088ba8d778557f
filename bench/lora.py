"""How fast the tools of LoRA files are, on files of the real shapes with random weights.

    python bench/lora.py [--out bench/results/lora.json] [--quick] [--sd-scripts FOLDER]

resize      an SDXL LoRA (722 modules) and a FLUX LoRA from rank 64 to 16, beside the plain way, an SVD of the whole
            product, on a sample of the same modules in the same run; with --sd-scripts, a checkout that lies outside
            the project, beside that program's own resize_lora.py too: a module of every shape, and the average over
            all modules by how many there are of each (some minutes: a module of 10240 x 1280 takes it most of one)
merge       eight SDXL LoRAs of rank 64 into one of rank 64, with the largest resident memory; and what its cut products
            differ from the best ones
inspect     the whole process of ``lorasmith lora inspect``, and the work of it
header      what a file is, from its header

Seconds are those that pass, and beside them the processor's, which other work on the machine lengthens less. The last
lines say which bars hold, and the command ends with 1 where one does not; not with --quick, which measures less. Every
tool runs in a process of its own, on as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.sd_scripts import beside  # noqa: E402

from lorasmith.adapters.arrays import Array, Planned, write  # noqa: E402

_TIMED = """
import json, resource, sys, time
{imports}
started, busy = time.perf_counter(), time.process_time()
{work}
seconds, busy = time.perf_counter() - started, time.process_time() - busy
print(json.dumps([seconds, busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch" in sys.modules]))
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
            tensors[f"{stem}.{end}.weight"] = Planned(shape, "F16", functools.partial(_noise, rng, shape))
        if kohya:
            tensors[f"{stem}.alpha"] = Planned((), "F32", lambda: np.asarray(np.float32(rank / 2)))
    write(path, tensors, {"format": "pt"})


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def timed(imports: str, work: str) -> dict[str, float]:
    """Seconds and largest memory of a piece of work in a fresh process."""
    code = _TIMED.format(imports=imports, work=work)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, busy, memory, torch = json.loads(done.stdout.strip().rpartition("\n")[2])
    if torch:
        raise SystemExit("a tool loaded torch")
    return {"seconds": round(seconds, 3), "processor_seconds": round(busy, 3), "memory_mb": round(memory / 1e6)}


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


def merged_equality(paths: list[Path], count: int) -> float:
    """Largest difference of a merged layer's product to the best one of that rank, over the largest entry."""
    from lorasmith.adapters.algebra import joined, leading
    from lorasmith.adapters.opened import open_adapter

    adapters = [open_adapter(path) for path in paths]
    names = list(adapters[0].layers)
    worst = 0.0
    for name in names[:: max(1, len(names) // count)][:count]:
        whole = joined([adapter.layer_factors(adapter.layers[name]) for adapter in adapters], [0.5] * len(adapters))
        left_q, left_r = np.linalg.qr(whole.up.astype(np.float64))
        right_q, right_r = np.linalg.qr(whole.down.T.astype(np.float64))
        left, values, right = np.linalg.svd(left_r @ right_r.T)
        wanted = (left_q @ (left[:, :64] * values[:64])) @ (right[:64] @ right_q.T)
        got = leading(whole, 64).product()
        worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return worst


def headers(paths: list[Path]) -> dict[str, float]:
    """Milliseconds to open a file and say what it is, the table of names read already; passed, and the processor's."""
    from lorasmith.adapters.arrays import TensorFile
    from lorasmith.adapters.dialects.recognition import recognise_adapter

    found: dict[str, float] = {}
    for path in paths:
        spent: list[tuple[float, float]] = []
        for _ in range(15):
            started, busy = time.perf_counter(), time.process_time()
            file = TensorFile.open(path)
            recognise_adapter(file.shapes, file.metadata)
            spent.append((time.perf_counter() - started, time.process_time() - busy))
        for column, name in enumerate((path.stem, f"{path.stem}_processor")):
            found[name] = round(statistics.median(pair[column] for pair in spent) * 1000, 2)
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
        figures["beside_sd_scripts"] = beside(checkout, files[0], 16)
    figures["truncated_products_differ_by"] = equality(files[0], 3 if quick else 4)
    figures["merged_products_differ_by"] = merged_equality(files, 2 if quick else 12)
    return figures


def bars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float, float, bool]]:
    """Every bar: its name, the figure, the bar, and whether it holds."""
    most = {
        "resize of SDXL, s": (figures["resize_sdxl_64_to_16"]["seconds"], 5.0),
        "resize of FLUX, s": (figures["resize_flux_64_to_16"]["seconds"], 10.0),
        "merge of eight, s": (figures["merge_sdxl"]["seconds"], 20.0),
        "merge of eight, GB": (figures["merge_sdxl"]["memory_mb"] / 1000, 2.0),
        "inspect, the command, s": (figures["inspect_command_seconds"], 0.5),
        "header of SDXL, ms": (figures["header_ms"]["sdxl0"], 20.0),
        "header of FLUX, ms": (figures["header_ms"]["flux"], 20.0),
        "truncated products, difference": (figures["truncated_products_differ_by"], 1e-5),
        "merged products, difference": (figures["merged_products_differ_by"], 1e-5),
    }
    for name, (figure, bar) in most.items():
        yield f"{name} <=", figure, bar, figure <= bar
    if beside_them := figures.get("beside_sd_scripts"):
        times = float(beside_them["all_modules"]["times_faster"])
        yield "times sd-scripts a module, average over all >=", times, 500.0, times >= 500


def main() -> int:
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
    held = list(bars(figures))
    for name, figure, bar, holds in held:
        sys.stdout.write(f"{'holds ' if holds else 'MISSED'}  {name} {bar:g}: {figure:.3g}\n")
    return int(not chosen.quick and not all(holds for *_, holds in held))


if __name__ == "__main__":
    sys.exit(main())
