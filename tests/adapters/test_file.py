"""The adapter's file: the same bytes for the same adapter, the library's own layout, hostile files refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from lorasmith.adapters.file import MAX_METADATA_BYTES, read_adapter, read_adapter_header, serialize, write_adapter
from lorasmith.adapters.keys import dialect_of, split_key
from lorasmith.adapters.module import LoraModule, low_rank_update
from lorasmith.errors import AdapterError
from lorasmith.families import Family
from tests.adapters.conftest import MakeModules


def test_what_is_written_is_read(family: Family, make_modules: MakeModules, written: Path) -> None:
    modules = make_modules("all_linear_conv")
    digest = write_adapter(written, modules, family=family, dtype="fp32", metadata={"ss_network_dim": "4", "note": "ü"})
    assert digest == hashlib.sha256(written.read_bytes()).hexdigest()
    file = read_adapter(written)
    assert (file.dialect, file.dtype, file.leftover, file.keys) == ("kohya", "fp32", (), 3 * len(modules))
    assert file.metadata["note"] == "ü"
    for module in modules:
        stored = file.modules[family.key_names(module.part, module.module)]
        assert (stored.rank, stored.alpha, stored.scale) == (4, 3.0, 0.75)
        assert torch.equal(stored.delta(), module.delta())
        assert stored.delta().shape == (module.up.shape[0], *module.down.shape[1:])
    assert [path.name for path in written.parent.iterdir()] == [written.name]  # nothing temporary is left


def test_the_same_adapter_is_the_same_bytes(family: Family, make_modules: MakeModules, tmp_path: Path) -> None:
    metadata = {f"ss_{n}": str(n) for n in range(40)}
    one = write_adapter(tmp_path / "1.safetensors", make_modules(), family=family, dtype="bf16", metadata=metadata)
    turned = dict(reversed(metadata.items()))
    two = write_adapter(tmp_path / "2.safetensors", make_modules()[::-1], family=family, dtype="bf16", metadata=turned)
    assert one == two


def test_the_text_encoder_keeps_the_name_every_file_has(
    family: Family, make_modules: MakeModules, written: Path
) -> None:
    write_adapter(written, make_modules(), family=family, dtype="fp16", metadata={})
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha" in read_adapter_header(written).shapes


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_hashes_are_those_of_the_library_and_of_kohya(
    family: Family, make_modules: MakeModules, written: Path, dtype: str
) -> None:
    """sd-scripts: SHA-256 of the data as safetensors writes it, and 64 KiB from 1 MiB on of the file with ss_ alone."""
    write_adapter(
        written,
        make_modules("all_linear_conv", rank=32),
        family=family,
        dtype=dtype,
        metadata={"ss_a": "é" * 99, "modelspec.title": "t"},
    )
    with safe_open(written, framework="pt") as stream:
        metadata = stream.metadata()
    again = safetensors.torch.save(safetensors.torch.load_file(written), {"ss_a": metadata["ss_a"]})
    data = again[8 + struct.unpack("<Q", again[:8])[0] :]
    assert metadata["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
    assert metadata["modelspec.hash_sha256"] == "0x" + metadata["sshs_model_hash"]
    assert len(again) > 0x110000 or dtype != "fp32"
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(again[0x100000:0x110000]).hexdigest()[:8]


def test_serialize_is_read_by_the_library() -> None:
    tensors = {
        "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.arange(3, dtype=torch.float16),
        "c": torch.tensor(2.5, dtype=torch.bfloat16),
    }
    content = b"".join(serialize(tensors, {"k": "v", "é": "ü"}))
    loaded = safetensors.torch.load(content)
    assert loaded.keys() == tensors.keys()
    assert all(
        torch.equal(loaded[name], tensors[name]) and loaded[name].dtype == tensors[name].dtype for name in tensors
    )


def one_module(**changes: Any) -> LoraModule:
    module = LoraModule("unet", "mid_block.attentions.0.proj_in", torch.ones(2, 8), torch.ones(8, 2), 2.0)
    return dataclasses.replace(module, **changes)


def test_what_cannot_be_written_is_refused(family: Family, written: Path) -> None:
    with pytest.raises(AdapterError, match="has no modules"):
        write_adapter(written, [], family=family, dtype="fp16", metadata={})
    with pytest.raises(AdapterError, match="not finite"):
        write_adapter(written, [one_module(up=torch.full((8, 2), math.nan))], family=family, dtype="fp32", metadata={})
    large = one_module(up=torch.full((8, 2), 70_000.0))
    with pytest.raises(AdapterError, match="reaches 70,000, more than fp16 can hold") as caught:
        write_adapter(written, [large], family=family, dtype="fp16", metadata={})
    assert "bf16" in caught.value.hint
    write_adapter(written, [large], family=family, dtype="bf16", metadata={})
    with pytest.raises(AdapterError, match="'int8' is no number format"):
        write_adapter(written, [large], family=family, dtype="int8", metadata={})
    with pytest.raises(AdapterError, match="Two modules would be written as"):
        write_adapter(written, [large, large], family=family, dtype="fp32", metadata={})
    with pytest.raises(AdapterError, match=r"The metadata of .* would be"):
        write_adapter(written, [large], family=family, dtype="fp32", metadata={"x": "y" * MAX_METADATA_BYTES})


def test_alpha_stays_exact_whatever_the_format(family: Family, written: Path) -> None:
    write_adapter(written, [one_module(alpha=22.627417)], family=family, dtype="bf16", metadata={})
    (module,) = read_adapter(written).modules.values()
    assert module.alpha == pytest.approx(22.627417, rel=1e-7)


def test_matrices_that_do_not_fit_are_refused() -> None:
    for down, up in (((2, 8), (8, 3)), ((2,), (8, 2)), ((2, 8), (8, 2, 1)), ((2, 8, 3, 3), (8, 2, 3, 3))):
        with pytest.raises(ValueError, match=r"fit each other|larger than 1x1"):
            low_rank_update(torch.zeros(down), torch.zeros(up), 1.0)


def hostile(path: Path, table: dict[str, Any], data: bytes = b"") -> Path:
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_hostile_files_are_refused_by_their_header(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"../../x": entry}, "a key no adapter has"),
        ({"k" * 500: entry}, "a key no adapter has"),
        ({"a.alpha": entry, "__metadata__": {"x": "y" * (MAX_METADATA_BYTES + 1)}}, "larger than 1 MB"),
        ({}, "4 bytes after its last tensor"),
        ({"a.alpha": {"dtype": "F32"}}, "is damaged"),
        ({"a.alpha": {**entry, "data_offsets": [0, 4_000_000_000]}}, "another number of bytes"),
        ({"a.alpha": {**entry, "shape": [1000], "data_offsets": [0, 4000]}}, "is cut short"),
    ]
    for number, (table, sentence) in enumerate(cases):
        with pytest.raises(AdapterError, match=sentence):
            read_adapter_header(hostile(tmp_path / f"{number}.safetensors", table, b"\0\0\0\0"))
    (tmp_path / "a.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match="never opened here"):
        read_adapter_header(tmp_path / "a.pt")
    lying = hostile(tmp_path / "lying.safetensors", {"a.alpha": {**entry, "data_offsets": [0, 3]}}, b"\0\0\0\0")
    with pytest.raises(AdapterError, match="is damaged"):
        read_adapter(lying)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(AdapterError):
        read_adapter(path)


def test_every_dialect_is_told() -> None:
    examples = {
        "kohya": "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
        "peft": "unet.down_blocks.0.attentions.0.proj_in.lora_A.weight",
        "diffusers": "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
        "comfyui": "diffusion_model.input_blocks.1.1.proj_in.lora_B.weight",
        "transformer": "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
        "onetrainer": "lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight",
        "lycoris": "lora_unet_down_blocks_0_attentions_0_proj_in.hada_w1_a",
        "unknown": "something",
    }
    for dialect, key in examples.items():
        assert dialect_of([key]) == (dialect, [])
        assert (split_key(key) is None) == (dialect in ("lycoris", "unknown"))
    main, foreign = dialect_of([examples["kohya"], examples["kohya"], examples["peft"]])
    assert (main, foreign) == ("kohya", [examples["peft"]])
    assert dialect_of([]) == ("unknown", [])
