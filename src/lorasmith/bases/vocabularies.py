"""The words that text encoders know: which tokenizer belongs to which, and where one is found.

Files of text encoders hold none (UMT5's and Gemma's of ComfyUI do, as ``spiece_model``). CLIP's is small, free (MIT)
and shipped; others are given by their owner as a folder, or taken from a folder base or from the Hugging Face cache.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lorasmith.bases.reading import has_vocabulary
from lorasmith.datasets.bpe import clip_merges
from lorasmith.errors import BaseError

_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "chat_template.jinja",
    "chat_template.json", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
_LARGEST: Final = 60_000_000  # bytes of a file; the largest tokenizers have 35 MB
_LEAST_SHARE: Final = 0.9  # of the rows of an encoder's table that words fill; the rest is unused
_CLIP: Final = {
    "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
}  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """One tokenizer. ``repository`` is where anyone gets it, and ``files`` are what is needed of there."""

    name: str
    title: str
    repository: str = ""
    files: tuple[str, ...] = ("tokenizer.json", "tokenizer_config.json")
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What its ``tokenizer_config.json`` says, whatever the folder says."""

    @property
    def shipped(self) -> bool:
        """Whether it comes with this program."""
        return not self.repository

    def fetch(self) -> str:
        """The command that brings it, and what to do then."""
        place = f"{self.name}-words"
        return f"`hf download {self.repository} {' '.join(self.files)} --local-dir {place}`, then name that folder"


_T5: Final = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 512}
VOCABULARIES: Final[Mapping[str, Vocabulary]] = {
    one.name: one
    for one in (
        Vocabulary("clip", "CLIP's words", settings=_CLIP),
        Vocabulary("clip_padded", "CLIP's words", settings={**_CLIP, "pad_token": "!"}),
        Vocabulary("t5", "T5's words", "google-t5/t5-base", settings={"tokenizer_class": "T5TokenizerFast", **_T5}),
        Vocabulary("umt5", "UMT5's words", "google/umt5-xxl", settings={"tokenizer_class": "T5TokenizerFast", **_T5}),
        Vocabulary("qwen3", "Qwen3's words", "Qwen/Qwen3-4B"),
        Vocabulary("qwen2.5_vl", "Qwen2.5-VL's words", "Qwen/Qwen2.5-VL-7B-Instruct"),
        Vocabulary(
            "qwen2.5_vl_pictures", "what prepares pictures for Qwen2.5-VL", "Qwen/Qwen2.5-VL-7B-Instruct",
            ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.json"),
        ),
        Vocabulary("qwen3_vl", "Qwen3-VL's words", "Qwen/Qwen3-VL-4B-Instruct"),
        Vocabulary(
            "llama3_llava", "LLaVA Llama 3's words", "xtuner/llava-llama-3-8b-v1_1-transformers",
            settings={"padding_side": "right"},
        ),
        Vocabulary("gemma2", "Gemma 2's words", "Alpha-VLLM/Lumina-Image-2.0", (
            "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"
        )),
    )
}  # fmt: skip


def folders_in(place: Path, vocabulary: Vocabulary) -> Iterator[Path]:
    """The folder itself or one just below it that may hold these words; a download keeps the folders of its source."""
    for folder in (place, *sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.is_symlink())):
        if has_vocabulary(folder) and all((folder / Path(name).name).is_file() for name in vocabulary.files[1:]):
            yield folder


def words_in(folder: Path) -> int | None:
    """How many words ``tokenizer.json`` or ``vocab.json`` of a folder lists; None where neither can be counted."""
    for name in ("tokenizer.json", "vocab.json"):
        path = folder / name
        if not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as cause:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            raise BaseError(f"{path} is damaged: it is not JSON.", "Download it again.") from cause
        words = told.get("model", {}).get("vocab", told) if isinstance(told, dict) else None
        added = told.get("added_tokens", []) if isinstance(told, dict) and "model" in told else []
        if isinstance(words, dict) and isinstance(added, list):  # added ones may stand among the others too
            return len({*words, *(str(one["content"]) for one in added if isinstance(one, dict) and "content" in one)})
        return len(words) if isinstance(words, dict | list) else None
    return None


def fits(folder: Path, rows: int) -> bool:
    """Whether the words of a folder are as many as an encoder's table has rows, but for a tenth that lies idle."""
    count = words_in(folder)
    return count is None or _LEAST_SHARE * rows <= count <= 1.01 * rows


def write(vocabulary: Vocabulary, source: Path | bytes | None, target: Path) -> None:
    """A tokenizer's folder, of a folder, of the bytes of a sentencepiece model, or of what is shipped."""
    target.mkdir(parents=True)
    settings: dict[str, Any] = {}
    if isinstance(source, Path):
        for name in _FILES:
            file = source / name
            if file.is_file() and file.stat().st_size <= _LARGEST:
                shutil.copyfile(file, target / name)
        told = target / "tokenizer_config.json"
        settings = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
    elif isinstance(source, bytes):
        (target / "spiece.model").write_bytes(source)
    else:
        _write_clip(target)
    settings |= vocabulary.settings
    if settings:
        (target / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8"
        )


def clip_words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary as transformers takes it: each byte, each that ends a word, each pair, and two marks."""
    merges = clip_merges()
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in visible]
    letters += [chr(256 + number) for number in range(256 - len(visible))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}, merges


def _write_clip(target: Path) -> None:
    vocab, merges = clip_words()
    (target / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (target / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
