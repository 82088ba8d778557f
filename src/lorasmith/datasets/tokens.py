"""How many tokens a caption is to the text encoder of a family, how many it reads, and what it cuts away.

CLIP is counted exactly with the vocabulary beside this file. Other tokenizers are exact when one of theirs lies on this
machine and the ``tokenizers`` library (it comes with the extra ``train``) can read it; else they are estimated, and the
counter's name begins with ``~``. Nothing is downloaded.

Limits are those of the families' pipelines in diffusers 0.42, less the tokens that mark start and end and the
instructions that a pipeline writes before a caption; those of FLUX.2 dev and Lumina are counted by their words.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lorasmith.datasets.bpe import BytePairs, byte_pairs_from, clip_byte_pairs, usable_length
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CLIP_LIMIT: Final = 75
"""Tokens between start and end in one window of CLIP."""


@dataclass(frozen=True)
class Reader:
    """The longest-reading text encoder of a family."""

    title: str
    limit: int
    """Tokens of a caption that it reads; what instructions before it take is left out."""
    repositories: tuple[str, ...] = ()
    """Hugging Face repositories that hold its tokenizer, looked for in the local cache."""
    note: str = ""
    folder: str = "tokenizer"
    """Where in such a repository, unless it lies at the top."""


_T5: Final = ("google/t5-v1_1-xxl",)
_FLUX1: Final = "black-forest-labs/FLUX.1-"
_HUNYUAN: Final = "hunyuanvideo-community/"
_HUNYUAN15: Final = _HUNYUAN + "HunyuanVideo-1.5-Diffusers-"
_ALSO_CLIP: Final = "Its CLIP encoder reads the first 75 CLIP tokens only."
READERS: Final[dict[str, Reader]] = {
    "sd": Reader("CLIP", CLIP_LIMIT),
    "sdxl": Reader("CLIP", CLIP_LIMIT, note="Both of its text encoders share this vocabulary."),
    "sd3": Reader(
        "T5-XXL",
        255,
        ("stabilityai/stable-diffusion-3.5-medium", "stabilityai/stable-diffusion-3.5-large", *_T5),
        "Its two CLIP encoders read the first 75 CLIP tokens only.",
        "tokenizer_3",
    ),
    "flux": Reader("T5-XXL", 511, (_FLUX1 + "dev", *_T5), _ALSO_CLIP, "tokenizer_2"),
    "flux-kontext": Reader("T5-XXL", 511, (_FLUX1 + "Kontext-dev", *_T5), _ALSO_CLIP, "tokenizer_2"),
    "flux-schnell": Reader("T5-XXL", 255, (_FLUX1 + "schnell", *_T5), _ALSO_CLIP, "tokenizer_2"),
    "chroma": Reader("T5-XXL", 511, ("lodestones/Chroma1-HD", *_T5)),
    "flux2": Reader("Mistral 3", 475, ("black-forest-labs/FLUX.2-dev",)),
    "flux2-klein": Reader("Qwen3", 509, ("Qwen/Qwen3-4B", "Qwen/Qwen3-8B")),
    "qwen-image": Reader("Qwen2.5-VL", 512, ("Qwen/Qwen-Image", "Qwen/Qwen2.5-VL-7B-Instruct")),
    "qwen-image-edit": Reader("Qwen2.5-VL", 1024, ("Qwen/Qwen-Image-Edit", "Qwen/Qwen2.5-VL-7B-Instruct")),
    "qwen-image-edit-plus": Reader("Qwen2.5-VL", 1024, ("Qwen/Qwen-Image-Edit-2509", "Qwen/Qwen2.5-VL-7B-Instruct")),
    "qwen-image-21": Reader("Qwen3-VL", 1024, ("Qwen/Qwen-Image-2.1",)),
    "z-image": Reader("Qwen3", 509, ("Tongyi-MAI/Z-Image-Turbo", "Qwen/Qwen3-4B")),
    "krea2": Reader("Qwen3-VL", 507, ("Qwen/Qwen3-VL-4B-Instruct",)),
    "lumina2": Reader("Gemma 2", 224, ("Alpha-VLLM/Lumina-Image-2.0", "google/gemma-2-2b")),
    "wan": Reader("UMT5-XXL", 511, ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "google/umt5-xxl")),
    "wan_i2v": Reader("UMT5-XXL", 511, ("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "google/umt5-xxl")),
    "wan_ti2v": Reader("UMT5-XXL", 511, ("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "google/umt5-xxl")),
    "anima": Reader("Qwen3", 512, ("circlestone-labs/Anima-Base-v1.0-Diffusers", "Qwen/Qwen3-0.6B")),
    "ltx": Reader("T5-XXL", 127, ("Lightricks/LTX-Video", *_T5)),
    "ltx2": Reader("Gemma 3", 1024, ("Lightricks/LTX-2", "google/gemma-3-12b-it")),
    "hunyuan-video": Reader("LLaMA 3", 256, (_HUNYUAN + "HunyuanVideo",)),
    "hunyuan-video-i2v": Reader("LLaMA 3", 252, (_HUNYUAN + "HunyuanVideo-I2V", _HUNYUAN + "HunyuanVideo"), _ALSO_CLIP),
    "hunyuan-video-15": Reader(
        "Qwen2.5-VL",
        1000,
        (_HUNYUAN15 + "480p_t2v", _HUNYUAN15 + "720p_t2v", "Qwen/Qwen2.5-VL-7B-Instruct"),
        "What stands in quotation marks is read by ByT5 too, 256 bytes of it, to be written in the picture.",
    ),
    "hunyuan-video-15-i2v": Reader(
        "Qwen2.5-VL",
        1000,
        (_HUNYUAN15 + "480p_i2v", _HUNYUAN15 + "720p_i2v", "Qwen/Qwen2.5-VL-7B-Instruct"),
        "What stands in quotation marks is read by ByT5 too, 256 bytes of it, to be written in the picture.",
    ),
}
"""By family name."""


class TokenCounter(ABC):
    """Counts and cuts captions as one tokenizer would.

    Args:
        name: of the tokenizer; begins with ``~`` when it is an estimate.
        limit: how many tokens of a caption are read.
        note: a sentence about other readers of the same family; often empty.
    """

    exact: bool = True
    separable: bool = False
    """Whether no token reaches across a blank, so that captions may be counted piece by piece."""

    def __init__(self, name: str, limit: int, note: str = "") -> None:
        self.name = name
        self.limit = limit
        self.note = note

    @abstractmethod
    def ends(self, text: str) -> Iterator[int]:
        """For every token the index in ``text`` up to which all tokens so far have read it, ascending."""

    def count(self, text: str) -> int:
        """How many tokens the text is, without those that mark start and end."""
        return sum(1 for _ in self.ends(text))

    def cut(self, text: str, limit: int | None = None) -> tuple[str, str]:
        """What is read of a text and what is cut away; one after the other they are the text.

        A character that is read in part only counts as cut away.

        Args:
            text: a caption.
            limit: tokens that are read, at least 0; left out, the tokenizer's own.
        """
        wanted = self.limit if limit is None else limit
        if wanted < 0:
            raise ConfigError(f"A limit of {wanted} tokens cannot be.", "Give 0 or more.")
        ends = list(itertools.islice(self.ends(text), wanted + 1))
        if len(ends) <= wanted:
            return text, ""
        at = ends[wanted - 1] if wanted else 0
        return text[:at], text[at:]


class ClipCounter(TokenCounter):
    """CLIP's byte pairs, exact; ``vocabulary`` left out is CLIP's own."""

    separable = True

    def __init__(self, limit: int = CLIP_LIMIT, vocabulary: BytePairs | None = None, note: str = "") -> None:
        super().__init__("CLIP", limit, note)
        self._pairs = vocabulary or clip_byte_pairs()

    def ends(self, text: str) -> Iterator[int]:
        return self._pairs.ends(text)

    def count(self, text: str) -> int:
        return self._pairs.count(text)


class LibraryCounter(TokenCounter):
    """A ``tokenizer.json``, exact, read by the ``tokenizers`` library."""

    def __init__(self, name: str, limit: int, tokenizer: Tokenizer, note: str = "") -> None:
        super().__init__(name, limit, note)
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()

    def ends(self, text: str) -> Iterator[int]:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return itertools.accumulate((end for _, end in offsets), max)


class EstimatedCounter(TokenCounter):
    """About as many tokens as a large multilingual vocabulary needs, for want of the real one.

    A word is one token per seven letters begun, a number one per three digits, a CJK sign and a mark one each.
    """

    exact = False
    separable = True
    _PIECE: Final = re.compile(r"[⺀-鿿가-힯]|[0-9]{1,3}|[^\W\d_⺀-鿿가-힯]{1,7}|[^\w\s]|_|\d")

    def __init__(self, name: str, limit: int, note: str = "") -> None:
        super().__init__(f"~{name}", limit, note)

    def ends(self, text: str) -> Iterator[int]:
        return (match.end() for match in self._PIECE.finditer(text))


def counter_for(family: str, tokenizer: Path | None = None) -> TokenCounter:
    """The counter of a family.

    Args:
        family: as in ``READERS``; ``sd`` and ``sdxl`` are always exact.
        tokenizer: a folder with its tokenizer (``vocab.json`` and ``merges.txt`` of CLIP, or ``tokenizer.json``), for
            instance of the base that is trained. Left out, the local Hugging Face cache is looked through, and without
            a find there the count is an estimate.

    Raises:
        ConfigError: no such family, or the folder holds no tokenizer that can be read.
    """
    # as the family's file is called; a family that is not in the table is counted by what it says of itself
    reader = READERS.get(family) or READERS.get(family.replace("_", "-")) or _by_itself(family)
    if reader is None:
        near = difflib.get_close_matches(family, READERS, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(READERS)}."
        raise ConfigError(f"No tokenizer is known for the family '{family}'.", hint)
    if tokenizer is not None:
        return _from_folder(reader, tokenizer)
    if reader.title == "CLIP":
        return ClipCounter(reader.limit, note=reader.note)
    for folder in _cached_folders(reader):
        opened = _open(folder / "tokenizer.json")
        if opened is not None:
            return LibraryCounter(reader.title, reader.limit, opened, reader.note)
    return EstimatedCounter(reader.title, reader.limit, reader.note)


def _by_itself(family: str) -> Reader | None:
    """The reader of a family that nobody has written down here, from its own file; None where there is none."""
    from lorasmith.bases.detection import registered_families

    known = registered_families().get(family)
    return None if known is None else Reader(f"{known.title}'s text encoder", known.max_prompt_tokens)


def _from_folder(reader: Reader, folder: Path) -> TokenCounter:
    if (folder / "merges.txt").is_file() and reader.title == "CLIP":
        return ClipCounter(usable_length(folder, reader.limit), byte_pairs_from(folder), reader.note)
    if not (folder / "tokenizer.json").is_file():
        wanted = "merges.txt" if reader.title == "CLIP" else "tokenizer.json"
        raise ConfigError(f"{folder} holds no tokenizer of {reader.title}.", f"Name a folder with its {wanted}.")
    opened = _open(folder / "tokenizer.json")
    if opened is None:
        hint = "Install it: `pip install 'lorasmith[train]'`, or leave the tokenizer out for an estimate."
        raise ConfigError(f"The library that reads {folder / 'tokenizer.json'} is not installed.", hint)
    return LibraryCounter(reader.title, reader.limit, opened, reader.note)


def _open(path: Path) -> Tokenizer | None:
    """A tokenizer of the library; None without the library."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:  # first ourselves: for a damaged file the library raises nothing narrower than Exception
        content = path.read_text(encoding="utf-8")
        json.loads(content)["model"]["type"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ConfigError(f"{path} is no tokenizer, or a damaged one.", "Download it again.") from cause
    return Tokenizer.from_str(content)


def _cached_folders(reader: Reader) -> list[Path]:
    """Folders of the local Hugging Face cache that hold a ``tokenizer.json`` of one of the reader's repositories."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    found: list[Path] = []
    for repository in reader.repositories:
        snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
        for place in (reader.folder, "."):
            found += sorted(path.parent for path in snapshots.glob(f"*/{place}/tokenizer.json"))
    return found
