"""CLIP's byte-pair encoding, exactly as the text encoders of Stable Diffusion read a caption.

The algorithm is that of Sennrich et al. (https://arxiv.org/abs/1508.07909) over bytes: a word is cut into single bytes
and the known pair of lowest rank is joined, again and again, until no known pair is left.

What happens to the text before is what ``CLIPTokenizer`` of ``transformers`` 5 does, since that is what diffusers'
pipelines and our own training call: NFC, lower case, whitespace only parts words. OpenAI's first tokenizer also
repaired encodings (ftfy) and unescaped HTML; neither happens here, so ``&amp;`` is three tokens.
"""

from __future__ import annotations

import gzip
import heapq
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from lorasmith.errors import ConfigError

_CLIP_FILE: Final = Path(__file__).with_name("vocabulary") / "bpe_simple_vocab_16e6.txt.gz"
_CLIP_MERGES: Final = 49_408 - 2 * 256 - 2  # of the vocabulary: bytes, bytes that end a word, two special tokens
_SPECIAL: Final = re.compile(r"<\|startoftext\|>|<\|endoftext\|>")
_WORD: Final = re.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]+", re.ASCII
)
_UNBROKEN: Final = re.compile(r"[^ \t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_END: Final = "</w>"
_CACHED_WORDS: Final = 100_000  # then the cache starts anew: it must not grow with the dataset
_CACHED_LENGTH: Final = 40  # longer words hardly come twice

Pair = tuple[str, str]


class BytePairs:
    """A vocabulary of merges, and a cache of the words it has cut.

    Args:
        merges: pairs of symbols, the first to be joined first.
    """

    def __init__(self, merges: Iterable[Pair]) -> None:
        self._ranks: Final[Mapping[Pair, int]] = {pair: rank for rank, pair in enumerate(merges)}
        self._cut: dict[str, tuple[int, ...]] = {}
        self._kinds: Final = _Kinds()

    def count(self, text: str) -> int:
        """How many tokens the text is, without the start and end that surround it."""
        if text.isascii() and "<|" not in text:
            cut, words = self._cut, _WORD.findall(text.lower())
            return sum(len(cut.get(word) or self._word(word)) for word in words)
        total = 0
        for piece, is_special in _around_specials(text):
            total += 1 if is_special else sum(len(self._word(word)) for word in self._words(_folded(piece)))
        return total

    def ends(self, text: str) -> Iterator[int]:
        """For every token the index in ``text`` up to which all tokens so far have read it.

        A character whose bytes are parted between tokens counts as read with the last of them. The text is read only
        as far as one asks, to the end of a word.
        """
        start = 0
        for piece, is_special in _around_specials(text):
            if is_special:
                yield start + len(piece)
            else:
                for match in _UNBROKEN.finditer(piece):
                    yield from self._ends_of_unbroken(match.group(), start + match.start())
            start += len(piece)

    def _ends_of_unbroken(self, text: str, start: int) -> Iterator[int]:
        """``ends`` of a stretch without whitespace, which is where normalisation cannot reach across."""
        folded, origins = _folded_with_origins(text)
        position = 0  # words lie one after the other: every character but whitespace is in one
        for word in self._words(folded):
            reached, spent = 0, 0
            for size in self._word(word):
                spent += size
                while reached < len(word) and len(word[reached].encode()) <= spent:
                    spent -= len(word[reached].encode())
                    reached += 1
                end = position + reached
                yield start + (origins[end - 1] if end else 0)
            position += len(word)

    def _words(self, folded: str) -> list[str]:
        """The text cut into words, digits and marks, before any byte is looked at."""
        if folded.isascii():
            return _WORD.findall(folded)
        return [folded[m.start() : m.end()] for m in _WORD.finditer(folded.translate(self._kinds))]

    def _word(self, word: str) -> tuple[int, ...]:
        """How many bytes each token of a word holds."""
        known = self._cut.get(word)
        if known is not None:
            return known
        sizes = self._merged([_BYTES[byte] for byte in word.encode("utf-8", "replace")])
        if len(word) <= _CACHED_LENGTH:
            if len(self._cut) >= _CACHED_WORDS:
                self._cut.clear()
            self._cut[word] = sizes
        return sizes

    def _merged(self, symbols: list[str]) -> tuple[int, ...]:
        """Join pairs, lowest rank first and leftmost among equals; bytes of each symbol that remains.

        Symbols are a linked list and candidate pairs a heap, so that a word of a million letters takes seconds and
        not days.
        """
        sizes = [1] * len(symbols)
        symbols[-1] += _END
        following = [*range(1, len(symbols)), -1]
        before = list(range(-1, len(symbols) - 1))
        ranks, heap = self._ranks, []
        for index, pair in enumerate(itertools.pairwise(symbols)):
            if pair in ranks:
                heap.append((ranks[pair], index))
        heapq.heapify(heap)
        while heap:
            rank, left = heapq.heappop(heap)
            right = following[left]
            if not sizes[left] or right < 0 or ranks.get((symbols[left], symbols[right])) != rank:
                continue  # one of the two has been joined to another meanwhile
            symbols[left] += symbols[right]
            sizes[left] += sizes[right]
            sizes[right] = 0
            following[left] = following[right]
            if following[left] >= 0:
                before[following[left]] = left
            for first in (before[left], left):
                if first >= 0 and following[first] >= 0:
                    joined = ranks.get((symbols[first], symbols[following[first]]))
                    if joined is not None:
                        heapq.heappush(heap, (joined, first))
        return tuple(size for size in sizes if size)


class _Kinds(dict[int, str]):
    """For ``str.translate``: every letter beyond ASCII as ``a``, number as ``0``, space as a space, the rest as ``.``.

    Python's ``re`` knows no Unicode classes; this way one ASCII pattern finds the same stretches. The one letter that
    the pattern treats apart, after an apostrophe, is never ``a``. Characters that are younger than Python's Unicode
    tables count as marks.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)[0]
        if code < 128:
            meaning = character
        elif not _UNBROKEN.match(character):
            meaning = " "
        else:
            meaning = {"L": "a", "N": "0"}.get(kind, ".")
        self[code] = meaning
        return meaning


@cache
def clip_byte_pairs() -> BytePairs:
    """The vocabulary of CLIP: that of Stable Diffusion and SDXL, and of the smaller encoders of SD3 and FLUX.1."""
    return BytePairs(clip_merges())


def clip_merges() -> list[Pair]:
    """The pairs of that vocabulary in their order."""
    with gzip.open(_CLIP_FILE, "rt", encoding="utf-8") as stream:
        return [_pair(line) for line in itertools.islice(stream, 1, 1 + _CLIP_MERGES)]


def byte_pairs_from(folder: Path) -> BytePairs:
    """The vocabulary of a CLIP tokenizer's folder with ``vocab.json`` and ``merges.txt``.

    Raises:
        ConfigError: ``merges.txt`` is missing or is none.
    """
    path = folder / "merges.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return BytePairs(_pair(line) for line in lines if line.strip() and not line.startswith("#version"))
    except (OSError, ValueError) as cause:
        raise ConfigError(f"The tokenizer in {folder} cannot be read: {cause}.", "Download it again.") from cause


def usable_length(folder: Path, otherwise: int) -> int:
    """How many tokens fit between start and end by a folder's ``tokenizer_config.json``; ``otherwise`` if it is silent.

    Raises:
        ConfigError: the file is damaged.
    """
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return otherwise
    try:
        length = json.loads(path.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError) as cause:
        raise ConfigError(f"{path} cannot be read: {cause}.", "Download it again.") from cause
    return length - 2 if isinstance(length, int) and 2 < length < 1_000_000 else otherwise  # 1e30 stands for no limit


def _pair(line: str) -> Pair:
    left, right = line.split()
    return left, right


def _around_specials(text: str) -> Iterator[tuple[str, bool]]:
    """The text cut at the names of special tokens, which are one token each where they stand literally."""
    start = 0
    for match in _SPECIAL.finditer(text):
        yield text[start : match.start()], False
        yield match.group(), True
        start = match.end()
    yield text[start:], False


def _folded(text: str) -> str:
    """NFC in lower case, letter by letter: the sigma that ends a Greek word is like any other."""
    return unicodedata.normalize("NFC", text).replace("Σ", "σ").lower()


def _folded_with_origins(text: str) -> tuple[str, list[int]]:
    """``_folded``, and for each of its characters the index in ``text`` after all that it came from."""
    if text.isascii():
        return text.lower(), list(range(1, len(text) + 1))
    folded: list[str] = []
    origins: list[int] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _joins(text[start:end], text[end]):
            continue
        cluster = text[start:end]
        stays = unicodedata.is_normalized("NFC", cluster)  # then every character of it stands for itself
        for index, part in enumerate(cluster if stays else (cluster,), start + 1 if stays else end):
            characters = _folded(part)
            folded += characters
            origins += [index] * len(characters)
        start = end
    return "".join(folded), origins


def _joins(cluster: str, character: str) -> bool:
    """Whether normalisation may join a character to what stands before it."""
    if unicodedata.combining(character):
        return True
    alone = unicodedata.normalize("NFC", cluster) + unicodedata.normalize("NFC", character)
    return unicodedata.normalize("NFC", cluster + character) != alone


def _byte_symbols() -> tuple[str, ...]:
    """The letter that stands for each byte in the vocabulary: itself where it can be printed, else one from U+0100."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = itertools.count(256)
    return tuple(chr(byte) if byte in printable else chr(next(others)) for byte in range(256))


_BYTES: Final = _byte_symbols()
