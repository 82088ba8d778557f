"""Tokenizers that know a few words, of the classes the real pipelines use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


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


def llava_tokenizer(folder: Path) -> Any:
    """Every byte a token, and every word of the instructions that HunyuanVideo writes around a prompt and a picture.

    Words are told apart as LLaMA 3 does it, for the pipeline finds them again by their number.
    """
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>"]
    before, _, behind = DEFAULT_PROMPT_TEMPLATE["template"].partition("{}")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_LLAMA_WORDS), "isolated"), bytes_])
    plain = f"{before}|{behind}"
    for mark in marks:
        plain = plain.replace(mark, "|")
    words = dict.fromkeys(word for part in plain.split("|") for word, _ in cut.pre_tokenize_str(part))
    tokens, merges = dict.fromkeys(sorted(bytes_.alphabet())), list[tuple[str, str]]()
    for word in sorted(words, key=lambda word: not word.startswith("Ġ")):  # those that begin with a blank first
        for end in range(1, len(word)):
            if word[: end + 1] not in tokens:
                tokens[word[: end + 1]] = None
                merges.append((word[:end], word[end]))
    made = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer, made.decoder = cut, decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True) for mark in ("<s>", "<pad>", *marks)])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", padding_side="right", model_max_length=512
    )
    read = tokenizer(before + "b").input_ids
    assert len(read) == DEFAULT_PROMPT_TEMPLATE["crop_start"] + 1
    assert tokenizer.convert_ids_to_tokens(read[DEFAULT_PROMPT_TEMPLATE["image_emb_start"]]) == "<image>"
    return tokenizer
