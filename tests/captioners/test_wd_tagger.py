"""The tagger's whole path on a model whose answers are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import lorasmith.captioners
from lorasmith.captioners import Captioner
from lorasmith.captioners.wd_tagger import KNOWN_MODELS, WdTagger, display_name, prepare
from lorasmith.config import Section
from lorasmith.datasets.captions.kaomoji import KAOMOJI
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError
from lorasmith.plugins import discover
from tests.captioners.stub_tagger import LABELS, own_thresholds, write_stub

RED, BLUE, GREEN = (Image.new("RGB", (20, 20), color) for color in ("red", "blue", "lime"))


def tagger(folder: Path, **options: object) -> WdTagger:
    made = WdTagger()
    made.load(WdTagger.Options(model=str(folder), **options), device="cpu")  # type: ignore[arg-type]
    return made


def test_every_captioner_keeps_the_contract() -> None:
    plugins = discover(lorasmith.captioners, Captioner)  # type: ignore[type-abstract]
    assert "wd_tagger" in plugins
    for name, plugin in plugins.items():
        assert plugin.name == name
        assert plugin.title
        assert issubclass(plugin.Options, Section)
        plugin.Options()  # every option has a default
        assert all(field.description for field in plugin.Options.model_fields.values())


def test_tags_come_from_channels_in_bgr_order(tmp_path: Path) -> None:
    red, blue, green = tagger(write_stub(tmp_path)).caption([RED, BLUE, GREEN])
    assert red.caption == "zib (mascot), red picture, o_o"
    assert blue.caption == "blue picture, o_o"
    assert green.caption == "green picture, o_o"
    assert [(t.name, t.category) for t in red.tags] == [
        ("zib (mascot)", "character"), ("red picture", "general"), ("o_o", "general"), ("sensitive", "rating"),
    ]  # fmt: skip
    assert blue.tags[-1].name == "general"
    assert red.tags[0].probability == pytest.approx(1 / (1 + np.exp(-7)), abs=1e-5)


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_any_batch_and_layout_gives_the_same_answers(tmp_path: Path, batch: int | str, channels_first: bool) -> None:
    pictures = [RED, BLUE, GREEN, RED, BLUE]
    answers = tagger(write_stub(tmp_path, batch=batch, channels_first=channels_first)).caption(pictures)
    singles = [tagger(write_stub(tmp_path / "plain")).caption([picture])[0] for picture in pictures]
    assert [a.caption for a in answers] == [s.caption for s in singles]
    assert tagger(tmp_path).caption([]) == []


def test_thresholds_hold_per_category(tmp_path: Path) -> None:
    folder = write_stub(tmp_path)
    assert tagger(folder, general_threshold=0.7).caption([RED])[0].caption == "zib (mascot), red picture"
    assert tagger(folder, character_threshold=1.0).caption([RED])[0].caption == "red picture, o_o"
    nothing = tagger(folder, general_threshold=1.0, character_threshold=1.0).caption([RED])[0]
    assert nothing.caption == ""
    assert [t.category for t in nothing.tags] == ["rating"]


def test_the_folders_thresholds_and_then_the_users(tmp_path: Path) -> None:
    folder = write_stub(tmp_path, thresholds=own_thresholds(0.7, 1.0))
    assert tagger(folder).caption([RED])[0].caption == "red picture"
    assert tagger(folder, general_threshold=0.5).caption([RED])[0].caption == "red picture, o_o"
    for damaged in ("{", "[]", '{"general": "high"}', '{"general": 7}'):
        with pytest.raises(EnvironmentProblem, match=r"thresholds\.json"):
            tagger(write_stub(tmp_path, thresholds=damaged))


def test_a_published_models_folder_has_its_threshold(tmp_path: Path) -> None:
    eva = write_stub(tmp_path / "wd-eva02-large-tagger-v3")
    assert tagger(eva)._loaded.general_threshold == 0.5296
    assert tagger(write_stub(tmp_path / "mine"))._loaded.general_threshold == 0.35


def test_excluding_ordering_and_underscores(tmp_path: Path) -> None:
    folder = write_stub(tmp_path)
    for spelling in ("red_picture", "red picture", "Red Picture "):
        assert "red picture" not in tagger(folder, exclude_tags=(spelling,)).caption([RED])[0].caption
    low = tagger(folder, general_threshold=0.0, order="model").caption([BLUE])[0].caption
    assert low.startswith("blue picture, green picture, red picture, o_o")
    assert tagger(folder, replace_underscores=False).caption([BLUE])[0].caption == "blue_picture, o_o"


def test_kaomoji_keep_their_mouths() -> None:
    assert display_name("long_hair") == "long hair"
    assert all(display_name(face) == face for face in KAOMOJI)
    assert {"||_||", "(o)_(o)", "<o>_<o>", "^_^"} <= KAOMOJI


def test_pictures_are_padded_with_white_and_never_squeezed() -> None:
    wide = prepare(Image.new("RGB", (300, 100), (10, 20, 30)), 30)
    assert wide.shape == (30, 30, 3) and wide.dtype == np.float32
    assert (wide[:9] == 255).all() and (wide[21:] == 255).all()
    assert (wide[11:19] == [30, 20, 10]).all()  # BGR
    assert (prepare(Image.new("RGB", (1, 900)), 30)[:, 20:] == 255).all()
    assert prepare(Image.new("RGB", (5, 5)), 30).max() == 0  # small pictures are enlarged to the edge


def test_scaling_before_padding_equals_padding_before_scaling() -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    square = Image.new("RGB", (640, 640), "white")
    square.paste(picture, (0, 80))
    reference = np.asarray(square.resize((64, 64), Image.Resampling.BICUBIC), np.float32)[:, :, ::-1]
    assert np.abs(prepare(picture, 64) - reference).mean() < 1.0


def test_models_that_are_not_here_say_what_to_download(tmp_path: Path) -> None:
    for known in KNOWN_MODELS:
        for name in (known.repository, *known.aliases):
            with pytest.raises(EnvironmentProblem) as error:
                tagger(Path(name))
            assert f"https://huggingface.co/{known.repository}" in error.value.hint
    with pytest.raises(EnvironmentProblem, match="no tagger at"):
        tagger(tmp_path / "nowhere")
    assert {"wd14-vit-v2", "wd14-convnext-v2", "wd14-swinv2-v2", "wd14-convnext-v3"} <= {
        alias for known in KNOWN_MODELS for alias in known.aliases
    }


def test_damaged_folders_are_said(tmp_path: Path) -> None:
    folder = write_stub(tmp_path)
    (folder / "selected_tags.csv").unlink()
    with pytest.raises(EnvironmentProblem, match=r"lacks selected_tags\.csv"):
        tagger(folder)
    for text in ("", "name\nx\n", "tag_id,name,category,count\n1,x,9,3\n"):
        (folder / "selected_tags.csv").write_text(text)
        with pytest.raises(EnvironmentProblem, match=r"selected_tags\.csv"):
            tagger(folder)
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n1,x,0,3\n")
    with pytest.raises(EnvironmentProblem, match=f"answers with {len(LABELS)} numbers and its list has 1"):
        tagger(folder)
    write_stub(tmp_path)
    for content in (b"", b"not a model", (folder / "model.onnx").read_bytes()[:-40]):
        (folder / "model.onnx").write_bytes(content)
        with pytest.raises(EnvironmentProblem, match="cannot be opened"):
            tagger(folder)


def test_answers_that_are_no_probabilities_are_refused(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(write_stub(tmp_path) / "model.onnx"))
    model.graph.node[-1].op_type = "Identity"  # logits come out
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match="no probabilities"):
        tagger(tmp_path).caption([RED])


def test_missing_extra_and_wrong_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError):
        WdTagger().load(Captioner.Options(), device="cpu")
    with pytest.raises(ValidationError):
        WdTagger.Options(general_threshold=1.5)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentProblem) as error:
        tagger(write_stub(tmp_path))
    assert "lorasmith[caption]" in error.value.hint
