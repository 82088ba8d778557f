"""Trains the sandbox's tagger from a seed and writes it in the layout of the WD taggers.

    python -m lorasmith.sandbox.pretrain_tagger --out FOLDER

``model.onnx`` takes float32 pixels [N, 128, 128, 3], BGR, 0 to 255, and answers probabilities; the rows of
``selected_tags.csv`` carry the categories 9 (rating), 0 (general) and 4 (character).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import logging
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorasmith.sandbox import world

log = logging.getLogger("lorasmith.pretrain")

RATINGS: Final = ("general", "sensitive", "questionable", "explicit")
_CHANNELS: Final = (3, 24, 32, 48, 64)


def tag_table() -> list[tuple[str, int]]:
    """(name, category) of every output, in order: ratings, general tags, characters."""
    general = ["one shape", "two shapes", "stacked", "side by side"]
    general += [*world.SHAPES, *world.COLORS, *world.SIZES, *world.POSITIONS]
    general += [f"{name} background" for name in world.BACKGROUNDS]
    return [(name, 9) for name in RATINGS] + [(name, 0) for name in general] + [(world.CHARACTER, 4)]


class Tagger(nn.Module):
    """Four strided convolutions and two linear layers; (B, 3, 128, 128) in -1..1 to logits (B, tags)."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        pairs = itertools.pairwise(_CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.squeeze = nn.Conv2d(_CHANNELS[-1], 16, 1)
        self.hidden = nn.Linear(16 * 8 * 8, 128)
        self.answer = nn.Linear(128, tags)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        x = F.relu(self.squeeze(x)).flatten(1)
        answer: Tensor = self.answer(F.relu(self.hidden(x)))
        return answer


def pictures(seed: int, count: int) -> tuple[np.ndarray, Tensor]:
    """uint8 BGR (N, 3, 128, 128) and the true tags (N, tags) as 0 or 1."""
    names = [name for name, _ in tag_table()]
    images = np.empty((count, 3, world.SIZE, world.SIZE), np.uint8)
    truth = torch.zeros(count, len(names))
    truth[:, names.index("general")] = 1
    for index, (scene, rng) in enumerate(world.scenes(seed, count)):
        images[index] = np.asarray(world.draw(scene, rng))[..., ::-1].transpose(2, 0, 1)
        for tag in scene.tags():
            truth[index, names.index(tag)] = 1
    return images, truth


def train(*, seed: int, count: int, epochs: int) -> Tagger:
    """Binary cross-entropy, Adam, one cosine; noise and blur keep it from leaning on crisp edges."""
    torch.manual_seed(seed)
    images, truth = pictures(seed + 10, count)
    model = Tagger(truth.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    batch = 64
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (count // batch))
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(count)
        total = 0.0
        for start in range(0, count - batch + 1, batch):
            chosen = order[start : start + batch]
            x = torch.from_numpy(images[chosen]).float() / 127.5 - 1
            if start // batch % 2:
                x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            x = x + 0.06 * torch.randn_like(x)
            loss = F.binary_cross_entropy_with_logits(model(x), truth[torch.from_numpy(chosen)])
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            total += loss.item()
        log.info("tagger epoch %d/%d loss %.4f", epoch + 1, epochs, total / (count // batch))
    return model.eval()


def write_onnx(model: Tagger, path: Path) -> None:
    """The network as ONNX, with the WD taggers' input: NHWC, BGR, 0 to 255."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def layer(kind: str, x: str, name: str, module: nn.Conv2d | nn.Linear, **attributes: object) -> str:
        assert module.bias is not None
        bias = module.bias.detach().numpy()
        inputs = [x, constant(f"{name}.weight", module.weight.detach().numpy()), constant(f"{name}.bias", bias)]
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def step(kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    x = step("Transpose", ["input"], "channels_first", perm=[0, 3, 1, 2])
    x = step("Mul", [x, constant("scale", np.array(1 / 127.5))], "scaled")
    x = step("Sub", [x, constant("one", np.array(1.0))], "centered")
    for index, convolution in enumerate(model.convolutions):
        assert isinstance(convolution, nn.Conv2d)
        x = layer("Conv", x, f"conv{index}", convolution, strides=[2, 2], pads=[1, 1, 1, 1])
        x = step("Relu", [x], f"relu{index}")
    x = step("Relu", [layer("Conv", x, "squeeze", model.squeeze)], "squeezed")
    x = step("Flatten", [x], "flat")
    x = step("Relu", [layer("Gemm", x, "hidden", model.hidden, transB=1)], "hidden_relu")
    x = layer("Gemm", x, "logits", model.answer, transB=1)
    step("Sigmoid", [x], "output")
    graph = helper.make_graph(
        nodes,
        "lorasmith-sandbox-tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", world.SIZE, world.SIZE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", model.answer.out_features])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    onnx.save(made, path)


def write_tags(path: Path) -> None:
    """``selected_tags.csv`` as the WD taggers have it: tag_id, name, category, count."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("tag_id", "name", "category", "count"))
        for index, (name, category) in enumerate(tag_table()):
            writer.writerow((index, name.replace(" ", "_"), category, 1))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    write_onnx(train(seed=options.seed, count=options.count, epochs=options.epochs), options.out / "model.onnx")
    write_tags(options.out / "selected_tags.csv")


if __name__ == "__main__":
    main()
