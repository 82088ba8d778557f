"""What a video or an animated picture holds, and its frames one by one.

A video whose frames last unlike long has no frame rate; it is read at its mean, as a player at an even rate would show
it. Frame n of a clip is therefore the same picture whoever asks, and ``Clip`` need not keep a list of times.
"""

from __future__ import annotations

import hashlib
import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageColor

from lorasmith.datasets.clips.probing import Probed, has_filters, mapped_light, probe
from lorasmith.datasets.clips.program import Failed, find_ffmpeg, first_sentence, input_of, started
from lorasmith.datasets.damage import DECODING
from lorasmith.datasets.magic import PEEK, moving_format, picture_format
from lorasmith.datasets.manifest import Clip
from lorasmith.datasets.source import RefusedError
from lorasmith.errors import DatasetError, EnvironmentProblem

WHITE: Final = "#ffffff"
MOST_FRAMES: Final = 36_000
"""Of one video: twenty minutes at 30 frames a second."""
_ANIMATED: Final = ("GIF", "WEBP", "PNG")
DEMUXERS: Final[Mapping[str, str]] = MappingProxyType({"MP4": "mov", "MKV": "matroska"})
"""ffmpeg's reader of each container, as ``magic.moving_format`` calls them."""
_MAPPING: Final = ("zscale", "tonemap", "setparams")
_UNEVEN: Final = 0.1  # of the mean duration of a frame: more is no rounding
_CUT_SHORT: Final = re.compile(
    rb"prematurely|truncat|partial|corrupt|invalid (nal|data)|error while decoding|concealing", re.I
)
"""What ffmpeg says of a video of which some is missing, and decodes the rest."""
_DEFAULT_MS: Final = 100.0  # what viewers give a frame that says it lasts no time
_LEAST_MS: Final = 10.0


@dataclass(frozen=True)
class Measured:
    """A moving picture that decodes from end to end."""

    format: str
    frames: int
    fps: float
    width: int
    height: int
    pixels: str
    """SHA-256 over size, times and frames: equal for the same clip in another container of the same coding."""
    sentences: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()


def may_move(content: Path | bytes) -> bool:
    """Whether a file is a video by its first bytes, or a picture of more than one frame."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        beginning = stream.read(PEEK)
        if moving_format(beginning):
            return True
        if picture_format(beginning) not in _ANIMATED:
            return False
        try:
            stream.seek(0)
            with Image.open(stream, formats=_ANIMATED) as image:
                return int(getattr(image, "n_frames", 1)) > 1
        except DECODING:  # what is wrong with it, the way of pictures tells
            return False


def measure(path: Path, *, pixel_limit: int) -> Measured:
    """Decode all of a file that ``may_move``.

    Raises:
        RefusedError: it is damaged, holds no picture, too many frames or pixels, or there is no ffmpeg for a video.
    """
    with path.open("rb") as stream:
        kind = moving_format(stream.read(PEEK))
    return _measure_video(path, kind, pixel_limit) if kind else _measure_animated(path, pixel_limit)


def frames_of(
    path: Path, clip: Clip, numbers: Sequence[int], background: str = WHITE, hdr: str = ""
) -> Iterator[Image.Image]:
    """These frames of a clip, in their order (which never goes back), RGB.

    Args:
        path: the blob of its video.
        clip: which of its frames are the clip.
        numbers: counted from the clip's first frame, none below the one before.
        background: what shows through transparent frames.
        hdr: ``pq`` or ``hlg``: its light is mapped to sRGB; empty: it is taken as it is.

    Raises:
        DatasetError: the video is damaged, or it ends before the clip does.
        EnvironmentProblem: there is no ffmpeg, or none that can map its light, and it takes one.
    """
    wanted = [clip.start + number for number in numbers]
    with path.open("rb") as stream:
        kind = moving_format(stream.read(PEEK))
    found = _video_frames(path, kind, clip, hdr) if kind else _animated_frames(path, clip, background)
    try:
        yield from _picked(found, wanted)
    except (Failed, *DECODING) as cause:
        if hdr and isinstance(cause, Failed) and not has_filters(*_MAPPING):
            raise EnvironmentProblem(
                "A stored video is HDR, and this ffmpeg cannot map its light to that of a screen.",
                "Install one with zimg (the filters zscale and tonemap), or: pip install 'lorasmith[video]'.",
            ) from cause
        said = cause.said if isinstance(cause, Failed) else cause
        raise DatasetError(f"A stored video cannot be read: {said}.", "Import its source again.") from cause


def _picked(frames: Iterator[Image.Image], wanted: Sequence[int]) -> Iterator[Image.Image]:
    """The frames of these numbers; one or two that rounding took from the end are the last one."""
    at, frame = -1, None
    for number in wanted:
        while at < number:
            following = next(frames, None)
            if following is None:
                if frame is None or number - at > 2:
                    raise DatasetError(
                        f"A stored video ends at frame {at + 1}, and frame {number + 1} is asked for.",
                        "Import its source again.",
                    )
                break
            at, frame = at + 1, following
        assert frame is not None
        yield frame


# --- videos ----------------------------------------------------------------------------------------------------


def _measure_video(path: Path, kind: str, pixel_limit: int) -> Measured:
    if find_ffmpeg() is None:
        raise RefusedError("needs_extra", "is a video; to read it, install ffmpeg or: pip install 'lorasmith[video]'.")
    try:
        said = probe(path, DEMUXERS[kind])
        size, base, rows = _all_frames(path, kind, pixel_limit)
    except Failed as failed:
        if failed.out_of_time:
            raise RefusedError("too_large", f"cannot be decoded in time: {failed.said}.") from failed
        if "matches no streams" in failed.said:
            raise RefusedError("not_an_image", "holds no picture, only sound or data.") from failed
        raise RefusedError("damaged", f"is damaged: {failed.said}.") from failed
    if not rows:
        raise RefusedError("damaged", "is a video without a single frame.")
    times = [int(row[2]) for row in rows]
    steps = [after - before for before, after in pairwise(times)]
    last = int(rows[-1][3]) or (steps[-1] if steps else 1)
    seconds = (times[-1] + last - times[0]) * base
    fps = float(Fraction(len(rows) / seconds).limit_denominator(1001)) if seconds > 0 else 1.0
    digest = hashlib.sha256(f"{size[0]}x{size[1]};{fps:.3f};".encode())
    digest.update("".join(row[5] for row in rows).encode())
    sentences, transforms = _about_times([step * base for step in steps], fps)
    more, words = _about_light(said)
    turned = (f"It is turned by {said.turned} degrees, as its metadata asks.",) if said.turned else ()
    told = (*turned, *sentences, *more, *(("Its sound is kept in the file and not trained.",) if said.sound else ()))
    return Measured(kind, len(rows), fps, *size, digest.hexdigest(), told, (*transforms, *said.words, *words))


def _all_frames(path: Path, kind: str, pixel_limit: int) -> tuple[tuple[int, int], float, list[list[str]]]:
    """Size, seconds of a unit of time, and a row of (stream, dts, pts, duration, bytes, checksum) for each frame."""
    size, base, aspect = (0, 0), 0.0, Fraction(1)
    rows: list[list[str]] = []
    complaints: list[bytes] = []
    decode = ["-map", "0:v:0", "-an", "-sn", "-dn", "-frames:v", str(MOST_FRAMES + 1), "-f", "framecrc", "pipe:1"]
    with started(["-xerror", *input_of(path, DEMUXERS[kind]), *decode], said=complaints) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode("ascii", "replace").strip()
            if line.startswith("#tb 0:"):
                base = float(Fraction(line.partition(":")[2].strip()))
            elif line.startswith("#dimensions 0:"):
                width, _, height = line.partition(":")[2].strip().partition("x")
                size = (int(width), int(height))
                if size[0] * size[1] > pixel_limit:
                    raise RefusedError(
                        "too_many_pixels",
                        f"has {size[0]} x {size[1]} pixels, more than {pixel_limit / 1e6:.0f} million.",
                    )
            elif line.startswith("#sar 0:"):
                aspect = Fraction(line.partition(":")[2].strip().replace("0/1", "1/1")) or Fraction(1)
            elif line and not line.startswith("#"):
                rows.append([part.strip() for part in line.split(",")])
    if len(rows) > MOST_FRAMES:
        raise RefusedError("too_large", f"has more than {MOST_FRAMES:,} frames; cut it into clips first.")
    said = b"".join(complaints)
    if _CUT_SHORT.search(said):
        raise Failed(f"{first_sentence(said)}, after {len(rows)} frames")
    return (max(1, round(size[0] * aspect)), size[1]), base, rows


def _about_light(said: Probed) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What there is to say of a video whose light goes beyond that of a screen."""
    if not said.hdr:
        return (), ()
    name = said.hdr.upper()
    if has_filters(*_MAPPING):
        return (f"It is HDR ({name}); its light is mapped to sRGB.",), (f"hdr:{said.hdr}",)
    sentence = f"It is HDR ({name}), which this ffmpeg cannot map to sRGB: it will look gray and flat."
    return (sentence,), (f"hdr_unmapped:{said.hdr}",)


def filters_of(clip: Clip, hdr: str = "") -> str:
    """The filters that make a video's frames those of its clip: at an even rate, of its size, in the light of sRGB."""
    rate = Fraction(clip.fps).limit_denominator(1001)
    even = f"fps={rate.numerator}/{rate.denominator}"
    return f"{even},{mapped_light(hdr)}scale={clip.width}:{clip.height}:flags=lanczos"


def _video_frames(path: Path, kind: str, clip: Clip, hdr: str) -> Iterator[Image.Image]:
    even = filters_of(clip, hdr)
    arguments = [*input_of(path, DEMUXERS[kind]), "-map", "0:v:0", "-an", "-sn", "-dn"]
    size = clip.width * clip.height * 3
    with started([*arguments, "-vf", even, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]) as process:
        assert process.stdout is not None
        while len(content := process.stdout.read(size)) == size:
            yield Image.frombytes("RGB", (clip.width, clip.height), content)


# --- animated pictures -----------------------------------------------------------------------------------------


def _measure_animated(path: Path, pixel_limit: int) -> Measured:
    digest = hashlib.sha256()
    durations: list[float] = []
    try:
        with Image.open(path, formats=_ANIMATED) as image:
            if image.width * image.height > pixel_limit:
                raise RefusedError("too_many_pixels", f"has more than {pixel_limit / 1e6:.0f} million pixels.")
            size, kind, count = image.size, str(image.format), int(getattr(image, "n_frames", 1))
            if count > MOST_FRAMES:
                raise RefusedError("too_large", f"has more than {MOST_FRAMES:,} frames; cut it into clips first.")
            for number in range(count):
                image.seek(number)
                digest.update(image.convert("RGBA").tobytes())
                durations.append(_milliseconds(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise RefusedError("too_many_pixels", f"has more than {pixel_limit / 1e6:.0f} million pixels.") from cause
    except DECODING as cause:
        reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
        raise RefusedError("damaged", f"is damaged at frame {len(durations) + 1}: {reason}.") from cause
    fps = 1000 * count / sum(durations)
    digest.update(f"{size[0]}x{size[1]};{fps:.3f};".encode())
    sentences, transforms = _about_times([each / 1000 for each in durations], fps)
    return Measured(kind, count, fps, *size, digest.hexdigest(), sentences, transforms)


def _animated_frames(path: Path, clip: Clip, background: str) -> Iterator[Image.Image]:
    with Image.open(path, formats=_ANIMATED) as image:
        count = int(getattr(image, "n_frames", 1))
        frames_end: list[float] = []
        for number in range(count):
            image.seek(number)
            image.load()
            frames_end.append(_milliseconds(image))
        ends = list(accumulate(frames_end))
        for number in range(clip.start + clip.frames):
            middle = (number + 0.5) * 1000 / clip.fps
            image.seek(min(count - 1, bisect_right(ends, middle)))
            yield _flat(image, background)


def _flat(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, ImageColor.getrgb(background)[:3])
    canvas.paste(opaque, mask=opaque.getchannel("A"))
    return canvas


def _milliseconds(image: Image.Image) -> float:
    stated = float(image.info.get("duration") or 0)
    return stated if stated >= _LEAST_MS else _DEFAULT_MS


def _about_times(seconds: Sequence[float], fps: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What there is to say of frames that last unlike long."""
    mean = sum(seconds) / len(seconds) if seconds else 0.0
    if not any(abs(each - mean) > _UNEVEN * mean for each in seconds):
        return (), ()
    sentence = (
        f"Its frames last {min(seconds):.3f} to {max(seconds):.3f} seconds; it is read at its mean, {fps:.2f} a second."
    )
    return (sentence,), ("frame_rate:uneven",)
