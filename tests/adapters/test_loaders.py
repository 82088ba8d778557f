"""What diffusers really reads, family by family and dialect by dialect: our table of it is measured here again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorasmith.adapters.arrays import Planned, write
from lorasmith.adapters.dialects.formats import BEST, FORMATS, READ_BY_DIFFUSERS, format_named, readers, refuse_unread
from lorasmith.adapters.opened import open_adapter
from lorasmith.adapters.tools.converting import convert
from lorasmith.bases.detection import registered_families
from lorasmith.errors import AdapterError
from tests.adapters.loaders import TINY, Tiny, built, loaded, targets

# diffusers' converters of these have the widths of the published model written into them: see the test below.
FULL_WIDTH = {("flux", "kohya"), ("lumina2", "comfyui"), ("hunyuan_video", "diffusion_pipe")}
# Reading these as nothing, or wrongly, is what the refusal is for: as many cells as seconds allow.
UNREAD = [
    ("sdxl", "comfyui"), ("sd3", "kohya"), ("sd3", "comfyui"), ("flux", "comfyui"), ("chroma", "comfyui"),
    ("flux2", "onetrainer"), ("qwen_image", "fal_kontext"), ("z_image", "comfyui"), ("krea2", "kohya"),
    ("lumina2", "kohya"), ("wan", "onetrainer"), ("ltx", "kohya"), ("ltx2", "kohya"), ("qwen_image_21", "fal_kontext"),
]  # fmt: skip
# The contract of families loads these through the whole pipeline: no loader of one model alone reads them.
_ELSEWHERE = ("anima",)
_BY_FAMILY = {tiny.family: tiny for tiny in TINY}


def _source(folder: Path, tiny: Tiny) -> Path:
    rng = np.random.default_rng(0)
    tensors: dict[str, Planned] = {}
    for name, (rows, columns) in targets(tiny, built(tiny)).items():
        stem = f"{'unet' if tiny.part == 'unet' else 'transformer'}.{name}"
        for end, shape in (("lora_A", (4, columns)), ("lora_B", (rows, 4))):
            tensors[f"{stem}.{end}.weight"] = Planned(
                shape, "F32", lambda shape=shape: rng.standard_normal(shape, dtype=np.float32)
            )
    path = folder / "source.safetensors"
    write(path, tensors, {"format": "pt"})
    return path


@pytest.mark.parametrize("family", _BY_FAMILY)
def test_what_our_table_says_is_read_is_read_whole(tmp_path: Path, family: str) -> None:
    tiny = _BY_FAMILY[family]
    source = _source(tmp_path, tiny)
    for dialect in sorted(READ_BY_DIFFUSERS[family]):
        if (family, dialect) in FULL_WIDTH:
            continue
        out = tmp_path / f"{dialect}.safetensors"
        convert(source, out, dialect=dialect, family=family, only_for="diffusers")
        assert loaded(tiny, built(tiny), out) == "read", dialect


@pytest.mark.parametrize("family", sorted(registered_families()))
def test_what_we_export_is_a_form_that_diffusers_reads_for_the_family(family: str) -> None:
    """By the measured table, in which every family that is trained stands, itself or under the names of its layers."""
    known = registered_families()[family]
    table = family if family in READ_BY_DIFFUSERS else known.layer_rules
    assert table in _BY_FAMILY or table in _ELSEWHERE
    stem = known.key_names(known.denoiser_part, "mid_block.attentions.0.proj_in")
    unet = known.denoiser_part == "unet"
    spelled = [
        chosen.name
        for chosen in FORMATS.values()
        if chosen.alpha == (known.file_form == "kohya")
        and (chosen.unet if unet else chosen.transformer)
        and stem.startswith(chosen.unet if unet else chosen.transformer)
    ]
    assert set(spelled) & READ_BY_DIFFUSERS[table], spelled


@pytest.mark.parametrize(("family", "dialect"), UNREAD)
def test_what_diffusers_loads_as_nothing_is_refused(tmp_path: Path, family: str, dialect: str) -> None:
    tiny = _BY_FAMILY[family]
    source = _source(tmp_path, tiny)
    with pytest.raises(AdapterError, match="diffusers"):
        convert(source, tmp_path / "refused.safetensors", dialect=dialect, family=family, only_for="diffusers")
    assert not (tmp_path / "refused.safetensors").exists()
    out = tmp_path / "out.safetensors"
    convert(source, out, dialect=dialect, family=family, only_for="any")
    assert loaded(tiny, built(tiny), out) in ("nothing", "wrong")


_WIDE = {
    "flux": ("FluxLoraLoaderMixin", {
        "transformer_blocks.0.attn.to_q": (3072, 3072), "transformer_blocks.0.attn.to_k": (3072, 3072),
        "transformer_blocks.0.attn.to_v": (3072, 3072), "transformer_blocks.0.attn.to_out.0": (3072, 3072),
        "transformer_blocks.0.ff.net.0.proj": (12288, 3072), "single_transformer_blocks.0.attn.to_q": (3072, 3072),
        "single_transformer_blocks.0.attn.to_k": (3072, 3072), "single_transformer_blocks.0.attn.to_v": (3072, 3072),
        "single_transformer_blocks.0.proj_mlp": (12288, 3072), "single_transformer_blocks.0.proj_out": (3072, 15360),
    }),
    "lumina2": ("Lumina2LoraLoaderMixin", {
        "layers.0.attn.to_q": (2304, 2304), "layers.0.attn.to_k": (768, 2304), "layers.0.attn.to_v": (768, 2304),
        "layers.0.attn.to_out.0": (2304, 2304), "layers.0.feed_forward.linear_1": (9216, 2304),
        "layers.0.feed_forward.linear_2": (2304, 9216), "layers.0.feed_forward.linear_3": (9216, 2304),
        "layers.0.norm1.linear": (9216, 1024),
    }),
    "hunyuan_video": ("HunyuanVideoLoraLoaderMixin", {
        "transformer_blocks.0.attn.to_q": (3072, 3072), "transformer_blocks.0.attn.to_k": (3072, 3072),
        "transformer_blocks.0.attn.to_v": (3072, 3072), "single_transformer_blocks.0.attn.to_q": (3072, 3072),
        "single_transformer_blocks.0.attn.to_k": (3072, 3072), "single_transformer_blocks.0.attn.to_v": (3072, 3072),
        "single_transformer_blocks.0.proj_mlp": (12288, 3072),
    }),
}  # fmt: skip


@pytest.mark.parametrize(("family", "dialect"), sorted(FULL_WIDTH))
def test_converters_of_published_widths_give_back_what_was_written(tmp_path: Path, family: str, dialect: str) -> None:
    from diffusers.loaders import lora_pipeline

    mixin, layers = _WIDE[family]
    rng = np.random.default_rng(0)
    tensors: dict[str, Planned] = {}
    for name, (rows, columns) in layers.items():
        for end, shape in (("lora_A", (2, columns)), ("lora_B", (rows, 2))):
            tensors[f"transformer.{name}.{end}.weight"] = Planned(
                shape, "F32", lambda shape=shape: rng.standard_normal(shape, dtype=np.float32)
            )
    source, out = tmp_path / "source.safetensors", tmp_path / "out.safetensors"
    write(source, tensors, {"format": "pt"})
    convert(source, out, dialect=dialect, family=family, only_for="diffusers")
    state = getattr(lora_pipeline, mixin).lora_state_dict(str(tmp_path), weight_name=out.name)
    state = state[0] if isinstance(state, tuple) else state
    found = {key.removesuffix(".lora_A.weight").removeprefix("transformer.") for key in state if "lora_A" in key}
    assert found == set(layers)
    adapter = open_adapter(source, family=family)
    probe = {columns: rng.standard_normal((columns, 3)).astype(np.float32) for _, columns in layers.values()}
    for (_, name), layer in adapter.layers.items():
        factors = adapter.layer_factors(layer)
        down = state[f"transformer.{name}.lora_A.weight"].numpy()
        up = state[f"transformer.{name}.lora_B.weight"].numpy()
        wanted = factors.up @ (factors.down @ probe[factors.layer[1]])
        assert np.abs(up @ (down @ probe[factors.layer[1]]) - wanted).max() < 1e-4 * np.abs(wanted).max(), name


def test_half_a_block_of_lumina2_is_refused_where_diffusers_would_fail(tmp_path: Path) -> None:
    source = _source(tmp_path, _BY_FAMILY["lumina2"])
    with pytest.raises(AdapterError, match="every layer of a block"):
        convert(source, tmp_path / "out.safetensors", family="lumina2")
    convert(source, tmp_path / "out.safetensors", family="lumina2", only_for="comfyui")


@pytest.mark.parametrize("family", sorted(READ_BY_DIFFUSERS))
def test_the_best_dialect_is_read_and_every_refusal_names_it(family: str) -> None:
    best = BEST.get(family, "peft")
    assert all(readers(FORMATS[best], family).values()), "what is written unasked has to be read by both programs"
    for name in FORMATS:
        try:
            chosen = format_named(name, family)
            refuse_unread(chosen, family)
        except AdapterError as refusal:
            assert best in refusal.hint or "peft" in refusal.hint
        else:
            assert all(readers(chosen, family).values()) or name == best
