"""The query language: what it finds, what it prints, and how it says no."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.manifest import Clip, DatasetVersion, Item, Operation
from lorasmith.datasets.query import FIELDS, GivenFacts, QueryError, added_in, parse_query
from lorasmith.datasets.query import tree as t
from lorasmith.datasets.query.parser import DEEPEST, MOST_CONDITIONS
from lorasmith.datasets.query.scanner import LONGEST
from lorasmith.datasets.tokens import counter_for
from lorasmith.errors import ConfigError


def item(name: str, caption: str = "", **more: Any) -> Item:
    sha = f"{abs(hash(name)):064x}"[:64]
    return Item(name, sha, sha, more.pop("width", 100), more.pop("height", 100), caption, **more)


def version(*items: Item, number: int = 3) -> DatasetVersion:
    operation = Operation(name="import")
    return DatasetVersion(dataset="d", number=number, parent=None, operation=operation, created="", items=items)


ZOO = version(
    item("a.png", "1girl, blue_hair, solo", width=512, height=768, concept="Girl", repeats=10, mask="0" * 64,
         provenance={"format": "jpeg", "source": "https://gelbooru.com/1", "score": 12}),
    item("b.png", "1girl, Blue Hair, solo focus, zib", width=768, height=512, role="validation",
         provenance={"format": "png", "source": "set/b.png", "score": -3}),
    item("cats/c10.png", "A black cat sits on a mat. It sleeps.", width=1000, height=1000),
    item("cats/d.PNG", "catalogue, poster \\(object\\), ^_^", width=3000, height=2000, role="regularisation"),
    item("é.webp", "cafe\u0301, 猫\nsecond line", width=64, height=640),
    item("none.png", "  "),
)  # fmt: skip


def found(text: str, facts: Any = None) -> list[str]:
    return [name.partition(".")[0].rpartition("/")[2] for name in parse_query(text).select(ZOO, facts)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "a b c10 d é none"),
        ("tag:blue_hair", "a b"),
        ('tag:"BLUE HAIR"', "a b"),
        ("tag:solo", "a"),
        ("tag:sol", ""),
        ("tag:solo*", "a b"),
        ("tag:*_hair", "a b"),
        ("tag:?girl", "a b"),
        ("tag:*_*", "a b d é"),
        ("tag:poster_(object)", "d"),
        (r"tag:poster\ \(object\)", "d"),
        ('tag:"poster (object)"', "d"),
        ("tag:^_^", "d"),
        ("tag:café", "é"),
        ("tag:猫", "é"),
        ('tag:"second line"', "é"),
        ("cat", "c10"),
        ("CAT", "c10"),
        ("cat*", "c10 d"),
        ("?at", "c10"),
        ('"black cat"', "c10"),
        ('"black c"', ""),
        ("caption:black\\ c", "c10"),
        ("caption:cat", "c10 d"),
        ("caption:black*mat", "c10"),
        ("caption:blue*solo", "a b"),
        ('"*"', ""),
        ("name:png", "a b c10 d none"),
        ("name:cats/*", "c10 d"),
        ("name:*.png", "a b c10 d none"),
        ("name:?.png", "a b"),
        ("name:E\u0301", "é"),
        ("cat OR solo", "a b c10"),
        ("cat | solo", "a b c10"),
        ("cat || solo", "a b c10"),
        ("solo AND tag:solo", "a"),
        ("solo && tag:solo", "a"),
        ("solo -tag:solo", "b"),
        ("solo NOT tag:solo", "b"),
        ("solo !tag:solo", "b"),
        ("-(cat OR solo)", "d é none"),
        ("cat OR solo tag:solo", "a c10"),
        ("(cat OR solo) tag:solo", "a"),
        ("--tag:solo", "a"),
        ("tags:3", "a d é"),
        ("tags:>3", "b"),
        ("tags:=0", "c10 none"),
        ("tags:3..4", "a b d é"),
        ("tags:..1", "c10 none"),
        ("words:9", "c10"),
        ("chars:>=33", "b c10 d"),
        ("width:<100", "é"),
        ("height:2000", "d"),
        ("megapixels:1", "c10"),
        ("megapixels:1.0", "c10"),
        ("megapixels:>5", "d"),
        ("aspect:3:2", "b d"),
        ("aspect:2:3", "a"),
        ("aspect:1.5", "b d"),
        ("aspect:0.9..1.1", "c10 none"),
        ("aspect:<1", "a é"),
        ("aspect:3:2..16:9", "b d"),
        ("role:train", "a c10 é none"),
        ("role:Validation", "b"),
        ("concept:girl", "a"),
        ("concept:g*", "a"),
        ("repeats:>1", "a"),
        ("score:>0", "a"),
        ("score:-3", "b"),
        ("-score:>0", "b c10 d é none"),
        ("source:gelbooru", "a"),
        ("source:set/*", "b"),
        ("format:JPEG", "a"),
        ("style:tags", "a b d é"),
        ("style:prose", "c10"),
        ("style:empty", "none"),
        ("missing:caption", "none"),
        ("has:mask", "a"),
        ("missing:mask tag:solo", ""),
        ("missing:score has:caption", "c10 d é"),
        ("has:concept OR has:source", "a b"),
    ],
)
def test_finds(query: str, names: str) -> None:
    assert found(query) == names.split()


@dataclass
class Asked:
    """Facts that note what they are asked."""

    noted: list[tuple[Any, ...]] = field(default_factory=list)

    def note(self, *what: Any) -> None:
        self.noted.append(what)

    def trigger_word(self) -> str:
        self.note("trigger")
        return "zib"

    def signal(self, figure: str, items: Sequence[Item]) -> Mapping[str, float | None]:
        self.note(figure, len(items))
        return {"a.png": 12.5, "b.png": 300.0, "cats/c10.png": None, "cats/d.PNG": 1.0}

    def buckets(self, items: Sequence[Item]) -> Mapping[str, tuple[int, int]]:
        self.note("buckets", len(items))
        return {"a.png": (512, 768), "b.png": (768, 512), "cats/c10.png": (512, 512)}

    def duplicates(self) -> Mapping[str, Collection[str]]:
        self.note("duplicates")
        return {"bytes": {"a.png"}, "near": ["b.png", "none.png"]}

    def tokens(self, items: Sequence[Item]) -> Mapping[str, int]:
        self.note("tokens", len(items))
        return {i.name: len(i.caption) for i in items}

    def added_in(self) -> Mapping[str, int]:
        self.note("added")
        return {"a.png": 1, "b.png": 2, "cats/c10.png": 3}

    def findings(self) -> Mapping[str, Collection[str]]:
        self.note("findings")
        return {"C5": ["a.png"], "P12": ["none.png"], "C14": ["b.png"]}


@pytest.mark.parametrize(
    ("query", "names", "asked"),
    [
        ("blur:<40", "a d", [("sharpness", 6)]),
        ("blur:<40 tag:solo", "a", [("sharpness", 1)]),
        ("tag:solo OR blur:<40", "a d", [("sharpness", 5)]),
        ("blur:>0 tag:nothing", "", []),
        ("border:>=300", "b", [("borders", 6)]),
        ("gray:yes has:score", "a b", [("is_gray", 2)]),
        ("bucket:512x768", "a", [("buckets", 6)]),
        ("bucket:512x*", "a c10", [("buckets", 6)]),
        ("dup:any", "a b none", [("duplicates",)]),
        ("dup:near", "b none", [("duplicates",)]),
        ("-dup:any", "c10 d é", [("duplicates",)]),
        ("tokens:>32 tags:>1", "b d", [("tokens", 4)]),
        ("missing:trigger", "a c10 d é none", [("trigger",)]),
        ("has:trigger", "b", [("trigger",)]),
        ("version:added", "c10", [("added",)]),
        ("version:2", "b", [("added",)]),
        ("version:>1", "b c10", [("added",)]),
        ("finding:C5", "a", [("findings",)]),
        ("finding:c*", "a b", [("findings",)]),
        ("tag:solo", "a", []),
    ],
)
def test_facts_are_asked_only_for_what_is_in_question(query: str, names: str, asked: list[Any]) -> None:
    facts = Asked()
    assert found(query, facts) == names.split()
    assert facts.noted == asked


def test_a_question_nobody_can_answer_is_an_error() -> None:
    for name, known in FIELDS.items():
        value = known.choices[0] if known.choices else "1"
        if known.source != "manifest":
            with pytest.raises(ConfigError, match=f"{name}:{value}"):
                parse_query(f"{name}:{value}").select(ZOO)
            with pytest.raises(ConfigError, match="query asks for"):
                parse_query(f"{name}:{value}").select(ZOO, GivenFacts())
    with pytest.raises(ConfigError, match="trigger word"):
        parse_query("missing:trigger").select(ZOO, GivenFacts())


def test_given_facts() -> None:
    measured = SimpleNamespace(sharpness=30.0, borders=(0, 7, 0, 0), is_gray=True, jpeg_quality=None)
    facts = GivenFacts(
        trigger="zib",
        counter=counter_for("sd"),
        signals_of=lambda items: {i.name: measured for i in items if i.name == "a.png"},
        bucket_of=lambda i: (i.width, i.height),
        twins=lambda: {"near": {"b.png"}},
        versions=lambda: {"a.png": 3},
        found=lambda: {"C1": ["none.png"]},
    )
    for query, names in {
        "blur:<40": "a", "border:7": "a", "gray:yes": "a", "jpeg:>0": "", "tokens:0": "none", "bucket:512x768": "a",
        "dup:near": "b", "version:added": "a", "finding:C1": "none", "has:trigger": "b",
    }.items():  # fmt: skip
        assert found(query, facts) == names.split(), query


@pytest.mark.parametrize(
    ("query", "position", "message", "hint"),
    [
        ("tga:x", 0, "no field 'tga:'", "Did you mean 'tag:'"),
        ("a tga:x", 2, "no field", '"tga:x"'),
        ("http://x", 0, "no field 'http:'", "There are: tag"),
        ("tag:", 4, "without a value", "right after"),
        ("tag: x", 4, "without a value", "right after"),
        ('tag:""', 4, "without a value", ""),
        ('""', 0, "nothing between the quotes", ""),
        ("tag:(a OR b)", 4, "begins with a parenthesis", "(tag:a OR tag:b)"),
        ('x "a', 2, "never closed", ""),
        ("(a", 0, "never closed", ""),
        ("a)", 1, "closes nothing", ""),
        ("()", 1, "closing parenthesis was found", ""),
        ("a OR", 4, "the end of the query was found", ""),
        ("OR a", 0, "OR was found", ""),
        ("a AND AND b", 6, "AND was found", ""),
        ("a NOT", 5, "the end", ""),
        ("tags:blue", 5, "wants a whole number, and not 'blue'", "tag:"),
        ("tags:>1.5", 6, "whole number", "tags:13"),
        ("tags:>", 6, "whole number", ""),
        ("tags:١", 5, "whole number", ""),
        ("tags:" + "9" * 13, 5, "whole number", ""),
        ("width:5..x", 9, "not 'x'", ""),
        ("width:..", 6, "whole number", ""),
        ("width:9..3", 6, "ends before it begins", "width:3..9"),
        ("aspect:3:0", 7, "wants a number", "3:2"),
        ("blur:nan", 5, "wants a number", ""),
        ("blur:1e5", 5, "wants a number", ""),
        ("role:validate", 5, "knows train, validation", "role:validation"),
        ("dup:*", 4, "knows any", ""),
        ("version:addd", 8, "whole number", "version:added"),
    ],
)
def test_errors_say_where_and_what(query: str, position: int, message: str, hint: str) -> None:
    with pytest.raises(QueryError) as raised:
        parse_query(query)
    error = raised.value
    assert error.position == position
    assert message in error.message
    assert hint in error.hint
    assert error.exit_code == 2
    shown, caret = error.picture.split("\n")
    assert caret.index("^") == position
    assert shown == query
    assert error.hint or '""' in query


def test_the_caret_stands_under_the_place_in_a_long_query_too() -> None:
    with pytest.raises(QueryError) as raised:
        parse_query("word " * 500 + "tga:x\n" + "word " * 500)
    shown, caret = raised.value.picture.split("\n")
    assert shown[caret.index("^") :].startswith("tga:x ")
    assert len(shown) < 130
    assert f"column {raised.value.position + 1}" in str(raised.value)


@pytest.mark.parametrize("query", ["(" * 100_000, "-" * 40_000 + "a", "NOT " * 10_000 + "a", "(" * (DEEPEST + 2) + "a"])
def test_deep_nesting_is_an_error_and_no_crash(query: str) -> None:
    with pytest.raises(QueryError):
        parse_query(query)


def test_limits() -> None:
    deep = "(" * DEEPEST + "cat" + ")" * DEEPEST
    assert found(deep) == ["c10"]
    assert parse_query(" OR ".join(["cat"] * MOST_CONDITIONS)).select(ZOO) == ["cats/c10.png"]
    with pytest.raises(QueryError, match="more than 2,000 conditions"):
        parse_query("cat " * (MOST_CONDITIONS + 1))
    with pytest.raises(QueryError, match="50,001 characters"):
        parse_query("x" * (LONGEST + 1))


def test_no_wildcard_takes_for_ever() -> None:
    huge = version(item("x", "a" * 3_000))
    started = time.process_time()
    for query in ("tag:" + "*a" * 12 + "*b", "a*" * 12 + "b", "caption:" + "a*" * 12 + "b", "?" * 200):
        parse_query(query).select(huge)
    assert time.process_time() - started < 5


literals = st.text(st.sampled_from("ab é_-\\\"()*?:<>=!&|.'\nANDOR"), min_size=1, max_size=8).filter(str.strip)


@st.composite
def texts(draw: st.DrawFn) -> t.Text:
    if draw(st.booleans()):
        return t.Text((draw(literals),))
    pieces: list[str | int | None] = []
    for piece in draw(st.lists(st.none() | st.just(0) | literals, min_size=1, max_size=5)):
        if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
            continue
        if piece is None and pieces and pieces[-1] is None:
            continue
        pieces.append(piece)
    return t.Text(tuple(pieces))


wholes = st.integers(0, 10**6).map(lambda n: t.Number(str(n), float(n)))
counts = st.builds(t.Compared, st.sampled_from(["", "<", "<=", ">", ">="]), wholes) | st.tuples(
    st.integers(0, 9), st.integers(10, 99)
).map(lambda ends: t.Between(*(t.Number(str(n), float(n)) for n in ends)))
leaves = (
    st.builds(t.Condition, st.sampled_from([t.WORD, "tag", "caption", "name", "source"]), texts())
    | st.builds(t.Condition, st.sampled_from(["tags", "width", "version"]), counts)
    | st.just(t.Condition("role", t.Text(("train",))))
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.builds(t.Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(t.all_of)
        | st.lists(inner, min_size=2, max_size=3).map(t.any_of)
    ),
    max_leaves=12,
)


@given(trees)
def test_what_is_printed_reads_as_the_same(tree: t.Node) -> None:
    assert parse_query(str(tree)).tree == tree


@settings(max_examples=400)
@given(st.text(st.sampled_from('ab :-()"*?\\|&!<>=.1,3ANDORNT\n') | st.characters(), max_size=30))
def test_any_text_is_read_stably_or_refused_with_a_place(text: str) -> None:
    try:
        query = parse_query(text)
    except QueryError as error:
        assert 0 <= error.position <= len(text)
        assert error.picture
        return
    again = parse_query(str(query))
    assert again == query
    assert str(again) == str(query)
    assert query.explain()
    if all(FIELDS[name].source == "manifest" for name in query.fields() - {"word"}) and "trigger" not in text:
        assert again.select(ZOO) == query.select(ZOO)


def every(tree: t.Node, one: Item) -> bool:
    """The meaning of a tree, said again as plainly as can be."""
    if isinstance(tree, t.Not):
        return not every(tree.child, one)
    if isinstance(tree, t.All):
        return all(every(child, one) for child in tree.children)
    if isinstance(tree, t.Any):
        return any(every(child, one) for child in tree.children)
    return one.name in t_select(tree)


def t_select(condition: t.Condition) -> list[str]:
    return parse_query(str(condition)).select(ZOO)


simple = st.sampled_from(["tag:solo", "cat", "tags:>2", "role:train", "width:<600", "has:caption"]).map(
    lambda text: parse_query(text).tree
)
joined = st.recursive(
    simple,
    lambda inner: (
        st.builds(t.Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(t.all_of)
        | st.lists(inner, min_size=2, max_size=3).map(t.any_of)
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(joined)
def test_joining_words_mean_what_they_say(tree: t.Node) -> None:
    assert parse_query(str(tree)).select(ZOO) == [one.name for one in ZOO.items if every(tree, one)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "all pictures"),
        ("tag:blue_hair tags:>13", "pictures tagged 'blue_hair' and with more than 13 tags"),
        ("cat OR -(a b)", "pictures with the word 'cat' in the caption or not (with the word 'a' in the caption and "
         "with the word 'b' in the caption)"),
        ("missing:trigger dup:any", "pictures without the trigger word and that have a duplicate"),
        ("aspect:0.9..1.1 width:..5 height:7..", "pictures of aspect 0.9 to 1.1 and at most 5 pixels wide and at least "
         "7 pixels high"),
        ("version:added gray:no role:train", "pictures added in this version and with colour and for train"),
    ],
)  # fmt: skip
def test_explains_itself(query: str, words: str) -> None:
    assert parse_query(query).explain() == words


def test_fields_have_help() -> None:
    for name, known in FIELDS.items():
        assert known.name == name == name.lower()
        assert known.help.endswith(".")
        assert "{}" in known.says
    assert parse_query("cat tag:x -TAG:y").fields() == {"word", "tag"}


def test_when_a_picture_came() -> None:
    line = {
        1: version(item("a"), item("b"), number=1),
        2: version(item("a"), item("c"), number=2).model_copy(update={"parent": 1}),
        4: version(item("c"), item("b"), item("a"), number=4).model_copy(update={"parent": 2}),
        5: version(item("b"), item("new"), item("a"), number=5).model_copy(update={"parent": 4}),
    }
    read: list[str] = []

    def get(reference: str) -> DatasetVersion:
        read.append(reference)
        return line[int(reference.partition("@")[2])]

    assert added_in(line[5], get) == {"a": 1, "b": 4, "new": 5}
    assert read == ["d@4", "d@2", "d@1"]
    read.clear()
    young = version(item("x"), number=6).model_copy(update={"parent": 5})
    assert added_in(young, get) == {"x": 6}
    assert read == ["d@5"]
    facts = GivenFacts(versions=lambda: added_in(line[5], get))
    assert parse_query("version:added").select(line[5], facts) == ["new"]
    assert parse_query("version:..4").select(line[5], facts) == ["b", "a"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("has:clip", "long short"),
        ("missing:clip", "still"),
        ("frames:>40", "long"),
        ("frames:<1000", "long short"),
        ("seconds:1..2.5", "short"),
        ("fps:16", "short"),
        ("-fps:16 has:clip", "long"),
    ],
)
def test_clips_are_chosen_by_their_length(query: str, names: str) -> None:
    def clip(frames: int, fps: float) -> Clip:
        return Clip(video="0" * 64, frames=frames, fps=fps, width=100, height=100)

    moving = version(item("long", clip=clip(120, 24.0)), item("short", clip=clip(33, 16.0)), item("still"))
    assert parse_query(query).select(moving) == names.split()
