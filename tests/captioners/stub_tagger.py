"""A tagger in WD layout whose answers are known: the mean of each colour channel decides, nothing is learned."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LABELS = (
    ("general", 9), ("sensitive", 9), ("blue_picture", 0), ("green_picture", 0), ("red_picture", 0), ("o_o", 0),
    ("zib_(mascot)", 4), ('say "hi", now', 0),
)  # fmt: skip
STEEP = 12.0


def write_stub(
    folder: Path, *, side: int = 16, batch: int | str = "N", channels_first: bool = False, thresholds: str | None = None
) -> Path:
    """``model.onnx`` and ``selected_tags.csv``: sigmoid(12 * (mean of BGR / 255) @ W + b).

    A pure blue picture has blue_picture, a pure red one red_picture and the character, and so on; ``o_o`` is always
    at 0.62, sensitive beats general on red pictures only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.zeros((3, len(LABELS)), np.float32)  # rows: blue, green, red
    bias = np.full(len(LABELS), -STEEP / 2, np.float32)
    weights[0, 2] = weights[1, 3] = weights[2, 4] = weights[2, 6] = weights[2, 1] = STEEP
    bias[0], bias[5], bias[6] = 0.0, 0.5, -STEEP / 2 + 1
    layout = [batch, 3, side, side] if channels_first else [batch, side, side, 3]
    nodes = [
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["predictions"]),
    ]
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, layout)],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [batch, len(LABELS)])],
        [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
            numpy_helper.from_array(np.array([2, 3] if channels_first else [1, 2], np.int64), "axes"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("tag_id", "name", "category", "count"))
        table.writerows((n, name, category, 100 - n) for n, (name, category) in enumerate(LABELS))
    if thresholds is not None:
        (folder / "thresholds.json").write_text(thresholds, encoding="utf-8")
    return folder


def own_thresholds(general: float, character: float) -> str:
    return json.dumps({"general": general, "character": character})
