"""SimpleTuner."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from typing import ClassVar, Final

from PIL import Image

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Fit, Size, scaled_then_cut
from lorasmith.datasets.eyes.moving import SeenFrames, dropped, shown
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.eyes.text import Undecodable, bom_notes, read_text, stops_on_encoding
from lorasmith.datasets.layouts.clips import window_of
from lorasmith.datasets.manifest import Clip

_PILLOW_ONLY: Final = ("AVIF",)  # what its decoder trainingsample does not know goes through Pillow
_EXTRAS: Final = (".heic", ".heif")  # known here when an extra of ours is installed, which it does not have
_DECIMALS: Final = 2  # aspect_bucket_rounding
_ROUND_AREAS: Final = ((0.25, 512), (0.5, 768), (1.0, 1024), (2.0, 1536), (4.0, 2048))


class SimpleTuner(TrainerEye):
    """Loses orientation in its decoder; the first picture of a ratio decides for the others."""

    name: ClassVar[str] = "simpletuner"
    title: ClassVar[str] = "SimpleTuner"
    commit: ClassVar[str] = "bghira/SimpleTuner bc8e6ab77, 2026-08-22; trainingsample 0.3.2"
    default_step: ClassVar[int] = 64
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("Pictures are decoded by the library trainingsample into bare pixels, before EXIF is looked at: "
             "orientation is lost, though the code means to apply it. Measured with trainingsample 0.3.2 on JPEG, "
             "PNG and WebP; AVIF goes through Pillow, where it is applied.",
             "simpletuner/helpers/image_manipulation/load.py load_image, training_sample.py correct_image"),
        Fact("Colour profiles are ignored and transparency is dropped; 16 bits are scaled.", "the same, measured"),
        Fact("Any suffix that Pillow knows is read.", "simpletuner/helpers/training/__init__.py"),
        Fact("Each line that is not empty is a caption of its own, not stripped, unless disable_multiline_split is "
             "set; strict UTF-8; a missing caption file ends the run, and so does one of line ends only.",
             "simpletuner/helpers/prompts.py prepare_instance_prompt_from_textfile"),
        Fact("Sides are the square side times the root of the ratio (rounded to 0.01), rounded to 64; the first "
             "picture of a rounded ratio decides for all later ones.",
             "simpletuner/helpers/multiaspect/image.py calculate_new_size_by_pixel_area"),
        Fact("Scaled between the four nearest pixels, without smoothing what is reduced. Measured with trainingsample "
             "0.3.2, whose batch_resize_images equals OpenCV's INTER_LINEAR.",
             "simpletuner/helpers/image_manipulation/training_sample.py resize"),
        Fact("The first num_frames frames of a clip are shown as they lie in its file, whatever their rate; a clip of "
             "fewer than min_frames is left out, and said in the log of debugging only.",
             "simpletuner/helpers/image_manipulation/load.py load_video, caching/vae.py, metadata/backends/base.py"),
        Fact("Cut at a random place unless crop_style says center.",
             "simpletuner/helpers/image_manipulation/training_sample.py, cropping.py"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        suffix = PurePath(name).suffix.lower()
        if suffix not in _EXTRAS and Image.registered_extensions().get(suffix) in Image.OPEN:
            return None
        return Note("format", "error", f"{self.title} does not read {suffix or 'this'}: it is never trained.")

    def reading(self, file: PictureFile) -> Reading:
        pillow = file.format in _PILLOW_ONLY
        return Reading(orientation=pillow, profile=False, alpha="dropped", deep="clipped" if pillow else "scaled")

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        step = self.step(settings)
        area_edge = _rounded(settings.resolution, step)
        square_edge = _square_edge(settings.resolution, step)
        decided: dict[float, Size] = {}

        def square(width: int, height: int) -> Fit | str:
            side = (area_edge, area_edge)
            scaled = side if width == height else _enlarged(_covering(side, width / height), side, width / height)
            target = (square_edge, square_edge)
            scaled = target if scaled[0] < square_edge else scaled
            return _cut((width, height), scaled, target)

        def fit(width: int, height: int) -> Fit | str:
            ratio, exact = round(width / height, _DECIMALS), width / height
            if not ratio:
                return f"{width}x{height} has a ratio that is rounded to 0: the run ends with an error."
            if width == height:
                target = scaled = (area_edge, area_edge)
            else:
                target = (_rounded(area_edge * math.sqrt(ratio), step), _rounded(area_edge / math.sqrt(ratio), step))
                scaled = _covering(target, exact)
                target = decided.setdefault(round(target[0] / target[1], _DECIMALS), target)
                scaled = _enlarged(scaled, target, exact)
            if round(target[0] / target[1], _DECIMALS) == 1.0:
                target = (square_edge, square_edge)
                scaled = target if scaled[0] < square_edge else scaled
            return _cut((width, height), scaled, target)

        return fit if settings.buckets else square

    moves: ClassVar[bool] = True

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        count = settings.frames or window_of(clip)
        if clip.frames < count:
            return dropped(f"It has {clip.frames} frames where {count} are asked for: {self.title} leaves it out.")
        return shown(clip, [range(count)], self.rate(settings))

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        if file.content is None:
            sentence = f"It has no caption file, and {self.title} stops with an error."
            return SeenCaption((), (Note("caption_missing", "error", sentence),), "stops")
        try:
            text = read_text(file.content, universal_newlines=False)
        except Undecodable:
            return stops_on_encoding(self.title)
        notes = bom_notes(text)
        lines = tuple(line for line in text.split("\n") if line) if "\n" in text else (text,)
        if not lines:
            sentence = f"Its caption file holds line ends only, and {self.title} stops with an error."
            return SeenCaption((), (*notes, Note("caption_empty", "error", sentence)), "stops")
        if any(line.endswith("\r") for line in lines):
            notes += (Note("caption_spacing", "info", "The first half of each Windows line end stays in its text."),)
        if not any(line.strip() for line in lines):
            notes += (Note("caption_empty", "warning", "It is trained with an empty caption."),)
            return SeenCaption(lines, notes)
        if len(lines) > 1:
            sentence = f"Each of its {len(lines)} lines is a caption of its own, and one is drawn at each exposure."
            notes += (Note("caption_lines", "warning", sentence),)
        return SeenCaption(lines, notes)


plugin = SimpleTuner()


def _cut(read: Size, scaled: Size, target: Size) -> Fit | str:
    if scaled[0] < target[0] or scaled[1] < target[1]:  # of squares, at resolutions near a round number of megapixels
        by, out_of = f"{target[0]}x{target[1]}", f"{scaled[0]}x{scaled[1]}"
        return f"It is scaled to {out_of} and then to be cut to {by}, which does not fit; take another resolution."
    return scaled_then_cut(read, scaled, target, "linear", random=scaled != target)


def _rounded(value: float, step: int) -> int:
    return max(step, round(value / step) * step)


def _square_edge(resolution: int, step: int) -> int:
    """Side of square pictures: areas near a round number of megapixels are taken for that of a usual side."""
    megapixels = resolution * resolution / 1e6
    for near, side in _ROUND_AREAS:
        if abs(megapixels - near) < 0.05:
            return _rounded(side, step)
    return _rounded(resolution, step)


def _covering(target: Size, ratio: float) -> Size:
    """The picture scaled to the shorter side of its target."""
    width, height = target
    return (width, int(width / ratio)) if width < height else (int(height * ratio), height)


def _enlarged(scaled: Size, target: Size, ratio: float) -> Size:
    """Enlarged until the target fits in, nearly in proportion, as the trainer does it."""
    width, height = scaled
    if target[0] > width:
        more = target[0] - width
        return width + more, height + int(more / ratio)
    if target[1] > height:
        more = target[1] - height
        return width + int(more * ratio), height + more
    return scaled
