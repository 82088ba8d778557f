"""Encoders of text and pictures and VAEs that lie in files of their own, or in one with a denoiser: which, by header.

A part is told by names and true shapes, in the names of transformers and diffusers, of the original release, or of
llama.cpp (GGUF). What the tensors cannot tell, such as FLUX.1's VAE from that of Stable Diffusion 3, is one part here
with both names: which of them it is, only its owner knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lorasmith.bases.header import Header

Role = Literal["text_encoder", "image_encoder", "vae"]
Shapes = Mapping[str, tuple[int, ...]]
EXPERT: Final = "expert"
"""The kind of a component that is another denoiser of the same family and variant."""


@dataclass(frozen=True)
class PartKind:
    """One published part. It is told when all of ``has`` is there, nothing of ``lacks``, and ``shape`` is as stated."""

    name: str
    role: Role
    title: str
    has: tuple[str, ...]
    shape: tuple[str, int, int]
    """A tensor, an axis of it, and how long that is."""
    lacks: tuple[str, ...] = ()
    file: str = ""
    """What its file is usually called."""
    alike: bool = False
    """Whether several published parts have these very tensors."""


@dataclass(frozen=True)
class Component:
    """What one place of a family's pipeline needs, so that a base can be put together from files."""

    kind: str
    """Of ``PARTS``, of ``vocabularies.VOCABULARIES``, ``EXPERT``, or the name of settings: ``schedule_...``,
    ``pictures_...``."""
    class_name: str
    config: str = ""
    """Its config below ``configs/parts``; left out, it is called as the kind."""
    optional: bool = False
    """Whether some bases of the variant have none, which their tensors do not tell."""


@dataclass(frozen=True)
class FoundPart:
    """A part, where its names begin, and why it is this one."""

    kind: PartKind
    prefix: str
    evidence: tuple[str, ...]


def _clip(name: str, title: str, last: int, width: int, file: str) -> Iterator[PartKind]:
    rows = (("text_model.", "embeddings.token_embedding.weight"), ("", "embeddings.token_embedding.weight"))
    for start, words in rows:
        has, lacks = f"{start}encoder.layers.{last}.mlp.fc1.weight", f"{start}encoder.layers.{last + 1}.mlp.fc1.weight"
        yield PartKind(name, "text_encoder", title, (has,), (start + words, 1, width), (lacks,), file)
    has, lacks = f"transformer.resblocks.{last}.mlp.c_fc.weight", f"transformer.resblocks.{last + 1}.mlp.c_fc.weight"
    yield PartKind(name, "text_encoder", title, (has,), ("token_embedding.weight", 1, width), (lacks,), file)


def _t5(name: str, title: str, words: int, file: str) -> Iterator[PartKind]:
    has = "encoder.block.23.layer.1.DenseReluDense.wi_1.weight"
    for table in ("shared.weight", "encoder.embed_tokens.weight"):
        yield PartKind(name, "text_encoder", title, (has,), (table, 0, words), file=file)
    yield PartKind(
        name, "text_encoder", title, ("enc.blk.23.ffn_up.weight",), ("token_embd.weight", 0, words), file=file
    )


def _language(
    name: str, title: str, last: int, width: int, mark: str, packed_mark: str, file: str, *, eyes: str = "",
    lacks: tuple[str, ...] = (),
) -> Iterator[PartKind]:  # fmt: skip
    for start, look in (("model.", ""), ("model.language_model.", "model."), ("language_model.model.", ""), ("", "")):
        has: tuple[str, ...] = (f"{start}layers.{last}.self_attn.q_proj.weight", f"{start}layers.0.{mark}")
        has = (*has, f"{look}{eyes}") if eyes else has
        beyond = (f"{start}layers.{last + 1}.self_attn.q_proj.weight", *lacks)
        yield PartKind(name, "text_encoder", title, has, (f"{start}embed_tokens.weight", 1, width), beyond, file)
    if not eyes:
        has = (f"blk.{last}.attn_q.weight", f"blk.0.{packed_mark}")
        beyond = (f"blk.{last + 1}.attn_q.weight",)
        yield PartKind(name, "text_encoder", title, has, ("token_embd.weight", 1, width), beyond, file)


def _vae(
    name: str, title: str, channels: int, file: str, *, quantised: bool, alike: bool, marks: tuple[str, ...] = ()
) -> Iterator[PartKind]:  # fmt: skip
    for middle in ("decoder.mid.block_1.norm1.weight", "decoder.mid_block.resnets.0.norm1.weight"):
        has = (middle, *marks, *(("post_quant_conv.weight",) if quantised else ()))
        lacks = () if quantised else ("post_quant_conv.weight",) if not marks else ()
        yield PartKind(name, "vae", title, has, ("decoder.conv_in.weight", 1, channels), lacks, file, alike)


_TOLD: Final = "decoder.last_time_embedder.timestep_embedder.linear_1"
_LTX_TIME: Final = "decoder.time_embedder.timestep_embedder.linear_1.weight"


def _ltx(
    version: str, later: str, width: int, channels: int, has: tuple[str, ...] = (), ours: tuple[str, ...] = (),
    lacks: tuple[str, ...] = (), without: tuple[str, ...] = (),
) -> Iterator[PartKind]:  # fmt: skip
    """In the names of its release, by the width of the first layer on the way up, then in diffusers'."""
    name, title = f"vae_ltx_{version}", f"the VAE of LTX-Video {version}{later}"
    file = "the checkpoint of the release itself, which holds it"
    first = "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight"
    yield PartKind(name, "vae", title, (first, "encoder.conv_out.conv.weight", *has), (first, 0, width), lacks, file)
    marks = ("latents_mean", "decoder.mid_block.resnets.0.conv1.conv.weight", *ours)
    yield PartKind(name, "vae", title, marks, ("encoder.conv_out.conv.weight", 1, channels), without, file)


_QWEN3, _VISION = ("self_attn.q_norm.weight", "attn_q_norm.weight"), "visual.patch_embed.proj.weight"
_NO_EYES: Final = (_VISION, f"model.{_VISION}")

PARTS: Final[tuple[PartKind, ...]] = (
    *_clip("clip_l", "CLIP-L", 11, 768, "clip_l.safetensors"),
    *_clip("clip_h", "OpenCLIP-H", 22, 1024, "clip_h.safetensors"),
    *_clip("clip_h", "OpenCLIP-H", 23, 1024, "clip_h.safetensors"),
    *_clip("clip_g", "OpenCLIP-bigG", 31, 1280, "clip_g.safetensors"),
    *_t5("umt5_xxl", "UMT5-XXL", 256_384, "umt5_xxl_fp8_e4m3fn_scaled.safetensors"),
    *_t5("t5_xxl", "T5-XXL v1.1", 32_128, "t5xxl_fp16.safetensors"),
    *_language("qwen3_0.6b", "Qwen3 0.6B", 27, 1024, *_QWEN3, "qwen_3_06b_base.safetensors", lacks=_NO_EYES),
    *_language("qwen3_4b", "Qwen3 4B", 35, 2560, *_QWEN3, "qwen_3_4b.safetensors", lacks=_NO_EYES),
    *_language("qwen3_8b", "Qwen3 8B", 35, 4096, *_QWEN3, "qwen_3_8b.safetensors", lacks=_NO_EYES),
    *_language("qwen3_vl_4b", "Qwen3-VL 4B", 35, 2560, *_QWEN3, "qwen3vl_4b.safetensors", eyes=_VISION),
    *_language("qwen3_vl_8b", "Qwen3-VL 8B", 35, 4096, *_QWEN3, "qwen3vl_8b.safetensors", eyes=_VISION),
    *_language("qwen2.5_vl_7b", "Qwen2.5-VL 7B", 27, 3584, "self_attn.k_proj.bias", "",
               "qwen_2.5_vl_7b_fp8_scaled.safetensors", eyes=_VISION),
    *_language("qwen2.5_7b", "Qwen2.5-VL 7B without its eyes", 27, 3584, "self_attn.k_proj.bias", "attn_k.bias",
               "", lacks=_NO_EYES),
    *_language("gemma2_2b", "Gemma 2 2B", 25, 2304, "post_feedforward_layernorm.weight", "post_ffw_norm.weight",
               "gemma_2_2b_fp16.safetensors"),
    *_language("mistral3_24b", "Mistral Small 3 24B", 39, 5120, "self_attn.k_proj.weight", "attn_k.weight",
               "mistral_3_small_flux2_fp8.safetensors"),
    *_language("llama3_8b", "Llama 3 8B", 31, 4096, "self_attn.k_proj.weight", "attn_k.weight",
               "llava_llama3_fp8_scaled.safetensors"),
    PartKind("clip_vision_h", "image_encoder", "CLIP-H's eye", ("vision_model.encoder.layers.31.mlp.fc1.weight",),
             ("vision_model.embeddings.patch_embedding.weight", 0, 1280),
             ("vision_model.encoder.layers.32.mlp.fc1.weight",), "clip_vision_h.safetensors"),
    PartKind("bridge_t5", "text_encoder", "a bridge from Qwen3 to T5's words", ("blocks.0.cross_attn.q_proj.weight",
             "out_proj.weight"), ("embed.weight", 0, 32_128)),
    *_vae("vae_4", "the VAE of Stable Diffusion 1.x, 2.x or SDXL", 4, "sdxl_vae.safetensors", quantised=True,
          alike=True),
    *_vae("vae_flux2", "the VAE of FLUX.2", 32, "flux2-vae.safetensors", quantised=False, alike=False,
          marks=("bn.running_mean",)),
    *_vae("vae_16", "the VAE of FLUX.1 or Stable Diffusion 3", 16, "ae.safetensors", quantised=False, alike=True),
    *_ltx("0.9.5", " or later", 1024, 2048, (f"{_TOLD}.weight", "encoder.down_blocks.1.conv.conv.bias"), (_LTX_TIME,)),
    *_ltx("0.9.1", "", 1024, 512, (f"{_TOLD}.weight",), (_LTX_TIME,)),
    *_ltx("0.9.0", "", 512, 512, lacks=(f"{_TOLD}.weight",), without=(_LTX_TIME,)),
    PartKind("vae_hunyuan", "vae", "the VAE of HunyuanVideo", ("decoder.mid_block.resnets.0.conv1.conv.weight",
             "post_quant_conv.weight"), ("decoder.conv_in.conv.weight", 1, 16),
             file="hunyuan_video_vae_bf16.safetensors"),
    PartKind("vae_hunyuan", "vae", "the VAE of HunyuanVideo", ("decoder.mid.block_1.conv1.conv.weight",
             "post_quant_conv.weight"), ("decoder.conv_in.conv.weight", 1, 16),
             file="hunyuan_video_vae_bf16.safetensors"),
    PartKind("vae_wan2.2", "vae", "the VAE of Wan 2.2 5B", ("decoder.upsamples.0.upsamples.0.residual.2.weight",),
             ("decoder.conv1.weight", 1, 48), file="wan2.2_vae.safetensors"),
    PartKind("vae_wan2.2", "vae", "the VAE of Wan 2.2 5B", ("decoder.mid_block.resnets.0.norm1.gamma",),
             ("decoder.conv_in.weight", 1, 48), file="wan2.2_vae.safetensors"),
    PartKind("vae_wan", "vae", "the VAE of Wan 2.1 or Qwen-Image", ("decoder.middle.0.residual.0.gamma",),
             ("decoder.conv1.weight", 1, 16), file="wan_2.1_vae.safetensors", alike=True),
    PartKind("vae_wan", "vae", "the VAE of Wan 2.1 or Qwen-Image", ("decoder.mid_block.resnets.0.norm1.gamma",),
             ("decoder.conv_in.weight", 1, 16), file="wan_2.1_vae.safetensors", alike=True),
)  # fmt: skip
TITLES: Final[Mapping[str, str]] = {kind.name: kind.title for kind in PARTS}
FILES: Final[Mapping[str, str]] = {kind.name: kind.file for kind in PARTS}

BRIDGE: Final = r"llm_adapter\."
"""Stands between a text encoder and a denoiser, in the file of the denoiser and among its names."""
_BEGINNINGS: Final = re.compile(
    r"^(cond_stage_model\.(transformer|model)\.|conditioner\.embedders\.\d\.(transformer|model)\."
    r"|text_encoders\.\w+\.(transformer|model|logit_scale)?\.?|first_stage_model\.|vae\."
    rf"|(model\.diffusion_model\.|diffusion_model\.|net\.|model\.)?{BRIDGE})"
)
"""What stands before the parts in a file that holds several."""
_WHOLE: Final = ("", "transformer.", "text_encoder.", "vae.", "first_stage_model.")


def part_of(header: Header) -> FoundPart | None:
    """Which part a file is that holds one alone; None when it is none that is known."""
    for prefix in _WHOLE:
        found = _told(header, prefix)
        if found is not None:
            return found
    return None


def parts_inside(header: Header) -> dict[str, FoundPart]:
    """The parts of a file that holds a denoiser too, by what their names begin with."""
    beginnings: dict[str, None] = {}
    for key in header.shapes:
        match = _BEGINNINGS.match(key)
        if match is not None:
            beginnings[match.group()] = None
    found = {prefix: _told(header, prefix) for prefix in beginnings}
    return {prefix: part for prefix, part in found.items() if part is not None}


def kinds_of(inside: Iterable[FoundPart], beside: Iterable[FoundPart | None]) -> set[str]:
    """The kinds of parts that a base has, in the file of its denoiser and beside it; the VAE that a release was made
    with lies in its own file, so that another beside it decides nothing."""
    own = list(inside)
    has_vae = any(part.kind.role == "vae" for part in own)
    others = [part for part in beside if part is not None and not (has_vae and part.kind.role == "vae")]
    return {part.kind.name for part in (*own, *others)}


def _told(header: Header, prefix: str) -> FoundPart | None:
    shapes = header.shapes
    for kind in PARTS:
        key, axis, length = kind.shape
        shape = shapes.get(prefix + key, ())
        if axis >= len(shape) or shape[axis] != length:
            continue
        if all(prefix + name in shapes for name in kind.has) and not any(
            prefix + name in shapes for name in kind.lacks
        ):
            evidence = [f"it has '{prefix}{kind.has[0]}'", f"'{prefix}{key}' is {length:,} long (axis {axis})"]
            if kind.alike:
                evidence.append("others have the very same tensors: which of them it is, only its owner knows")
            return FoundPart(kind, prefix, tuple(evidence))
    return None


def words_of(header: Header, found: FoundPart) -> int:
    """How many words a text encoder knows: the rows of its table."""
    tables = tuple(f"{name}.weight" for name in ("token_embedding", "shared", "embed_tokens", "token_embd"))
    own = [shape for key, shape in header.shapes.items() if key.startswith(found.prefix) and key.endswith(tables)]
    return max((shape[0] for shape in own if shape), default=0)


def size_of(header: Header, prefix: str) -> int:
    """Numbers under a prefix."""
    return sum(math.prod(shape) for key, shape in header.shapes.items() if key.startswith(prefix))
