"""kohya's sd-scripts, and the kohya_ss GUI that runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from typing import ClassVar, Final

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Filter, Fit, Size, cut_down, nearest_ratio, scaled_then_cut
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.eyes.text import Undecodable, bom_notes, read_text, stops_on_encoding

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl")
_SMALLEST: Final = 256  # min_bucket_reso
_LARGEST: Final = 1024  # max_bucket_reso
_FACE_PARTS: Final = 4  # name parts that its face cropper appends


class SdScripts(TrainerEye):
    """Ignores EXIF, profiles and alpha; reads the first line."""

    name: ClassVar[str] = "sd_scripts"
    title: ClassVar[str] = "sd-scripts (kohya)"
    commit: ClassVar[str] = "kohya-ss/sd-scripts 48d368fa, 2026-02-16"
    default_step: ClassVar[int] = 64
    empty_export: ClassVar[bytes] = b"\n"
    numbered_folders: ClassVar[bool] = True
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("EXIF orientation, colour profiles and transparency are ignored.", "library/train_util.py load_image"),
        Fact("Only suffixes in all lower or all upper case are found.", "library/train_util.py glob_images"),
        Fact("The first line of a caption is read, stripped; with enable_wildcard a line is drawn.",
             "library/train_util.py DreamBoothDataset read_caption"),
        Fact("A caption file of zero bytes, or one that is not UTF-8, ends the run.", "the same"),
        Fact("Without a caption file class_tokens stand in, else an empty caption with a warning.",
             "library/train_util.py load_dreambooth_dir"),
        Fact("A name of five or more parts between underscores may borrow the caption of the name without its last "
             "four.", "library/train_util.py read_caption"),
        Fact("Folders under train_data_dir whose names do not begin with a number and an underscore are skipped.",
             "library/config_util.py generate_dreambooth_subsets_config_by_subdirs"),
        Fact("Buckets in steps of 64 from 256 to 1024 pixels, nearest by width / height; middle crop.",
             "library/model_util.py make_bucket_resolutions, library/train_util.py BucketManager.select_bucket"),
        Fact("Reduced with OpenCV's INTER_AREA, enlarged with Lanczos.", "library/utils.py resize_image"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        return refuses_by_glob(name, _SUFFIXES, settings, self.title)

    def reading(self, file: PictureFile) -> Reading:
        return Reading(orientation=False, profile=False, alpha="dropped", deep="clipped")

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        side, step = settings.resolution, self.step(settings)
        table = _table(side, step) if settings.buckets else ((side, side),)

        def fit(width: int, height: int) -> Fit | str:
            if settings.buckets and not settings.upscale:
                return _never_enlarged(width, height, side * side, step)
            ratio = width / height
            target = (width, height) if (width, height) in table else nearest_ratio(ratio, table)
            across = ratio > target[0] / target[1]
            scale = target[1] / height if across else target[0] / width
            return _fit((width, height), (int(width * scale + 0.5), int(height * scale + 0.5)), target)

        return fit

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        content = file.content
        notes: tuple[Note, ...] = ()
        if content is None:
            borrowed = _borrowed_name(file.picture)
            content = file.neighbours.get(borrowed) if borrowed else None
            if content is not None:
                notes = (Note("caption_borrowed", "warning", f"It has no caption of its own and takes {borrowed}."),)
        if content is None:
            return _missing(settings)
        try:
            text = read_text(content)
        except Undecodable:
            return stops_on_encoding(self.title)
        if not text:
            sentence = f"Its caption file is empty, and {self.title} stops with an error."
            return SeenCaption((), (*notes, Note("caption_empty", "error", sentence)), "stops")
        lines = text.split("\n")
        first, more = lines[0].strip(), [line for line in lines[1:] if line.strip()]
        notes += bom_notes(text)
        if more:
            count = len(more) + bool(first)
            what = "Only the first" if first else "Only the first line, which is empty,"
            sentence = f"{what} of {count} lines is read." if first else f"{what} is read, and {count} follow."
            notes += (Note("caption_lines", "warning", sentence),)
        elif not first:
            notes += (Note("caption_empty", "warning", "It is trained with an empty caption."),)
        return SeenCaption((first,), notes)


plugin = SdScripts()


def refuses_by_glob(name: str, suffixes: tuple[str, ...], settings: EyeSettings, title: str) -> Note | None:
    """The rule of trainers that look for each suffix in lower and in upper case, and for nothing between."""
    suffix = PurePath(name).suffix
    if suffix.lower() not in suffixes:
        return Note("format", "error", f"{title} does not read {suffix or 'files without a suffix'}: never trained.")
    if settings.case_sensitive and suffix not in (suffix.lower(), suffix.upper()):
        return Note("format", "error", f"{title} does not find the suffix {suffix}: it is never trained.")
    return None


def _missing(settings: EyeSettings) -> SeenCaption:
    if settings.default_caption:
        sentence = f"It has no caption file: class_tokens ('{settings.default_caption}') stand in."
        return SeenCaption((settings.default_caption,), (Note("caption_missing", "info", sentence),))
    sentence = "It has no caption file and is trained with an empty caption."
    return SeenCaption(("",), (Note("caption_missing", "warning", sentence),))


def _borrowed_name(picture: str) -> str:
    """Name of the caption file that a name like ``a_b_c_d_e.png`` may borrow, here ``a.txt``; empty for none.

    The trainer splits the whole path, folders included; only what can lie in the same folder is followed here.
    """
    parts = PurePath(picture).stem.split("_")
    return "_".join(parts[:-_FACE_PARTS]) + ".txt" if len(parts) > _FACE_PARTS else ""


def _table(side: int, step: int) -> tuple[Size, ...]:
    """Every bucket for a square side: sides in steps, the other as long as the area allows."""
    area = side * side
    # Sides beyond these limits are refused by the trainer, so that whoever trains there must have moved the limits.
    smallest = max(step, cut_down(_SMALLEST if side >= _SMALLEST else side // 2, step))
    largest = max(_LARGEST, side)
    largest += -largest % step
    found = {(side // step * step, side // step * step)}
    for width in range(smallest, largest + 1, step):
        height = min(largest, area // width // step * step)
        if height >= smallest:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def _never_enlarged(width: int, height: int, area: int, step: int) -> Fit | str:
    """``bucket_no_upscale``: the bucket follows the picture, which is only ever reduced."""
    scaled = (width, height)
    if width * height > area:
        ratio = width / height
        ideal_width = math.sqrt(area * ratio)
        rounded_width = _rounded(ideal_width, step)
        rounded_height = _rounded(area / ideal_width, step)
        by_width = rounded_width / _rounded(rounded_width / ratio, step)
        by_height = _rounded(rounded_height * ratio, step) / rounded_height
        if abs(by_width - ratio) < abs(by_height - ratio):
            scaled = (rounded_width, int(rounded_width / ratio + 0.5))
        else:
            scaled = (int(rounded_height * ratio + 0.5), rounded_height)
    target = (cut_down(scaled[0], step), cut_down(scaled[1], step))
    if not all(target):
        return f"{width}x{height} is smaller than one step of {step} pixels: the run ends with an error."
    return _fit((width, height), scaled, target)


def _rounded(value: float, step: int) -> int:
    return max(cut_down(int(value + 0.5), step), step)


def _fit(read: Size, scaled: Size, target: Size) -> Fit:
    filter: Filter = "area" if read[0] >= scaled[0] and read[1] >= scaled[1] else "lanczos"
    return scaled_then_cut(read, scaled, target, filter)
