"""Encoders and VAEs out of single files: packed or plain, in the names of their release or of llama.cpp."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.bases.parts import FoundPart, part_of, parts_inside
from lorasmith.bases.reading import read_header
from lorasmith.errors import BaseError
from lorasmith.families.one_denoiser import refuse_holes
from lorasmith.families.unpacking import unpacked
from lorasmith.families.vae_names import named_for_diffusers

if TYPE_CHECKING:
    from torch import Tensor

_FOLDED: Final = {  # OpenCLIP's names in transformers' words
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}  # fmt: skip
_T5: Final = {
    "attn_q": "layer.0.SelfAttention.q", "attn_k": "layer.0.SelfAttention.k", "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o", "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm", "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1", "ffn_down": "layer.1.DenseReluDense.wo", "ffn_norm": "layer.1.layer_norm",
}  # fmt: skip
_QWEN: Final = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OUTSIDE: Final = {
    "token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight", "output.weight": "lm_head.weight",
}  # fmt: skip
_T5_OUTSIDE: Final = {
    "token_embd.weight": "shared.weight", "enc.output_norm.weight": "encoder.final_layer_norm.weight",
}  # fmt: skip
_BLOCK: Final = re.compile(r"^(?:enc\.)?blk\.(\d+)\.(\w+)\.(weight|bias)$")
_NOT_READ: Final = ("gemma", "llama", "mistral")  # llama.cpp keeps their numbers in another order, or adds to them
_SPARE: Final = re.compile(
    r"(^|\.)(logit_scale|position_ids|inv_freq|spiece_model|tekken_model|lm_head\.weight|text_projection(\.weight)?"
    r"|visual_projection\.weight|num_batches_tracked|rope_freqs\.weight|encoder\.embed_tokens\.weight)$"
)


def load_part(path: Path, kind: str, class_name: str, config: Path, dtype: Any) -> Any:
    """A text encoder or a VAE of a file that may hold other parts too; on the CPU.

    Args:
        path: of the file.
        kind: which part, of ``bases.parts.PARTS``.
        class_name: transformers' or diffusers' class.
        config: the folder with its ``config.json``.
        dtype: torch's, of its numbers.

    Raises:
        BaseError: the file does not hold that part, is damaged, or lacks tensors of it.
    """
    header = read_header(path)
    candidates = [*parts_inside(header).values(), *filter(None, [part_of(header)])]
    found = next((part for part in candidates if part.kind.name == kind), None)
    if found is None:
        raise BaseError(f"{path.name} does not hold the part it did ({kind}).", "Put the base together again.")
    gguf = header.metadata.get("format") == "gguf"
    if gguf and kind.startswith(_NOT_READ):
        raise BaseError(
            f"{path.name} is {found.kind.title} as GGUF, which is not read here.", "Take its safetensors form."
        )
    tensors = unpacked(path, dtype, lambda key: key.startswith(found.prefix))
    plain = {key.removeprefix(found.prefix): tensor for key, tensor in tensors.items()}
    if found.kind.role == "vae":
        plain = named_for_diffusers(plain, json.loads((config / "config.json").read_text(encoding="utf-8")))
        return _module(path, plain, class_name, config, dtype)
    if _is_of_diffusers(class_name):
        return _module(path, plain, class_name, config, dtype)
    named = dict(_renamed(plain, gguf))
    if kind.startswith("qwen3_vl"):
        named = dict(_of_qwen3_vl(named, class_name))
    return _text_encoder(path, found, named, class_name, config, dtype)


def _renamed(tensors: Mapping[str, Tensor], gguf: bool) -> Iterator[tuple[str, Tensor]]:
    """Names as transformers reads them, from those of OpenCLIP or of llama.cpp."""
    if gguf:
        yield from _from_gguf(tensors)
    elif any(key.startswith("transformer.resblocks.") for key in tensors):
        yield from _from_open_clip(tensors)
    else:
        for key, tensor in tensors.items():
            if key == "text_projection":  # as a matrix it stands the other way round
                yield "text_projection.weight", tensor.T.contiguous()
            else:
                yield key, tensor


def _of_qwen3_vl(tensors: Mapping[str, Tensor], class_name: str) -> Iterator[tuple[str, Tensor]]:
    """Language and eyes beside each other, as transformers has them; ComfyUI's files call the language ``model``."""
    start = "model." if class_name.endswith("ForConditionalGeneration") else ""
    for key, tensor in tensors.items():
        bare = key.removeprefix("language_model.model.").removeprefix("model.")
        known = key == "lm_head.weight" or bare.startswith(("visual.", "language_model."))
        name = bare if known else f"language_model.{bare}"
        yield name if key == "lm_head.weight" else f"{start}{name}", tensor


def _from_open_clip(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in tensors.items():
        number, _, rest = key.removeprefix("transformer.resblocks.").partition(".")
        layer = f"text_model.encoder.layers.{number}"
        if key.startswith("transformer.resblocks.") and rest.startswith("attn.in_proj_"):
            word = rest.removeprefix("attn.in_proj_")
            for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{layer}.self_attn.{letter}_proj.{word}", piece.contiguous()
        elif key.startswith("transformer.resblocks."):
            module, _, word = rest.rpartition(".")
            yield f"{layer}.{_FOLDED.get(module, module)}.{word}", tensor
        elif key == "positional_embedding":
            yield "text_model.embeddings.position_embedding.weight", tensor
        elif key == "token_embedding.weight":
            yield "text_model.embeddings.token_embedding.weight", tensor
        elif key.startswith("ln_final."):
            yield f"text_model.final_layer_norm.{key.removeprefix('ln_final.')}", tensor
        elif key == "text_projection":
            yield "text_projection.weight", tensor.T.contiguous()
        else:
            yield key, tensor


def _from_gguf(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    t5 = any(key.startswith("enc.blk.") for key in tensors)
    for key, tensor in tensors.items():
        match = _BLOCK.match(key)
        names, start = (_T5, "encoder.block") if t5 else (_QWEN, "model.layers")
        if match is not None and match.group(2) in names:
            yield f"{start}.{match.group(1)}.{names[match.group(2)]}.{match.group(3)}", tensor
        elif t5:
            yield _T5_OUTSIDE.get(key, key), tensor
        else:
            name = _OUTSIDE.get(key, key)
            yield (name if name == "lm_head.weight" else f"model.{name}" if key in _OUTSIDE else name), tensor


def _text_encoder(
    path: Path, found: FoundPart, tensors: dict[str, Tensor], class_name: str, config: Path, dtype: Any
) -> Any:  # fmt: skip
    import transformers

    kind: Any = getattr(transformers, class_name)
    settings = transformers.AutoConfig.from_pretrained(config, local_files_only=True)
    layers = getattr(settings, "num_hidden_layers", None)
    if found.kind.name == "clip_h" and isinstance(layers, int):  # OpenCLIP has one layer more, which nobody uses
        tensors = {key: t for key, t in tensors.items() if not key.startswith(f"text_model.encoder.layers.{layers}.")}
    if class_name.endswith(("ForCausalLM", "ForConditionalGeneration")) and "lm_head.weight" not in tensors:
        settings.tie_word_embeddings = True  # left out where it is not used: what a word would be next
    with _quietly():
        try:
            made, report = kind.from_pretrained(
                None, config=settings, state_dict=tensors, dtype=dtype, output_loading_info=True
            )
        except (RuntimeError, ValueError) as cause:
            reason = " ".join(str(cause).split())[:200]
            raise BaseError(f"{path.name} does not fit {found.kind.title}: {reason}.", "Download it again.") from cause
    missing = sorted(report["missing_keys"])
    wrong = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in report["mismatched_keys"])
    if missing or wrong:
        first = (missing or wrong)[0]
        what = f"lacks {len(missing)} tensors of" if missing else f"has {len(wrong)} tensors of another shape than"
        raise BaseError(f"{path.name} {what} {found.kind.title}, {first} first.", "Download it again.")
    strange = sorted(key for key in report["unexpected_keys"] if not _SPARE.search(key))
    if strange:
        raise BaseError(
            f"{path.name} holds {len(strange)} tensors that {found.kind.title} does not have, {strange[0]} first.",
            "Take the file of the published encoder.",
        )
    return made


@contextmanager
def _quietly() -> Iterator[None]:
    """transformers prints tables of what it does not find; here that becomes one sentence."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _is_of_diffusers(class_name: str) -> bool:
    import diffusers

    return hasattr(diffusers, class_name)


def _module(path: Path, state: dict[str, Tensor], class_name: str, config: Path, dtype: Any) -> Any:
    """A module of diffusers, every parameter of it from the file."""
    import diffusers
    from accelerate import init_empty_weights

    kind: Any = getattr(diffusers, class_name)

    with init_empty_weights():
        made = kind.from_config(kind.load_config(config, local_files_only=True))
    try:
        report = made.load_state_dict({key: t.to(dtype) for key, t in state.items()}, strict=False, assign=True)
    except RuntimeError as cause:
        reason = " ".join(str(cause).split())[:200]
        raise BaseError(f"{path.name} does not fit {class_name}: {reason}.", "Name the VAE of this base.") from cause
    refuse_holes(path, made, class_name)
    missing = [key for key in report.missing_keys if not _SPARE.search(key)]
    if missing:  # statistics that are no parameters
        raise BaseError(
            f"{path.name} lacks {len(missing)} tensors of {class_name}, {missing[0]} first.", "Download it again."
        )
    strange = [key for key in report.unexpected_keys if not _SPARE.search(key)]
    if strange:
        raise BaseError(
            f"{path.name} holds {len(strange)} tensors that {class_name} does not have, {strange[0]} first.",
            "Name the VAE of this base.",
        )
    return made
