"""What operations do, and the bugs of other programs that they must not have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.captions import count_word
from lorasmith.datasets.captions.grammar import parse
from lorasmith.datasets.captions.operations import OPERATIONS, CaptionContext, Corpus, operation_from
from lorasmith.errors import ConfigError, DatasetError
from tests.datasets.captions.strategies import captions


class Words:
    """A token per word and per comma."""

    separable = True

    def count(self, text: str) -> int:
        return len(text.split()) + text.count(",")


CORPUS = Corpus(
    frequencies={"1girl": 9, "solo": 7, "blue hair": 5},
    captions={"cats@2": {"a.png": "other, solo"}},
    counter=Words(),
)
CONTEXT = CaptionContext("a.png", 0, CORPUS)
PROSE = "A red star, on gray, with a border. It shines, brightly."
EVERY: list[tuple[str, dict[str, Any]]] = [
    ("add_trigger_word", {"word": "ohwx"}),
    ("add_trigger_word", {"word": "ohwx", "position": "end"}),
    ("add_trigger_word", {"word": "ohwx", "position": "random", "seed": 3}),
    ("add_trigger_word", {"word": "ohwx, woman"}),
    ("fill_placeholder", {"word": "ohwx"}),
    ("find_and_replace", {"find": "blue hair", "replace": "azure hair"}),
    ("find_and_replace", {"find": "a", "replace": "a, a"}),
    ("find_and_replace", {"find": "hair", "replace": "fur", "scope": "word"}),
    ("find_and_replace", {"find": "hair", "scope": "word", "ignore_case": True}),
    ("find_and_replace", {"find": "hair", "replace": "fur", "scope": "phrase"}),
    ("find_and_replace", {"find": "hair", "scope": "phrase", "ignore_case": True}),
    ("find_and_replace", {"find": r"(\w+) hair", "replace": r"hair \1", "scope": "regex"}),
    ("rename_tag", {"tag": "blue_hair", "to": "blue hair"}),
    ("rename_tag", {"tag": "blue hair", "to": "1girl", "loosely": True}),
    ("remove_tags", {"tags": ["solo", "hair"]}),
    ("remove_tags", {"pattern": "* hair", "ignore_case": True}),
    ("remove_tags", {"tags": ["solo"], "occurrences": "first"}),
    ("remove_tags", {"tags": ["solo"], "occurrences": "last", "split_prose": True}),
    ("apply_blacklist", {"tags": ["BLUE_HAIR", "s*"]}),
    ("remove_duplicates", {}),
    ("remove_duplicates", {"variants": False}),
    ("merge_general", {}),
    ("apply_implications", {"implications": {"cat ears": "animal ears", "animal ears": ["ears"]}}),
    ("apply_implications", {"implications": {"cat ears": "animal ears", "solo": ["x", "y"]}, "how": "add"}),
    ("sort_tags", {}),
    ("sort_tags", {"by": "frequency", "keep_tokens": 1}),
    ("sort_tags", {"first": ["solo"], "trigger_word": "zib"}),
    ("insert_tag", {"tag": "new", "position": 2}),
    ("insert_tag", {"tag": "new", "position": -2, "again": True}),
    ("move_tag", {"tag": "solo", "position": 1}),
    ("move_tag", {"tag": "solo", "position": -1}),
    ("clean_up", {}),
    ("underscores_to_spaces", {}),
    ("spaces_to_underscores", {}),
    ("add_prefix", {"text": "photo of "}),
    ("add_suffix", {"text": ", art"}),
    ("keep_first", {"count": 2}),
    ("limit_tokens", {"limit": 6}),
    ("append_captions", {"version": "cats@2"}),
    ("append_captions", {"captions": {"a.png": "x, solo"}, "how": "prepend"}),
    ("append_captions", {"captions": {"a.png": "A cat. It sits."}, "as_line": True}),
    ("copy_captions", {"version": "cats@2"}),
    ("copy_captions", {"captions": {"a.png": "x"}, "how": "fill_empty"}),
]  # fmt: skip
ABOUT_TAGS = [name for name in OPERATIONS if name not in (
    "add_trigger_word", "fill_placeholder", "add_prefix", "add_suffix", "append_captions", "copy_captions",
    "limit_tokens", "clean_up",
)]  # fmt: skip


def apply(name: str, caption: str, **arguments: Any) -> str:
    return operation_from(name, arguments).apply(caption, CONTEXT)


def test_every_operation_is_listed_above_and_describes_itself_and_its_options() -> None:
    assert {name for name, _ in EVERY} == set(OPERATIONS)
    for name, arguments in EVERY:
        assert 5 < len(operation_from(name, arguments).describe()) < 200
        assert OPERATIONS[name].__doc__
        for option, field in OPERATIONS[name].model_fields.items():
            assert field.description, (name, option)


@given(captions)
def test_no_caption_breaks_an_operation(caption: str) -> None:
    for name, arguments in EVERY:
        edited = apply(name, caption, **arguments)
        assert str(parse(edited)) == edited


@given(captions)
def test_what_does_not_apply_changes_no_byte(caption: str) -> None:
    for name, arguments in [
        ("remove_tags", {"tags": ["never there"]}),
        ("rename_tag", {"tag": "never there", "to": "x"}),
        ("find_and_replace", {"find": "never there", "replace": "x", "scope": "word"}),
        ("apply_blacklist", {"tags": ["never there*"]}),
        ("apply_implications", {"implications": {"never there": "x"}, "how": "add"}),
        ("move_tag", {"tag": "never there"}),
        ("keep_first", {"count": 100}),
        ("limit_tokens", {"limit": 1000}),
        ("copy_captions", {"captions": {}}),
        ("append_captions", {"captions": {"a.png": " "}}),
    ]:
        assert apply(name, caption, **arguments) == caption


@given(captions)
def test_what_is_done_is_done(caption: str) -> None:
    for name, arguments in [
        ("add_trigger_word", {"word": "ohwx"}),
        ("add_trigger_word", {"word": "ohwx", "position": "end"}),
        ("add_trigger_word", {"word": "ohwx", "position": "random"}),
        ("remove_duplicates", {}),
        ("sort_tags", {}),
        ("clean_up", {}),
        ("underscores_to_spaces", {}),
        ("add_prefix", {"text": "photo of "}),
        ("add_suffix", {"text": ", art"}),
    ]:
        once = apply(name, caption, **arguments)
        assert apply(name, once, **arguments) == once, name


@pytest.mark.parametrize("name", ABOUT_TAGS)
def test_prose_is_never_taken_apart_at_its_commas(name: str) -> None:
    arguments: dict[str, Any] = {
        "find_and_replace": {"find": "on gray", "replace": "x"},
        "rename_tag": {"tag": "on gray", "to": "x"},
        "remove_tags": {"tags": ["on gray"]},
        "apply_blacklist": {"tags": ["*"]},
        "apply_implications": {"implications": {"on gray": "x"}},
        "insert_tag": {"tag": "x", "position": 2},
        "move_tag": {"tag": "on gray"},
        "keep_first": {"count": 1},
    }.get(name, {})
    assert apply(name, PROSE, **arguments) == PROSE
    mixed = f"b, a, {PROSE}"
    assert apply(name, mixed, **arguments).endswith(PROSE)


def test_prose_is_taken_apart_when_asked() -> None:
    assert apply("remove_tags", PROSE, tags=["on gray"], split_prose=True) == (
        "A red star, with a border. It shines, brightly."
    )


# --- what other programs do wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "tag", "expected"),
    [
        ("1girl, blue hair, blue eyes, long hair", "blue hair", "1girl, blue eyes, long hair"),
        ("1girl, long hair, hair ribbon, hair", "hair", "1girl, long hair, hair ribbon"),
        ("1girl, solo focus", "solo", "1girl, solo focus"),
    ],
)
def test_removing_a_tag_leaves_tags_that_hold_its_words(caption: str, tag: str, expected: str) -> None:
    assert apply("remove_tags", caption, tags=[tag]) == expected
    assert apply("apply_blacklist", caption, tags=[tag]) == expected


def test_replacing_a_tag_leaves_tags_that_share_a_word() -> None:
    caption = "1girl, blue hair, blue eyes, long hair"
    assert apply("find_and_replace", caption, find="blue hair", replace="azure hair") == (
        "1girl, azure hair, blue eyes, long hair"
    )
    assert apply("rename_tag", caption, tag="blue hair", to="azure hair") == "1girl, azure hair, blue eyes, long hair"


@pytest.mark.parametrize("scope", ["tag", "word", "phrase", "regex"])
def test_replacing_a_tag_by_itself_wipes_nothing(scope: str) -> None:
    assert apply("find_and_replace", "a, b, a", find="a", replace="a", scope=scope) == "a, b, a"
    assert apply("rename_tag", "a, b, a", tag="a", to="a") == "a, b, a"


def test_renaming_onto_a_tag_that_is_there_keeps_one() -> None:
    assert apply("rename_tag", "blue_hair, x, blue hair", tag="blue_hair", to="blue hair") == "blue hair, x"


@pytest.mark.parametrize("position", ["beginning", "end", "random"])
@given(caption=captions)
def test_the_trigger_word_is_never_doubled_and_stands_in_every_line(position: str, caption: str) -> None:
    once = apply("add_trigger_word", caption, word="ohwx", position=position)
    for before, after in zip(parse(caption).variants, parse(once).variants, strict=False):
        if before.style != "empty" and "[trigger]" not in before.text.lower():
            assert count_word(after.text, "ohwx") == max(1, count_word(before.text, "ohwx"))


def test_the_trigger_word_in_prose() -> None:
    assert apply("add_trigger_word", PROSE, word="zib") == f"zib, {PROSE}"
    assert apply("add_trigger_word", PROSE, word="zib", position="end") == f"{PROSE} zib"
    assert apply("add_trigger_word", "A photo of zib, left", word="zib") == "A photo of zib, left"
    places = {
        operation_from("add_trigger_word", {"word": "zib", "position": "random"}).apply(
            PROSE, CaptionContext(f"{n}.png")
        )
        for n in range(40)
    }
    assert places == {
        f"zib, {PROSE}",
        f"{PROSE} zib",
        "A red star, on gray, with a border. zib, It shines, brightly.",
    }


def test_a_random_place_depends_on_seed_and_name_alone() -> None:
    caption = ", ".join("abcdefghij")

    def placed(seed: int, name: str) -> int:
        operation = operation_from("add_trigger_word", {"word": "zib", "position": "random", "seed": seed})
        return parse(operation.apply(caption, CaptionContext(name, place=seed))).tags.index("zib")

    assert len({placed(0, f"{number}.png") for number in range(100)}) == 11
    assert [placed(1, "a"), placed(1, "b")] == [placed(1, "a"), placed(1, "b")]
    assert [placed(1, f"{n}") for n in range(9)] != [placed(2, f"{n}") for n in range(9)]


def test_sorting_does_not_scramble_prose_and_keeps_what_comes_first() -> None:
    assert apply("sort_tags", PROSE) == PROSE
    assert apply("sort_tags", "zib, c, b;;;x, a", keep_tokens=1) == "zib, a, b;;;x, c"
    assert apply("sort_tags", "zib, y ||| c, a", trigger_word="none") == "zib, y ||| a, c"
    assert apply("sort_tags", "c, zib woman, a", trigger_word="zib") == "a, zib woman, c"
    assert apply("sort_tags", "x, blue hair, solo, 1girl", by="frequency") == "1girl, solo, blue hair, x"
    assert apply("sort_tags", "c, b, a", first=["b"]) == "b, a, c"


def test_a_blacklist_leaves_the_blanks_inside_other_tags() -> None:
    assert apply("apply_blacklist", "blue  hair, long  dress", tags=["BLUE_hair"]) == "long  dress"


@pytest.mark.parametrize("caption", ["poster (object), poster (object)", r"saber \(fate, zero\), sword", "(a:1.2), b"])
def test_parentheses_survive(caption: str) -> None:
    kept = apply("remove_duplicates", caption)
    assert parse(kept).tags == list(dict.fromkeys(parse(caption).tags))
    assert apply("clean_up", caption) == caption


def test_full_stops_do_not_become_commas_and_lines_stay_lines() -> None:
    text = "A cat sits.  It looks up.\r\n1girl,,  solo ,\r\n"
    assert apply("clean_up", text) == "A cat sits. It looks up.\r\n1girl, solo\r\n"


def test_full_width_commas_are_put_right_only_when_asked() -> None:
    assert apply("clean_up", "1girl，solo、 hat") == "1girl, solo, hat"
    assert apply("clean_up", "1girl，solo", full_width_commas=False) == "1girl，solo"
    assert apply("sort_tags", "b，a, a") == "a, b，a"
    assert apply("clean_up", "一个女孩，站在公园里。") == "一个女孩，站在公园里。"


def test_all_lines_of_a_caption_are_kept() -> None:
    assert apply("remove_tags", "a, b\nb\nc, b\n", tags=["b"]) == "a\nc\n"
    assert apply("rename_tag", "a\n\nb, a", tag="a", to="x") == "x\n\nb, x"


def test_general_tags_give_way_to_specific_ones() -> None:
    assert apply("merge_general", "shirt, white shirt, hair, hair ribbon") == "white shirt, hair, hair ribbon"
    assert apply("merge_general", "white_shirt, Shirt") == "white_shirt"
    assert apply("merge_general", "shirt, white shirt", keep=["shirt"]) == "shirt, white shirt"


def test_a_word_inside_tags_is_replaced() -> None:
    assert apply("find_and_replace", "blue hair, bluebell", find="blue", replace="azure", scope="word") == (
        "azure hair, bluebell"
    )
    assert apply("find_and_replace", "blue hair, blue", find="blue", scope="word") == "hair"


def test_faces_keep_their_underscores() -> None:
    faces = "0_0, (o)_(o), <|>_<|>, ||_||, ^_^, ;_;, T_T"
    assert apply("underscores_to_spaces", f"{faces}, long_hair, (blue_eyes:1.1), <lora:my_file:1>") == (
        f"{faces}, long hair, (blue eyes:1.1), <lora:my_file:1>"
    )


@given(st.lists(st.sampled_from(["blue hair", "^_^", "a", r"saber \(fate\)", "x y z"])).map(", ".join))
def test_underscores_and_back(caption: str) -> None:
    assert apply("underscores_to_spaces", apply("spaces_to_underscores", caption)) == caption


def test_implications_in_a_circle_drop_one_of_two_never_both() -> None:
    circle = {"a": "b", "b": "a", "c": "a"}
    assert apply("apply_implications", "a, b, c", implications=circle) == "c"
    assert apply("apply_implications", "a, b", implications=circle) == "a, b"
    assert apply("apply_implications", "c, x", implications=circle, how="add") == "c, a, b, x"


def test_the_cut_of_a_limit_is_shown() -> None:
    limit = operation_from("limit_tokens", {"limit": 5})
    assert limit.apply("blue hair, solo, 1girl, hat", CONTEXT) == "blue hair, solo"
    assert limit.cut("a b c, d\nA cat sits on the mat, asleep.", CORPUS) == [  # type: ignore[attr-defined]
        ("a b c, d", ""),
        ("A cat sits on the", " mat, asleep."),
    ]
    with pytest.raises(DatasetError, match="tokenizer"):
        limit.apply("a")


def test_captions_from_elsewhere() -> None:
    assert apply("append_captions", "solo, a", version="cats@2") == "solo, a, other"
    assert apply("append_captions", "solo, a", version="cats@2", how="prepend") == "other, solo, a"
    assert apply("append_captions", "a\r\nb", version="cats@2", as_line=True) == "a\r\nb\r\nother, solo"
    assert apply("append_captions", "blue hair", captions={"a.png": "hair"}) == "blue hair, hair"
    assert apply("append_captions", "", version="cats@2") == "other, solo"
    assert apply("copy_captions", "mine", version="cats@2", how="fill_empty") == "mine"
    with pytest.raises(DatasetError, match="dogs@1"):
        apply("copy_captions", "mine", version="dogs@1")


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("sort_tag", {}, "Did you mean 'sort_tags'"),
        ("sort_tags", {"keep_token": 1}, "Did you mean 'keep_tokens'"),
        ("add_prefix", {}, "needs 'text'"),
        ("add_trigger_word", {"word": " "}, "one or more words on one line"),
        ("add_trigger_word", {"word": "a\nb"}, "one line"),
        ("insert_tag", {"tag": "a", "position": 0}, "count places from 1"),
        ("remove_tags", {}, "name a tag"),
        ("copy_captions", {}, "either the version"),
        ("copy_captions", {"version": "a@1", "captions": {}}, "either the version"),
        ("find_and_replace", {"find": "  "}, "blanks"),
        ("find_and_replace", {"find": "(", "scope": "regex"}, "no regular expression"),
        ("find_and_replace", {"find": "a", "replace": r"\1", "scope": "regex"}, "does not fit"),
    ],
)
def test_what_cannot_be_used_is_said(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        operation_from(name, arguments)
    assert said in str(caught.value)
