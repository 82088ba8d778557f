"""Denoisers packed by other programs, GGUF and the 4 bits of bitsandbytes: unpacked to the numbers they stand for."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.adapters.certificate import certify
from lorasmith.adapters.file import write_adapter
from lorasmith.bases import family_of, open_base, quantised, read_header
from lorasmith.bases.detection import registered_families
from lorasmith.bases.gguf import BLOCKS, UNPACKED
from lorasmith.bases.quantised import said_of_size
from lorasmith.errors import BaseError, EnvironmentProblem
from lorasmith.events import Notice
from lorasmith.families import unpacking
from lorasmith.families.one_denoiser import tensors_of
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.recipe import prepare
from lorasmith.training.loop import train
from tests.bases.single_files import original_tensors
from tests.families.steps import run_of
from tests.families.test_single_denoisers import MODELS
from tests.training.home import make_dataset
from tests.training.runs import Said

Kind = GGMLQuantizationType
_GOLDEN = Path(__file__).with_name("golden") / "bitsandbytes.safetensors"
_WRITTEN = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", "F16")
_K = ("Q4_K", "Q5_K", "Q6_K")


def packed(tensor: Tensor, kind: Kind, seed: int = 0) -> np.ndarray[Any, Any]:
    """The bytes of a tensor; those of formats that nobody packs in Python are any with scales in reason."""
    if kind.name in _WRITTEN:
        return quantize(tensor.float().numpy(), kind)
    numbers, width = GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(seed).integers(0, 256, (tensor.numel() // numbers, width), dtype=np.uint8)
    scale = np.frombuffer(np.float16([0.001, 0.002]).tobytes(), np.uint8)
    if kind == Kind.Q6_K:
        blocks[:, -2:] = scale[:2]
    else:
        blocks[:, :4] = scale
    return blocks.reshape(*tensor.shape[:-1], -1)


def write_gguf(path: Path, tensors: Mapping[str, Tensor], kind: Kind) -> dict[str, Tensor]:
    """The file, its matrices packed where their rows allow it, and the tensors that it stands for."""
    writer = GGUFWriter(path, "any")
    meant: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if tensor.ndim == 2 and tensor.shape[1] % GGML_QUANT_SIZES[kind][0] == 0:
            data = packed(tensor, kind)
            writer.add_tensor(key, data, raw_dtype=kind)
            meant[key] = torch.from_numpy(np.array(dequantize(data, kind))).reshape(tensor.shape)
        else:
            meant[key] = tensor.float()
            writer.add_tensor(key, meant[key].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def apart(family: str, folder: Path, out: Path) -> dict[str, Tensor]:
    """The denoiser of a tiny base in original names where it has some; the rest lies in the folder beside ``out``."""
    part = registered_families()[family].denoiser_part
    beside = shutil.copytree(folder, out.with_suffix(""))
    weights = next((beside / part).glob("*.safetensors"))
    state = load_file(weights)
    weights.unlink()
    rules = next(model.rules for model in MODELS.values() if model.family == family)
    return original_tensors(rules, state) if family == "sd3" else state


def same_denoiser(one: Path, other: Path) -> None:
    """Whether two files are the same denoiser once they are loaded, to the bit."""
    states = []
    for file in (one, other):
        base = open_base(str(file))
        loader = registered_families()[base.detection.family]
        model = loader.load(base, parts=("denoiser",), dtype=torch.float32, device="cpu")
        states.append(model.denoiser.state_dict())
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key]), key


@pytest.mark.parametrize("family", ["sd3", "lumina2"])
def test_gguf_is_the_denoiser_that_its_numbers_stand_for(
    family: str, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "one.gguf"
    meant = write_gguf(file, apart(family, tiny(family), file), Kind.Q8_0)
    plain = tmp_path / "plain.safetensors"
    save_file(meant, plain)
    shutil.copytree(tmp_path / "one", tmp_path / "plain")
    header = read_header(file)
    assert header.shapes == {key: tuple(tensor.shape) for key, tensor in meant.items()}
    assert "Q8_0" in header.dtypes.values()
    same_denoiser(file, plain)


def test_a_run_on_gguf_trains_and_its_adapter_is_certified(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "one.gguf"
    write_gguf(file, apart("sd3", tiny("sd3"), file), Kind.Q8_0)
    run = run_of(tmp_path / "home", file, max_train_steps=1, **{"optimizer.learning_rate": 1e-2})
    assert train(run, Said(), Control) == "succeeded" and run.step == 1
    modules, _ = run.lora.export()
    written = tmp_path / "adapter.safetensors"
    write_adapter(written, modules, family=run.family, dtype="fp32", metadata={})
    certificate = certify(written, open_base(str(file)), trained=modules)
    assert certificate.passed, certificate.findings
    assert (certificate.base, certificate.family) == ("one", "sd3") and certificate.output_changed


def test_whoever_trains_or_paints_is_told_what_it_takes(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "one.gguf"
    write_gguf(file, apart("sd3", tiny("sd3"), file), Kind.Q8_0)
    home = tmp_path / "home"
    found = prepare(make_dataset(home), {"base": str(file)}, home=home)
    assert "one is packed (GGUF Q8_0)" in found.notices[0].message
    assert found.config.mixed_precision in found.notices[0].message
    request = GenerateRequest(
        base=str(file), prompts=("a star",), steps=1, width=64, height=64, precision="bf16", device="cpu", threads=1
    )
    base, said = open_base(str(file)), Said()
    made = paint(request, base, family_of(base), home=home, out=tmp_path / "out", emit=said, control=Control)
    assert made
    told = [event.message for event in said.events if isinstance(event, Notice)]
    assert any("one is packed (GGUF Q8_0)" in text and text.endswith("in bf16.") for text in told)


@pytest.mark.parametrize("kind", sorted({*_WRITTEN, *_K, "Q8_0", "F32"}))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_format_becomes_the_numbers_it_stands_for(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "net.a.weight": torch.randn(6, 512, generator=generator),
        "net.b.weight": torch.randn(4, 3, 2, 2, generator=generator),
        "net.b.bias": torch.randn(7, generator=generator),
    }
    meant = write_gguf(tmp_path / "a.gguf", tensors, Kind[kind])
    found = tensors_of(tmp_path / "a.gguf", dtype)
    assert list(found) == ["a.weight", "b.weight", "b.bias"]
    for key, tensor in meant.items():
        mine = found[key.removeprefix("net.")]
        assert torch.equal(mine.to(dtype), tensor.to(dtype)), key
    assert found["b.bias"].dtype == torch.float32, "plain numbers stay as they are"
    if kind not in ("F32", "F16", "BF16"):
        assert found["a.weight"].dtype == dtype


def test_a_large_tensor_is_unpacked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_AT_ONCE", 3 * 32)
    meant = write_gguf(tmp_path / "a.gguf", {"a": torch.randn(7, 160)}, Kind.Q5_1)
    assert torch.equal(tensors_of(tmp_path / "a.gguf", torch.float32)["a"], meant["a"])


def test_the_table_of_blocks_is_that_of_the_package() -> None:
    theirs = {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    assert all(theirs[name] == sizes for name, sizes in BLOCKS.items())
    for name in UNPACKED:
        count, width = BLOCKS[name]
        assert dequantize(np.zeros((1, width), np.uint8), Kind[name]).size == count, name


def test_without_the_package_one_sentence_says_what_to_install(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = apart("sd3", tiny("sd3"), tmp_path / "one.gguf")
    write_gguf(tmp_path / "one.gguf", tensors, Kind.Q4_0)
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"packed \(GGUF Q4_0\), and unpacking it needs") as caught:
        open_base(str(tmp_path / "one.gguf"))
    assert "lorasmith[gguf]" in caught.value.hint
    write_gguf(tmp_path / "one.gguf", tensors, Kind.F16)
    assert open_base(str(tmp_path / "one.gguf")).detection.family == "sd3", "plain numbers need no package"


def test_a_notice_says_what_it_takes_in_memory(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.zeros(1024, 1024), "b.bias": torch.zeros(64)}
    write_gguf(tmp_path / "a.gguf", tensors, Kind.Q8_0)
    header = read_header(tmp_path / "a.gguf")
    notice = said_of_size(header, "cat", "bf16")
    assert notice is not None and "cat is packed (GGUF Q8_0)" in notice.message
    assert "its full size in memory, 2 MB in bf16" in notice.message
    write_gguf(tmp_path / "a.gguf", tensors, Kind.BF16)
    assert said_of_size(read_header(tmp_path / "a.gguf"), "cat", "bf16") is None


def _lying(tmp_path: Path, kind: int = 8, dims: tuple[int, ...] = (32, 4), **other: Any) -> Path:
    """A GGUF file of two tensors that are as they should be but for what is said here."""

    def string(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text

    size = 136
    offsets = other.get("offsets", (0, 160))
    tensors = b"".join(
        string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        for name, offset in zip((b"a.weight", b"b.weight"), offsets, strict=True)
    )
    counts = other.get("counts", (2, 1))
    setting = string(b"general.alignment") + struct.pack("<II", 4, other.get("alignment", 32))
    if "bent" in other:
        counts = (2, 2)
        setting += string(b"comfy.gguf.orig_shape.a.weight") + struct.pack("<IIQ2i", 9, 5, 2, *other["bent"])
    head = struct.pack("<4sIQQ", other.get("magic", b"GGUF"), other.get("version", 3), *counts) + setting + tensors
    path = tmp_path / "x.gguf"
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(160 + size - other.get("missing", 0)))
    return path


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"magic": b"GGML"}, "is not a GGUF file"),
        ({"version": 9}, "GGUF of version 9"),
        ({"missing": 1}, "cut short: 'b.weight' ends 1 bytes behind its end"),
        ({"offsets": (0, 2**60)}, "cut short: 'b.weight' ends"),
        ({"offsets": (0, 32)}, "'b.weight' in x.gguf lies over another one"),
        ({"dims": (4, 32)}, "rows of 4 numbers, which Q8_0 cannot pack"),
        ({"dims": (2**47, 2**47)}, "cut short: 'a.weight' ends"),
        ({"dims": (2**63, 2**63)}, "'a.weight' in x.gguf has a shape that none can have"),
        ({"dims": (0, 2**63)}, "'a.weight' in x.gguf has a shape that none can have"),
        ({"bent": (-4, -32)}, "says of 'a.weight' a shape that it cannot have"),
        ({"bent": (4, 33)}, "says of 'a.weight' a shape that it cannot have"),
        ({"dims": (1,) * 9}, "'a.weight' in x.gguf is damaged"),
        ({"counts": (2**60, 1)}, "claims 1,152,921,504,606,846,976 tensors"),
        ({"counts": (2, 2**60)}, "2 tensors and 1,152,921,504,606,846,976 settings"),
        ({"counts": (3, 1)}, "x.gguf"),
        ({"alignment": 0}, "multiples of 0 bytes"),
        ({"alignment": 33}, "multiples of 33 bytes"),
    ],
)
def test_a_gguf_file_that_lies_is_refused_in_one_sentence(lie: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert set(tensors_of(_lying(tmp_path), torch.float32)) == {"a.weight", "b.weight"}
    path = _lying(tmp_path, **lie)
    for read in (read_header, lambda file: tensors_of(file, torch.float32)):
        with pytest.raises(BaseError, match=re.escape(said)) as caught:
            read(path)
        assert caught.value.hint and caught.value.message.count(".") - caught.value.message.count("x.gguf") <= 3


def test_no_cut_and_no_turned_byte_of_a_header_is_believed(tmp_path: Path) -> None:
    """Read or refused in a sentence, never another error; what is read has the size that it was said to have."""
    content = _lying(tmp_path, bent=(4, 32)).read_bytes()
    assert tensors_of(tmp_path / "x.gguf", torch.float32)["a.weight"].shape == (4, 32)
    file = tmp_path / "y.gguf"
    for cut in range(len(content)):
        file.write_bytes(content[:cut])
        with pytest.raises(BaseError):
            tensors_of(file, torch.float32)
    for position in range(300):
        for value in (0x00, 0x7F, 0xFF):
            file.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            try:
                assert sum(tensor.numel() for tensor in tensors_of(file, torch.float32).values()) <= 2 * len(content)
            except BaseError as refusal:
                assert refusal.hint


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    path = _lying(tmp_path, kind=99)
    assert read_header(path).dtypes["a.weight"] == "type 99"
    with pytest.raises(BaseError, match=r"packs a\.weight as type 99"):
        tensors_of(path, torch.float32)


@pytest.mark.parametrize("name", ["nf4", "nf4_nested", "fp4", "fp4_nested"])
def test_four_bits_are_unpacked_as_bitsandbytes_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by bitsandbytes 0.50.2, with what it makes of them again (of the long one the last two rows, in fp16)."""
    monkeypatch.setattr(unpacking, "_AT_ONCE", 100)
    found = tensors_of(_GOLDEN, torch.float32)
    meant = found[f"meant.{name}"]
    assert torch.equal(found[f"{name}.weight"][-len(meant) :].to(meant.dtype), meant)
    header = read_header(_GOLDEN)
    assert header.shapes[f"{name}.weight"] == tuple(found[f"{name}.weight"].shape)
    assert header.dtypes[f"{name}.weight"] == name[:3].upper()
    assert not any("absmax" in key or "quant" in key for key in header.shapes)


def write_nf4(path: Path, tensors: Mapping[str, Tensor], **state: Any) -> dict[str, Tensor]:
    """A file as bitsandbytes writes it, its matrices in NF4, and what they mean."""
    meaning = load_file(_GOLDEN)["nf4.weight.quant_map"]
    made: dict[str, Tensor] = {}
    meant: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if tensor.ndim != 2 or tensor.numel() % 128:
            made[key] = meant[key] = tensor
            continue
        blocks = tensor.float().reshape(-1, 64)
        scales = blocks.abs().amax(1).clamp(min=1e-6)
        nearest = ((blocks / scales[:, None]).unsqueeze(-1) - meaning).abs().argmin(-1)
        meant[key] = (meaning[nearest] * scales[:, None]).reshape(tensor.shape)
        pairs = nearest.reshape(-1, 2).to(torch.uint8)
        said = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(tensor.shape)} | state
        text = json.dumps(said).encode()
        made |= {
            key: (pairs[:, 0] * 16 + pairs[:, 1])[:, None],
            f"{key}.absmax": scales,
            f"{key}.quant_map": meaning.clone(),
            f"{key}.quant_state.bitsandbytes__nf4": torch.tensor(list(text), dtype=torch.uint8),
        }
    save_file({key: tensor.contiguous() for key, tensor in made.items()}, path)
    return meant


def test_a_denoiser_in_nf4_is_told_and_loaded_as_its_numbers(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    file, plain = tmp_path / "one.safetensors", tmp_path / "plain.safetensors"
    meant = write_nf4(file, apart("sd3", tiny("sd3"), file))
    save_file({key: tensor.contiguous() for key, tensor in meant.items()}, plain)
    shutil.copytree(tmp_path / "one", tmp_path / "plain")
    header = read_header(file)
    assert header.shapes == read_header(plain).shapes and "NF4" in header.dtypes.values()
    notice = said_of_size(open_base(str(file)).header, "one", "fp32")
    assert notice is not None and "packed (nf4)" in notice.message
    same_denoiser(file, plain)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"shape": [8, 2**40]}, "needs 4,398,046,511,104 numbers of U8 in a.weight"),
        ({"shape": [4, 64]}, "needs 128 numbers of U8 in a.weight"),
        ({"shape": "wide"}, "tells no shape"),
        ({"shape": [-8, -64]}, "tells no shape"),
        ({"blocksize": 0}, "tells no size of blocks"),
        ({"blocksize": 2**46}, "tells no size of blocks"),
        ({"nested_blocksize": 2**46, "nested_offset": 0.5}, "does not tell how its scales are packed"),
        ({"blocksize": 128}, "needs 4 numbers of F32 in a.weight.absmax"),
        ({"quant_type": "fp4"}, "contradicts its name"),
        ({"nested_blocksize": 256}, "does not tell how its scales are packed"),
        ({"nested_blocksize": 256, "nested_offset": float("inf")}, "does not tell how its scales are packed"),
        ({"nested_blocksize": 256, "nested_offset": 0.5}, "needs 8 numbers of U8 in a.weight.absmax"),
        ({"padding": "x" * 20_000}, "is far larger than any is"),
    ],
)
def test_four_bits_that_lie_are_refused_in_one_sentence(state: dict[str, Any], said: str, tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(8, 64)}
    write_nf4(tmp_path / "x.safetensors", tensors)
    assert set(tensors_of(tmp_path / "x.safetensors", torch.float32)) == {"a.weight"}
    write_nf4(tmp_path / "x.safetensors", tensors, **state)
    for read in (read_header, lambda file: tensors_of(file, torch.float32)):
        with pytest.raises(BaseError, match=re.escape(said)) as caught:
            read(tmp_path / "x.safetensors")
        assert "x.safetensors" in caught.value.message and caught.value.hint


def test_a_piece_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_nf4(path, {"a.weight": torch.randn(8, 64)})
    whole = load_file(path)
    for piece in ("a.weight", "a.weight.absmax", "a.weight.quant_map"):
        save_file({key: tensor for key, tensor in whole.items() if key != piece}, path)
        with pytest.raises(BaseError, match=f"needs {re.escape(piece)}, which is missing"):
            read_header(path)
    broken = torch.tensor(list(b"[1, nonsense"), dtype=torch.uint8)
    save_file({**whole, "a.weight.quant_state.bitsandbytes__nf4": broken}, path)
    with pytest.raises(BaseError, match="is not JSON"):
        read_header(path)
