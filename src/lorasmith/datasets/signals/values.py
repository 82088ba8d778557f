"""The value type ``Signals``, and the thresholds at which a number becomes a remark.

Numbers that depend on the size of a picture are taken at 512 pixels, so that they
mean the same for all. The thresholds are defaults for a first look: they were set on generated pictures, and what
they say of a photograph is a question to a person, never a reason to delete. ``bench/datasets/signals.py`` prints
what they find and what they find wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALGORITHM: Final = 2
"""Raised whenever a number of ``Signals`` would come out differently, so that it is measured anew."""

SIDE: Final = 512
"""Pixels of the longer side at which sharpness and light are measured. Variance of the Laplacian changes with the size
of the same picture (1170 / 493 / 703 / 831 at 4000 / 2000 / 1024 / 512 pixels), so one size is needed."""

SOFT: Final = 100.0
BLURRED: Final = 40.0
"""Sharpness below which a picture is soft, and blurred. At 512 pixels sharp pictures measure 300 and more; the same
blurred at 1024 pixels by a Gaussian of sigma 1 / 2 / 4 measure 69-231 / 11-43 / 3-5."""
CRISP: Final = 0.40
"""Crispness from which a picture is in focus somewhere, however little of it: a portrait before a soft background, a
drawing of few lines. Both have little variance of the Laplacian and are not blurred."""
TOO_DARK: Final = 25.0
TOO_BRIGHT: Final = 230.0
"""Mean gray, 0 to 255, under and over which little can be seen."""
CLIPPED: Final = 0.20
"""Share of pixels at the end of the scale from which detail is lost there."""
LOW_CONTRAST: Final = 30.0
LOW_SPAN: Final = 60.0
"""Levels, of ``contrast`` and ``span``; both, because the one is 0 where a small thing stands on a plain ground."""
LOW_ENTROPY: Final = 4.0
"""Bits per pixel of the gray histogram. Flat drawings have 1 to 3, so it counts beside a small span only."""
PLAIN_GROUND: Final = 0.5
"""Share of the picture that is of about one gray from which its mean says how bright the ground is, no more."""
BORDER: Final = 0.03
"""Share of a side that bars may take: less is cut away by most buckets."""
LOW_JPEG_QUALITY: Final = 75
"""On the scale of libjpeg; the blocks become visible about here."""
UPSCALED: Final = 17.2
UPSCALED_STRONG_JPEG: Final = 18.5
"""Decibels that the highest frequencies lie below what lower ones let expect; the second for JPEG below quality 80,
which takes some of them away itself. Of 53 sharp photographs and drawings saved at 95, 85 and 75 none has as much;
enlarged 3 times 91 / 86 / 60 % have, twice by Lanczos 86 / 56 / 33 %, twice bicubically 63 / 44 / 9 %, 1.5 times 7 %
(``bench/datasets/upscaled.py``)."""
_STRONG_JPEG: Final = 80
BLOCKY: Final = 2.0
"""Blockiness from which the 8 x 8 blocks of an earlier JPEG are in the picture to be learned."""
NO_STRUCTURE: Final = 2.0
"""Gray levels (root mean square of the 63 lowest frequencies) under which noise decides the perceptual hash."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What was measured of one picture."""

    width: int
    height: int
    sharpness: float
    """Variance of the Laplacian of the gray picture at 512 pixels (smaller ones as they are)."""
    crispness: float
    """How steep its strongest edges are: the largest step between neighbours over the whole rise, 0 to 1, at 512
    pixels. Independent of contrast and of how many edges there are."""
    brightness: float
    """Mean gray, 0 to 255."""
    dark_clip: float
    """Share of pixels at the dark end of the scale, a plain black ground not counted, 0 to 1."""
    bright_clip: float
    """Share of pixels at the bright end, a plain white ground not counted, 0 to 1."""
    contrast: float
    """Gray levels between the 5th and 95th percentile, 0 to 255."""
    span: float
    """Levels between the 0.5th and 99.5th percentile of the channel where they are farthest apart, 0 to 255."""
    ground: float
    """Share of pixels of the commonest gray and its neighbours, 0 to 1."""
    entropy: float
    """Bits per pixel of the gray histogram, 0 to 8."""
    is_gray: bool
    """Whether it has no colours, up to what JPEG leaves behind."""
    borders: tuple[int, int, int, int]
    """Pixels of plain bars at left, top, right and bottom."""
    jpeg_quality: int | None
    """1 to 100 as libjpeg counts, from the quantisation tables; None when it is no JPEG."""
    blockiness: float
    """Steps at the edges of 8 x 8 blocks over steps elsewhere: about 1 where there are no blocks."""
    upscale_evidence: float
    """Decibels missing in the highest quarter of frequencies: 0 when nothing is, over ``UPSCALED`` when enlarged."""
    structure: float
    """Gray levels of the picture's low frequencies; under ``NO_STRUCTURE`` its perceptual hashes mean nothing."""
    pixel_hash: str
    """SHA-256 of size and RGB pixels, equal for the same picture in another container; empty when too large for it."""
    phash: int
    """64 bits."""
    phash_orientations: tuple[int, ...]
    """The eight hashes of the picture turned as EXIF orientation 1 to 8; the first is ``phash``."""
    colours: bytes
    """Mean colours of 6 x 6 fields, RGB, row by row, 108 bytes: what hashes do not see (``datasets/colours.py``)."""

    @property
    def is_blurred(self) -> bool:
        """Out of focus everywhere."""
        return self.sharpness < BLURRED and self._has_no_crisp_edge

    @property
    def is_soft(self) -> bool:
        """Not quite in focus anywhere, blurred ones included."""
        return self.sharpness < SOFT and self._has_no_crisp_edge

    @property
    def _has_no_crisp_edge(self) -> bool:
        """Where gray hardly changes, as in fog or between colours of one brightness, focus cannot be judged."""
        return self.crispness < CRISP and self.contrast >= LOW_CONTRAST and not self.is_low_contrast

    @property
    def is_too_dark(self) -> bool:
        return (self.brightness < TOO_DARK and not self._on_plain_ground) or self.dark_clip > CLIPPED

    @property
    def is_too_bright(self) -> bool:
        return (self.brightness > TOO_BRIGHT and not self._on_plain_ground) or self.bright_clip > CLIPPED

    @property
    def _on_plain_ground(self) -> bool:
        """Something visible on white or black."""
        return self.ground > PLAIN_GROUND and self.span >= LOW_SPAN

    @property
    def is_low_contrast(self) -> bool:
        """Foggy or almost plain."""
        return self.span < LOW_SPAN and (self.contrast < LOW_CONTRAST or self.entropy < LOW_ENTROPY)

    @property
    def border_share(self) -> float:
        """The share of the picture's area that its bars take, 0 to 1."""
        left, top, right, bottom = self.borders
        return 1 - (self.width - left - right) * (self.height - top - bottom) / (self.width * self.height)

    @property
    def has_borders(self) -> bool:
        return self.border_share > BORDER

    @property
    def is_low_quality_jpeg(self) -> bool:
        return self.jpeg_quality is not None and self.jpeg_quality < LOW_JPEG_QUALITY

    @property
    def is_upscaled(self) -> bool:
        """Without detail of its own at this size: enlarged, or softened alike; blurred ones count as blurred only."""
        strong = self.jpeg_quality is not None and self.jpeg_quality < _STRONG_JPEG
        bar = UPSCALED_STRONG_JPEG if strong else UPSCALED
        return self.upscale_evidence >= bar and not self.is_blurred

    @property
    def is_blocky(self) -> bool:
        return self.blockiness >= BLOCKY

    @property
    def can_be_compared(self) -> bool:
        """Whether the perceptual hashes say anything: those of a plain surface are made of noise."""
        return self.structure >= NO_STRUCTURE
