"""Our own trainer. It sees what the import made of the files: its eye finds crops and long texts, and little else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import ClassVar, Final

from lorasmith.datasets.buckets import crop_box, nearest_shape, place_in, table_of, too_short, windows_of
from lorasmith.datasets.captions import decode_caption
from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Fact, Note, SeenCaption, TrainerEye
from lorasmith.datasets.eyes.fitting import Fit
from lorasmith.datasets.eyes.moving import SeenFrames, shown
from lorasmith.datasets.eyes.picture_file import MEANT, PictureFile, Reading
from lorasmith.datasets.manifest import Clip, Item

_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
_NO_BLOB: Final = "0" * 64


class Lorasmith(TrainerEye):
    """Sees what the import settled."""

    name: ClassVar[str] = "lorasmith"
    title: ClassVar[str] = "lorasmith"
    commit: ClassVar[str] = "this repository"
    default_step: ClassVar[int] = 64
    reads_masks: ClassVar[bool] = True
    facts: ClassVar[tuple[Fact, ...]] = (
        Fact("Orientation, profile, transparency and depth are settled at the import.", "datasets/images.py"),
        Fact("Captions in UTF-8, UTF-16 and Windows-1252 are read at the import, and their encoding is said.",
             "datasets/captions/decoding.py decode_caption"),
        Fact("The whole caption is trained, all its lines as one; a missing one is empty.", "training/sampler.py"),
        Fact("Buckets keep the area; nearest in the logarithm of the ratio; Lanczos of the middle.",
             "datasets/buckets.py, training/precompute.py"),
        Fact("Of a clip windows of frames at the family's rate are shown, of each moment the one that is there then; "
             "data.cut says which. A family of pictures trains its first frame.", "training/windows.py"),
        Fact("A mask goes the way of its picture; the loss is the mean over what it lets through.",
             "training/masks.py, training/objective.py"),
    )  # fmt: skip

    def refuses(self, name: str, settings: EyeSettings) -> Note | None:
        suffix = PurePath(name).suffix.lower()
        if suffix in _SUFFIXES:
            return None
        return Note("format", "error", f"The import leaves {suffix or 'this'} out, and lists it.")

    def reading(self, file: PictureFile) -> Reading:
        return MEANT

    def fitter(self, settings: EyeSettings) -> Callable[[int, int], Fit | str]:
        multiple = settings.step or settings.bucket_multiple
        table = table_of(settings.resolution, multiple, buckets=settings.buckets)

        def fit(width: int, height: int) -> Fit | str:
            shape = nearest_shape(width, height, table)
            item = Item(name="", image=_NO_BLOB, original=_NO_BLOB, width=width, height=height)
            placed = place_in(item, shape)
            if placed.scale > 1 and not settings.upscale:
                return f"{width}x{height} is smaller than its bucket of {shape[0]}x{shape[1]}: it is left out."
            return Fit((width, height), shape, crop_box(width, height, placed), "lanczos")

        return fit

    moves: ClassVar[bool] = True

    def see_clip(self, clip: Clip, settings: EyeSettings) -> SeenFrames:
        if settings.clips is None:
            sentence = "Its first frame is trained as a picture." if settings.family else (
                "Without a family of clips its first frame is trained as a picture.")  # fmt: skip
            return SeenFrames((), (Note("clip_still", "warning", sentence),))
        item = Item(name="", image=_NO_BLOB, original=_NO_BLOB, width=clip.width, height=clip.height, clip=clip)
        if (reason := too_short(item, settings.clips)) is not None:
            return SeenFrames((), (Note("clip_short", "error", f"It is left out: {reason}."),), "skipped")
        table = ((clip.width, clip.height),)
        windows = [placed.numbers(clip) for placed in windows_of(item, place_in(item, table[0]), settings.clips)]
        return shown(clip, windows, settings.clips.fps)

    def see_caption(self, file: CaptionFile, settings: EyeSettings) -> SeenCaption:
        if file.content is None:
            sentence = "It has no caption file and is trained with an empty caption."
            return SeenCaption(("",), (Note("caption_missing", "warning", sentence),))
        try:
            text, _ = decode_caption(file.content)
        except ValueError as cause:
            note = Note("caption_encoding", "warning", f"Its caption is left out at the import: {cause}.")
            return SeenCaption(("",), (note,))
        if not text.strip():
            return SeenCaption((text,), (Note("caption_empty", "warning", "It is trained with an empty caption."),))
        lines = (Note("caption_lines", "info", "All its lines are one caption, line ends included."),)
        return SeenCaption((text,), lines if "\n" in text else ())


plugin = Lorasmith()
