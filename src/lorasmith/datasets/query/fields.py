"""Every field of the language: what it is compared with, and what it means. Help and errors are made of this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "choice", "count", "number", "ratio", "version"]
"""``count`` takes whole numbers, ``number`` any, ``ratio`` also ``3:2``, ``version`` also ``added``."""

Source = Literal["manifest", "signals", "buckets", "duplicates", "tokens", "versions", "findings", "trigger"]
"""Where the answer comes from; all but the manifest are asked of ``Facts``."""


@dataclass(frozen=True)
class Field:
    """One field. ``says`` completes "pictures ..." with ``{}`` for the value."""

    name: str
    kind: Kind
    says: str
    help: str
    """One sentence for the list of fields."""
    source: Source = "manifest"
    choices: tuple[str, ...] = ()
    signal: str = ""
    """The figure's name in ``Signals``, for fields that show one."""

    @property
    def is_numeric(self) -> bool:
        return self.kind in ("count", "number", "ratio", "version")


def _signal(name: str, signal: str, says: str, help: str) -> Field:
    return Field(name, "number", says, help, "signals", signal=signal)


_PRESENT: Final = ("caption", "mask", "trigger", "concept", "score", "source", "clip")

_ALL: Final = (
    Field("tag", "text", "tagged {}", "Has exactly this tag; _ and space are the same, wildcards span the whole tag."),
    Field("caption", "text", "with {} in the caption", "The caption contains this text, even inside a word."),
    Field("name", "text", "with {} in the name", "The name contains this; with a wildcard, the whole name is it."),
    Field("concept", "text", "of the concept {}", "The folder or group it belongs to."),
    Field("source", "text", "from {}", "The path or address it came from contains this; a wildcard spans all of it."),
    Field("format", "text", "that came as {}", "The format of the original: jpeg, png, webp ..."),
    Field("role", "choice", "for {}", "What it is used for.", choices=("train", "validation", "regularisation")),
    Field("style", "choice", "with a caption of style {}", "How the caption is written.",
          choices=("empty", "tags", "prose", "mixed")),
    Field("missing", "choice", "without {}", "Has none of this; trigger: the caption lacks the trigger word.",
          choices=_PRESENT),
    Field("has", "choice", "with {}", "The opposite of missing.", choices=_PRESENT),
    Field("tags", "count", "with {} tags", "How many tags the caption has."),
    Field("words", "count", "with {} words", "How many words the caption has."),
    Field("chars", "count", "with {} characters", "How long the caption is."),
    Field("tokens", "count", "with {} tokens", "How many tokens the caption is to the family.", "tokens"),
    Field("width", "count", "{} pixels wide", "Pixels from left to right."),
    Field("height", "count", "{} pixels high", "Pixels from top to bottom."),
    Field("megapixels", "number", "of {} megapixels", "Millions of pixels."),
    Field("aspect", "ratio", "of aspect {}", "Width by height: 1.5, 3:2, 0.9..1.1."),
    Field("repeats", "count", "shown {} times an epoch", "How often it is shown in one epoch."),
    Field("frames", "count", "of {} frames", "How many frames a clip has; pictures never match."),
    Field("seconds", "number", "of {} seconds", "How long a clip lasts; pictures never match."),
    Field("fps", "number", "of {} frames a second", "The rate of a clip; pictures never match."),
    Field("score", "number", "with a score of {}", "The score where it was found; pictures without one never match."),
    Field("bucket", "text", "in the bucket {}", "The shape it is trained at, such as 512x768 or 512x*.", "buckets"),
    Field("dup", "choice", "that are duplicates ({})", "Has a twin of this kind in the dataset.", "duplicates",
          ("any", "bytes", "pixels", "near", "similar", "turned")),
    Field("finding", "text", "named by the check {}", "A check of this id names it, such as C5 or P*.", "findings"),
    Field("version", "version", "whose first version is {}", "The version that brought it: 3, >2; added: this one.",
          "versions"),
    Field("gray", "choice", "whose being gray is {}", "Whether it has no colour.", "signals", ("yes", "no"), "is_gray"),
    _signal("blur", "sharpness", "of sharpness {}", "Sharpness at 512 pixels: under 40 is blurred, over 100 is sharp."),
    _signal("brightness", "brightness", "of brightness {}", "Mean brightness, 0 to 255."),
    _signal("contrast", "contrast", "of contrast {}", "From the darkest to the brightest twentieth."),
    _signal("entropy", "entropy", "of entropy {}", "Bits of information in the brightness; under 4 is nearly empty."),
    _signal("dark", "dark_clip", "with {} of it black", "Share of black pixels, 0 to 1."),
    _signal("bright", "bright_clip", "with {} of it white", "Share of white pixels, 0 to 1."),
    _signal("border", "borders", "with borders of {} pixels", "The widest of its four even borders, in pixels."),
    _signal("jpeg", "jpeg_quality", "of JPEG quality {}", "Quality of the original JPEG, 1 to 100."),
    _signal("blocks", "blockiness", "of blockiness {}", "How visible the 8-pixel blocks of JPEG are."),
    _signal("upscaled", "upscale_evidence", "with evidence {} of enlargement", "How likely it was enlarged."),
)  # fmt: skip

FIELDS: Final[dict[str, Field]] = {field.name: field for field in _ALL}
