"""Tagging measured: preparing pictures, throughput against bare ONNX Runtime, rules over kept probabilities, kills.

    python bench/captioners/taggers.py [prepare] [throughput] [retag] [merge] [kill]

Each figure is a ratio of two ways in one run, taken in turns, since the machine may have other work. The model of
``throughput`` does what a vision transformer does at 448 pixels (patches, then matrices over 784 tokens) with random
weights: 125 GFLOP a picture, about those of wd-vit-tagger-v3, the smallest of the published ones.
"""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from lorasmith.captioners import Identity
from lorasmith.captioners.answers import Answers
from lorasmith.captioners.decoding import open_picture
from lorasmith.captioners.tagging.kept import pack
from lorasmith.captioners.tagging.pixels import Sight, prepare
from lorasmith.captioning import Captioning
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.files import write_json
from lorasmith.jobfolder import JobFolder, JobRecord

SIDE = 448
TAGS = 10_861
SIGHT = Sight(SIDE, channels_first=False)


def main(names: list[str]) -> None:
    """Run the measurements that are named, or all."""
    for name in names or list(MEASUREMENTS):
        with tempfile.TemporaryDirectory() as folder:
            for figure, value in MEASUREMENTS[name](Path(folder)).items():
                sys.stdout.write(f"{name}: {figure}: {value}\n")
                sys.stdout.flush()


def photographs(folder: Path, count: int, width: int = 4000, height: int = 3000) -> list[Path]:
    """Pictures of 12 megapixels with detail at every scale, as JPEG."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    base = np.zeros((height, width, 3), np.float32)
    for cells in (4, 12, 40, 130, 400):
        coarse = rng.normal(0, 22, (cells * 3 // 4, cells, 3)).astype(np.float32)
        layers = [Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        base += np.stack([np.asarray(layer) for layer in layers], -1)
    paths = []
    for number in range(count):
        shifted = np.roll(base, number * 61, axis=1) + 128 + rng.normal(0, 3, (height, 1, 1))
        path = folder / f"{number:04}.jpg"
        Image.fromarray(np.clip(shifted, 0, 255).astype(np.uint8)).save(path, quality=92)
        paths.append(path)
    return paths


def reference_order(path: Path) -> np.ndarray:
    """The published demonstration's order: the whole picture, padded, then resized."""
    with Image.open(path) as image:
        full = image.convert("RGB")
    side = max(full.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(full, ((side - full.width) // 2, (side - full.height) // 2))
    small = square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32)[:, :, ::-1]


def measure_preparing(folder: Path) -> dict[str, Any]:
    """Processor time of one picture in both orders, and how far their pixels lie apart."""
    figures: dict[str, Any] = {}
    for label, size in (("12 MP", (4000, 3000)), ("1 MP", (1200, 900))):
        paths = photographs(folder / label, 6, *size)
        ours: list[float] = []
        theirs: list[float] = []
        apart = []
        for path in paths:
            began = time.process_time()
            mine = prepare(open_picture(path, SIGHT.longest_side), SIGHT)
            middle = time.process_time()
            reference = reference_order(path)
            theirs.append(time.process_time() - middle)
            ours.append(middle - began)
            apart.append(float(np.abs(mine - reference).mean()))
        ratio = statistics.median(theirs) / statistics.median(ours)
        figures[label] = (
            f"{ratio:.1f} times as fast ({statistics.median(ours) * 1e3:.0f} against "
            f"{statistics.median(theirs) * 1e3:.0f} ms of processor), mean difference {max(apart):.2f} of 255"
        )
    return figures


def write_model(folder: Path, layers: int = 132) -> Path:
    """A tagger in WD layout with the work of a small vision transformer."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    width = 768
    weights = {
        "patches": rng.normal(0, 0.002, (width, 3, 16, 16)),
        "head": rng.normal(0, 0.05, (width, TAGS)),
        "bias": rng.normal(-6.0, 1.6, TAGS),
        **{f"w{n}": rng.normal(0, 1 / np.sqrt(width), (width, width)) for n in range(layers)},
    }
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "patches"], ["grid"], strides=[16, 16]),
        helper.make_node("Reshape", ["grid", "shape"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["x0"], perm=[0, 2, 1]),
    ]
    for n in range(layers):
        nodes += [
            helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"y{n}"]),
            helper.make_node("Tanh", [f"y{n}"], [f"x{n + 1}"]),
        ]
    nodes += [
        helper.make_node("ReduceMean", [f"x{layers}", "axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["out"]),
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors += [
        numpy_helper.from_array(np.array([0, width, -1], np.int64), "shape"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", TAGS])],
        tensors,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("tag_id", "name", "category", "count"))
        table.writerows((n, f"tag_{n}", 9 if n < 4 else 0 if n < 8_110 else 4, 1) for n in range(TAGS))
    return folder


def measure_throughput(folder: Path) -> dict[str, Any]:
    """Pictures per second of the whole job from 12 MP JPEGs, against ONNX Runtime alone on prepared arrays."""
    import onnxruntime

    from lorasmith.captioners.speaking import ProcessSpeaker
    from lorasmith.captioners.work import CaptionWork
    from lorasmith.events import Event, Progress
    from lorasmith.jobfolder import Control

    batch, rounds, count = 4, 3, 20
    model = write_model(folder / "tagger")
    store = DatasetStore(folder / "home")
    version = store.import_source(photographs(folder / "photos", count)[0].parent, name="bench")
    arrays = np.stack(
        [prepare(open_picture(store.blob_path(item.image), SIDE), SIGHT) for item in version.items[: 2 * batch]]
    )
    still = onnxruntime.SessionOptions()
    still.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # as the job has it; best where cores are busy
    sessions = [
        onnxruntime.InferenceSession(model / "model.onnx", settings, providers=["CPUExecutionProvider"])
        for settings in (onnxruntime.SessionOptions(), still)
    ]
    options = {"model": str(model), "batch_size": batch, "general_threshold": 0.26}
    speaker = ProcessSpeaker("wd_tagger", options, device="cpu", home=folder / "home")
    ratios, bare_rates, our_rates, processor = [], [], [], []
    for number in range(rounds):
        bares = [_bare(session, arrays, batch) for session in sessions]
        worked = _processor(speaker.pid or 0)
        job = JobFolder(folder / "home" / "jobs" / str(number))
        job.path.mkdir(parents=True)
        said: list[tuple[float, int]] = []

        def hear(event: Event, said: list[tuple[float, int]] = said) -> None:
            if isinstance(event, Progress):
                said.append((time.perf_counter(), event.done))

        work = CaptionWork(job, version, store, speaker, batch_size=batch, fresh=True)
        work.go(hear, Control)
        work.close()
        (first, some), (last, all_) = said[0], said[-1]
        ours = (all_ - some) / (last - first)
        ours_cpu = (_processor(speaker.pid or 0) - worked) / count
        clock = time.process_time()
        again = [_bare(sessions[0], arrays, batch)]
        bare_cpu = time.process_time() - clock
        again.append(_bare(sessions[1], arrays, batch))
        bare = max((one + other) / 2 for one, other in zip(bares, again, strict=True))  # the better of both settings
        processor.append(ours_cpu / (bare_cpu / len(arrays)))
        bare_rates.append(bare)
        our_rates.append(ours)
        ratios.append(ours / bare)
    speaker.close()
    return {
        "bare ONNX Runtime, the better of two settings": f"{statistics.median(bare_rates):.2f} pictures/s",
        "the whole job": f"{statistics.median(our_rates):.2f} pictures/s",
        "processor of job and captioner, opening pictures left out": f"{statistics.median(processor):.3f} of bare's",
        "share of bare": f"{statistics.median(ratios):.3f} (median of {rounds}: {[round(r, 3) for r in ratios]})",
    }


def _processor(pid: int) -> float:
    """Seconds that this process and that one have worked."""
    times = psutil.Process(pid).cpu_times()
    return time.process_time() + times.user + times.system


def _bare(session: Any, arrays: np.ndarray, batch: int) -> float:
    began = time.perf_counter()
    for start in range(0, len(arrays), batch):
        session.run(["out"], {"pixels": arrays[start : start + batch]})
    return len(arrays) / (time.perf_counter() - began)


def kept_home(home: Path, pictures: int, models: int = 1) -> tuple[DatasetStore, DatasetVersion]:
    """A home whose taggers have seen that many pictures, a hundred and fifty tags above the floor in each."""
    rng = np.random.default_rng(3)
    images = [f"{n:064x}" for n in range(pictures)]
    items = [Item(f"{n:05}.png", image, image, 512, 512) for n, image in enumerate(images)]
    ratings = np.zeros(TAGS, bool)
    ratings[:4] = True
    legend = {
        "kind": "tags",
        "names": [f"tag_number_{n}" for n in range(TAGS)],
        "categories": ["rating"] * 4 + ["general"] * 8_106 + ["character"] * (TAGS - 8_110),
        "general_threshold": 0.26,
        "character_threshold": 0.85,
    }
    for model in range(models):
        answers = {}
        for image in images:
            row = np.zeros(TAGS, np.float32)
            row[rng.integers(0, TAGS, 150)] = rng.beta(0.6, 1.5, 150)
            answers[image] = _kept(pack(row, ratings))
        Answers(home, Identity(f"model-{model}", "0" * 64), legend).put(answers)
    store = DatasetStore(home)
    version = DatasetVersion(
        dataset="kept", number=1, parent=None, operation=Operation(name="made"), created="", items=tuple(items)
    )
    return store, version


def _kept(packed: bytes) -> Any:
    from lorasmith.captioners import Answer

    return Answer("", (), packed)


def measure_retagging(folder: Path) -> dict[str, Any]:
    """Another rule on 10,000 pictures."""
    store, version = kept_home(folder, 10_000)
    captions = Captioning(folder, store, lambda payload, name, hear: {})
    figures = {}
    rules: dict[str, dict[str, Any]] = {
        "a threshold": {"general_threshold": 0.35},
        "MCut": {"mcut": True},
        "per category and per tag, ten excluded": {
            "general_threshold": 0.3,
            "thresholds": {"character": 0.6},
            "tag_thresholds": {"tag_number_77": 0.9},
            "exclude_tags": [f"tag number {n}" for n in range(100, 110)],
        },
        "aliases and implications": {
            "aliases": {"tag_number_9": "nine"},
            "implications": {f"tag number {n}": f"tag number {n + 1}" for n in range(200, 400)},
        },
    }
    for name, rule in rules.items():
        began, clock = time.process_time(), time.perf_counter()
        made = captions.preview_tags(version, rule)
        figures[name] = (
            f"{time.process_time() - began:.2f} s of processor, {time.perf_counter() - clock:.2f} s by the clock "
            f"({len(made)} captions)"
        )
    began, clock = time.process_time(), time.perf_counter()
    unsure = captions.unsure(version, within=0.02)
    figures["tags near their threshold"] = f"{time.process_time() - began:.2f} s of processor ({len(unsure)} found)"
    size = sum(path.stat().st_size for path in (folder / "answers").iterdir())
    figures["on disk"] = f"{size / 10_000:.0f} bytes a picture"
    return figures


def measure_merging(folder: Path) -> dict[str, Any]:
    """Two taggers of 10,000 pictures as one."""
    store, version = kept_home(folder, 10_000, models=2)
    captions = Captioning(folder, store, lambda payload, name, hear: {})
    figures = {}
    for how in ("mean", "max"):
        began = time.process_time()
        captions.preview_tags(version, taggers={"model-0": 1.0, "model-1": 2.0}, merge=how)
        figures[how] = f"{time.process_time() - began:.2f} s of processor"
    return figures


def measure_kills(folder: Path, pictures: int = 1_000, kills: int = 12) -> dict[str, Any]:
    """A worker that is killed again and again: every picture is captioned, none that was written down is again."""
    rng = np.random.default_rng(5)
    source = folder / "pictures"
    source.mkdir()
    for n in range(pictures):
        color = tuple(int(v) for v in rng.integers(0, 256, 3))
        picture = Image.new("RGB", (64, 64), color)
        picture.putpixel((n % 64, n // 64), (255, 255, 255))
        picture.save(source / f"{n:04}.png")
    version = DatasetStore(folder / "home").import_source(source, name="many")
    job = JobFolder(folder / "home" / "jobs" / "1")
    job.path.mkdir(parents=True)
    payload = {"dataset": version.reference, "captioner": "wd_tagger", "options": {"batch_size": 4}}
    write_json(job.path / "job.json", JobRecord(id="1", kind="caption", created="", payload=payload).model_dump())
    journal = job.path / "captions.jsonl"
    lost = 0
    before: list[str] = []
    done = 0
    while job.result() is None:
        worker = subprocess.Popen([sys.executable, "-m", "lorasmith.worker", str(job.path)])
        while worker.poll() is None and _lines(journal) <= len(before) + 1:  # a line for the head, and one that is new
            time.sleep(0.005)
        if done < kills and worker.poll() is None:
            time.sleep(float(rng.uniform(0, 0.4)))
            os.kill(worker.pid, signal.SIGKILL)
            done += 1
        worker.wait()
        names = _names(journal)
        lost += len(set(before) - set(names))
        before = names
    result = job.result()
    captions = result.output["captions"] if result is not None else {}
    repeated = len(before) - len(set(before))
    return {
        f"{pictures} pictures, {done} kills": f"{len(captions)} captions, {repeated} repeated, {lost} lost",
        "memory of the children": f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3:.0f} MB at most",
    }


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _names(path: Path) -> list[str]:
    """Pictures in a journal, in order, the first line and a torn last one left out."""
    text = io.StringIO(path.read_bytes().decode() if path.exists() else "")
    return [json.loads(line)["name"] for line in list(text)[1:] if line.endswith("\n")]


MEASUREMENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "prepare": measure_preparing,
    "throughput": measure_throughput,
    "retag": measure_retagging,
    "merge": measure_merging,
    "kill": measure_kills,
}

if __name__ == "__main__":
    main(sys.argv[1:])
