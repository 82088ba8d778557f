"""Our own statement of which stems ComfyUI, Forge, A1111 and InvokeAI map onto a UNet and its text encoders.

Derived from the base's configs the way those programs derive it from theirs, so that a file can be judged without
them. ComfyUI computes a table of all names it accepts; A1111 turns each name into the original layout's by
arithmetic that is right only for two layers a level. A stem that is not mapped is skipped there, with a line in a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lorasmith.bases.original_layout import original_unet_module, unet_blocks

Place = tuple[str, str]  # part, module (dotted, without "text_model.")

_TRANSFORMER_LAYERS = (
    *(f"attn{n}.to_{what}" for n in (1, 2) for what in ("q", "k", "v", "out.0")),
    "ff.net.0.proj",
    "ff.net.2",
)
_RESNET_LAYERS = ("conv1", "conv2", "time_emb_proj", "conv_shortcut")
_TEXT_LAYERS = (*(f"self_attn.{what}_proj" for what in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
_OUTSIDE = ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
_COMFYUI_TEXT_LAYERS = 32  # it looks no further
_INVOKEAI_WIDTHS = (768, 1024, 2048)
_OPEN_CLIP_WIDTH = 1024  # bases of this width carry OpenCLIP, whose modules are named otherwise


def unet_layers(config: Mapping[str, Any]) -> list[str]:
    """Every layer of a UNet that a LoRA can stand beside, in diffusers' names, from its config alone."""
    layers = list(_OUTSIDE)
    for block in unet_blocks(config):
        if ".resnets." in block:
            layers += [f"{block}.{name}" for name in _RESNET_LAYERS]
        elif ".attentions." in block:
            layers += [f"{block}.{name}" for name in ("proj_in", "proj_out")]
            depth = _depth(config, block)
            layers += [f"{block}.transformer_blocks.{n}.{name}" for n in range(depth) for name in _TRANSFORMER_LAYERS]
        else:
            layers.append(block)
    return layers


def _depth(config: Mapping[str, Any], block: str) -> int:
    """Transformer layers of an attention block; SDXL has as many as its level says, the way up in reverse."""
    depth = config.get("transformer_layers_per_block", 1)
    levels = [depth] * len(config["down_block_types"]) if isinstance(depth, int) else list(depth)
    way, _, rest = block.partition(".")
    if way == "mid_block":
        return int(levels[-1])
    level = int(rest.partition(".")[0])
    return int(levels[level] if way == "down_blocks" else levels[-1 - level])


def comfyui_stems(unet_config: Mapping[str, Any], text_layers: int, second_layers: int = 0) -> dict[str, Place]:
    """All stems ComfyUI accepts for this base, with the layer each one names; SDXL has a second text encoder.

    Its spelling of the names diffusers gave before peft (``.processor.to_q``, ``to_out`` without ``.0``) is why it
    skips the attention layers of files that diffusers writes today.
    """
    blocks = unet_blocks(unet_config)
    stems: dict[str, Place] = {}
    for layer in unet_layers(unet_config):
        place = ("unet", layer)
        flat = layer.replace(".", "_")
        dotted = layer.replace(".to_", ".processor.to_").removesuffix(".0") if ".to_" in layer else layer
        for stem in (f"lora_unet_{flat}", f"lycoris_{flat}", dotted, f"unet.{dotted}"):
            stems[stem] = place
        original = original_unet_module(layer, blocks)
        if original is not None:
            stems[f"lora_unet_{original.replace('.', '_')}"] = place
            stems[f"diffusion_model.{original}"] = place
    clip = "clip_h" if unet_config.get("cross_attention_dim") == _OPEN_CLIP_WIDTH else "clip_l"
    for number in range(min(text_layers, _COMFYUI_TEXT_LAYERS)):
        for name in _TEXT_LAYERS:
            layer = f"encoder.layers.{number}.{name}"
            flat = f"text_model_{layer.replace('.', '_')}"
            for stem in (
                f"lora_te_{flat}",
                f"lora_te1_{flat}",
                f"text_encoder.text_model.{layer}",
                f"text_encoders.{clip}.transformer.text_model.{layer}",
            ):
                stems[stem] = ("text_encoder", layer)
    for number in range(min(second_layers, _COMFYUI_TEXT_LAYERS)):
        for name in _TEXT_LAYERS:
            layer = f"encoder.layers.{number}.{name}"
            place = ("text_encoder_2", layer)
            stems[f"lora_te2_text_model_{layer.replace('.', '_')}"] = place
            stems[f"text_encoder_2.text_model.{layer}"] = place
            stems[f"text_encoders.clip_g.transformer.text_model.{layer}"] = place
    return stems


def invokeai_stems(unet_config: Mapping[str, Any], text_layers: int, second_layers: int = 0) -> dict[str, Place]:
    """All stems InvokeAI accepts for this base; none when it is not SD 1, SD 2 or SDXL, which it tells by its width.

    Flat kohya names alone; those of the original blocks it translates for SDXL only.
    """
    stems: dict[str, Place] = {}
    if unet_config.get("cross_attention_dim") not in _INVOKEAI_WIDTHS:
        return stems
    blocks = unet_blocks(unet_config)
    for layer in unet_layers(unet_config):
        stems[f"lora_unet_{layer.replace('.', '_')}"] = ("unet", layer)
        original = original_unet_module(layer, blocks) if second_layers else None
        if original is not None:
            stems[f"lora_unet_{original.replace('.', '_')}"] = ("unet", layer)
    for part, count, number in (
        ("text_encoder", text_layers, "1" if second_layers else ""),
        ("text_encoder_2", second_layers, "2"),
    ):
        for layer in (f"encoder.layers.{n}.{name}" for n in range(count) for name in _TEXT_LAYERS):
            stems[f"lora_te{number}_text_model_{layer.replace('.', '_')}"] = (part, layer)
    return stems


@dataclass(frozen=True)
class A1111Map:
    """Whether A1111 can run such a base at all, and which modules its model then has (dots as underscores)."""

    applies: bool
    open_clip: bool
    modules: Mapping[str, Place]

    def place(self, stem: str) -> Place | None:
        """The layer A1111 finds for a stem; None when it finds none and skips it."""
        name = a1111_module(stem.partition(".")[0], self.open_clip)
        if name not in self.modules:  # q, k and v of OpenCLIP are one matrix in one module, split when applied
            name = name.replace("lora_unet_", "diffusion_model_", 1)
        return self.modules.get(name)


def a1111_map(unet_config: Mapping[str, Any], text_layers: int, second_layers: int = 0) -> A1111Map:
    """The modules of A1111's model for this base."""
    blocks = unet_blocks(unet_config)
    open_clip = unet_config.get("cross_attention_dim") == _OPEN_CLIP_WIDTH
    modules: dict[str, Place] = {}
    for layer in unet_layers(unet_config):
        original = original_unet_module(layer, blocks)
        if original is not None:
            modules[f"diffusion_model_{original.replace('.', '_')}"] = ("unet", layer)
    for number in range(text_layers):
        for name in _TEXT_LAYERS:
            layer = f"encoder.layers.{number}.{name}"
            flat = f"transformer_text_model_encoder_layers_{number}_{name.replace('.', '_')}"
            flat = f"0_{flat}" if second_layers else flat
            if open_clip:
                flat = f"model_transformer_resblocks_{number}_{_open_clip_name(name.replace('.', '_'))}"
            modules[flat] = ("text_encoder", layer)
    for number in range(second_layers):
        for name in _TEXT_LAYERS:
            flat = f"1_model_transformer_resblocks_{number}_{_open_clip_name(name.replace('.', '_'))}"
            modules[flat] = ("text_encoder_2", f"encoder.layers.{number}.{name}")
    levels, layers = len(unet_config["down_block_types"]), unet_config.get("layers_per_block", 2)
    wanted = 3 if second_layers else 4  # SDXL has a level less
    return A1111Map(levels == wanted and layers == 2, open_clip, modules)


def a1111_module(stem: str, open_clip: bool) -> str:
    """What A1111 makes of a stem; the stem itself when none of its patterns fits."""
    for pattern, build in _A1111_PATTERNS:
        match = pattern.fullmatch(stem)
        if match:
            return build(*match.groups())
    if stem.startswith("lora_te1_text_model"):
        return stem.replace("lora_te1_text_model", "0_transformer_text_model", 1)
    match = re.fullmatch(r"lora_te2_text_model_encoder_layers_(\d+)_(.+)", stem)
    if match is not None:
        return f"1_model_transformer_resblocks_{match.group(1)}_{_open_clip_name(match.group(2))}"
    match = re.fullmatch(r"lora_te_text_model_encoder_layers_(\d+)_(.+)", stem)
    if match is None:
        return stem
    number, rest = match.groups()
    if open_clip:
        return f"model_transformer_resblocks_{number}_{_open_clip_name(rest)}"
    return f"transformer_text_model_encoder_layers_{number}_{rest}"


def _open_clip_name(name: str) -> str:
    """A layer of a text block, underscored, in OpenCLIP's words."""
    return name.replace("mlp_fc1", "mlp_c_fc").replace("mlp_fc2", "mlp_c_proj").replace("self_attn", "attn")


def _resnet_name(kind: str, rest: str) -> str:
    words = {"conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1"}
    return {**words, "conv_shortcut": "skip_connection"}.get(rest, rest) if kind == "resnets" else rest


def _side(kind: str) -> int:
    return 1 if kind == "attentions" else 0


# Three entries a level: two layers and the downsampler. That is where "two layers a level" is built in.
_A1111_PATTERNS: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = (
    (re.compile(r"lora_unet_conv_in"), lambda: "diffusion_model_input_blocks_0_0"),
    (re.compile(r"lora_unet_conv_out"), lambda: "diffusion_model_out_2"),
    (re.compile(r"lora_unet_time_embedding_linear_(\d)"), lambda n: f"diffusion_model_time_embed_{2 * int(n) - 2}"),
    (
        re.compile(r"lora_unet_down_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)"),
        lambda b, kind, n, rest: (
            f"diffusion_model_input_blocks_{1 + 3 * int(b) + int(n)}_{_side(kind)}_{_resnet_name(kind, rest)}"
        ),
    ),
    (
        re.compile(r"lora_unet_mid_block_(attentions|resnets)_(\d+)_(.+)"),
        lambda kind, n, rest: (
            f"diffusion_model_middle_block_{1 if _side(kind) else 2 * int(n)}_{_resnet_name(kind, rest)}"
        ),
    ),
    (
        re.compile(r"lora_unet_up_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)"),
        lambda b, kind, n, rest: (
            f"diffusion_model_output_blocks_{3 * int(b) + int(n)}_{_side(kind)}_{_resnet_name(kind, rest)}"
        ),
    ),
    (
        re.compile(r"lora_unet_down_blocks_(\d+)_downsamplers_0_conv"),
        lambda b: f"diffusion_model_input_blocks_{3 + 3 * int(b)}_0_op",
    ),
    (
        re.compile(r"lora_unet_up_blocks_(\d+)_upsamplers_0_conv"),
        lambda b: f"diffusion_model_output_blocks_{2 + 3 * int(b)}_{2 if int(b) else 1}_conv",
    ),
)
