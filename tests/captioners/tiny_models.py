"""Tiny random models of the real classes, from their real configs made small, saved as their repositories are.

``write_tiny(folder, kind)`` writes weights, configs, tokenizer and chat template; the captioners open such a folder as
they open a published one. A word is a token, so what a model says is made of ``WORDS``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipConfig,
    BlipForConditionalGeneration,
    Florence2Config,
    Florence2ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

_TEXT_OF_WORDS: Final = (
    "a the one two red blue green dark bright old young cat dog bird tree house man woman hat ball river hill sits "
    "stands runs sleeps under over beside near with and small large soft warm cold quiet wide high deep long"
)
WORDS: Final = tuple(_TEXT_OF_WORDS.split())
SIDE: Final = 16  # pixels of what a tiny model looks at
PATCH: Final = 8
KINDS: Final = ("blip", "blip2", "blip2_t5", "florence2", "llava", "qwen2_5_vl", "qwen3_vl")

_CHAT: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}@IMAGE@"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
_VISION: Final = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": SIDE, "patch_size": PATCH,
}  # fmt: skip
_TEXT: Final = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_tiny(folder: Path, kind: str, *, seed: int = 4) -> Path:
    """Write a model of this kind.

    Args:
        folder: made.
        kind: of ``KINDS``.
        seed: of its random weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer, model, image_processor, processor = _MAKERS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.4)  # small random models say one word for ever
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, document in (("preprocessor_config.json", image_processor), ("processor_config.json", processor)):
        if document:
            (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


def tokenizer_of(specials: tuple[str, ...], **named: Any) -> PreTrainedTokenizerFast:
    """Words apart from each other are tokens; so are the special ones."""
    vocabulary = {word: at for at, word in enumerate((*specials, *WORDS, ".", ",", "unknown", "photo", "of"))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="unknown"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in specials])
    if "bos_token" in named and named.pop("frames", True):
        first, last = named["bos_token"], named["eos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}" if named.pop("closes", True) else f"{first} $A",
            special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
        )
    named.pop("closes", None)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def _square(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "image_processor_type": kind, "do_resize": True, "size": {"height": SIDE, "width": SIDE}, "resample": 3,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3, **more,
    }  # fmt: skip


def _blip() -> tuple[Any, ...]:
    tokenizer = tokenizer_of(
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]"),
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", bos_token="[CLS]",
        eos_token="[SEP]",
    )  # fmt: skip
    text = {
        **_TEXT, "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "max_position_embeddings": 64,
        "bos_token_id": 4, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3, "is_decoder": True,
    }  # fmt: skip
    config = BlipConfig(text_config=text, vision_config=_VISION, projection_dim=16, image_text_hidden_size=16)
    model = BlipForConditionalGeneration(config)
    return tokenizer, model, _square("BlipImageProcessor", processor_class="BlipProcessor"), {}


def _blip2(encoder_decoder: bool = False) -> tuple[Any, ...]:
    tokenizer = tokenizer_of(
        ("<pad>", "</s>", "<unk>", "<image>"), pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        bos_token="</s>", closes=encoder_decoder,
        **({"extra_special_tokens": {"image_token": "<image>"}} if encoder_decoder else {}),  # as newer ones have
    )  # fmt: skip
    size = len(tokenizer)
    opt = {
        "model_type": "opt", "vocab_size": size, "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1,
        "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    t5 = {
        "model_type": "t5", "vocab_size": size, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
        "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 1,
    }  # fmt: skip
    config = Blip2Config(
        vision_config=_VISION,
        qformer_config={
            **_TEXT, "vocab_size": 8, "encoder_hidden_size": 16, "cross_attention_frequency": 1,
        },
        text_config=t5 if encoder_decoder else opt,
        num_query_tokens=3,
        image_token_index=3,
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config)
    return (
        tokenizer,
        model,
        _square("BlipImageProcessor", processor_class="Blip2Processor"),
        {"processor_class": "Blip2Processor", "num_query_tokens": 3},
    )


def _florence2() -> tuple[Any, ...]:
    places = tuple(f"<loc_{at}>" for at in range(0, 1000, 100))
    tokenizer = tokenizer_of(
        ("<s>", "<pad>", "</s>", "<unk>", "<image>", *places), bos_token="<s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    config = Florence2Config(
        text_config={
            "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1,
            "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32, "max_position_embeddings": 128, "bos_token_id": 0, "pad_token_id": 1,
            "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
        },
        vision_config={
            "depths": [1, 1], "patch_size": [3, 3], "patch_stride": [2, 2], "patch_padding": [1, 1],
            "patch_prenorm": [False, True], "embed_dim": [16, 16], "num_heads": [2, 2], "num_groups": [2, 2],
            "window_size": 4, "projection_dim": 16, "max_temporal_embeddings": 4, "max_position_embeddings": 8,
        },
        image_token_id=4,
    )  # fmt: skip
    model = Florence2ForConditionalGeneration(config)
    return (
        tokenizer,
        model,
        _square("CLIPImageProcessor", processor_class="Florence2Processor", do_center_crop=False, image_seq_length=17),
        {"processor_class": "Florence2Processor"},
    )


def _llava() -> tuple[Any, ...]:
    tokenizer = tokenizer_of(
        ("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<image>", "<pad>"),
        bos_token="<|begin_of_text|>", eos_token="<|im_end|>", pad_token="<pad>", closes=False,
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    tokenizer.chat_template = "<|begin_of_text|>" + _CHAT.replace("@IMAGE@", "<image>\n")
    config = LlavaConfig(
        vision_config={**_VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={
            **_TEXT, "model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 1,
            "bos_token_id": 0, "eos_token_id": 3, "pad_token_id": 5, "max_position_embeddings": 512,
        },
        image_token_index=4,
        image_seq_length=4,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 3, 5
    return (
        tokenizer,
        model,
        _square("SiglipImageProcessor", processor_class="LlavaProcessor"),
        {
            "processor_class": "LlavaProcessor", "patch_size": PATCH, "vision_feature_select_strategy": "full",
            "image_token": "<image>",
        },
    )  # fmt: skip


def _qwen(third: bool = False) -> tuple[Any, ...]:
    specials = (
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
        "<|video_pad|>",
    )  # fmt: skip
    tokenizer = tokenizer_of(specials, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = _CHAT.replace("@IMAGE@", "<|vision_start|><|image_pad|><|vision_end|>")
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    text = {
        **_TEXT, "vocab_size": len(tokenizer), "num_key_value_heads": 1, "rope_parameters": rope, "head_dim": 8,
        "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": PATCH,
        "out_hidden_size": 16,
    }  # fmt: skip
    tokens = {
        "image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4,
    }  # fmt: skip
    model: Any
    if third:
        text = {**text, "rope_parameters": {**rope, "mrope_interleaved": True}}
        vision = {**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens))
    else:
        vision = {**vision, "fullatt_block_indexes": [1], "window_size": 32}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    side = PATCH * 2
    pixels = {"shortest_edge": side * side, "longest_edge": side * side * 16}
    preprocessing = {
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": PATCH, "merge_size": 2,
        "temporal_patch_size": 2, "size": pixels, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "processor_class": "Qwen3VLProcessor" if third else "Qwen2_5_VLProcessor",
    }  # fmt: skip
    return tokenizer, model, preprocessing, {}


_MAKERS: Final = {
    "blip": _blip,
    "blip2": _blip2,
    "blip2_t5": lambda: _blip2(encoder_decoder=True),
    "florence2": _florence2,
    "llava": _llava,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": lambda: _qwen(third=True),
}
