from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, eye_of, eyes
from lorasmith.datasets.eyes.drawing import render
from lorasmith.datasets.eyes.picture_file import MEANT, decode, examine
from lorasmith.datasets.eyes.resampling import interpolate, shrink
from lorasmith.datasets.eyes.seeing import look, look_at_file, look_at_folder
from lorasmith.datasets.eyes.seen import Seen, tally
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, InputError
from tests.datasets.dataset_pictures import encode, gradient, p3_profile, raw_png, with_orientation

TRAINERS = ("ai_toolkit", "diffusion_pipe", "lorasmith", "musubi", "onetrainer", "sd_scripts", "simpletuner")
ALL_EYES = eyes()
IGNORES_EXIF = {"sd_scripts", "musubi", "diffusion_pipe", "simpletuner"}
DROPS_ALPHA = {"sd_scripts", "musubi", "ai_toolkit", "onetrainer", "simpletuner"}
SPOILS_16_BITS = {"sd_scripts", "musubi", "ai_toolkit", "onetrainer", "diffusion_pipe"}


def halves(width: int = 96, height: int = 64) -> Image.Image:
    """Red on the left, blue on the right: what is turned or hidden is plain to see."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (255, 0, 0)
    pixels[:, width // 2 :] = (0, 0, 255)
    return Image.fromarray(pixels)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def seen(path: Path, trainer: str, caption: bytes | None = b"a cat", **changes: object) -> Seen:
    return look_at_file(path, caption, trainer, settings=replace(EyeSettings(resolution=64), **changes))  # type: ignore[arg-type]


def ids(one: Seen) -> set[str]:
    return {note.id for note in one.differences}


def test_every_trainer_has_an_eye_with_facts_and_their_source() -> None:
    assert tuple(eyes()) == TRAINERS
    for eye in eyes().values():
        assert eye.title
        assert eye.commit
        assert eye.facts
        assert all(fact.rule.endswith(".") and fact.source for fact in eye.facts)


def test_an_unknown_trainer_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sd_scripts'"):
        eye_of("sd_scripst")
    assert eye_of("sd-scripts") is eye_of("sd_scripts")


def test_looking_loads_no_model_library() -> None:
    code = "import sys, lorasmith.datasets.eyes.seeing as s, lorasmith.datasets.eyes as e; e.eyes(); " + (
        "sys.exit(bool({'torch', 'transformers', 'diffusers', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_sideways_picture_is_trained_sideways_where_exif_is_ignored(tmp_path: Path, trainer: str) -> None:
    one = seen(written(tmp_path, "a.jpg", with_orientation(halves(), 6)), trainer, resolution=512)
    assert (one.size, one.orientation) == ((96, 64), 6)
    assert ("orientation" in ids(one)) == (trainer in IGNORES_EXIF)
    drawn = np.asarray(render(one)).astype(int)
    assert drawn.shape[:2] == one.fit.target[::-1]  # type: ignore[union-attr]
    ignored = trainer in IGNORES_EXIF
    assert (drawn.shape[1] > drawn.shape[0]) == ignored
    red_at = drawn[:, :20] if ignored else drawn[:20]  # orientation 6 turns the left side to the top
    assert red_at[..., 0].mean() > 200
    assert red_at[..., 2].mean() < 60


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_display_p3_profile_counts_for_us_only(tmp_path: Path, trainer: str) -> None:
    content = encode(gradient(64, 64), "JPEG", quality=95, icc_profile=p3_profile())
    one = seen(written(tmp_path, "a.jpg", content), trainer)
    assert ("profile" in ids(one)) == (trainer != "lorasmith")
    difference = np.abs(np.asarray(render(one)).astype(int) - np.asarray(decode(one.path, MEANT)).astype(int)).max()
    assert (difference > 8) == (trainer != "lorasmith")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_hidden_colours_appear_where_alpha_is_dropped(tmp_path: Path, trainer: str) -> None:
    pixels = np.dstack([np.full((64, 64, 3), (255, 0, 255), np.uint8), np.zeros((64, 64, 1), np.uint8)])
    pixels[:, 32:, 3] = 255
    one = seen(written(tmp_path, "a.png", encode(Image.fromarray(pixels))), trainer)
    assert ("alpha" in ids(one)) == (trainer in DROPS_ALPHA)
    hidden = np.asarray(render(one))[:, :30].reshape(-1, 3)
    assert (hidden == ((255, 0, 255) if trainer in DROPS_ALPHA else (255, 255, 255))).all()
    if trainer in DROPS_ALPHA:
        assert "50%" in next(note.sentence for note in one.differences if note.id == "alpha")


def test_an_opaque_alpha_channel_hides_nothing(tmp_path: Path) -> None:
    one = seen(written(tmp_path, "a.png", encode(halves().convert("RGBA"))), "sd_scripts")
    assert "alpha" not in ids(one)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_sixteen_bits_turn_white_where_they_are_not_scaled(tmp_path: Path, trainer: str) -> None:
    content = encode(Image.fromarray(np.full((64, 64), 32768, np.uint16)))
    one = seen(written(tmp_path, "a.png", content), trainer)
    assert ("depth" in ids(one)) == (trainer in SPOILS_16_BITS)
    assert np.asarray(render(one)).mean() == (255 if trainer in SPOILS_16_BITS else pytest.approx(127.5, abs=1))


def test_colour_of_sixteen_bits_overflows_in_onetrainer_only(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 40000, 20000, 0) * 64
    path = written(tmp_path, "a.png", raw_png(64, 64, 2, 16, row * 64))
    for trainer in TRAINERS:
        one = seen(path, trainer)
        overflows = trainer == "onetrainer"
        assert ("depth" in ids(one)) == overflows
        assert (np.asarray(render(one))[5, 5, :2] > 250).all() == overflows


def test_shrinking_counts_partly_covered_pixels_in_part() -> None:
    image = Image.fromarray(np.array([[[0] * 3, [90] * 3, [240] * 3]], np.uint8))
    assert np.asarray(shrink(image, (2, 1)))[0, :, 0].tolist() == [30, 190]
    assert np.asarray(shrink(image, (3, 1)))[0, :, 0].tolist() == [0, 90, 240]
    assert np.asarray(shrink(image, (1, 1)))[0, :, 0].tolist() == [110]


def test_interpolating_looks_at_four_neighbours_only(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[0] * 3, [100] * 3, [200] * 3, [40] * 3]], np.uint8))
    assert np.asarray(interpolate(image, (2, 1)))[0, :, 0].tolist() == [50, 120]
    assert np.asarray(interpolate(image, (8, 1)))[0, :, 0].tolist() == [0, 25, 75, 125, 175, 160, 80, 40]
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::3] = 255
    path = written(tmp_path, "a.png", encode(Image.fromarray(stripes)))
    smooth, rough = (seen(path, trainer, resolution=256) for trainer in ("ai_toolkit", "simpletuner"))
    assert ("aliasing" in ids(smooth), "aliasing" in ids(rough)) == (False, True)
    assert np.asarray(render(rough)).std() > 3 * np.asarray(render(smooth)).std()


NOT_READ = {
    "a.tiff": {"sd_scripts", "musubi", "ai_toolkit"},
    "a.bmp": {"ai_toolkit"},
    "a.Png": {"sd_scripts", "musubi"},
    "a.PNG": set(),
    "a-masklabel.png": {"onetrainer"},
    "a.xyz": set(TRAINERS) - {"diffusion_pipe"},
}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("name", NOT_READ)
def test_names_that_a_trainer_never_opens(tmp_path: Path, trainer: str, name: str) -> None:
    one = seen(written(tmp_path, name, encode(halves(), "PNG")), trainer)
    assert (one.outcome == "skipped") == (trainer in NOT_READ[name])
    if one.outcome == "skipped":
        assert one.severity == "error"
        with pytest.raises(DatasetError, match="nothing to draw"):
            render(one)


def test_case_of_a_suffix_does_not_matter_on_windows(tmp_path: Path) -> None:
    path = written(tmp_path, "a.Png", encode(halves()))
    assert seen(path, "sd_scripts", case_sensitive=False).outcome == "read"


def test_animations(tmp_path: Path) -> None:
    frames = [gradient(64, 64, seed) for seed in range(3)]
    webp = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    path = written(tmp_path, "a.webp", webp)
    assert seen(path, "sd_scripts").outcome == "read"
    assert "frames" in ids(seen(path, "ai_toolkit"))
    assert seen(path, "diffusion_pipe").outcome == "stops"
    gif = written(tmp_path, "a.gif", encode(frames[0], "GIF"))
    assert seen(gif, "diffusion_pipe").outcome == "stops"


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_stops_and_says_why(tmp_path: Path, trainer: str, content: bytes) -> None:
    one = seen(written(tmp_path, "a.png", content), trainer)
    assert one.outcome == "stops"
    assert "cannot be read as a picture" in one.differences[0].sentence


STOPS = "stops"
SKIPPED = "skipped"
MISSING = None
# What each trainer reads of a caption file: the texts, or how it ends. Compared with the programs' own functions.
CAPTIONS: dict[tuple[str, bytes | None], dict[str, object]] = {
    ("plain", b"a cat, sitting"): dict.fromkeys(TRAINERS, ("a cat, sitting",)) | {"ai_toolkit": ("a cat,  sitting",)},
    ("lines", b"one\ntwo\n"): {
        "sd_scripts": ("one",),
        "musubi": ("one\ntwo",),
        "ai_toolkit": ("one\ntwo\n",),
        "onetrainer": ("one", "two"),
        "simpletuner": ("one", "two"),
        "diffusion_pipe": ("one\ntwo",),
        "lorasmith": ("one\ntwo",),
    },
    ("blank first line", b"\ntwo"): dict.fromkeys(TRAINERS, ("two",))
    | {"sd_scripts": ("",), "ai_toolkit": ("\ntwo",), "lorasmith": ("\ntwo",)},
    ("zero bytes", b""): dict.fromkeys(TRAINERS, ("",)) | {"sd_scripts": STOPS},
    ("line end only", b"\n"): dict.fromkeys(TRAINERS, ("",)) | {"ai_toolkit": ("\n",), "simpletuner": STOPS},
    ("byte order mark", b"\xef\xbb\xbfa cat"): dict.fromkeys(TRAINERS, ("\ufeffa cat",)) | {"lorasmith": ("a cat",)},
    ("utf-16", "a cat".encode("utf-16")): dict.fromkeys(TRAINERS, STOPS) | {"lorasmith": ("a cat",)},
    ("cp1252", "café".encode("cp1252")): dict.fromkeys(TRAINERS, STOPS) | {"lorasmith": ("café",)},
    ("missing", MISSING): {
        "sd_scripts": ("",),
        "musubi": SKIPPED,
        "ai_toolkit": ("",),
        "onetrainer": ("",),
        "simpletuner": STOPS,
        "diffusion_pipe": SKIPPED,
        "lorasmith": ("",),
    },
}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("case", CAPTIONS, ids=lambda case: case[0])
def test_what_is_read_of_a_caption_file(trainer: str, case: tuple[str, bytes | None]) -> None:
    found = eye_of(trainer).see_caption(CaptionFile(case[1], "a.png"), EyeSettings())
    assert (found.texts if found.outcome == "read" else found.outcome) == CAPTIONS[case][trainer]
    if case[0] not in ("plain", "utf-16", "cp1252", "byte order mark") or trainer != "lorasmith":
        assert found.notes or case[0] in ("plain", "blank first line")


def test_a_byte_order_mark_and_an_encoding_are_named() -> None:
    for trainer in set(TRAINERS) - {"lorasmith"}:
        found = eye_of(trainer).see_caption(CaptionFile(b"\xef\xbb\xbfa cat", "a.png"), EyeSettings())
        assert {note.id for note in found.notes} == {"caption_bom"}, trainer


def test_the_machine_decides_for_diffusion_pipe() -> None:
    windows = EyeSettings(encoding="cp1252")
    found = eye_of("diffusion_pipe").see_caption(CaptionFile("café".encode(), "a.png"), windows)
    assert found.texts == ("cafÃ©",)
    assert eye_of("musubi").see_caption(CaptionFile("café".encode(), "a.png"), windows).texts == ("café",)


def test_simpletuner_keeps_half_of_a_windows_line_end() -> None:
    found = eye_of("simpletuner").see_caption(CaptionFile(b"one\r\ntwo\r\n", "a.png"), EyeSettings())
    assert found.texts == ("one\r", "two\r")
    assert {note.id for note in found.notes} == {"caption_lines", "caption_spacing"}


def test_class_tokens_and_default_captions_stand_in() -> None:
    settings = EyeSettings(default_caption="a dog")
    for trainer in ("sd_scripts", "ai_toolkit"):
        found = eye_of(trainer).see_caption(CaptionFile(None, "a.png"), settings)
        assert (found.texts, found.outcome) == (("a dog",), "read")


def test_sd_scripts_borrows_a_strangers_caption() -> None:
    neighbours = {"cat.txt": b"a stranger"}
    found = eye_of("sd_scripts").see_caption(CaptionFile(None, "cat_1_2_3_4.png", neighbours), EyeSettings())
    assert found.texts == ("a stranger",)
    assert [note.id for note in found.notes] == ["caption_borrowed"]
    shorter = eye_of("sd_scripts").see_caption(CaptionFile(None, "cat_1_2_3.png", neighbours), EyeSettings())
    assert shorter.texts == ("",)
    own = eye_of("sd_scripts").see_caption(CaptionFile(b"mine", "cat_1_2_3_4.png", neighbours), EyeSettings())
    assert own.texts == ("mine",)


@pytest.mark.parametrize(
    ("text", "trigger", "expected"),
    [
        (b"a [trigger] cat", "ohwx", "a ohwx cat"),
        (b"a cat", "ohwx", "ohwx a cat"),
        (b"a [trigger] cat", "", "a  cat"),
        (b"ohwx cat", "ohwx", "ohwx cat"),
    ],
)
def test_ai_toolkit_puts_the_trigger_in(text: bytes, trigger: str, expected: str) -> None:
    found = eye_of("ai_toolkit").see_caption(CaptionFile(text, "a.png"), EyeSettings(trigger_word=trigger))
    assert found.texts == (expected,)


# (resolution, picture) -> target of each trainer; from the programs' own functions.
BUCKETS = {
    (512, (1200, 800)): {
        "sd_scripts": (640, 384),
        "musubi": (624, 416),
        "ai_toolkit": (624, 416),
        "onetrainer": (640, 448),
        "simpletuner": (640, 448),
        "diffusion_pipe": (640, 400),
    },
    (1024, (3000, 1000)): {
        "sd_scripts": (1024, 320),
        "musubi": (1760, 592),
        "ai_toolkit": (1760, 592),
        "onetrainer": (1792, 576),
        "simpletuner": (1792, 576),
        "diffusion_pipe": (1456, 720),
    },
    (1024, (400, 300)): {"ai_toolkit": (400, 304)},
}


def shapes_of(trainer: str, resolution: int, size: tuple[int, int], **changes: object) -> tuple[int, int]:
    fit = eye_of(trainer).fitter(replace(EyeSettings(resolution=resolution), **changes))(*size)  # type: ignore[arg-type]
    assert not isinstance(fit, str)
    return fit.target


@pytest.mark.parametrize("case", BUCKETS)
def test_the_bucket_of_each_trainer(case: tuple[int, tuple[int, int]]) -> None:
    found = {trainer: shapes_of(trainer, *case) for trainer in BUCKETS[case]}
    assert found == BUCKETS[case]


def test_the_family_decides_the_step_where_the_trainer_asks_it() -> None:
    assert shapes_of("onetrainer", 512, (1200, 800), family="sd") == (624, 416)
    assert shapes_of("ai_toolkit", 1024, (1300, 900), family="flux") == (1248, 832)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("size", [(1, 1), (20000, 64), (64, 20000), (512, 512), (511, 513), (1000, 667)])
@pytest.mark.parametrize("buckets", [True, False])
@pytest.mark.parametrize("upscale", [True, False])
def test_boxes_stay_inside_and_have_the_targets_shape(
    trainer: str, size: tuple[int, int], buckets: bool, upscale: bool
) -> None:
    fit = eye_of(trainer).fitter(EyeSettings(resolution=512, buckets=buckets, upscale=upscale))(*size)
    if isinstance(fit, str):
        assert not upscale or (trainer, size) == ("simpletuner", (64, 20000))
        assert fit.endswith(".")
        return
    left, top, right, bottom = fit.box
    assert 0 <= left < right <= size[0] + 1e-6
    assert 0 <= top < bottom <= size[1] + 1e-6
    assert 0 <= fit.crop_loss < 1
    if fit.scaled is not None:
        assert all(scaled >= target for scaled, target in zip(fit.scaled, fit.target, strict=True))


def inked(text: str) -> str:
    """A text without blanks and byte order marks; what readers do to these is tested above, one by one."""
    return "".join(text.replace("\ufeff", "").split())


@settings(deadline=None, max_examples=150)
@given(
    content=st.one_of(st.none(), st.binary(max_size=60), st.text(max_size=60).map(str.encode)), word=st.text(max_size=8)
)
def test_any_bytes_are_a_caption_or_a_reason(content: bytes | None, word: str) -> None:
    for eye in ALL_EYES.values():
        found = eye.see_caption(CaptionFile(content, "a_b_c_d_e.png"), EyeSettings(trigger_word=word))
        assert (found.outcome == "read") == bool(found.texts)
        assert found.outcome == "read" or any(note.severity == "error" for note in found.notes)
        written = inked((content or b"").decode("utf-8", "replace"))
        if any(inked(text) != written for text in found.texts):
            assert found.notes or word or eye.name in ("lorasmith", "sd_scripts")


@settings(deadline=None, max_examples=200)
@given(width=st.integers(1, 9000), height=st.integers(1, 9000), resolution=st.integers(64, 2048), buckets=st.booleans())
def test_any_picture_is_fitted_or_refused(width: int, height: int, resolution: int, buckets: bool) -> None:
    for eye in ALL_EYES.values():
        fit = eye.fitter(EyeSettings(resolution=resolution, buckets=buckets))(width, height)
        if isinstance(fit, str):
            assert eye.name == "simpletuner"
            continue
        left, top, right, bottom = fit.box
        assert 0 <= left < right <= width + 1e-6
        assert 0 <= top < bottom <= height + 1e-6
        assert fit.scale > 0
        assert 0 <= fit.crop_loss < 1


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_is_drawn_is_the_box(tmp_path: Path, trainer: str) -> None:
    """A picture whose pixels tell their place: the drawn corners come from the box's corners."""
    width, height = 300, 170
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 250, width).round()
    ramp[..., 1] = np.linspace(0, 250, height).round()[:, None]
    one = seen(written(tmp_path, "a.png", encode(Image.fromarray(ramp))), trainer, resolution=128)
    assert one.fit is not None
    drawn = np.asarray(render(one)).astype(float)
    assert drawn.shape == (one.fit.target[1], one.fit.target[0], 3)
    left, top, right, bottom = one.fit.box
    assert drawn[64, 0, 0] == pytest.approx(left / width * 250, abs=4)
    assert drawn[64, -1, 0] == pytest.approx(right / width * 250, abs=4)
    assert drawn[0, 64, 1] == pytest.approx(top / height * 250, abs=4)
    assert drawn[-1, 64, 1] == pytest.approx(bottom / height * 250, abs=4)
    assert render(one, meant=True).width > 0


class FiveWords:
    """A tokenizer with a window of five words."""

    def cut(self, text: str) -> tuple[str, str]:
        words = text.split(" ")
        return " ".join(words[:5]), " ".join(["", *words[5:]]) if len(words) > 5 else ""


def test_the_text_encoder_stops_somewhere(tmp_path: Path) -> None:
    path = written(tmp_path, "a.png", encode(halves()))
    (tmp_path / "a.txt").write_text("one two three four five six seven\nsecond line")
    for trainer, texts in {
        "onetrainer": ("one two three four five", "second line"),
        "sd_scripts": ("one two three four five",),
    }.items():
        (one,) = look_at_folder(tmp_path, trainer, counter=FiveWords())
        assert one.texts == texts
        assert one.cut[0] == " six seven"
        assert "caption_cut" in ids(one)
    (one,) = look_at_folder(tmp_path, "diffusion_pipe", settings=EyeSettings(family="sdxl"), counter=FiveWords())
    assert one.texts == ("one two three four five six seven\nsecond line",)
    assert path.exists()


def test_a_folder_as_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "mes photos 猫"
    folder.mkdir()
    written(folder, "a.jpg", with_orientation(halves(), 6))
    written(folder, "a.txt", b"a cat")
    written(folder, "b.png", encode(halves()))
    written(folder, "broken.png", b"not a picture")
    written(folder, "notes.pdf.md", b"x")
    told: list[str] = []
    found = look_at_folder(folder, "musubi", progress=lambda done, total, name: told.append(f"{done}/{total} {name}"))
    assert [(one.item, one.outcome) for one in found] == [
        ("a.jpg", "read"),
        ("b.png", "skipped"),
        ("broken.png", "stops"),
    ]
    assert told == ["1/3 a.jpg", "2/3 b.png", "3/3 broken.png"]
    with pytest.raises(InputError, match="no folder"):
        look_at_folder(tmp_path / "nowhere", "musubi")


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    folder = tmp_path / "photos"
    folder.mkdir()
    written(folder, "a.jpg", with_orientation(halves(640, 384), 6))
    written(folder, "b.bmp", encode(gradient(300, 200, 1), "BMP"))
    written(folder, "c.png", encode(gradient(200, 200, 2)))
    written(folder, "a.txt", b"a cat\nfrom the side")
    made = DatasetStore(tmp_path / "home")
    made.import_source(folder, name="pets")
    return made


def test_an_export_is_seen_as_meant_and_the_originals_are_not(store: DatasetStore) -> None:
    version = store.get("pets")
    exported = look(version, store, "sd_scripts", resolution=512)
    assert [one.item for one in exported] == [item.name for item in version.items]
    first = exported[0]
    assert (first.size, first.orientation) == ((384, 640), 1)
    assert ids(first) == {"caption_lines"}
    assert first.texts == ("a cat",)
    assert np.asarray(render(first)).shape[0] > np.asarray(render(first)).shape[1]
    raw = look(version, store, "sd_scripts", resolution=512, originals=True)[0]
    assert (raw.size, raw.orientation) == ((640, 384), 6)
    assert ids(raw) == {"orientation", "caption_lines"}
    assert raw.severity == "error"
    assert render(raw).width > render(raw).height


def test_an_export_never_has_a_suffix_that_the_trainer_passes_over(store: DatasetStore) -> None:
    version = store.get("pets")
    assert all(one.outcome == "read" for one in look(version, store, "ai_toolkit", resolution=128))
    raw = {one.item: one for one in look(version, store, "ai_toolkit", resolution=128, originals=True)}
    assert raw["b.bmp"].outcome == "skipped"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_our_exports_stop_no_run(store: DatasetStore, trainer: str) -> None:
    found = look(store.get("pets"), store, trainer, resolution=128)
    assert {one.outcome for one in found} == {"read"}
    assert not {note.id for one in found for note in one.differences} & {"orientation", "profile", "alpha", "depth"}


def test_selecting_names_and_unknown_ones(store: DatasetStore) -> None:
    version = store.get("pets")
    assert [one.item for one in look(version, store, "musubi", resolution=128, names={"c.png"})] == ["c.png"]
    with pytest.raises(DatasetError, match=r"has no 'z\.png'"):
        look(version, store, "musubi", resolution=128, names={"z.png"})


def test_a_tally_counts_pictures_and_shows_the_worst(store: DatasetStore) -> None:
    found = look(store.get("pets"), store, "sd_scripts", resolution=512, originals=True)
    kinds = tally(found)
    assert [(one.id, one.severity, len(one.items)) for one in kinds] == [
        ("orientation", "error", 1),
        ("caption_empty", "warning", 2),
        ("upscale", "warning", 2),
        ("caption_lines", "warning", 1),
        ("crop", "warning", 1),
    ]
    assert kinds[0].items == ("a.jpg",)
    assert "sideways" in kinds[0].example
    again = json.loads(json.dumps(found[0].to_dict()))
    assert (again["severity"], again["fit"]["target"]) == ("error", [640, 384])
    assert again["fit"]["crop_loss"] == 0


def test_originals_whose_blob_is_gone_are_named(store: DatasetStore) -> None:
    version = store.get("pets")
    store.blob_path(version.items[0].original).unlink()
    first = look(version, store, "musubi", resolution=128, originals=True)[0]
    assert first.outcome == "stops"
    assert "'a.jpg' cannot be read" in first.differences[0].sentence


@pytest.mark.parametrize(
    "wrong",
    [{"resolution": 0}, {"resolution": 63}, {"resolution": 10**6}, {"step": -1}, {"step": 600}, {"encoding": "x"}],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EyeSettings(**wrong)


def test_a_strip_of_one_pixel_is_drawn_without_filling_memory(tmp_path: Path) -> None:
    path = written(tmp_path, "a.png", encode(Image.new("RGB", (1, 20000), "red")))
    one = seen(path, "sd_scripts", resolution=512)
    assert "crop" in ids(one)
    assert render(one).getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("resolution", [64, 72, 100, 640, 2048, 16384])
@pytest.mark.parametrize("step", [1, 8, 64])
def test_odd_resolutions_and_steps_still_have_buckets(trainer: str, resolution: int, step: int) -> None:
    fitter = eye_of(trainer).fitter(EyeSettings(resolution=resolution, step=step))
    for size in ((1000, 700), (700, 1000), (64, 64)):
        fit = fitter(*size)
        assert not isinstance(fit, str)
        assert min(fit.target) >= min(step, 8)


def test_pictures_that_fill_no_batch_are_named(store: DatasetStore) -> None:
    version = store.get("pets")
    found = look(version, store, "onetrainer", resolution=128, batch_size=2)
    assert all("short_batch" in ids(one) for one in found)
    assert all(
        "short_batch" not in ids(one) for one in look(version, store, "sd_scripts", resolution=128, batch_size=2)
    )


def test_a_header_is_enough_for_opaque_pictures() -> None:
    whole = encode(gradient(400, 300), "JPEG", quality=95)
    assert examine(whole[: len(whole) // 2], "a.jpg").size == (400, 300)
    stream = io.BytesIO(whole)
    assert decode(stream.getvalue(), MEANT).size == (400, 300)
    with pytest.raises(InputError, match="cannot be read as a picture"):
        decode(whole[: len(whole) // 2], MEANT, "a.jpg")
