"""Settings files as people really have them: other machines' paths, old forms, damage, strangers' lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pytest

from lorasmith.datasets import layouts
from lorasmith.datasets.layouts import Described, Reading
from lorasmith.datasets.layouts.reading import SourceFiles
from lorasmith.errors import DatasetError


def read(files: Mapping[str, str | bytes], layout: str | None = None) -> Reading | None:
    content = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    if layout is None:
        return layouts.recognise(list(content), content.__getitem__)
    return layouts.available()[layout].read(list(content), content.__getitem__)


def found(files: Mapping[str, str | bytes], layout: str | None = None) -> Reading:
    reading = read(files, layout)
    assert reading is not None
    return reading


PICTURES = {"set/cat/1.png": b"", "set/cat/2.png": b"", "set/dog/1.png": b""}


def test_kohya_toml_of_a_windows_machine() -> None:
    toml = """
[general]
caption_extension = ".caption"
keep_tokens = 1
[[datasets]]
resolution = 768
  [[datasets.subsets]]
  image_dir = 'D:\\train\\set\\cat'
  num_repeats = 7
  class_tokens = "sks cat"
  caption_prefix = "photo of "
  [[datasets.subsets]]
  image_dir = 'D:\\train\\set\\dog'
  is_reg = true
  alpha_mask = true
  [[datasets.subsets]]
  image_dir = 'D:\\train\\set\\bird'
"""
    reading = found({**PICTURES, "set/d.toml": toml, "set/cat/1.caption": "first\nsecond", "set/cat/1.txt": "no"})
    assert reading.layout == "kohya"
    first = Described(caption="first\nsecond", repeats=7, concept="sks cat")
    assert reading.described["set/cat/1.png"] == first
    assert reading.described["set/cat/2.png"] == Described(repeats=7, concept="sks cat")
    reg = reading.described["set/dog/1.png"]
    assert (reg.role, reg.mask, reg.repeats) == ("regularisation", "set/dog/1.png", 1)
    assert set(reading.used) == {"set/d.toml", "set/cat/1.caption"}
    said = "\n".join(reading.said)
    assert 'caption_prefix = "photo of "' in said and "keep_tokens = 1" in said and "resolution = 768" in said
    assert "bird is not in this source" in said


def test_kohya_folders() -> None:
    files = {"img/10_cat dog/a.png": b"", "reg/1_cat/b.png": b"", "img/loose/c.png": b"", "img/0_x/d.png": b""}
    reading = found(files)
    assert reading.described["img/10_cat dog/a.png"] == Described(repeats=10, concept="cat dog")
    assert reading.described["reg/1_cat/b.png"] == Described(role="regularisation", concept="cat")
    assert reading.described["img/0_x/d.png"].repeats == 1
    assert any("'img/loose' has no number" in one for one in reading.said)
    assert any("'img/0_x' asks for 0 repeats" in one for one in reading.said)


def test_repeats_that_cannot_be_followed_are_said() -> None:
    toml = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "cat"\nnum_repeats = {}\n'
    for value in ("0", "-3", '"ten"', "true", "99999999", "nan", "inf"):
        reading = found({"cat/1.png": b"", "d.toml": toml.format(value)})
        assert reading.described["cat/1.png"].repeats == 1
        assert any("cannot be followed" in one for one in reading.said), value


def test_musubi_jsonl_never_shifts_captions() -> None:
    lines = [
        {"image_path": "/home/x/cat/1.png", "caption": " one\ntwo "},
        {"image_path": "C:\\data\\dog\\1.png", "caption": "a dog"},
        {"image_path": "/home/x/bird/2.png", "caption": "a bird, not here"},
        {"image_path": "/home/x/cat/2.png", "caption": "second cat"},
        {"image_path": "/home/x/cat/2.png", "caption": "twice"},
        {"caption": "nobody"},
    ]
    reading = found({**PICTURES, "set/m.jsonl": "\n".join(json.dumps(line) for line in lines)})
    assert reading.layout == "musubi"
    captions = {path: described.caption for path, described in reading.described.items()}
    assert captions == {"set/cat/1.png": " one\ntwo ", "set/dog/1.png": "a dog", "set/cat/2.png": "second cat"}
    said = "\n".join(reading.said)
    assert "line 3: /home/x/bird/2.png is not in this source" in said
    assert "line 5: /home/x/cat/2.png is named a second time" in said and "line 6: names no picture" in said


def test_ai_toolkit_config_and_json_dataset() -> None:
    config = """
job: extension
config:
  process:
  - type: sd_trainer
    datasets:
    - folder_path: /data/cat
      mask_path: /data/cat_masks
      num_repeats: 4
      default_caption: a cat
    - dataset_path: /data/list.json
      is_reg: true
"""
    listing = json.dumps({"/data/dog/1.png": {"caption": "a dog", "caption_short": "dog"}})
    files = {"cat/1.png": b"", "cat_masks/1.jpg": b"", "dog/1.png": b"", "c.yaml": config, "list.json": listing}
    reading = found(files)
    assert reading.layout == "ai_toolkit"
    assert reading.described["cat/1.png"] == Described(repeats=4, mask="cat_masks/1.jpg")
    dog = reading.described["dog/1.png"]
    assert (dog.caption, dog.role, dict(dog.provenance)) == ("a dog", "regularisation", {"caption_short": "dog"})
    assert set(reading.described) == {"cat/1.png", "dog/1.png"} and "cat_masks/1.jpg" in reading.used
    assert any("default_caption" in one for one in reading.said)


def test_ai_toolkit_inverted_masks_are_not_taken() -> None:
    config = "datasets:\n- folder_path: /d/cat\n  mask_path: /d/m\n  invert_mask: true\n"
    reading = found({"cat/1.png": b"", "m/1.png": b"", "c.yml": config})
    assert reading.described["cat/1.png"].mask is None
    assert any("inverted" in one for one in reading.said)


def test_onetrainer_old_and_new_concepts() -> None:
    concepts = [
        {"name": "cat", "path": "C:/t/cat", "repeats": 5.0, "text": {"prompt_source": "filename"}, "enabled": False},
        {"name": "v", "path": "C:/t/dog", "validation_concept": True, "balancing": 2.5,
         "text": {"prompt_source": "concept", "prompt_path": "C:/t/prompts.txt"}},
    ]  # fmt: skip
    files = {"cat/a b.png": b"", "cat/a b-masklabel.png": b"", "cat/a b-condlabel.png": b"", "dog/1.png": b""}
    reading = found({**files, "prompts.txt": "one\ntwo", "concepts.json": json.dumps(concepts)})
    assert reading.layout == "onetrainer"
    assert set(reading.described) == {"cat/a b.png", "dog/1.png"}
    assert reading.described["cat/a b.png"] == Described(
        "a b", 5, "train", "cat", "cat/a b-masklabel.png", ("cat/a b-condlabel.png",)
    )
    assert reading.described["dog/1.png"] == Described("one\ntwo", 2, "validation", "v")
    said = "\n".join(reading.said)
    assert "switched off" in said and "2.5 is no whole number" in said


def test_simpletuner_repeats_count_from_zero() -> None:
    backends = [
        {"id": "a", "type": "local", "instance_data_dir": "/d/cat", "repeats": 9, "caption_strategy": "filename",
         "crop": True, "conditioning_data": "m"},
        {"id": "m", "dataset_type": "conditioning", "conditioning_type": "mask", "instance_data_dir": "/d/m"},
        {"id": "e", "type": "local", "dataset_type": "eval", "instance_data_dir": "/d/dog",
         "caption_strategy": "instanceprompt", "instance_prompt": "a dog"},
        {"id": "t", "dataset_type": "text_embeds", "default": True},
    ]  # fmt: skip
    files = {"cat/black_cat.png": b"", "m/black_cat.png": b"", "dog/1.png": b"", "b.json": json.dumps(backends)}
    reading = found(files)
    assert reading.described["cat/black_cat.png"] == Described("black cat", 10, "train", "cat", "m/black_cat.png")
    assert reading.described["dog/1.png"] == Described("a dog", 1, "validation", "dog")
    assert any("crop = true" in one for one in reading.said)


def test_diffusion_pipe_captions_json_and_masks() -> None:
    toml = "resolutions = [512]\n[[directory]]\npath = '/d/cat'\nmask_path = '/d/cat/masks'\nnum_repeats = 3\n"
    captions = json.dumps({"1.png": ["été", "zwei"]})
    files = {"cat/1.png": b"", "cat/2.png": b"", "cat/masks/1.png": b"", "cat/captions.json": captions, "d.toml": toml}
    reading = found(files)
    assert reading.layout == "diffusion_pipe"
    assert reading.described["cat/1.png"] == Described("été\nzwei", 3, mask="cat/masks/1.png")
    assert reading.described["cat/2.png"] == Described(repeats=3)
    assert set(reading.described) == {"cat/1.png", "cat/2.png"}


@pytest.mark.parametrize("column", ["text", "caption", "prompt"])
def test_imagefolder_columns_and_splits(column: str) -> None:
    table = f'file_name,{column},extra\n1.png,"a, ""b""\nc",x\nsub/2.png,,y\n'
    files = {"train/1.png": b"", "train/sub/2.png": b"", "validation/3.png": b"", "train/metadata.csv": table}
    reading = found({**files, "validation/metadata.jsonl": json.dumps({"file_name": "3.png", column: ["a", "b"]})})
    assert reading.layout == "imagefolder"
    assert reading.described["train/1.png"].caption == 'a, "b"\nc'
    assert reading.described["train/sub/2.png"].caption == ""
    assert reading.described["validation/3.png"] == Described("a\nb", role="validation")
    assert any("extra" in one for one in reading.said)


def bundle(**entries: object) -> str:
    return json.dumps({"metadata": {"folder_name": "x"}, "system_info": {}, "captions": entries})


def test_the_old_bundle_without_hashes() -> None:
    entry = {"image_number": 1, "original_filename": "0001.png", "caption": "first", "generation_settings": {}}
    captions = bundle(**{"0001.png": entry, "0002.png": "second", "0003.png": "gone"})
    archive = "x_processed_images.zip"
    files = {f"{archive}/0001.png": b"", f"{archive}/0002.png": b"", "x_captions.json": captions, "x_captions.txt": "t"}
    reading = found(files)
    assert reading.layout == "bundle"
    assert {p: d.caption for p, d in reading.described.items()} == {
        f"{archive}/0001.png": "first",
        f"{archive}/0002.png": "second",
    }
    assert any("0003.png is not in this source" in one for one in reading.said)
    assert set(reading.used) == {"x_captions.json", "x_captions.txt"}


def test_a_bundle_of_text_alone() -> None:
    text = "Captions\n" + "=" * 80 + "\n\nImage 0001 (0001.png):\na\nb\n\nImage 0002 (0002.png):\nc\n"
    reading = found({"0001.png": b"", "0002.png": b"", "x_captions.txt": text})
    assert [described.caption for described in reading.described.values()] == ["a\nb", "c"]


def test_a_bundle_caption_is_not_given_to_another_picture() -> None:
    right = hashlib.sha256(b"picture").hexdigest()
    captions = bundle(**{"0001.png": {"caption": "a", "sha256": right}, "0002.png": {"caption": "b", "sha256": right}})
    reading = found({"0001.png": b"picture", "0002.png": b"other", "x_captions.json": captions})
    assert [described.caption for described in reading.described.values()] == ["a", None]
    assert any("is not the picture this caption was written for" in one for one in reading.said)


def test_a_bundle_of_a_later_schema_is_refused() -> None:
    content = {"schema": "lorasmith-bundle", "schema_version": 2, "captions": {}}
    with pytest.raises(DatasetError, match="schema 2"):
        read({"1.png": b"", "x_captions.json": json.dumps(content)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.toml", '[general]\na = 1\nsubsets = "', r"d\.toml is damaged in line 3"),
        ("d.toml", "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 3\n", "'image_dir' is 3, not a text"),
        ("d.toml", "datasets = [1]\nimage_directory = 3", "'datasets' is not a list of tables"),
        ("c.yaml", "folder_path: b\nc: [\n", r"c\.yaml is damaged in line"),
        ("metadata.jsonl", '{"file_name": "1.png"}\n{"file_name"', r"metadata\.jsonl is damaged in line 2"),
        ("metadata.jsonl", '{"file_name": "1.png"}\n[]\n', "line 2 holds no object"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": 3}\n', "its caption is 3"),
        ("metadata.csv", "file_name,text\n1.png,a\n2.png\n", "damaged in line 3"),
        ("metadata.csv", 'file_name,text\n1.png,"a\n', "damaged in line"),
        ("concepts.json", '[\n{"path": "a",}\n]', r"concepts\.json is damaged in line 2"),
        ("deep.json", '["path",' + "[" * 100_000, "no sensible JSON"),
        ("metadata.jsonl", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_damage_is_named_with_its_line(name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read({"1.png": b"", name: content})


def test_foreign_toml_and_json_are_no_layout() -> None:
    files = {
        "1.png": b"",
        "pyproject.toml": "[project]\nname = 'x'\n",
        "a.json": "[]",
        "b.json": '{"k": 1}',
        "c.yaml": "x",
    }
    assert found(files).layout == "plain"
    assert read({"readme.md": b""}) is None


def test_damaged_files_of_strangers_stop_nothing() -> None:
    files = {
        "1.png": b"",
        "1.png.json": '{"path": "',
        "workflow.json": "{",
        "a.toml": "[",
        "a.yaml": "[",
        "b.toml": b"\xff\0",
    }
    assert found(files).layout == "plain"


def test_an_unreadable_caption_of_another_suffix_is_said() -> None:
    toml = '[[datasets]]\ncaption_extension = ".cap"\n[[datasets.subsets]]\nimage_dir = "c"\n'
    reading = found({"c/1.png": b"", "c/1.cap": b"a\0b", "c/2.png": b"", "c/2.cap": "two", "d.toml": toml})
    assert [reading.described[f"c/{n}.png"].caption for n in (1, 2)] == [None, "two"]
    assert any("c/1.cap cannot be read" in one for one in reading.said)


def test_a_shard_with_one_damaged_json_and_samples_without() -> None:
    files = {f"validation-0001.tar/{n}.jpg": b"" for n in "abc"}
    extra = {"a.json": '{"key": "a", "caption": "A", "repeats": 2}', "b.json": "{", "b.txt": "B", "a.mask.png": b""}
    reading = found({**files, **{f"validation-0001.tar/{name}": text for name, text in extra.items()}})
    assert reading.layout == "webdataset"
    a, b, c = (reading.described[path] for path in sorted(files))
    assert a == Described("A", 2, "validation", mask="validation-0001.tar/a.mask.png")
    assert b == c == Described(role="validation")
    said = "\n".join(reading.said)
    assert "b.json is damaged in line 1" in said and "c.jpg: its key has neither" in said


def test_tag_lists_are_told_from_prose() -> None:
    pair = {"1.png": b"", "1.txt": "1girl, blue hair, solo"}
    assert found(pair).layout == "taggui"
    assert found({**pair, "2.png": b"", "2.txt": "a girl who stands in the rain and waits, alone"}).layout == "plain"


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("../../../etc/1.png", None),
        ("a/1.png", "set/a/1.png"),
        ("./a/../a/1.png", "set/a/1.png"),
        ("/x/set/a/1.png", "set/a/1.png"),
        ("E:\\set\\b\\1.png", "set/b/1.png"),
        ("1.png", None),
        ("", None),
        ("~", None),
    ],
)
def test_references_stay_inside_and_are_never_guessed(reference: str, wanted: str | None) -> None:
    files = SourceFiles(["set/a/1.png", "set/b/1.png"], lambda path: b"")
    assert files.find([reference], base="set").get(reference) == wanted
