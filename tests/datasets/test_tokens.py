"""Token counts are those of the tokenizer that trains, and a cut loses nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lorasmith.datasets
from lorasmith.datasets.bpe import BytePairs
from lorasmith.datasets.tokens import CLIP_LIMIT, READERS, ClipCounter, EstimatedCounter, LibraryCounter, counter_for
from lorasmith.errors import ConfigError

VOCABULARY = Path(lorasmith.datasets.__file__).parent / "vocabulary"
SANDBOX = Path(lorasmith.datasets.__file__).parents[1] / "sandbox" / "weights" / "base" / "tokenizer"
WORDS = (
    "1girl", "blue_hair", "(solo:1.2)", "it's", "they'll", "café", "cafe\u0301", "ΟΔΟΣ", "İstanbul", "straße", "猫と犬",
    "한국어", "😀", "👩\u200d👩\u200d👧", "🇩🇪", "&amp;", "&lt;b&gt;", "<lora:x:1>", "3:2", "42", "½", "Ⅷ", "١٢", "ﬁne",
    "don’t", "…", "—", "#tag", "\u200b", "\u00ad", "i\u0307", "नमस्ते", "\ufeff", "supercalifragilistic", "x" * 60,
    "!?!?", "^_^", "\\(a\\)", "<|endoftext|>", "<|ENDOFTEXT|>", "<|startoftext|>", "\x01", "\x85",
    "\u1100\u1161\u11a8", "\uac01", "\U0001d400",
)  # fmt: skip
SPACES = (" ", "  ", "\n", "\t", ", ", ",", "\u00a0", "\u3000", "\r\n", "", "\x1c")


def spoken(chance: random.Random) -> str:
    return "".join(chance.choice(WORDS) + chance.choice(SPACES) for _ in range(chance.randint(0, 20)))


@pytest.fixture(scope="module")
def original() -> Any:
    """The tokenizer of transformers with the vocabulary as the file lists it, without our code."""
    transformers = pytest.importorskip("transformers")
    lines = gzip.decompress((VOCABULARY / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49_152 - 256 - 2 + 1]]
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printed] + [chr(256 + n) for n in range(256 - len(printed))]
    tokens = [*letters, *(x + "</w>" for x in letters), *("".join(m) for m in merges)]
    vocabulary = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    assert len(vocabulary) == 49_408
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges).backend_tokenizer


def assert_equal(original: Any, counter: ClipCounter, text: str) -> None:
    encoded = original.encode(text, add_special_tokens=False)
    assert counter.count(text) == len(encoded.ids), text
    ends = list(counter.ends(text))
    assert len(ends) == len(encoded.ids), text
    if not unicodedata.is_normalized("NFC", text):
        return  # there theirs leaves the accent to the next token, and ours to its letter
    for index, (ours, (_, theirs)) in enumerate(zip(ends, encoded.offsets, strict=True)):
        following = encoded.offsets[index + 1][0] if index + 1 < len(ends) else len(text)
        if following >= theirs:  # else the next token holds the rest of this character
            assert ours == theirs, (text, index)
        else:
            assert ours <= theirs, (text, index)


def test_the_vocabulary_is_the_published_one() -> None:
    content = (VOCABULARY / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert digest == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    licence = (VOCABULARY / "LICENSE.txt").read_text(encoding="utf-8")
    assert digest in licence
    assert "MIT License" in licence


def test_the_reference_is_set_up_as_clip_is(original: Any) -> None:
    assert original.encode("a photo of a cat").ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_counts_and_ends_equal_those_of_transformers(original: Any) -> None:
    chance, counter = random.Random(5), ClipCounter()
    for _ in range(3_000):
        assert_equal(original, counter, spoken(chance))


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=60))
def test_any_text_counts_as_in_transformers(original: Any, text: str) -> None:
    assert ClipCounter().count(text) == len(original.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), (" \n", 0), ("a photo of a cat", 5), ("1girl", 2), ("2024", 4), ("&amp;", 3), ("it's", 2), ("😀", 1)],
)
def test_known_counts(text: str, count: int) -> None:
    assert counter_for("sd").count(text) == count


@given(st.text(max_size=80), st.integers(0, 12))
def test_a_cut_loses_nothing(text: str, limit: int) -> None:
    for counter in (counter_for("sd"), EstimatedCounter("T5", 5)):
        read, cut = counter.cut(text, limit)
        assert read + cut == text
        ends = list(counter.ends(text))
        assert ends == sorted(ends)
        assert bool(cut) <= (len(ends) > limit)
        assert counter.count(text) == len(ends)


@given(st.text(max_size=30), st.sampled_from([" ", "\n", ", "]), st.text(max_size=30))
def test_no_token_reaches_across_a_blank(before: str, blank: str, after: str) -> None:
    for counter in (counter_for("sd"), EstimatedCounter("T5", 5)):
        assert counter.separable
        assert counter.count(before + blank + after) == counter.count(before + blank) + counter.count(after)


def test_a_cut_may_part_a_word_but_no_character() -> None:
    counter = counter_for("sd")
    assert counter.cut("a cat, a dog", 3) == ("a cat,", " a dog")
    assert counter.cut("a cat ", 2) == ("a cat ", "")
    assert counter.cut("a cat", 0) == ("", "a cat")
    assert list(counter.ends("x 𓀀")) == [1, 2, 2, 2, 3]
    assert counter.cut("x 𓀀", 3) == ("x ", "𓀀")
    assert counter.cut("cafe\u0301 x", 1) == ("cafe\u0301", " x")
    long = ", ".join(["red"] * 60)
    read, cut = counter.cut(long)
    assert (counter.count(read), counter.count(cut)) == (CLIP_LIMIT, 119 - CLIP_LIMIT)
    with pytest.raises(ConfigError, match="-1"):
        counter.cut("a", -1)


def test_one_endless_word_is_counted_in_time() -> None:
    assert counter_for("sd").count("aé" * 50_000) > 10_000


def test_a_cut_reads_no_further_than_it_must() -> None:
    text, counter = "é a " * 1_000_000, counter_for("sd")
    started = time.process_time()
    read, cut = counter.cut(text, 3)
    taken = time.process_time() - started
    assert (read, len(cut)) == ("é a é", 4_000_000 - 5)
    counter.count(text)
    whole = time.process_time() - started - taken
    assert taken < whole / 5  # measured: a 250th


def test_every_family_has_a_reader_and_says_whether_it_guesses(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for family, reader in READERS.items():
        counter = counter_for(family)
        assert counter.limit == reader.limit > 0
        assert counter.exact is (reader.title == "CLIP")
        assert counter.name.startswith("~") is not counter.exact
        assert counter.count("a photo of a cat, sitting") >= 6
    assert (counter_for("sd3").name, counter_for("sd3").limit) == ("~T5-XXL", 255)


def test_an_unknown_family_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'z-image'"):
        counter_for("zimage")


def test_estimates_are_near_for_plain_words() -> None:
    counter = EstimatedCounter("T5", 255)
    assert counter.count("a photo of a black cat") == 6
    assert counter.count("猫と犬") == 3
    assert counter.cut("one two three", 2) == ("one two", " three")


def test_the_sandbox_tokenizer_is_read_from_its_folder() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer.from_pretrained(SANDBOX, local_files_only=True)
    counter = counter_for("sd", SANDBOX)
    assert counter.limit == theirs.model_max_length - 2
    chance = random.Random(1)
    for _ in range(300):
        text = spoken(chance)
        assert counter.count(text) == len(theirs(text, add_special_tokens=False)["input_ids"]), text


def library_tokenizer(folder: Path) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"a": 0, "cat": 1, "[UNK]": 2}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_truncation(2)
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_a_given_tokenizer_is_exact(tmp_path: Path) -> None:
    counter = counter_for("flux", library_tokenizer(tmp_path / "t5"))
    assert isinstance(counter, LibraryCounter)
    assert (counter.name, counter.exact, counter.limit) == ("T5-XXL", True, 511)
    assert counter.count("a cat, a dog") == 5
    assert counter.cut("a cat, a dog", 3) == ("a cat,", " a dog")


def test_a_tokenizer_in_the_local_cache_is_found(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    library_tokenizer(tmp_path / "models--Qwen--Qwen3-4B" / "snapshots" / "abc" / "tokenizer")
    assert counter_for("z-image").exact
    assert not counter_for("qwen-image").exact


def test_a_folder_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no tokenizer of T5-XXL"):
        counter_for("flux", tmp_path)
    with pytest.raises(ConfigError, match=r"merges\.txt"):
        counter_for("sd", tmp_path)
    for content in ("", "{}", "[1]", '{"model": 3}'):
        (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match="damaged"):
            counter_for("flux", tmp_path)
    (tmp_path / "merges.txt").write_text("a b c\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        counter_for("sd", tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="tokenizer_config"):
        counter_for("sd", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 10**30}), encoding="utf-8")
    assert counter_for("sd", tmp_path).limit == CLIP_LIMIT


def test_pairs_join_lowest_rank_first_and_from_the_left() -> None:
    pairs = BytePairs([("b", "c"), ("a", "b"), ("a", "a"), ("aa", "a")])
    assert pairs.count("abcd") == 3  # a bc d
    assert pairs.count("aaaad") == 3  # aa aa d
    assert list(pairs.ends("abcd")) == [1, 3, 4]


def test_counting_loads_no_model_library() -> None:
    code = (
        "import sys; from lorasmith.datasets.tokens import counter_for; counter_for('sd').count('a cat');"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(Path(lorasmith.__file__).parents[1])}
    )
