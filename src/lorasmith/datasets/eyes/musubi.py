"""musubi-tuner, kohya's trainer for newer image and video models."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import ClassVar, Final

from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Fit, Size, cut_down, nearest_ratio, scaled_then_cut
from lorasmith.datasets.eyes.moving import USUAL_RATE, SeenFrames, dropped, shown
from lorasmith.datasets.eyes.picture_file import PictureFile, Reading
from lorasmith.datasets.eyes.sd_scripts import refuses_by_glob
from lorasmith.datasets.eyes.text import whole_stripped
from lorasmith.datasets.layouts.clips import window_of
from lorasmith.datasets.manifest import Clip

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl")


class Musubi(TrainerEye):
    """As sd-scripts with pictures, and whole files as captions."""

    name: ClassVar[str] = "musubi"
    title: ClassVar[str] = "musubi-tuner"
    commit: ClassVar[str] = "kohya-ss/musubi-tuner 30c658c, 2026-06-24"
    default_step: ClassVar[int] = 16
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("EXIF orientation and colour profiles are ignored; the alpha channel is cut off before encoding.",
             "src/musubi_tuner/dataset/datasources.py get_image_data, cache_latents.py"),
        Fact("A picture without its caption file is not part of the set.",
             "src/musubi_tuner/dataset/media_utils.py glob_images"),
        Fact("The whole caption file is one caption, stripped; strict UTF-8.",
             "src/musubi_tuner/dataset/datasources.py get_caption"),
        Fact("Buckets in steps of 16 (32 for HiDream-O1) from half the side upwards, nearest by width / height; "
             "enable_bucket is off unless it is set.", "src/musubi_tuner/dataset/bucket.py BucketSelector"),
        Fact("Reduced with OpenCV's INTER_AREA, enlarged with Lanczos, cut in the middle.",
             "src/musubi_tuner/dataset/media_utils.py resize_image_to_bucket"),
        Fact("Videos are decoded frame by frame, by PyAV: times, rotation and the shape of pixels are not looked at.",
             "src/musubi_tuner/dataset/media_utils.py load_video"),
        Fact("With source_fps frames are passed over until the model's rate is reached (Wan 16, HunyuanVideo 24), and "
             "none is repeated; without it all are taken as if they had that rate.", "the same"),
        Fact("target_frames are brought to 4 n + 1. Of a clip with fewer frames no window is made, and nothing is "
             "said; with the extraction head a clip is shown once for each of target_frames that it fills.",
             "src/musubi_tuner/dataset/image_video_dataset.py VideoDataset.retrieve_latent_cache_batches"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        return refuses_by_glob(name, _SUFFIXES, settings, self.title)

    def reading(self, file: PictureFile) -> Reading:
        return Reading(orientation=False, profile=False, alpha="dropped", deep="clipped")

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        side, step = settings.resolution, self.step(settings)
        table = _table(side, step) if settings.buckets else ((side, side),)

        def fit(width: int, height: int) -> Fit | str:
            if settings.buckets and not settings.upscale and width * height <= side * side:
                target = (cut_down(width, step), cut_down(height, step))
                if not all(target):
                    return f"{width}x{height} is smaller than one step of {step} pixels: the run ends with an error."
            else:
                target = nearest_ratio(width / height, table)
            scale = max(target[0] / width, target[1] / height)
            scaled = (int(width * scale + 0.5), int(height * scale + 0.5))
            return scaled_then_cut((width, height), scaled, target, "lanczos" if scale > 1 else "area")

        return fit

    moves: ClassVar[bool] = True
    rates: ClassVar = MappingProxyType({"wan": 16.0, "wan_i2v": 16.0, "hunyuan_video": 24.0})

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        rate = self.rate(settings)
        told = clip.fps >= USUAL_RATE  # slower ones are exported without source_fps: they would all be left out
        wanted = settings.frames or window_of(clip, USUAL_RATE if told else None)
        wanted = (wanted - 1) // 4 * 4 + 1
        kept: list[int] = []
        position, last = 0.0, -1
        for number in range(clip.frames):  # as it decodes: positions are added up, and the head ends by position
            target = int(position)
            position += rate / clip.fps if told else 1.0
            if target == last:
                continue
            last = target
            if target >= wanted:
                break
            kept.append(number)
        if len(kept) < wanted:
            slow = " Its own rate is below that of the model, and no frame is repeated." if clip.fps < rate else ""
            at = f" at {rate:g} a second" if told else ""
            return dropped(
                f"It gives {len(kept)} frames{at} where {wanted} are asked for: {self.title} leaves it out and does "
                f"not say so.{slow}"
            )
        return shown(clip, [kept[:wanted]], rate)

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        if file.content is None:
            sentence = "It has no caption file, so it is not part of the set: it is never trained."
            return SeenCaption((), (Note("caption_missing", "error", sentence),), "skipped")
        return whole_stripped(file, self.title)


plugin = Musubi()


def _table(side: int, step: int) -> tuple[Size, ...]:
    found: set[Size] = set()
    for width in range(max(step, cut_down(side // 2, step)), side + step, step):
        height = max(step, cut_down(side * side // width, step))
        found |= {(width, height), (height, width)}
    return tuple(sorted(found))
