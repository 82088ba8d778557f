"""diffusion-pipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from types import MappingProxyType
from typing import ClassVar, Final

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, Outcome, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Fit, Size
from lorasmith.datasets.eyes.moving import USUAL_RATE, SeenFrames, dropped, shown
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.eyes.text import whole_stripped
from lorasmith.datasets.layouts.clips import window_of
from lorasmith.datasets.manifest import Clip

_NO_PICTURES: Final = (".txt", ".npz", ".json", ".parquet", ".bak", ".db", ".tar")
_VIDEOS: Final = (".gif", ".GIF")
_RATIOS: Final = tuple(round(2 ** (n / 3 - 1), 3) for n in range(7))  # min_ar 0.5, max_ar 2, num_ar_buckets 7


class DiffusionPipe(TrainerEye):
    """Opens whatever the folder holds; ratios are spread in logarithm."""

    name: ClassVar[str] = "diffusion_pipe"
    title: ClassVar[str] = "diffusion-pipe"
    commit: ClassVar[str] = "tdrussell/diffusion-pipe 8f83dbf, 2026-08-20"
    default_step: ClassVar[int] = 16
    steps: ClassVar = MappingProxyType({"ltx": 32, "ltx2": 32})
    reads_on: ClassVar[frozenset[str]] = frozenset({"sdxl"})
    drops_short_batches: ClassVar[bool] = True
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("EXIF orientation and colour profiles are ignored.", "models/base.py PreprocessMediaFile"),
        Fact("Transparent pictures are laid on white.", "models/base.py convert_crop_and_resize"),
        Fact("Every file of the folder is opened as a picture, except txt, npz, json, parquet, bak and db; what does "
             "not open is passed over; gif is a video, an animated webp ends the run.",
             "utils/dataset.py DirectoryDataset"),
        Fact("The whole caption file is one caption, stripped, in the encoding of the machine's locale.",
             "utils/dataset.py _metadata_map_fn"),
        Fact("A picture without a caption file is passed over, unless skip_empty_caption is false.", "the same"),
        Fact("Ratios are spread evenly in logarithm from 0.5 to 2 (seven in the example file; without "
             "enable_ar_bucket the square is the only one), nearest in logarithm; sides rounded to 16 (32 for some "
             "video models).", "utils/dataset.py, examples/dataset.toml"),
        Fact("Cut in the middle, then scaled bicubic.", "models/base.py, PIL.ImageOps.fit"),
        Fact("Batches that a bucket does not fill are left out.", "utils/dataset.py _make_divisible_by"),
        Fact("A clip goes into the longest of frame_buckets that it fills at the model's rate (Wan 16, HunyuanVideo "
             "and LTX-2 24, LTX 25); one that fills none but 1 is passed over, with a line in the log.",
             "utils/dataset.py _metadata_map_fn, _find_closest_ar_bucket"),
        Fact("Frames are spread evenly over the whole clip at that rate, its first and last among them, and the first "
             "of them are shown (video_clip_mode single_beginning), one window of each clip; 4 n + 1 of them, 8 n + 1 "
             "for LTX.", "models/base.py PreprocessMediaFile.convert_framerate, extract_clips"),
        Fact("Prompts longer than CLIP's window are read in further windows for SDXL.", "models/sdxl.py"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        suffix = PurePath(name).suffix
        if suffix in _NO_PICTURES:
            return Note("format", "error", f"{self.title} passes over {suffix} files: it is never trained.")
        return None

    def reading(self, file: PictureFile) -> Reading:
        white = file.mode != "LA"  # the one transparent mode its test leaves out
        return Reading(orientation=False, profile=False, alpha="white" if white else "dropped", deep="clipped")

    def see_picture(self, file: PictureFile, settings: EyeSettings) -> tuple[Outcome, tuple[Note, ...]]:
        outcome, notes = super().see_picture(file, settings)
        suffix = PurePath(file.name).suffix
        if suffix in _VIDEOS:
            sentence = f"{self.title} takes {suffix} for a video, which a picture model refuses with an error."
            return "stops", (*notes, Note("format", "error", sentence))
        if suffix == ".webp" and file.frames > 1:
            sentence = f"{self.title} stops with an error at an animated webp."
            return "stops", (*notes, Note("frames", "error", sentence))
        return outcome, notes

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        step = self.step(settings)
        ratios = _RATIOS if settings.buckets else (1.0,)

        def fit(width: int, height: int) -> Fit | str:
            nearest = min(ratios, key=lambda ratio: abs(math.log(width / height) - math.log(ratio)))
            ideal = math.sqrt(settings.resolution**2 * nearest)
            target = (_nearest(ideal, step), _nearest(settings.resolution**2 / ideal, step))
            return Fit((width, height), target, _middle((width, height), target), "bicubic")

        return fit

    moves: ClassVar[bool] = True
    rates: ClassVar = MappingProxyType(
        {"wan": 16.0, "wan_i2v": 16.0, "wan_ti2v": 24.0, "hunyuan_video": 24.0, "ltx": 25.0, "ltx2": 24.0}
    )
    upright: ClassVar[frozenset[str]] = frozenset({"turned"})

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        rate = self.rate(settings)
        count = int(clip.frames * rate / clip.fps)
        named = (settings.frames,) if settings.frames else settings.lengths or (window_of(clip, USUAL_RATE),)
        bucket = max((length for length in {1, *named} if length <= count), default=0)
        if bucket <= 1:
            least = min((length for length in named if length > 1), default=0)
            needs = f", fewer than the {least} of its shortest bucket" if least else ""
            return dropped(f"It gives {count} frames at {rate:g} a second{needs}: {self.title} passes over it.")
        spread = [number * (clip.frames - 1) // (count - 1) for number in range(count)]
        step = 8 if settings.family in ("ltx", "ltx2") else 4
        return shown(clip, [spread[: (bucket - 1) // step * step + 1]], rate)

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        if file.content is None:
            sentence = "It has no caption file and is passed over: it is never trained."
            return SeenCaption((), (Note("caption_missing", "error", sentence),), "skipped")
        return whole_stripped(file, self.title, settings.encoding)


plugin = DiffusionPipe()


def _nearest(value: float, step: int) -> int:
    return max(step, round(value / step) * step)


def _middle(read: Size, target: Size) -> tuple[float, float, float, float]:
    """The largest box of the target's ratio around the middle."""
    (width, height), ratio = read, target[0] / target[1]
    if width / height >= ratio:
        kept = ratio * height
        return (width - kept) / 2, 0.0, (width + kept) / 2, float(height)
    kept = width / ratio
    return 0.0, (height - kept) / 2, float(width), (height + kept) / 2
