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
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
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


_INSTRUCTED = (
    "{% for message in messages %}{% for part in message['content'] %}[{{ message['role'] }}]{{ part['text'] }}"
    "[/{{ message['role'] }}]{% endfor %}{% endfor %}"
)


def mistral_tokenizer(folder: Path) -> Any:
    """Every byte a token, and instructions in the manner of Mistral: each turn is a list of parts."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2TokenizerFast

    vocab = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    return Qwen2TokenizerFast(vocab=vocab, merges=[], model_max_length=131072, chat_template=_INSTRUCTED)


def gemma_tokenizer(folder: Path) -> Any:
    from transformers import GemmaTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-'()<>|\n▁"
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *letters]
    return GemmaTokenizerFast(vocab={token: number for number, token in enumerate(tokens)}, merges=[])


def llama_tokenizer(folder: Path) -> Any:
    """Letters, and most words of the instructions that HunyuanVideo writes around a prompt and cuts away by number."""
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
    from transformers import LlamaTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-'()<>|_\n▁"
    special = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokens, merges = dict.fromkeys(["<pad>", "<unk>", "<s>", "</s>", *letters]), list[tuple[str, str]]()
    text = DEFAULT_PROMPT_TEMPLATE["template"]
    for word in (*special, "{}"):
        text = text.replace(word, " ")
    for word in (word for word in dict.fromkeys(text.split()) if len(word) < 11):
        begun = "▁"
        for letter in word:
            if begun + letter not in tokens:
                tokens[begun + letter] = None
                merges.append((begun, letter))
            begun += letter
    vocab = {token: number for number, token in enumerate(tokens)}
    made = LlamaTokenizerFast(vocab=vocab, merges=merges, pad_token="<pad>", model_max_length=512)
    made.add_special_tokens({"additional_special_tokens": special})
    made.padding_side = "right"
    return made


def seeing_processor(kind: str, words: Any) -> Any:
    """A processor of words and pictures, which lies in a folder as published ones do."""
    import transformers

    from lorasmith.families.processors import without_films

    known = without_films(getattr(transformers, kind))

    class Saved(known):  # type: ignore[misc, valid-type]
        def save_pretrained(self, save_directory: str, **settings: Any) -> None:
            self.tokenizer.save_pretrained(save_directory)
            self.image_processor.save_pretrained(save_directory)
            told = {"processor_class": kind}
            (Path(save_directory) / "processor_config.json").write_text(json.dumps(told), encoding="utf-8")

    Saved.__name__, Saved.__module__ = known.__name__, known.__module__
    pictures = transformers.Qwen2VLImageProcessorPil()
    return Saved(image_processor=pictures, tokenizer=words, chat_template=words.chat_template)
