"""P1-P16: size and form from the manifest, light and damage from what was measured on the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Final

from lorasmith.datasets.checks.context import CheckContext, PictureSignals
from lorasmith.datasets.checks.files import with_transform
from lorasmith.datasets.checks.finding import Check, Found, found, leave_out

_NEVER_SMALLER: Final = 256  # pixels; below this side there is nothing to learn from at usual resolutions
_ROUNDING: Final = 1e-9
_CROP_SHOWN: Final = 0.10  # share of a picture that its bucket may cut without a word
_OVERLAY_Z: Final = 12.0  # unrelated pictures reach 8, a faint text on 8 pictures 27
_ENOUGH_TO_SPREAD: Final = 10
_AREA_SPREAD, _QUALITY_SPREAD = 8.0, 30


def _enlarged(context: CheckContext) -> Iterator[Found]:
    small = {name: placed.scale for name, placed in context.placed.items() if placed.scale > 1.001}
    worst = max(small.values(), default=1.0)
    yield from found(
        small, f"{{n}} smaller than {context.family.resolution} pixels will be enlarged, up to {worst:.1f} times."
    )


def _tiny(context: CheckContext) -> Iterator[Found]:
    floor = min(_NEVER_SMALLER, context.family.resolution)
    tiny = [item.name for item in context.items if min(item.width, item.height) < floor]
    yield from found(tiny, f"{{n}} with a side under {floor} pixels.", repair=leave_out())


def _cropped(context: CheckContext) -> Iterator[Found]:
    losses = {name: placed.crop_loss for name, placed in context.placed.items()}
    cut = {name: loss for name, loss in losses.items() if loss > _CROP_SHOWN + _ROUNDING}
    most = max(cut.values(), default=0.0)
    yield from found(
        cut,
        f"{{n}} will lose more than {_CROP_SHOWN:.0%} of {{its|their}} area to the bucket's crop, up to {most:.0%}.",
    )


def _turned(context: CheckContext) -> Iterator[Found]:
    yield from found(with_transform(context, "orientation"), "{n} turned upright as {its|their} EXIF data says.")


def _colours(context: CheckContext) -> Iterator[Found]:
    yield from found(
        with_transform(context, "icc"),
        "{n} converted from another colour space to sRGB.",
        severity="info",
        fix="Nothing to do.",
    )
    yield from found(with_transform(context, "icc_unreadable"), "{n} with a colour profile that cannot be used.")


def _alpha(context: CheckContext) -> Iterator[Found]:
    masked = {i.name for i in context.items if "alpha:mask" in i.provenance.get("transforms", ())}
    laid = [name for name in with_transform(context, "alpha") if name not in masked]
    yield from found(laid, "{n} with transparency, now on the background colour.")
    yield from found(
        masked, "{n} with transparency, which is kept as {its|their} mask.", severity="info", fix="Nothing to do."
    )


def _depth(context: CheckContext) -> Iterator[Found]:
    yield from found(with_transform(context, "depth", "mode"), "{n} converted from 16 bits, CMYK or another mode.")


def _where(context: CheckContext, claim: Callable[[PictureSignals], bool]) -> list[str]:
    return [item.name for item, signals in context.measured() if claim(signals)]


def _blurred(context: CheckContext) -> Iterator[Found]:
    sharpness = sorted(signals.sharpness for _, signals in context.measured())
    typical = sharpness[len(sharpness) // 2] if sharpness else 0.0
    worst = min(sharpness, default=0.0)
    yield from found(
        _where(context, lambda s: s.is_blurred),
        f"{{n}} blurred everywhere (sharpness at 512 pixels down to {worst:.0f}; the set's median is {typical:.0f}).",
        repair=leave_out("Leave the blurred pictures out of the next version."),
    )
    yield from found(
        _where(context, lambda s: s.is_soft and not s.is_blurred),
        f"{{n}} a little soft everywhere (the set's median sharpness at 512 pixels is {typical:.0f}).",
        severity="info",
    )


def _light(context: CheckContext) -> Iterator[Found]:
    yield from found(_where(context, lambda s: s.is_too_dark), "{n} too dark, or fully black in large parts.")
    yield from found(_where(context, lambda s: s.is_too_bright), "{n} too bright, or burnt out in large parts.")


def _flat(context: CheckContext) -> Iterator[Found]:
    yield from found(_where(context, lambda s: s.is_low_contrast), "{n} with hardly any contrast or tones.")


def _bars(context: CheckContext) -> Iterator[Found]:
    most = max((s.border_share for _, s in context.measured()), default=0.0)
    yield from found(
        _where(context, lambda s: s.has_borders), f"{{n}} with plain bars or a frame, up to {most:.0%} of the area."
    )


def _grays(context: CheckContext) -> Iterator[Found]:
    gray = _where(context, lambda s: s.is_gray)
    if 2 * len(gray) < len(context.measured()):
        yield from found(gray, "{n} without colour in a set that is mostly coloured.")


def _compressed(context: CheckContext) -> Iterator[Found]:
    low = _where(context, lambda s: s.is_low_quality_jpeg)
    worst = min((s.jpeg_quality for _, s in context.measured() if s.jpeg_quality is not None), default=0)
    yield from found(low, f"{{n}} saved as JPEG of low quality, down to {worst} of 100.")
    listed = set(low)
    yield from found(
        (name for name in _where(context, lambda s: s.is_blocky) if name not in listed),
        "{n} with the 8 x 8 blocks of an earlier JPEG in {its|their} pixels.",
    )


def _upscaled(context: CheckContext) -> Iterator[Found]:
    yield from found(
        _where(context, lambda s: s.is_upscaled),
        "{n} that {looks|look} enlarged: the finest details that {its|their} size allows are missing.",
    )


def _marked(context: CheckContext) -> Iterator[Found]:
    overlay, compared = context.overlay, context.compared or ()
    if overlay is None or overlay.z <= _OVERLAY_Z:
        return
    left, top, right, bottom = overlay.box
    where = f"{left:.0%} to {right:.0%} from the left and {top:.0%} to {bottom:.0%} from the top"
    yield from found((compared[place] for place in overlay.having), f"{{n}} with the same mark at one place, {where}.")


def _mixed(context: CheckContext) -> Iterator[Found]:
    if len(context.trained) < _ENOUGH_TO_SPREAD:
        return
    areas = sorted(item.width * item.height for item in context.trained)
    low, *_, high = quantiles(areas, n=10, method="inclusive")
    if high > _AREA_SPREAD * low:
        small = [item.name for item in context.trained if item.width * item.height <= low]
        yield from found(
            small,
            f"Sizes are mixed: a tenth of the pictures is {low / 1e6:.1f} megapixels or less, "
            f"another {high / 1e6:.1f} or more.",
        )
    rated = sorted(s.jpeg_quality for _, s in context.measured() if s.jpeg_quality is not None)
    if len(rated) >= _ENOUGH_TO_SPREAD:
        worst, *_, best = quantiles(rated, n=10, method="inclusive")
        if best - worst > _QUALITY_SPREAD:
            poor = _where(context, lambda s: s.jpeg_quality is not None and s.jpeg_quality <= worst)
            yield from found(poor, f"JPEG quality is mixed: from {worst:.0f} to {best:.0f} between the outer tenths.")


CHECKS: Final = (
    Check(
        "P1", "warning", "Picture that will be enlarged",
        "Enlarging adds no detail; the adapter learns the blur of the enlargement as part of the subject.",
        "Beginner guides ask for 512 x 512 or more; the factor is that of the trainer's own bucket.",
        "Find larger versions, or train at a lower resolution.", _enlarged,
    ),
    Check(
        "P2", "error", "Far too small a picture",
        "Under 256 pixels there is little left of a subject once the model's encoder has divided each side by eight.",
        "Arithmetic of the latent space: 256 pixels are 32 latent cells.",
        "Find larger versions, or leave them out.", _tiny,
    ),
    Check(
        "P3", "warning", "Crop that cuts much away",
        "A picture is scaled to cover its bucket and the rest is cut off around the centre, heads and feet first.",
        "The trainer's own buckets; the loss is computed, not estimated.",
        "Crop them yourself, so that the subject stays.", _cropped,
    ),
    Check(
        "P4", "info", "Turned upright",
        "Cameras store the turn beside the pixels. Several trainers ignore it and learn the subject lying on its side.",
        "kohya-ss/sd-scripts issue 1316 (open since 2024); musubi-tuner and diffusion-pipe ignore it too.",
        "Nothing to do.", _turned,
    ),
    Check(
        "P5", "warning", "Colours in another space",
        "Numbers of another colour space read as sRGB shift every colour; phones store Display P3.",
        "Measured: Display P3 read as sRGB is off by 7 of 255 on average and by up to 118.",
        "Look at their colours.", _colours,
    ),
    Check(
        "P6", "warning", "Transparency",
        "What is stored under transparent pixels becomes visible when alpha is dropped, in whatever colour it had.",
        "Measured: Pillow's convert('RGB') showed magenta under transparent pixels; sd-scripts converts like that.",
        "Look at them; import with another --background if they need one.", _alpha,
    ),
    Check(
        "P7", "info", "16 bits, CMYK or another mode",
        "Read naively, 16-bit pictures turn white and CMYK pictures change their colours.",
        "Measured: Pillow's plain conversion of a 16-bit PNG gave a mean of 254 where 127 was right.",
        "Nothing to do.", _depth,
    ),
    Check(
        "P8", "warning", "Blurry picture",
        "An adapter learns blur as faithfully as it learns a face.",
        "Variance of the Laplacian, measured at 512 pixels because it depends on size; a picture that is sharp "
        "somewhere is none.",
        "Look at them; leave out those whose subject is not sharp.", _blurred, ("signals",),
    ),
    Check(
        "P9", "warning", "Too dark or too bright",
        "Where everything is black or white there is no subject to learn, only its exposure.",
        "Mean and clipped share of the gray values; guides for beginners ask for well lit pictures.",
        "Correct the exposure, or leave them out.", _light, ("signals",),
    ),
    Check(
        "P10", "warning", "Hardly any contrast or tones",
        "Fog, fades and blank pages teach a washed-out look.",
        "Spread between the 5th and 95th percentile, and entropy of the gray values.",
        "Correct them, or leave them out.", _flat, ("signals",),
    ),
    Check(
        "P11", "warning", "Bars or frame",
        "Bars that come with film stills are learned as part of the picture and return in what is generated.",
        "Rows and columns of one colour along the edges that end in a straight line, over 3% of the area.",
        "Crop them away.", _bars, ("signals",),
    ),
    Check(
        "P12", "info", "Gray picture in a coloured set",
        "A few drawings in black and white pull the palette towards gray unless a caption says so.",
        "Chroma of all pixels; captions that name the look let the model keep it apart.",
        "Say 'monochrome' in their captions, or leave them out.", _grays, ("signals",),
    ),
    Check(
        "P13", "warning", "Strong JPEG compression",
        "Block edges and colour fringes of strong compression are learned as texture.",
        "Estimated from the quantisation tables stored in the file itself.",
        "Find less compressed versions.", _compressed, ("signals",),
    ),
    Check(
        "P14", "warning", "Picture that was enlarged before",
        "It passes every test of size and still holds no more detail than the small original.",
        "Energy in the highest spatial frequencies, which enlarging leaves empty; inside the blocks where a JPEG was "
        "saved afterwards. Measured at JPEG 95 / 85 / 75, no false alarm in 53: enlarged 3 times 91 / 86 / 60 % show "
        "it, twice, bicubically, 63 / 44 / 9 %, 1.5 times 7 %; those that are blurred as well are named by P8 instead.",
        "Find the original size, or train at a lower resolution.", _upscaled, ("signals",),
    ),
    Check(
        "P15", "warning", "Watermark common to the set",
        "What is on every picture is learned before anything else, and generated with everything.",
        "Gradients averaged over the set, and pictures compared two by two: in 96 sets of 40 without a mark, horizons, "
        "faces and bursts among them, none was seen; faint text on a fifth of 40 was found in 34 of 36 sets.",
        "Crop or paint it away, or mask it.", _marked, ("overlay",),
    ),
    Check(
        "P16", "info", "Mixed sizes or qualities",
        "The adapter learns which quality goes with which pose or outfit, and repeats it.",
        "Spread between the outer tenths; guides for training ask for references of one quality.",
        "Replace the poorest ones first.", _mixed,
    ),
)  # fmt: skip
