"""Image tools: sizes, crops, formats and masks, and what a whole dataset looks like afterwards."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorasmith.datasets.history import in_words
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.pictures import TOOLS, Frame, ToolError, tool_from
from lorasmith.datasets.pictures.borders import content_box
from lorasmith.datasets.pictures.encoding import format_of
from lorasmith.datasets.pictures.saliency import best_window
from lorasmith.datasets.pictures.work import preview_tool, rename_in_sequence, use_tool
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, EnvironmentProblem
from tests.datasets.dataset_pictures import gradient


def frame(image: Image.Image, mask: Image.Image | None = None, **changes: Any) -> Frame:
    from lorasmith.datasets.manifest import Item

    item = Item(name="a.png", image="0" * 64, original="0" * 64, width=image.width, height=image.height)
    return Frame(item, image, mask, **changes)


def work(name: str, image: Image.Image, mask: Image.Image | None = None, **options: Any) -> Frame:
    (done,) = tool_from(name, options).work(frame(image, mask))
    return done


def spot(size: tuple[int, int], at: tuple[int, int], radius: int = 8) -> Image.Image:
    """A plain picture with one bright square."""
    image = Image.new("RGB", size, (60, 60, 60))
    image.paste((255, 240, 0), (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius))
    return image


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


@pytest.fixture
def version(store: DatasetStore, tmp_path: Path) -> DatasetVersion:
    folder = tmp_path / "photos"
    folder.mkdir()
    gradient(300, 200).save(folder / "wide.png")
    gradient(200, 300).save(folder / "tall.jpg", quality=95)
    gradient(64, 64).save(folder / "small.png")
    for stem in ("wide", "tall", "small"):
        (folder / f"{stem}.txt").write_text(f"a {stem} one")
    return store.import_source(folder, name="photos")


# Sizes


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({"mode": "fit", "width": 100, "height": 100}, (300, 200), (100, 67)),
        ({"mode": "fit", "width": 100, "height": 100}, (50, 50), (50, 50)),
        ({"mode": "fit", "width": 100, "height": 100, "upscale": True}, (50, 25), (100, 50)),
        ({"mode": "fill", "width": 100, "height": 100}, (300, 200), (100, 100)),
        ({"mode": "fill", "width": 100, "height": 50}, (60, 60), (60, 30)),
        ({"mode": "fill", "width": 100, "height": 50, "upscale": True}, (60, 60), (100, 50)),
        ({"mode": "pad", "width": 100, "height": 100}, (300, 200), (100, 100)),
        ({"mode": "pad", "width": 100, "height": 100}, (50, 40), (100, 100)),
        ({"mode": "short_side", "size": 100}, (300, 200), (150, 100)),
        ({"mode": "long_side", "size": 100}, (300, 200), (100, 67)),
        ({"mode": "long_side", "size": 100}, (1, 3000), (1, 100)),
    ],
)
def test_resizing_gives_the_size_it_promises(
    options: dict[str, Any], before: tuple[int, int], after: tuple[int, int]
) -> None:
    tool = tool_from("resize", options)
    (done,) = tool.work(frame(gradient(*before), Image.new("L", before, 255)))
    assert done.image.size == after == tool.size_after(*before)
    assert done.mask is not None and done.mask.size == after


@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    wanted=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    mode=st.sampled_from(["fit", "fill", "pad"]),
    upscale=st.booleans(),
)
def test_every_size_is_possible_and_nothing_grows_unasked(
    size: tuple[int, int], wanted: tuple[int, int], mode: str, upscale: bool
) -> None:
    tool = tool_from("resize", {"mode": mode, "width": wanted[0], "height": wanted[1], "upscale": upscale})
    (done,) = tool.work(frame(Image.new("RGB", size)))
    assert done.image.size == tool.size_after(*size)
    assert (done.image.width <= wanted[0] and done.image.height <= wanted[1]) or (not upscale and mode == "fit")
    if not upscale and mode != "pad":
        assert done.image.width <= size[0] and done.image.height <= size[1]


def test_padding_is_of_the_colour_and_never_trained() -> None:
    done = work("resize", Image.new("RGB", (100, 50)), Image.new("L", (100, 50), 255), mode="pad", width=100,
                height=100, background="#ff0000")  # fmt: skip
    assert done.image.getpixel((0, 0)) == (255, 0, 0) and done.image.getpixel((50, 50)) == (0, 0, 0)
    assert done.mask is not None and done.mask.getpixel((0, 0)) == 0 and done.mask.getpixel((50, 50)) == 255


def test_a_crop_keeps_its_box_and_turns_are_clockwise() -> None:
    picture = spot((100, 80), (10, 10))
    assert work("crop", picture, box=(0.0, 0.0, 0.5, 0.5)).image.size == (50, 40)
    turned = work("rotate", picture, degrees=90).image
    assert turned.size == (80, 100) and turned.getpixel((69, 10)) == (255, 240, 0)
    assert work("flip", picture).image.getpixel((89, 10)) == (255, 240, 0)
    assert work("flip", picture, direction="vertical").image.getpixel((10, 69)) == (255, 240, 0)


def test_a_mask_goes_where_its_picture_goes() -> None:
    picture = spot((120, 80), (20, 20))
    mask = Image.eval(picture.getchannel("R"), lambda value: 255 if value > 200 else 0)
    for name, options in (
        ("rotate", {"degrees": 270}),
        ("flip", {}),
        ("crop", {"box": (0.0, 0.0, 0.6, 0.7)}),
        ("to_bucket", {"resolution": 64, "multiple": 16}),
        ("resize", {"mode": "fill", "width": 40, "height": 40}),
    ):
        done = work(name, picture, mask, **options)
        assert done.mask is not None
        bright = np.asarray(done.image.getchannel("R")) > 200
        assert (bright == (np.asarray(done.mask) > 180)).mean() > 0.97, name


# Buckets, saliency, bars and strips


def test_the_salient_crop_keeps_what_stands_out() -> None:
    for x in (30, 370):
        done = work("to_bucket", spot((400, 100), (x, 50)), resolution=100, multiple=20)
        assert done.image.size == tool_from("to_bucket", {"resolution": 100, "multiple": 20}).size_after(400, 100)
        assert (np.asarray(done.image)[..., 2] < 30).any(), "the yellow square was cut away"
    flat = Image.new("RGB", (400, 100), (9, 9, 9))
    assert best_window(flat, 1.0) == pytest.approx((0.5, 0.5), abs=0.01)


@given(left=st.floats(0, 0.7), width=st.floats(0.01, 0.3), aspect=st.floats(0.4, 2.5))
def test_a_protected_box_is_never_cut_when_it_fits(left: float, width: float, aspect: float) -> None:
    image = gradient(300, 200)
    x, _ = best_window(image, aspect, protect=(left, 0.0, left + width, 1.0))
    keep = min(1.0, aspect * 200 / 300)
    start = x * (1 - keep)
    if width <= keep:
        slack = 1 / 128 + 1e-6  # the window moves in steps
        assert start <= left + slack and start + keep >= left + width - slack


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_bars_are_found_to_the_pixel(color: tuple[int, int, int]) -> None:
    canvas = Image.new("RGB", (200, 200), color)
    canvas.paste(gradient(180, 100, seed=5), (20, 30))
    stream = io.BytesIO()
    canvas.save(stream, "JPEG", quality=90)
    box = content_box(Image.open(stream).convert("RGB"), 16, 0.01)
    assert np.abs(np.subtract(box, (20, 30, 200, 130))).max() <= 2


def test_plain_pictures_and_pictures_without_bars_are_left_whole() -> None:
    for image in (Image.new("RGB", (90, 60), (7, 7, 7)), gradient(90, 60), Image.new("RGB", (1, 1))):
        assert content_box(image, 16, 0.01) == (0, 0, *image.size)
        assert work("trim_borders", image).image is image


def test_strips_are_cut_whole_with_an_overlap() -> None:
    image = gradient(100, 1000)
    pieces = tool_from("split_strips", {"longest": 2.0, "overlap": 0.1}).work(frame(image))
    assert [piece.part for piece in pieces] == list(range(1, len(pieces) + 1))
    assert all(piece.image.size == (100, 200) for piece in pieces)
    boxes = [tuple(map(int, piece.notes[0].split(":")[1].split("/"))) for piece in pieces]
    assert boxes[-1] == (len(pieces), len(pieces)) and len(pieces) == 6
    whole = np.asarray(image)
    starts = [round(n * 800 / 5) for n in range(6)]
    for start, piece in zip(starts, pieces, strict=True):
        assert np.array_equal(np.asarray(piece.image), whole[start : start + 200])
    assert all(after - before <= 180 for before, after in itertools.pairwise(starts))


# Formats


def stored(tmp_path: Path, image: Image.Image, format: str, **options: Any) -> Frame:
    path = tmp_path / "file"
    image.save(path, format, **options)
    with Image.open(path) as shown:
        return frame(shown.convert("RGB"), file=path)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_converted_files_show_the_pixels_that_are_said(tmp_path: Path, format: str) -> None:
    (done,) = tool_from("convert", {"format": format}).work(stored(tmp_path, gradient(60, 40), "BMP"))
    assert done.content is not None and format_of(done.content) == format
    with Image.open(io.BytesIO(done.content)) as shown:
        assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(done.image))
    again = tmp_path / "again"
    again.write_bytes(done.content)
    same = replace(done, file=again)
    assert tool_from("convert", {"format": format}).work(same) == (same,)


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_a_size_budget_is_kept_at_the_best_quality(tmp_path: Path) -> None:
    big = stored(tmp_path, noise((200, 200)), "PNG")
    (done,) = tool_from("compress", {"max_bytes": 40_000, "quality": 100}).work(big)
    assert done.content is not None and len(done.content) <= 40_000
    quality = int(done.notes[-1].rpartition(":")[2])
    from lorasmith.datasets.pictures.encoding import encode

    assert len(encode(big.image, "jpeg", quality + 1)) > 40_000
    with pytest.raises(ToolError, match="does not fit into 1,000 bytes at quality 50"):
        tool_from("compress", {"max_bytes": 1000}).work(big)
    small = stored(tmp_path, gradient(10, 10), "JPEG", quality=50)
    assert tool_from("compress", {"quality": 95}).work(small) == (small,)


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_metadata_goes_and_every_pixel_stays(tmp_path: Path, format: str, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    extra: dict[str, Any] = {"exif": exif}
    if format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("parameters", "secret place")
        extra["pnginfo"] = info
    if format == "JPEG":
        extra["comment"] = b"secret place"
    before = stored(tmp_path, gradient(50, 30), format, **options, **extra)
    assert before.file is not None and b"secret place" in before.file.read_bytes()
    (done,) = tool_from("strip_metadata", {}).work(before)
    assert done.content is not None and b"secret place" not in done.content
    with Image.open(io.BytesIO(done.content)) as shown:
        shown.load()
        assert not shown.getexif() and np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(before.image))
    bare = tmp_path / "bare"
    bare.write_bytes(done.content)
    same = replace(done, file=bare)
    assert tool_from("strip_metadata", {}).work(same) == (same,)


def test_a_file_that_cannot_be_taken_apart_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(ToolError, match="cannot be taken apart"):
        tool_from("strip_metadata", {}).work(frame(gradient(4, 4), file=path))


# Masks


def test_masks_come_from_transparency_files_and_rectangles(tmp_path: Path) -> None:
    clear = gradient(40, 40).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((40, 40)))
    clear.save(tmp_path / "clear.png")
    (done,) = tool_from("mask_from_alpha", {}).work(frame(gradient(40, 40), original=tmp_path / "clear.png"))
    assert done.mask is not None and np.array_equal(np.asarray(done.mask), np.asarray(clear.getchannel("A")))

    painted = Image.new("L", (80, 80), 0)
    painted.paste(255, (0, 0, 40, 80))
    painted.save(tmp_path / "a-masklabel.png")
    (done,) = tool_from("mask_from_files", {"folder": str(tmp_path)}).work(frame(gradient(40, 40)))
    assert done.mask is not None and done.mask.getpixel((5, 5)) == 255 and done.mask.getpixel((35, 5)) == 0
    (done,) = tool_from("mask_from_files", {"folder": str(tmp_path), "invert": True}).work(frame(gradient(40, 40)))
    assert done.mask is not None and done.mask.getpixel((5, 5)) == 0

    done = work("mask_rectangle", gradient(40, 40), done.mask, box=(0.0, 0.5, 1.0, 1.0), combine="both")
    assert done.mask is not None
    assert [done.mask.getpixel(at) for at in ((35, 35), (5, 35), (35, 5))] == [255, 0, 0]
    assert work("remove_mask", gradient(4, 4), Image.new("L", (4, 4))).mask is None


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mask_from_alpha", {}, "no original file"),
        ("mask_from_files", {"folder": "/nowhere"}, "has no mask in"),
        ("mask_rectangle", {"box": (0.0, 0.0, 1.0, 1.0), "invert": True}, "black all over"),
    ],
)
def test_what_cannot_be_masked_says_why(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolError, match=words):
        work(name, gradient(20, 20), **options)


def test_a_mask_of_another_shape_is_no_mask_of_it(tmp_path: Path) -> None:
    Image.new("L", (80, 40), 255).save(tmp_path / "a.png")
    with pytest.raises(ToolError, match=r"20 x 20 pixels while its mask a\.png is 80 x 40"):
        work("mask_from_files", gradient(20, 20), folder=str(tmp_path))


def test_rembg_is_asked_for_and_its_model_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.datasets.pictures import masks

    monkeypatch.setattr(masks, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="needs rembg"):
        work("mask_subject", gradient(9, 9), model=str(tmp_path / "u2net.onnx"))
    monkeypatch.setattr(masks, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="There is no model"):
        work("mask_subject", gradient(9, 9), model=str(tmp_path / "u2net.onnx"))


class FakeDetector:
    """OpenCV's detector as its documentation describes it: fifteen numbers a face, the score last."""

    @staticmethod
    def create(model: str, config: str, size: tuple[int, int], confidence: float) -> FakeDetector:
        assert config == "" and 0 < confidence < 1
        return FakeDetector()

    def detect(self, pixels: Any) -> tuple[int, Any]:
        bright = np.argwhere(pixels.min(axis=2) > 250)
        if not len(bright):
            return 1, None
        (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
        return 1, np.array([[left, top, right - left, bottom - top, *([0] * 10), 0.9]], dtype=np.float32)


def test_faces_are_masked_and_kept_by_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from lorasmith.datasets.pictures import faces

    model = tmp_path / "yunet.onnx"
    picture = Image.new("RGB", (400, 100), (60, 60, 60))
    picture.paste((255, 255, 255), (350, 30, 390, 70))
    monkeypatch.setattr(faces, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="needs OpenCV"):
        work("mask_faces", picture, model=str(model))
    monkeypatch.setattr(faces, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="There is no model"):
        work("mask_faces", picture, model=str(model))
    model.touch()
    fake = types.SimpleNamespace(FaceDetectorYN=FakeDetector, error=RuntimeError)
    monkeypatch.setattr(faces, "import_module", lambda name: fake)
    done = work("mask_faces", picture, model=str(model))
    assert done.mask is not None
    assert [done.mask.getpixel(at) for at in ((370, 50), (345, 50), (100, 50))] == [255, 255, 0]
    inverted = work("mask_faces", picture, model=str(model), invert=True)
    assert inverted.mask is not None and inverted.mask.getpixel((370, 50)) == 0
    kept = work("to_bucket", picture, resolution=100, multiple=20, window="center", faces=str(model))
    assert np.asarray(kept.image).min(axis=2).max() > 250, "the crop kept the face at the edge"
    with pytest.raises(ToolError, match="shows no face"):
        work("mask_faces", gradient(40, 40), model=str(model))


# Options


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resiz", {}, "no image tool called 'resiz'"),
        ("resize", {"mode": "fit", "width": 10}, "fit needs width and height"),
        ("resize", {"mode": "short_side", "width": 10}, "short_side needs size"),
        ("resize", {"mode": "pad", "width": 9, "height": 9, "background": "blurple"}, "blurple"),
        ("resize", {"widht": 10}, "no option 'widht'"),
        ("rotate", {}, "needs the option 'degrees'"),
        ("rotate", {"degrees": 45}, "degrees"),
        ("crop", {"box": (0.5, 0.0, 0.5, 1.0)}, "left < right"),
        ("compress", {"quality": 5}, "quality"),
    ],
)
def test_impossible_options_are_refused_in_words(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tool_from(name, options)


def test_every_tool_says_what_it_does_and_describes_its_options() -> None:
    needed: dict[str, dict[str, Any]] = {
        "resize": {"mode": "fit", "width": 9, "height": 9}, "crop": {"box": (0, 0, 1, 0.5)}, "rotate": {"degrees": 90},
        "convert": {"format": "png"}, "mask_from_files": {"folder": "m"}, "mask_rectangle": {"box": (0, 0, 1, 0.5)},
        "mask_subject": {"model": "m.onnx"}, "mask_faces": {"model": "m.onnx"}, "trim": {"end": -1},
    }  # fmt: skip
    for name, kind in TOOLS.items():
        assert tool_from(name, needed.get(name, {})).describe().endswith(".")
        assert all(field.description for field in kind.model_fields.values()), name


# A whole dataset


def test_a_tool_makes_a_version_and_touches_no_original(version: DatasetVersion, store: DatasetStore) -> None:
    originals = {item.original: store.blob_path(item.original).read_bytes() for item in version.items}
    outcome = use_tool(version, store, tool_from("resize", {"mode": "long_side", "size": 150}))
    assert outcome.changed == 2 and outcome.version.parent == version.number
    sizes = {item.name: (item.width, item.height) for item in outcome.version.items}
    assert sizes == {"small.png": (64, 64), "tall.jpg": (100, 150), "wide.png": (150, 100)}
    assert [item.caption for item in outcome.version.items] == [item.caption for item in version.items]
    assert outcome.version.items[2].provenance["tools"] == ["resize:150x100"]
    for item in outcome.version.items:
        with store.open_image(item) as image:
            assert image.size == (item.width, item.height)
    assert {sha: store.blob_path(sha).read_bytes() for sha in originals} == originals
    assert outcome.version.operation.name == "resize" and outcome.version.operation.arguments["size"] == 150
    words = in_words(outcome.version.operation)  # what was chosen; the record holds the rest too
    assert words == "resize (mode: long_side, size: 150)"
    assert len(outcome.version.operation.arguments) > 3
    joined = Operation(name="resize", arguments={**outcome.version.operation.arguments, "rebased_from": 1})
    assert in_words(joined) == f"{words}, joined with later edits"
    turned = use_tool(outcome.version, store, tool_from("flip", {})).version.operation
    assert (in_words(turned), turned.arguments["direction"]) == ("flip", "horizontal")


def test_nothing_to_do_makes_no_version(version: DatasetVersion, store: DatasetStore) -> None:
    outcome = use_tool(version, store, tool_from("resize", {"mode": "long_side", "size": 5000}))
    assert outcome.version is version and outcome.changed == 0


def test_a_preview_counts_shows_and_stores_nothing(version: DatasetVersion, store: DatasetStore) -> None:
    blobs = sorted((store.home / "blobs").rglob("*"))
    tool = tool_from("resize", {"mode": "long_side", "size": 150})
    preview = preview_tool(version, store, tool)
    assert (preview.scope, preview.in_scope, preview.changed) == ("all 3 pictures", 3, 2)
    assert [example.after[0].size for example in preview.examples] == [(100, 150), (150, 100)]
    some = preview_tool(version, store, tool, ["wide.png"])
    assert (some.scope, some.changed) == ("1 of 3 pictures", 1)
    assert sorted((store.home / "blobs").rglob("*")) == blobs and store.versions("photos") == [1]


def test_refused_pictures_stay_and_are_listed(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    Image.new("L", (300, 200), 128).save(tmp_path / "wide.png")
    outcome = use_tool(version, store, tool_from("mask_from_files", {"folder": str(tmp_path)}))
    assert outcome.changed == 1 and set(outcome.refused) == {"small.png", "tall.jpg"}
    masks = {item.name: item.mask for item in outcome.version.items}
    assert masks["wide.png"] is not None and masks["tall.jpg"] is None
    assert outcome.version.items[2].image == version.items[2].image, "the pixels are the same file"


def test_new_formats_and_pieces_get_names_that_are_free(store: DatasetStore, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    gradient(50, 400).save(folder / "a.png")
    noise((60, 60)).save(folder / "b.png")
    gradient(61, 60).save(folder / "b.jpg")
    gradient(62, 60).save(folder / "a-1.png")
    version = store.import_source(folder, name="mixed")
    split = use_tool(version, store, tool_from("split_strips", {})).version
    names = [item.name for item in split.items]
    assert len(set(names)) == len(names) and "a-1.png" in names and "a-1 (2).png" in names
    converted = use_tool(split, store, tool_from("convert", {"format": "jpeg"}), ["b.png"]).version
    assert "b (2).jpg" in [item.name for item in converted.items]


def test_an_error_in_the_middle_changes_nothing(version: DatasetVersion, store: DatasetStore) -> None:
    class Stop(Exception):
        pass

    def progress(done: int, total: int, name: str) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        use_tool(version, store, tool_from("flip", {}), progress=progress)
    assert store.get("photos") == version


def test_unknown_names_are_refused(version: DatasetVersion, store: DatasetStore) -> None:
    with pytest.raises(DatasetError, match=r"has no picture 'nope\.png'"):
        use_tool(version, store, tool_from("flip", {}), ["nope.png"])


def test_renaming_keeps_order_captions_and_the_way_back(version: DatasetVersion, store: DatasetStore) -> None:
    renamed = rename_in_sequence(version, store)
    assert [item.name for item in renamed.items] == ["0001.png", "0002.jpg", "0003.png"]
    assert [item.caption for item in renamed.items] == [item.caption for item in version.items]
    assert renamed.operation.arguments["names"] == {
        "small.png": "0001.png",
        "tall.jpg": "0002.jpg",
        "wide.png": "0003.png",
    }
    again = rename_in_sequence(renamed, store, prefix="cat_", digits=2)
    assert [item.name for item in again.items] == ["cat_01.png", "cat_02.jpg", "cat_03.png"]
    assert again.items[0].provenance["former_name"] == "small.png"
    assert rename_in_sequence(again, store, prefix="cat_", digits=2) is again
    with pytest.raises(DatasetError, match="no safe names"):
        rename_in_sequence(version, store, prefix="../")


def test_the_same_tool_twice_gives_the_same_bytes(version: DatasetVersion, store: DatasetStore) -> None:
    tool = tool_from("to_bucket", {"resolution": 128})
    one = use_tool(version, store, tool).version
    other = use_tool(store.commit(one, version.items[:2], Operation(name="x")), store, tool).version
    assert [item.image for item in one.items][:2] == [item.image for item in other.items]
