"""What a video says of itself before it is decoded: its coding, whether it lies on its side, its light, its sound.

It is ffmpeg that is asked, for not every ffmpeg brings ffprobe; what it prints is read line by line.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Final

from lorasmith.datasets.clips.program import Failed, input_of, need_ffmpeg

_SECONDS: Final = 60.0
_STREAM: Final = re.compile(r"^  Stream #0:\d+(?:\[[^\]]*\])?(?:\([^)]*\))?: (?P<kind>Video|Audio): (?P<rest>.*)$")
_TURNED: Final = re.compile(r"^ +display ?matrix: rotation of (-?[0-9.]+) degrees", re.I)
_ASPECT: Final = re.compile(r"\bSAR ([0-9]+:[0-9]+)")
_LIGHT: Final = re.compile(r"\b(smpte2084|arib-std-b67)\b")
_HDR: Final[Mapping[str, str]] = MappingProxyType({"smpte2084": "pq", "arib-std-b67": "hlg"})
_TRANSFER: Final[Mapping[str, str]] = MappingProxyType({name: word for word, name in _HDR.items()})


@dataclass(frozen=True)
class Probed:
    """A video by its own words."""

    codec: str = ""
    """As ffmpeg calls it: h264, hevc, vp9, av1."""
    turned: int = 0
    """Degrees by which a player turns it, 0 to 359; anything but 0 is lost on who reads its frames as they lie."""
    aspect: str = "1:1"
    """Width to height of one pixel."""
    hdr: str = ""
    """``pq`` or ``hlg`` where its light goes beyond that of a screen; else empty."""
    sound: str = ""
    """The coding of its first sound; empty without."""

    @property
    def words(self) -> tuple[str, ...]:
        """What of it matters later, as words of ``transforms``; ``hdr`` is for whoever maps it to add."""
        turned = (f"turned:{self.turned}",) if self.turned else ()
        pixels = () if self.aspect == "1:1" else (f"pixels:{self.aspect}",)
        return (*turned, *pixels, *((f"sound:{self.sound}",) if self.sound else ()))


def probe(path: Path, demuxer: str) -> Probed:
    """What a video says of itself; what it does not say is as usual.

    Raises:
        Failed: it cannot be opened in time.
        EnvironmentProblem: there is no ffmpeg.
    """
    return read(_printed(["-hide_banner", *input_of(path, demuxer)]).splitlines())


def read(lines: Sequence[str]) -> Probed:
    """As ``probe``, from what ffmpeg printed. Titles that look like streams stand deeper and are none."""
    video, sound, turned, inside = "", "", 0, ""
    for line in lines:
        stream = _STREAM.match(line)
        if stream is not None:
            first = stream["kind"] == "Video" and not video
            inside = "video" if first else "other"
            video = stream["rest"] if first else video
            if stream["kind"] == "Audio" and not sound:
                sound = stream["rest"].split(",")[0].split()[0]
        elif inside == "video" and (matrix := _TURNED.match(line)):
            turned = round(float(matrix[1])) % 360
    aspect, light = _ASPECT.search(video), _LIGHT.search(video)
    shape = Fraction(aspect[1].replace(":", "/")) if aspect and not aspect[1].endswith(":0") else Fraction(0)
    return Probed(
        codec=video.split(",")[0].split()[0] if video.strip() else "",
        turned=turned,
        aspect=f"{shape.numerator}:{shape.denominator}" if shape else "1:1",
        hdr=_HDR[light[1]] if light else "",
        sound=sound,
    )


def has_filters(*names: str) -> bool:
    """Whether this ffmpeg has all of these filters."""
    known = {line.split()[1] for line in _printed(["-hide_banner", "-filters"], stream="out").splitlines()
             if len(line.split()) > 2}  # fmt: skip
    return set(names) <= known


def mapped_light(hdr: str) -> str:
    """The filters that bring PQ or HLG of BT.2100 to sRGB, with a comma at the end; empty for anything else.

    Light is made linear with 1.0 at 100 cd/m² (zscale), the primaries of BT.2020 become those of BT.709, what is
    brighter than the screen is rolled off by Hable's curve, and the rest is written with the transfer of sRGB.
    """
    if hdr not in _TRANSFER:
        return ""
    tags = f"color_primaries=bt2020:color_trc={_TRANSFER[hdr]}:colorspace=bt2020nc"
    linear = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709"
    return f"setparams={tags},{linear},tonemap=hable:desat=0,zscale=t=iec61966-2-1:m=gbr:r=full,format=gbrp,"


def _printed(arguments: Sequence[str], *, stream: str = "err") -> str:
    try:
        done = subprocess.run(  # noqa: S603
            [need_ffmpeg(), *arguments],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as cause:
        raise Failed(f"it does not start: {cause.strerror}") from cause
    except subprocess.TimeoutExpired as cause:
        raise Failed(f"it took more than {_SECONDS:.0f} seconds", out_of_time=True) from cause
    return (done.stderr if stream == "err" else done.stdout).decode("utf-8", "replace")
