"""Tokenizers that know a few words, of the classes the real pipelines use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def clip_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> Any:
    from transformers import CLIPTokenizer

    from lorasmith.sandbox.architecture import write_tokenizer

    place = folder / f"clip{len(pad_token)}"
    write_tokenizer(place)
    settings = json.loads((place / "tokenizer_config.json").read_text())
    settings |= {"model_max_length": 77, "pad_token": pad_token}
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(place)


def t5_tokenizer(folder: Path, kind: str = "T5TokenizerFast") -> Any:
    """Letters, digits and the beginnings of words, each a token."""
    import transformers

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-'()<>|\n"
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return getattr(transformers, kind)(vocab=vocab, extra_ids=0, model_max_length=512)


_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer(folder: Path) -> Any:
    """Every byte a token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2TokenizerFast

    vocab = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Qwen2TokenizerFast(vocab=vocab, merges=[], model_max_length=2048, chat_template=_CHAT)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def qwen_vision_tokenizer(folder: Path) -> Any:
    """``qwen_tokenizer`` with the marks that stand around a picture."""
    tokenizer = qwen_tokenizer(folder)
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *marks]})
    return tokenizer


def gemma_tokenizer(folder: Path) -> Any:
    from transformers import GemmaTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-'()<>|\n▁"
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *letters]
    return GemmaTokenizerFast(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
