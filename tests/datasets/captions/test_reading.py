"""From bytes to text to tags; edits touch what they name and nothing else, and peers' bugs are here as regressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.captions import count_word, decode_caption, is_excuse, split_tags
from lorasmith.datasets.captions.operations import operation_from
from lorasmith.errors import ConfigError
from tests.datasets.error_texts import FIRST, FOURTH, SECOND, THIRD, Texts

words = st.text(st.sampled_from("ab zé猫-_'.()\\:"), max_size=8)
captions = st.lists(words, max_size=6).map(",".join) | st.text(max_size=40)


def remove_tags(caption: str, tags: list[str]) -> str:
    return operation_from("remove_tags", {"tags": tags, "split_prose": True}).apply(caption)


def add_trigger_word(caption: str, word: str) -> str:
    return operation_from("add_trigger_word", {"word": word}).apply(caption)


@pytest.mark.parametrize(
    ("caption", "tags", "expected"),
    [
        ("1girl, blue hair, blue eyes, long hair", ["blue hair"], "1girl, blue eyes, long hair"),
        ("1girl, long hair, hair ribbon, hair", ["hair"], "1girl, long hair, hair ribbon"),
        ("1girl, solo focus", ["solo"], "1girl, solo focus"),
        ("solo, 1girl", ["solo"], "1girl"),
        ("solo", ["solo"], ""),
        ("a,  b ,c", ["b"], "a,c"),
        ("poster (object), blue", ["poster"], "poster (object), blue"),
        (r"saber \(fate, zero\), sword", ["zero\\)"], r"saber \(fate, zero\), sword"),
        (r"saber \(fate, zero\), sword", [r"saber \(fate, zero\)"], "sword"),
        ("A red star, on gray. Solo.", ["solo"], "A red star, on gray. Solo."),
        ("a, b\nb\nc, b\n", ["b"], "a\nc\n"),
        ("a\nb", ["b"], "a"),
    ],
)
def test_remove_tags(caption: str, tags: list[str], expected: str) -> None:
    assert remove_tags(caption, tags) == expected


@given(
    captions, st.lists(words.filter(str.strip).filter(lambda tag: len(tag.splitlines()) == 1), min_size=1, max_size=3)
)
def test_removing_touches_only_what_it_names(caption: str, tags: list[str]) -> None:
    wanted = {tag.strip() for tag in tags}
    edited = remove_tags(caption, tags)
    assert split_tags(edited) == [tag for tag in split_tags(caption) if tag not in wanted]
    if not wanted & set(split_tags(caption)):
        assert edited == caption


@given(st.lists(st.text(st.sampled_from("ab 猫é.'"), min_size=1).map(str.strip).filter(bool)))
def test_split_is_the_inverse_of_join(tags: list[str]) -> None:
    assert split_tags(", ".join(tags)) == tags


def test_commas_in_escaped_parentheses_do_not_split() -> None:
    assert split_tags(r"a \(b, c\), d, \(open, e") == [r"a \(b, c\)", "d", r"\(open", "e"]
    assert split_tags(" a ,, b,\n c ") == ["a", "b", "c"]
    assert split_tags("") == []


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", "zib"),
        ("  \n", "zib"),
        ("a red star", "zib, a red star"),
        ("zib, a star", "zib, a star"),
        ("a star, zib", "a star, zib"),
        ("A photo of zib, left", "A photo of zib, left"),
        ("Zib sits", "Zib sits"),
        ("a zebra, zibra", "zib, a zebra, zibra"),
        ("zib_style", "zib, zib_style"),
        ("zib's hat", "zib's hat"),
        ("one\ntwo", "zib, one\nzib, two"),
        ("a [trigger] in the rain", "a [trigger] in the rain"),
    ],
)
def test_add_trigger_word(caption: str, expected: str) -> None:
    assert add_trigger_word(caption, "zib") == expected
    assert add_trigger_word(expected, " zib ") == expected


@given(captions, st.text(st.sampled_from("ab zé猫-_'.()*+\\"), min_size=1).filter(str.strip))
def test_the_trigger_word_is_never_doubled(caption: str, word: str) -> None:
    once = add_trigger_word(caption, word)
    assert add_trigger_word(once, word) == once
    assert count_word(once, word) >= 1


@pytest.mark.parametrize("word", ["", "  ", "a\nb"])
def test_what_is_no_trigger_word(word: str) -> None:
    with pytest.raises(ConfigError):
        add_trigger_word("a", word)


@pytest.mark.parametrize(
    ("caption", "is_error"),
    [
        ("Error generating caption: CUDA", True),
        ("Caption generation failed", True),
        ("I'm sorry, I cannot help with that", True),
        ("a sign that says I'm sorry", False),
        ("caption contest, failed soufflé", False),
        ("", False),
    ],
)
def test_error_texts(caption: str, is_error: bool) -> None:
    assert is_excuse(caption) is is_error


@given(st.text().filter(lambda text: "\0" not in text and not text.startswith("\ufeff")))
def test_any_utf8_text_comes_back_whole(text: str) -> None:
    decoded, said = decode_caption(text.encode())
    assert said == ""
    assert decoded == text.rstrip("\r\n")


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    try:
        text, _ = decode_caption(content)
    except ValueError:
        return
    assert "\0" not in text


@pytest.mark.parametrize("texts", [FIRST, SECOND, THIRD, FOURTH])
def test_error_texts_of_many_kinds(texts: Texts) -> None:
    missed = [text for text in texts.faults if not is_excuse(text)]
    assert missed == []
    assert [text for text in texts.sound if is_excuse(text)] == []


@pytest.mark.parametrize(
    ("one_part", "both"),
    [
        ("a man who cannot open a door", "I cannot open the image."),
        ("a sorry looking dog", "Sorry, describing this dog is not something I do."),
        ("an AI robot painting a portrait", "As an AI, I do not see portraits."),
        ("女孩无法打开门", "我无法打开图片。"),
        ("ein Mann kann die Tür nicht öffnen", "Ich kann das Bild nicht öffnen."),
        ("человек не может открыть зонт", "Я не могу открыть изображение."),
        ("un hombre no puede ver la imagen", "No puedo ver la imagen."),
        ("a poster: 'I cannot describe this image'", "I cannot describe this 'image'"),
    ],
)
def test_one_part_of_a_refusal_is_a_caption_and_several_are_none(one_part: str, both: str) -> None:
    assert not is_excuse(one_part) and is_excuse(both)


def test_an_excuse_stands_at_the_beginning() -> None:
    assert is_excuse("I'm sorry, I can't describe this picture. " + "a cat, " * 5_000)
    for long in (
        "a cat, I can " * 900,
        "{" * 3_000,
        "a.b" * 800,
        "A_" * 900 + "b",
        "a „cat „" * 900,
        "['a cat' " * 900,
    ):
        assert not is_excuse(long)
