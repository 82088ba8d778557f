"""What kinds of updates mean, by the definitions of those who train them, written out again here with numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from lorasmith.adapters.algebra import Factors, held_by
from lorasmith.adapters.dialects.gathering import Module, gather
from lorasmith.adapters.dialects.recognition import recognise_adapter
from lorasmith.adapters.updates import factors_of
from tests.adapters.files import noise

Pieces = Mapping[str, np.ndarray]


def module_of(pieces: Pieces, beginning: str = "lora_unet_") -> Module:
    gathered = gather({f"{beginning}mid_block_x.{name}": np.shape(array) for name, array in pieces.items()})
    (module,) = gathered.modules.values()
    return module


def change(pieces: Pieces, weight: np.ndarray) -> np.ndarray:
    module = module_of(pieces)
    named = {key: key.partition(".")[2] for key in module.pieces.values()}
    made = factors_of(module, lambda piece: np.asarray(pieces[named[module.pieces[piece]]], np.float32), weight)
    return made.product().reshape(weight.shape)


@pytest.mark.parametrize("shape", [(24, 24), (24, 40), (24, 24, 3, 3)])
@pytest.mark.parametrize("over", ["rows", "columns"])
def test_a_magnitude_belongs_to_the_axis_it_lies_along_also_beside_square_layers(
    shape: tuple[int, ...], over: str
) -> None:
    rows, columns, *kernel = shape
    weight, ones = noise(shape, 1, 1.0), [1] * len(kernel)
    up, down = noise((rows, 4, *ones), 2, 1.0), noise((4, columns, *kernel), 3, 1.0)
    flat_down = down.reshape(4, -1)
    turned = weight + (up.reshape(rows, 4) @ flat_down).reshape(shape)
    size = np.abs(noise((rows, 1, *ones) if over == "rows" else (1, columns, *ones), 4, 3.0)) + 1
    axes = tuple(axis for axis in range(len(shape)) if axis != (0 if over == "rows" else 1))
    wanted = size * turned / np.sqrt((turned**2).sum(axis=axes, keepdims=True)) - weight
    pieces = {"lora_up.weight": up, "lora_down.weight": down, "dora_scale": size}
    assert np.abs(change(pieces, weight) - wanted).max() < 1e-4


def test_magnitudes_of_peft_are_of_the_rows_whatever_their_shape() -> None:
    """peft keeps (1, out, 1, 1) for a convolution, which beside a square one looks like columns."""
    weight, up, down = noise((24, 24, 3, 3), 1, 1.0), noise((24, 4, 1, 1), 2, 1.0), noise((4, 24, 3, 3), 3, 1.0)
    size = np.abs(noise((1, 24, 1, 1), 4, 3.0)) + 1
    turned = weight + (up.reshape(24, 4) @ down.reshape(4, -1)).reshape(weight.shape)
    lengths = np.linalg.norm(turned.reshape(24, -1), axis=1).reshape(24, 1, 1, 1)
    wanted = size.reshape(24, 1, 1, 1) * turned / lengths - weight
    pieces = {"lora_B.weight": up, "lora_A.weight": down, "lora_magnitude_vector": size}
    assert np.abs(change(pieces, weight) - wanted).max() < 1e-4


def _cayley(blocks: np.ndarray, longest: float | None = None) -> np.ndarray:
    skew = blocks.astype(np.float64) - blocks.swapaxes(-1, -2)
    length = np.linalg.norm(skew)
    if longest is not None and length > longest:
        skew *= longest / length
    unit = np.eye(blocks.shape[-1])
    return (unit + skew) @ np.linalg.inv(unit - skew)


@pytest.mark.parametrize("shape", [(32, 20), (32, 12, 3, 3)])
def test_rotations_are_as_long_as_their_alpha_times_the_rows_allows(shape: tuple[int, ...]) -> None:
    weight, blocks = noise(shape, 1, 1.0), noise((4, 8, 8), 2, 1.0)
    turns = _cayley(blocks, 0.01 * 32)
    rows = np.einsum("knm,kn...->km...", turns, weight.reshape(4, 8, *shape[1:])).reshape(shape)
    limited = change({"oft_blocks": blocks, "alpha": np.float32(0.01)}, weight)
    assert np.abs(limited - (rows - weight)).max() < 1e-5
    free = change({"oft_blocks": blocks, "alpha": np.float32(1000)}, weight)
    assert np.abs(free - change({"oft_blocks": blocks}, weight)).max() < 1e-6 < np.abs(free - limited).max()


def test_what_a_rotation_gives_is_rescaled_whole() -> None:
    weight, blocks = noise((32, 20), 1, 1.0), noise((4, 8, 8), 2, 0.2)
    size = 1 + noise((32, 1), 3)
    rows = np.einsum("knm,kn...->km...", _cayley(blocks), weight.reshape(4, 8, 20)).reshape(32, 20)
    assert np.abs(change({"oft_blocks": blocks, "rescale": size}, weight) - (size * rows - weight)).max() < 1e-5


def test_the_oft_of_sd_scripts_has_a_beginning_of_its_own() -> None:
    header = {"oft_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.oft_blocks": (4, 320, 320)}
    found = recognise_adapter({**header, next(iter(header)).replace("oft_blocks", "alpha"): ()}, {})
    assert found.is_adapter and found.kind == "oft" and found.dialect == "kohya" and "sdxl" in found.candidates


@pytest.mark.parametrize(("rows", "columns"), [(24, 40), (24, 24)])
@pytest.mark.parametrize("old", [False, True])
def test_both_orders_of_glora_are_told_apart(rows: int, columns: int, old: bool) -> None:
    weight = noise((rows, columns), 1, 1.0)
    mix, back = noise((columns, 3), 2), noise((3, columns), 3)
    wide, thin = noise((rows, 3), 4), noise((3, columns), 5)
    names = ("a2", "a1", "b2", "b1") if old else ("a1", "a2", "b1", "b2")
    pieces = {f"{name}.weight": array for name, array in zip(names, (mix, back, wide, thin), strict=True)}
    wanted = 2 / 3 * (weight @ mix @ back + wide @ thin)
    assert np.abs(change({**pieces, "alpha": np.float32(2)}, weight) - wanted).max() < 1e-5


@pytest.mark.parametrize("side", [1, 3])
def test_glora_of_a_convolution_mixes_its_channels(side: int) -> None:
    weight = noise((16, 12, side, side), 1, 1.0)
    mix, back = noise((12, 3, 1, 1), 2), noise((3, 12, 1, 1), 3)
    wide, thin = noise((16, 3, 1, 1), 4), noise((3, 12, side, side), 5)
    pieces = {"a1.weight": mix, "a2.weight": back, "b1.weight": wide, "b2.weight": thin}
    mixed = np.einsum("oikl,ij->ojkl", weight, mix.reshape(12, 3) @ back.reshape(3, 12))
    wanted = mixed + (wide.reshape(16, 3) @ thin.reshape(3, -1)).reshape(weight.shape)
    assert module_of(pieces).layer == weight.shape
    assert np.abs(change(pieces, weight) - wanted).max() < 1e-5


def test_ia3_is_known_by_lycoris_own_beginning_too() -> None:
    stem = "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    found = recognise_adapter({f"{stem}.weight": (640,), f"{stem}.on_input": ()}, {})
    assert found.is_adapter and found.kind == "ia3"


def test_what_lies_in_the_directions_of_another_update() -> None:
    one = Factors(noise((30, 4), 1, 1.0), noise((4, 20), 2, 1.0), (30, 20))
    wide, thin = noise((30, 6), 3, 1.0), noise((6, 20), 4, 1.0)
    other = Factors(np.pad(wide, ((0, 0), (0, 2))), np.pad(thin, ((0, 2), (0, 0))), (30, 20))
    written, read = np.linalg.qr(other.up[:, :6])[0], np.linalg.qr(other.down[:6].T)[0]
    inside = written @ (written.T @ one.product() @ read) @ read.T
    assert held_by(one, other) == pytest.approx(float((inside**2).sum()), rel=1e-4)
    assert held_by(one, one) == pytest.approx(float((one.product() ** 2).sum()), rel=1e-4)
    assert held_by(one, Factors(other.up * 0, other.down, other.layer)) == 0
