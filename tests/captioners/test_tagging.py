"""Layouts, rules over kept probabilities, merging, review."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import ValidationError

from lorasmith.captioners.decoding import open_picture
from lorasmith.captioners.tagging.kept import FLOOR, pack, unpack
from lorasmith.captioners.tagging.layouts import recognise
from lorasmith.captioners.tagging.merging import Voice, merge
from lorasmith.captioners.tagging.models import KNOWN_MODELS, Located, known_model, locate
from lorasmith.captioners.tagging.pixels import Sight, prepare
from lorasmith.captioners.tagging.rule import TagChooser, TagRule, largest_gap
from lorasmith.captioners.wd_tagger import WdTagger
from lorasmith.errors import ConfigError, EnvironmentProblem

LABELS = (
    ("safe", "rating"),
    ("1girl", "general"),
    ("long_hair", "general"),
    ("miku", "character"),
    ("^_^", "general"),
    ("explicit", "rating"),
    ("vocaloid", "copyright"),
    ("cat_ears", "general"),
    ("animal_ears", "general"),
)
RATINGS = np.array([category == "rating" for _, category in LABELS])


def rows_of(*pictures: dict[str, float]):
    places = {name: place for place, (name, _) in enumerate(LABELS)}
    packed = []
    for picture in pictures:
        row = np.zeros(len(LABELS), np.float32)
        for name, value in picture.items():
            row[places[name]] = value
        packed.append(pack(row, RATINGS))
    return unpack(packed)


def captions(picture: dict[str, float], **rule: object) -> str:
    chooser = TagChooser(LABELS, TagRule.model_validate(rule), general=0.35, character=0.85)
    (chosen,) = chooser.choose(rows_of(picture))
    (answer,) = chooser.answers(rows_of(picture))
    assert answer.names == chosen
    return ", ".join(chosen)


PICTURE = {
    "safe": 0.3, "explicit": 0.6, "1girl": 0.9, "long_hair": 0.5, "miku": 0.86, "^_^": 0.4, "vocaloid": 0.7,
    "cat_ears": 0.36, "animal_ears": 0.8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "caption"),
    [
        ({}, "miku, vocaloid, 1girl, animal ears, long hair, ^_^, cat ears"),
        ({"general_threshold": 0.6}, "miku, vocaloid, 1girl, animal ears"),
        ({"character_threshold": 0.9}, "vocaloid, 1girl, animal ears, long hair, ^_^, cat ears"),
        ({"thresholds": {"copyright": 0.71}}, "miku, 1girl, animal ears, long hair, ^_^, cat ears"),
        ({"tag_thresholds": {"Long Hair": 0.6}}, "miku, vocaloid, 1girl, animal ears, ^_^, cat ears"),
        ({"exclude_tags": ["animal ears", "MIKU"]}, "vocaloid, 1girl, long hair, ^_^, cat ears"),
        ({"categories": ["general", "rating"]}, "1girl, animal ears, long hair, ^_^, cat ears, explicit"),
        ({"order": "model", "categories": ["general"]}, "1girl, long hair, ^_^, cat ears, animal ears"),
        ({"order": "name", "categories": ["general"]}, "1girl, ^_^, animal ears, cat ears, long hair"),
        ({"replace_underscores": False, "categories": ["general"]}, "1girl, animal_ears, long_hair, ^_^, cat_ears"),
        ({"aliases": {"1girl": "a girl", "^_^": "a girl"}, "categories": ["general"]},
         "a girl, animal ears, long hair, cat ears"),
        ({"aliases": {"1girl": "a girl"}, "exclude_tags": ["a girl"], "categories": ["general"]},
         "animal ears, long hair, ^_^, cat ears"),
        ({"implications": {"cat ears": "animal ears"}}, "miku, vocaloid, 1girl, long hair, ^_^, cat ears"),
        ({"implications": {"^_^": ["smile"]}, "imply": "add", "categories": ["general"]},
         "1girl, animal ears, long hair, ^_^, smile, cat ears"),
        ({"mcut": True, "categories": ["general"]}, "1girl, animal ears, long hair, ^_^, cat ears"),
    ],
)  # fmt: skip
def test_rules(rule: dict[str, object], caption: str) -> None:
    assert captions(PICTURE, **rule) == caption


def test_rules_that_cannot_be_used_are_said() -> None:
    with pytest.raises(ConfigError, match="no tag 'long hare'") as error:
        captions(PICTURE, tag_thresholds={"long hare": 0.5})
    assert "long hair" in error.value.hint
    with pytest.raises(ConfigError, match="no category 'colour'"):
        captions(PICTURE, thresholds={"colour": 0.5})
    for wrong in ({"categories": []}, {"general_threshold": 2}, {"tag_thresholds": {"a": -1}}, {"treshold": 1}):
        with pytest.raises(ValidationError):
            TagRule.model_validate(wrong)


def test_the_rating_is_the_most_probable_however_improbable() -> None:
    chooser = TagChooser(LABELS, TagRule(), general=0.35, character=0.85)
    low, tie, none = chooser.answers(rows_of({"safe": 0.001, "explicit": 0.002}, {"safe": 0.5, "explicit": 0.5}, {}))
    assert [tag.name for tag in low.tags] == ["explicit"]
    assert [tag.name for tag in tie.tags] == ["safe"]
    assert [tag.name for tag in none.tags] == ["safe"] and none.caption == ""


def test_mcut_cuts_where_probabilities_fall_most() -> None:
    row, value = np.array([0, 0, 0, 2, 2]), np.array([0.9, 0.2, 0.7, 0.1, 0.05], np.float32)
    assert largest_gap(row, value, 3) == pytest.approx([0.45, 0.0, 0.075])
    assert captions({"1girl": 0.2, "long_hair": 0.19, "^_^": 0.03}, mcut=True) == "1girl, long hair"
    assert captions({"miku": 0.14}, mcut=True) == ""  # a character needs 0.15 at least
    assert captions({"miku": 0.16}, mcut=True) == "miku"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=9, max_size=9), max_size=5))
def test_packing_loses_only_what_is_below_the_floor(pictures: list[list[float]]) -> None:
    rows = unpack([pack(np.array(picture, np.float32), RATINGS) for picture in pictures])
    dense = np.zeros((len(pictures), 9), np.float32)
    dense[rows.row, rows.index] = rows.value
    for picture, read in zip(pictures, dense, strict=True):
        kept = (np.array(picture, np.float32) >= np.float32(FLOOR)) | RATINGS
        assert np.abs(read - np.where(kept, picture, 0)).max() < 1e-5
    with pytest.raises(ValueError, match="cut short"):
        unpack([b"12345"])


def voice(name: str, labels: tuple[tuple[str, str], ...], *pictures: list[float] | None, weight: float = 1.0) -> Voice:
    ratings = np.array([category == "rating" for _, category in labels])
    packed = [None if row is None else pack(np.array(row, np.float32), ratings) for row in pictures]
    return Voice(name, labels, packed, 0.3 if name == "a" else 0.5, 0.85, weight)


def dense(voices: list[Voice], how: str) -> dict[str, list[float]]:
    merged = merge(voices, how)  # type: ignore[arg-type]
    table = np.zeros((merged.rows.count, len(merged.labels)))
    table[merged.rows.row, merged.rows.index] = merged.rows.value
    return {name: table[:, n].round(3).tolist() for n, (name, _) in enumerate(merged.labels)}


def test_taggers_are_merged_tag_by_tag() -> None:
    a = voice("a", (("long_hair", "general"), ("cat", "general")), [0.8, 0.4], [0.6, 0.0], None)
    b = voice("b", (("Long Hair", "general"), ("dog", "general")), [0.4, 0.9], None, [0.5, 0.2], weight=3)
    mean = dense([a, b], "mean")
    assert mean == {"long_hair": [0.5, 0.6, 0.5], "cat": [0.4, 0.0, 0.0], "dog": [0.9, 0.0, 0.2]}
    assert dense([a, b], "max") == {"long_hair": [0.8, 0.6, 0.5], "cat": [0.4, 0.0, 0.0], "dog": [0.9, 0.0, 0.2]}
    assert merge([a, b]).general == pytest.approx(0.45)
    assert merge([a, b], "max").general == 0.5
    assert dense([a], "mean") == {"long_hair": [0.8, 0.6, 0.0], "cat": [0.4, 0.0, 0.0]}
    below = voice("b", (("cat", "general"),), [0.01], [0.5], [0.5])
    assert dense([a, below], "mean")["cat"] == [0.2, 0.25, 0.5]  # known and not seen counts as 0, unseen has no say
    with pytest.raises(ConfigError, match="No tagger"):
        merge([])
    with pytest.raises(ConfigError, match="above 0"):
        merge([voice("a", LABELS[:1], [0.1], weight=0)])


# Layouts


def write_layout(folder: Path, kind: str) -> Path:
    """A tiny tagger: three tags, whose logits are the means of the three channels as they come in, times 4."""
    folder.mkdir(parents=True, exist_ok=True)
    logits = kind in ("CL", "Camie 1", "Camie 2")
    nodes = [
        helper.make_node("ReduceMean", ["in", "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["logits"]),
        helper.make_node("Neg", ["logits"], ["initial"]),
        helper.make_node("Sigmoid", ["logits"], ["prediction"]),
    ]
    out = ["logits", "prediction"] if kind == "PixAI" else ["initial", "logits"] if "Camie" in kind else ["logits"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in out],
        [
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
            numpy_helper.from_array(np.array(4.0, np.float32), "scale"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    tags = ["first", "second", "third"]
    by_index = {str(n): tag for n, tag in enumerate(tags)}
    categories = {"first": "general", "second": "character", "third": "copyright"}
    if kind == "PixAI":
        (folder / "selected_tags.csv").write_text("id,tag_id,name,category,count,ips\n" + "".join(
            f"{n},{n},{tag},{'0' if n == 0 else '4' if n == 1 else '3'},5,[]\n" for n, tag in enumerate(tags)
        ))  # fmt: skip
        stages = [{"type": "resize"}, {"type": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3}]
        (folder / "preprocess.json").write_text(json.dumps({"stages": stages}))
        name = "model.onnx"
    elif kind == "CL":
        folder = folder / "cl_tagger_1_02"
        folder.mkdir()
        mapping = {str(n): {"tag": tag, "category": categories[tag].title()} for n, tag in enumerate(tags)}
        (folder / "tag_mapping.json").write_text(json.dumps(mapping))
        name = "model_optimized.onnx"
    elif kind == "Camie 2":
        mapping = {"idx_to_tag": by_index, "tag_to_category": categories}
        (folder / "camie-tagger-v2-metadata.json").write_text(json.dumps({"dataset_info": {"tag_mapping": mapping}}))
        name = "camie-tagger-v2.onnx"
    else:
        (folder / "metadata.json").write_text(json.dumps({"idx_to_tag": by_index, "tag_to_category": categories}))
        name = "model_refined.onnx"
    onnx.save(model, str(folder / name))
    assert logits == (kind != "PixAI")
    return folder


@pytest.mark.parametrize(
    ("kind", "means"),
    [
        ("PixAI", lambda rgb: [(c / 255 - 0.5) / 0.5 for c in rgb]),
        ("CL", lambda rgb: [(c / 255 - 0.5) / 0.5 for c in reversed(rgb)]),
        ("Camie 1", lambda rgb: [c / 255 for c in rgb]),
        ("Camie 2", lambda rgb: [(c / 255 - m) / d for c, m, d in zip(
            rgb, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]),
    ],
)  # fmt: skip
def test_layouts_are_told_by_their_files(tmp_path: Path, kind: str, means) -> None:
    color = (200, 120, 60)
    tagger = WdTagger()
    options = WdTagger.Options(
        model=str(write_layout(tmp_path / "any name", kind)), general_threshold=0, character_threshold=0
    )
    tagger.load(options, device="cpu")
    (answer,) = tagger.caption([Image.new("RGB", (16, 16), color)])
    expected = 1 / (1 + np.exp(-4 * np.array(means(color))))
    got = {tag.name: (tag.category, tag.probability) for tag in answer.tags}
    seen = {name: got[name][1] if name in got else 0.0 for name in ("first", "second", "third")}
    assert list(seen.values()) == pytest.approx([p if p >= FLOOR else 0 for p in expected], abs=2e-4)
    assert all(got[name][0] == category for name, category in
               (("first", "general"), ("second", "character"), ("third", "copyright")) if name in got)  # fmt: skip
    assert tagger.again(answer.kept) == answer


def test_stretched_and_padded_squares() -> None:
    wide = Image.new("RGB", (40, 10), (10, 20, 30))
    stretched = prepare(wide, Sight(8, True, bgr=False, padding=None))
    assert stretched.shape == (3, 8, 8)
    assert (stretched[0] == 10).all()
    grey = prepare(wide, Sight(8, False, bgr=False, padding=(124, 116, 104)))
    assert (grey[0] == [124, 116, 104]).all() and (grey[4] == [10, 20, 30]).all()


def test_folders_that_are_no_tagger_are_said(tmp_path: Path) -> None:
    assert recognise(tmp_path) is None
    with pytest.raises(EnvironmentProblem, match=r"lacks model\.onnx and selected_tags\.csv"):
        locate(str(tmp_path), None)
    folder = write_layout(tmp_path / "cl", "CL")
    for text in ("[]", "{", '{"0": {"tag": "a"}}', '{"1": {"tag": "a", "category": "General"}}'):
        (folder / "tag_mapping.json").write_text(text)
        with pytest.raises(EnvironmentProblem, match=r"tag_mapping\.json"):
            recognise(folder).labels()  # type: ignore[union-attr]
    pixai = write_layout(tmp_path / "pixai", "PixAI")
    (pixai / "preprocess.json").write_text('{"stages": [{"type": "normalize"}]}')
    with pytest.raises(EnvironmentProblem, match=r"preprocess\.json"):
        recognise(pixai)


# Where models lie


def test_every_published_model_is_data() -> None:
    names = [name for known in KNOWN_MODELS for name in (known.repository, *known.aliases)]
    assert len(set(names)) == len(names)
    assert {"SmilingWolf/wd-vit-tagger-v3", "SmilingWolf/wd-v1-4-moat-tagger-v2"} <= set(names)
    eva = known_model("wd-eva02-large-v3")
    assert eva is not None and (eva.general_threshold, eva.size) == (0.5296, 1_260_000_000)
    assert len({known.general_threshold for known in KNOWN_MODELS}) > 8  # not one size for all
    for known in KNOWN_MODELS:
        for alias in known.aliases:
            assert WdTagger().aliases()[alias] == {"model": known.aliases[0]}


def test_models_are_found_in_the_home_and_in_the_cache_of_hugging_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.captioners.stub_tagger import write_stub

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    cache = tmp_path / "hf" / "hub" / "models--SmilingWolf--wd-vit-tagger-v3"
    for commit in ("aaa", "bbb"):
        write_stub(cache / "snapshots" / commit)
    (cache / "snapshots" / "ccc").mkdir()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("aaa")
    found = locate("wd-vit-v3", tmp_path / "home")
    assert isinstance(found, Located)
    assert (found.name, found.commit) == ("SmilingWolf/wd-vit-tagger-v3", "aaa")
    write_stub(tmp_path / "home" / "captioners" / "SmilingWolf--wd-vit-tagger-v3")
    own = locate("SmilingWolf/wd-vit-tagger-v3", tmp_path / "home")
    assert isinstance(own, Located) and own.layout.folder.is_relative_to(tmp_path / "home")


def test_reducing_while_decoding_shows_what_the_reference_order_shows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8))
    fine = np.asarray(coarse.resize((1600, 1200), Image.Resampling.BICUBIC), np.float32) + rng.normal(
        0, 4, (1200, 1600, 3)
    )
    Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8)).save(tmp_path / "large.jpg", quality=92)
    with Image.open(tmp_path / "large.jpg") as full:
        square = Image.new("RGB", (1600, 1600), "white")
        square.paste(full, (0, 200))
    reference = np.asarray(square.resize((128, 128), Image.Resampling.BICUBIC), np.float32)[:, :, ::-1]
    opened = open_picture(tmp_path / "large.jpg", 128)
    assert opened.size == (128, 96)
    assert np.abs(prepare(opened, Sight(128, channels_first=False)) - reference).mean() <= 1.0  # of 255
    assert open_picture(tmp_path / "large.jpg", None).size == (1600, 1200)
