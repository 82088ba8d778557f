"""OneTrainer, whose reading is done by the library mgds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from types import MappingProxyType
from typing import ClassVar, Final

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Fit, Size, scaled_then_cut
from lorasmith.datasets.eyes.moving import SeenFrames, shown
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.eyes.text import Undecodable, bom_notes, read_text, stops_on_encoding
from lorasmith.datasets.manifest import Clip

_SUFFIXES: Final = (".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif")
_RATIOS: Final = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)  # long side / short side
_FRAMES: Final = 25  # its setting "frames", unless it is changed
_BESIDE: Final = ("-masklabel", "-condlabel")


class OneTrainer(TrainerEye):
    """Each line is a caption; 16 bits overflow."""

    name: ClassVar[str] = "onetrainer"
    title: ClassVar[str] = "OneTrainer"
    commit: ClassVar[str] = "Nerogar/OneTrainer 23df3832, 2026-08-19; Nerogar/mgds 3a6994a, 2026-07-05"
    default_step: ClassVar[int] = 64
    drops_short_batches: ClassVar[bool] = True
    steps: ClassVar = MappingProxyType({"sd": 8, "pixart": 16, "sana": 32})
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("EXIF orientation is applied; colour profiles are ignored and transparency is dropped.",
             "mgds src/mgds/pipelineModules/LoadImage.py"),
        Fact("Pixel values are divided by 255 whatever their depth; torchvision gives PNG of 16 bits as 0 to 65535 "
             "since 0.21.", "the same; torchvision's documentation of decode_png"),
        Fact("bmp jpg jpeg png tif tiff webp avif, in any case of the suffix.", "modules/util/path_util.py"),
        Fact("A stem that ends in -masklabel or -condlabel is a mask or a condition, never a training picture.",
             "modules/dataLoader/mixin/DataLoaderText2ImageMixin.py _enumerate_input_modules"),
        Fact("Each line that is not blank is a caption of its own, stripped, and one is drawn; strict UTF-8; a missing "
             "file gives the empty caption.", "mgds src/mgds/pipelineModules/LoadMultipleTexts.py"),
        Fact("Buckets have nine fixed ratios from 1:1 to 1:4, sides rounded to 64 (8 for Stable Diffusion 1.x and "
             "2.x), nearest by height / width.", "mgds src/mgds/pipelineModules/AspectBucketing.py"),
        Fact("Bilinear with antialiasing, cut in the middle; crop_jitter draws the place.",
             "mgds src/mgds/pipelineModules/ScaleCropImage.py"),
        Fact("Videos are read for HunyuanVideo alone.", "modules/dataLoader/HunyuanVideoBaseDataLoader.py"),
        Fact("A place in the clip is drawn, the frame there is passed over, and the next ones are taken as they lie, "
             "whatever their rate: as many as the setting frames says (25); where the clip ends its last frame is "
             "repeated. Rotation and the shape of pixels are not looked at.",
             "mgds src/mgds/pipelineModules/LoadVideo.py"),
        Fact("Pictures that fill no batch of their bucket are left out of the epoch.",
             "mgds src/mgds/pipelineModules/AspectBatchSorting.py"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        path = PurePath(name)
        if path.suffix.lower() not in _SUFFIXES:
            return Note("format", "error", f"{self.title} does not read {path.suffix or 'this'}: it is never trained.")
        if path.stem.endswith(_BESIDE):
            sentence = f"{self.title} takes a name that ends in {path.stem[-10:]} for a mask or condition of another."
            return Note("mask_name", "error", sentence)
        return None

    def reading(self, file: PictureFile) -> Reading:
        wide = file.bits > 8  # torchvision gives these as 16-bit numbers; what it cannot read goes through Pillow
        return Reading(orientation=True, profile=False, alpha="dropped", deep="overflows" if wide else "clipped")

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        side, step = settings.resolution, self.step(settings)
        table = _table(side, step) if settings.buckets else ((_quantised(side, step), _quantised(side, step)),)

        def fit(width: int, height: int) -> Fit | str:
            ratio = height / width
            target = min(table, key=lambda size: abs(size[1] / size[0] - ratio))
            if ratio > target[1] / target[0]:
                scaled = (target[0], round(height * target[0] / width))
            else:
                scaled = (round(width * target[1] / height), target[1])
            return scaled_then_cut((width, height), scaled, target, "bilinear")

        return fit

    moves: ClassVar[bool] = True
    rates: ClassVar = MappingProxyType({"hunyuan_video": 24.0})

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        if settings.family and settings.family != "hunyuan_video":
            sentence = f"{self.title} reads videos for HunyuanVideo alone: it is never trained."
            return SeenFrames((), (Note("clip", "error", sentence),), "skipped")
        count, last = settings.frames or _FRAMES, clip.frames - 1
        found = [min(last, number + 1) for number in range(count)]
        notes: tuple[Note, ...] = ()
        if count > last:
            sentence = (
                f"It ends {count - last} frames before the {count} that are asked for; its last one stands still."
            )
            notes = (Note("clip_padded", "warning", sentence),)
        else:
            sentence = f"Which {count} of its {clip.frames} frames are shown is drawn; here they begin with the second."
            notes = (Note("clip_random", "info", sentence),)
        return shown(clip, [found], self.rates["hunyuan_video"], notes)

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        if file.content is None:
            sentence = "It has no caption file and is trained with an empty caption."
            return SeenCaption(("",), (Note("caption_missing", "warning", sentence),))
        try:
            text = read_text(file.content)
        except Undecodable:
            return stops_on_encoding(self.title)
        lines = tuple(line.strip() for line in text.split("\n") if line.strip())
        notes = bom_notes(text)
        if not lines:
            return SeenCaption(
                ("",), (*notes, Note("caption_empty", "warning", "It is trained with an empty caption."))
            )
        if len(lines) > 1:
            sentence = f"Each of its {len(lines)} lines is a caption of its own, and one is drawn at each exposure."
            notes += (Note("caption_lines", "info", sentence),)
        return SeenCaption(lines, notes)


plugin = OneTrainer()


def _quantised(value: float, step: int) -> int:
    return round(value / step) * step


def _table(side: int, step: int) -> tuple[Size, ...]:
    found: set[Size] = set()
    for ratio in _RATIOS:
        short, long = side / math.sqrt(ratio), side * ratio / math.sqrt(ratio)
        size = (_quantised(short, step), _quantised(long, step))
        found |= {size, size[::-1]}
    return tuple(sorted(size for size in found if all(size)))
