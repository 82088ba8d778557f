"""Tools for clips: a part of one in time, windows, scenes, another rate; and how the others go through every frame.

A clip is read as training reads it and written as a new H.264 file, without sound; the video it came in stays in the
store. ``high`` is a constant rate factor of 12, ``lossless`` keeps every pixel.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from lorasmith.datasets.clips.program import Failed, need_ffmpeg
from lorasmith.datasets.clips.writing import Quality, write_mp4
from lorasmith.datasets.manifest import Clip, Item
from lorasmith.datasets.pictures.contract import Frame, PictureTool, ToolError

if TYPE_CHECKING:
    from lorasmith.datasets.store import DatasetStore

_SETTLED: Final = ("frame_rate", "turned", "pixels", "hdr", "hdr_unmapped", "sound", "background")
"""Words of transforms that hold no more once a video is written anew."""
_SMALL: Final = (32, 18)  # pixels to which frames are reduced before they are compared
_AROUND: Final = 8  # frames on each side whose changes are those of the motion there
_STANDS_OUT: Final = 3.0  # times the change around it that a cut changes
_FLASH: Final = 3  # frames that a flash lasts at most
_SHOWN: Final = 6

Written = Literal["high", "lossless"]


@dataclass(frozen=True)
class Cut:
    """A clip to be, out of another."""

    numbers: Sequence[int]
    """Frames of the old one, from 0, never going back."""
    fps: float
    note: str


class ClipTool(PictureTool):
    """A tool that chooses frames. Pictures stay as they are."""

    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "leave"
    written: Written = "high"
    """high: H.264 at a constant rate factor of 12, hardly told from what it is made from; lossless: every pixel as it
    was, in files many times as large."""

    @abstractmethod
    def cuts(self, clip: Clip, frames: Callable[[], Iterator[Image.Image]]) -> Sequence[Cut]:
        """The clips that take the place of this one, in order and one after the other; none when it stays as it is.

        Args:
            clip: to be cut.
            frames: all its frames, for tools that look at them.

        Raises:
            ToolError: it cannot be cut so.
        """

    def work(self, frame: Frame) -> Sequence[Frame]:
        return (frame,)

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        return width, height


class Trim(ClipTool):
    """Keep a part of every clip in time."""

    name: ClassVar[str] = "trim"
    start: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Where it begins."""
    end: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """Where it ends; below 0 it is counted from the end of each clip. Left out, at its end."""
    unit: Literal["seconds", "frames"] = "seconds"
    """What both count; frames are counted from 0, and the one that ``end`` names is not kept."""

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.start == 0 and self.end is None:
            raise ValueError("start or end says what to keep")
        if self.end is not None and 0 <= self.end <= self.start:
            raise ValueError("end must lie after start")
        return self

    def describe(self) -> str:
        end = "their end" if self.end is None else f"{abs(self.end):g}" + (" before their end" if self.end < 0 else "")
        return f"Keep what clips show from {self.start:g} to {end}, in {self.unit}."

    def cuts(self, clip: Clip, frames: Callable[[], Iterator[Image.Image]]) -> Sequence[Cut]:
        rate = clip.fps if self.unit == "seconds" else 1.0
        first = round(self.start * rate)
        last = clip.frames if self.end is None else round(self.end * rate) + (clip.frames if self.end < 0 else 0)
        last = min(last, clip.frames)
        if last - first < 2:
            raise ToolError(f"has {clip.frames} frames ({clip.seconds:.1f} s), of which fewer than two would be left")
        return [] if (first, last) == (0, clip.frames) else [Cut(range(first, last), clip.fps, f"trim:{first}-{last}")]


class CutWindows(ClipTool):
    """Cut clips into windows of one length, one after the other."""

    name: ClassVar[str] = "cut_windows"
    length: Annotated[float, Field(gt=0, le=1e6)] = 33
    """Of each window; families of clips show 4 n + 1 frames (Wan, HunyuanVideo) or 8 n + 1 (LTX)."""
    unit: Literal["seconds", "frames"] = "frames"
    """What ``length`` counts."""
    rest: Literal["drop", "keep"] = "drop"
    """What becomes of a rest shorter than the length."""

    def describe(self) -> str:
        return f"Cut clips into windows of {self.length:g} {self.unit}; a shorter rest is {self._word}."

    @property
    def _word(self) -> str:
        return "kept" if self.rest == "keep" else "dropped"

    def cuts(self, clip: Clip, frames: Callable[[], Iterator[Image.Image]]) -> Sequence[Cut]:
        length = round(self.length * (clip.fps if self.unit == "seconds" else 1.0))
        if length < 2:
            raise ToolError(f"shows {clip.fps:g} frames a second, and a window of fewer than two does not move")
        starts = range(0, clip.frames, length)
        parts = [range(start, min(start + length, clip.frames)) for start in starts]
        parts = [part for part in parts if len(part) == length or (self.rest == "keep" and len(part) > 1)]
        if not parts:
            raise ToolError(f"has {clip.frames} frames, fewer than one window of {length}")
        if [len(part) for part in parts] == [clip.frames]:
            return []
        return [Cut(part, clip.fps, f"window:{part.start}-{part.stop}") for part in parts]


class CutScenes(ClipTool):
    """Cut clips where the picture changes from one frame to the next."""

    name: ClassVar[str] = "cut_scenes"
    change: Annotated[float, Field(gt=0, lt=1)] = 0.12
    """How much of full light the mean change of a cut is, 0 to 1. A cut also changes three times as much as the frames
    around it, so that fast motion is none."""
    shortest: Annotated[float, Field(ge=0, le=3600)] = 0.5
    """Seconds: a scene that is shorter stays with the one before it."""

    def describe(self) -> str:
        return f"Cut clips into scenes, where more than {self.change:.0%} of the light changes at once."

    def cuts(self, clip: Clip, frames: Callable[[], Iterator[Image.Image]]) -> Sequence[Cut]:
        least = max(2, round(self.shortest * clip.fps))
        edges = [0]
        for at in _scene_starts(frames(), self.change):
            if at - edges[-1] >= least:
                edges.append(at)
        while len(edges) > 1 and clip.frames - edges[-1] < least:
            edges.pop()
        if len(edges) == 1:
            return []
        ends = [*edges[1:], clip.frames]
        return [Cut(range(a, b), clip.fps, f"scene:{a}-{b}") for a, b in zip(edges, ends, strict=True)]


class SetRate(ClipTool):
    """Bring clips to one rate: of each moment the frame that is there then, none blended."""

    name: ClassVar[str] = "set_rate"
    fps: Annotated[float, Field(gt=0, le=240)] = 16.0
    """Frames a second; Wan was trained at 16, HunyuanVideo at 24, LTX-Video at 25."""

    def describe(self) -> str:
        return f"Bring clips to {self.fps:g} frames a second, with frames passed over or repeated."

    def cuts(self, clip: Clip, frames: Callable[[], Iterator[Image.Image]]) -> Sequence[Cut]:
        if abs(clip.fps - self.fps) < 0.001:
            return []
        count = max(1, int(clip.frames * self.fps / clip.fps + 1e-6))
        if count < 2:
            raise ToolError(f"lasts {clip.seconds:.2f} s, too short for two frames at {self.fps:g} a second")
        numbers = [min(clip.frames - 1, int(n * clip.fps / self.fps + 1e-6)) for n in range(count)]
        return [Cut(numbers, self.fps, f"rate:{clip.fps:.4g}>{self.fps:g}")]


def _scene_starts(frames: Iterator[Image.Image], change: float) -> list[int]:
    """Frames with which a new scene begins; a flash, after which all is as it was, begins none."""
    small = [np.asarray(frame.resize(_SMALL, Image.Resampling.BOX)) for frame in frames]
    changes = [0.0, *(_unlike(a, b) for a, b in pairwise(small))]
    found = []
    for at in range(1, len(small)):
        around = [*changes[max(1, at - _AROUND) : at], *changes[at + 1 : at + 1 + _AROUND]]
        usual = float(np.median(around)) if around else 0.0
        if changes[at] <= change or changes[at] <= _STANDS_OUT * usual:
            continue
        begins = any(_unlike(one, small[at - 1]) < change for one in small[at + 1 : at + 1 + _FLASH])
        ends = any(_unlike(one, small[at]) < change for one in small[max(0, at - 1 - _FLASH) : at - 1])
        if not begins and not ends:
            found.append(at)
    return found


def _unlike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The mean change from one small frame to another, 0 to 1."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean()) / 255


def refuse_clips(item: Item, tool: PictureTool) -> None:
    """A clip's picture is its first frame, which must stay that.

    Raises:
        ToolError: the tool would change it.
    """
    if item.clip is not None and not (tool.masks_only or isinstance(tool, ClipTool) or tool.same_on_every_frame()):
        raise ToolError(
            "is a clip, and this tool would do another thing to each of its frames; crop, resize, rotate, flip, "
            "to_bucket around the centre, trim, cut_windows, cut_scenes and set_rate work on clips"
        )


def clip_example(frame: Frame, store: DatasetStore, tool: PictureTool) -> tuple[Image.Image, ...]:
    """The first frame of each of the first clips that take the place of this one; none when it stays as it is.

    Raises:
        ToolError: it cannot be worked on.
    """
    item = frame.item
    assert item.clip is not None
    if isinstance(tool, ClipTool):
        firsts = [cut.numbers[0] for cut in tool.cuts(item.clip, _all_frames(item, store))[:_SHOWN]]
        return tuple(store.open_frames(item, firsts)) if firsts else ()
    after = tool.work(frame)
    return () if len(after) == 1 and after[0] is frame else tuple(one.image for one in after)


def clips_after(frame: Frame, store: DatasetStore, tool: PictureTool) -> list[Item] | None:
    """The items that take the place of a clip, their videos in the store; None when it stays as it is.

    Raises:
        ToolError: it cannot be worked on.
        DatasetError: its video is missing or damaged.
        EnvironmentProblem: there is no ffmpeg.
    """
    item, clip = frame.item, frame.item.clip
    assert clip is not None
    if not isinstance(tool, ClipTool):
        return _every_frame(frame, store, tool)
    cuts = tool.cuts(clip, _all_frames(item, store))
    if not cuts:
        return None
    frames = store.open_frames(item, list(chain.from_iterable(cut.numbers for cut in cuts)))
    made = []
    for part, cut in enumerate(cuts, start=1):
        notes = (cut.note, f"video:{tool.written}")
        taken = islice(frames, len(cut.numbers))
        new = _made(item, store, taken, len(cut.numbers), cut.fps, tool.written, notes)
        made.append(replace(new, name=_named(item.name, part if len(cuts) > 1 else 0)))
    return made


def _every_frame(frame: Frame, store: DatasetStore, tool: PictureTool) -> list[Item] | None:
    """All frames of a clip the same way as its first."""
    item, clip = frame.item, frame.item.clip
    assert clip is not None
    (after,) = tool.work(frame)
    if after is frame:
        return None
    bare = replace(frame, mask=None)
    gone = (tool.work(replace(bare, image=one))[0].image for one in store.open_frames(item, range(clip.frames)))
    new = _made(item, store, gone, clip.frames, clip.fps, "high", (*after.notes, "video:high"))
    mask = store.put_image(after.mask, "L") if after.mask is not None else None
    return [replace(new, mask=mask, name=_named(item.name, 0))]


def _all_frames(item: Item, store: DatasetStore) -> Callable[[], Iterator[Image.Image]]:
    return lambda: store.open_frames(item, range(item.clip.frames if item.clip is not None else 0))


def _made(
    item: Item, store: DatasetStore, frames: Iterator[Image.Image], count: int, fps: float, quality: Quality,
    notes: Sequence[str],
) -> Item:  # fmt: skip
    """The item with a new video of these frames."""
    need_ffmpeg()
    first = next(frames)
    with tempfile.TemporaryDirectory(prefix="lorasmith-") as folder:
        path = Path(folder) / "clip.mp4"
        try:
            write_mp4(path, chain((first,), frames), fps, quality=quality)
        except Failed as cause:
            raise ToolError(f"cannot be written as a video: {cause.said}") from cause
        video = store.put_file(path)
    rate = float(Fraction(fps).limit_denominator(1001))
    width, height = first.size
    words = [word for word in item.provenance.get("transforms", ()) if str(word).partition(":")[0] not in _SETTLED]
    about = {**item.provenance, "transforms": words, "tools": [*item.provenance.get("tools", ()), *notes]}
    clip = Clip(video=video, frames=count, fps=rate, width=width, height=height)
    image = store.put_image(first, "RGB")
    return replace(item, image=image, width=width, height=height, clip=clip, provenance=about)


def _named(name: str, part: int) -> str:
    path = PurePosixPath(name)
    stem = str(path.with_suffix("")) + (f"-{part}" if part else "")
    return f"{stem}{path.suffix if path.suffix.lower() == '.mp4' else '.mp4'}"
