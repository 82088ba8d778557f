"""The sections of figures: what captions, tags and shapes are like, and which buckets they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lorasmith.datasets.charts import bar_chart, histogram_chart
from lorasmith.datasets.distributions import Distribution, Histogram
from lorasmith.datasets.report.parts import meter, section, table, tile
from lorasmith.datasets.report.record import BucketRow
from lorasmith.datasets.statistics import Statistics
from lorasmith.markup import Markup, element, join

_TAGS: Final = 20
_PAIRS: Final = 12
_LIFT: Final = 1.1  # times as often as by chance; below it two tags only are both frequent
_EDGE: Final = 26  # pixels of the longer side of a bucket as it is drawn
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def statistics(figures: Statistics) -> Markup:
    """What the set is like."""
    said = "Counted over every picture and caption."
    return section(
        "statistics",
        "Statistics",
        said,
        element("dl", *_tiles(figures), class_="tiles"),
        _completeness(figures),
        _charts(figures),
        _spreads(figures),
        element("div", *_tags(figures), class_="columns"),
    )


def _tiles(figures: Statistics) -> list[Markup]:
    captions, tags, pictures = figures.captions, figures.tags, figures.pictures
    tiles = [
        tile("Different tags", f"{tags.vocabulary:,}", f"in {tags.uses:,} uses; {tags.once:,} in one picture only"),
        tile("In the usual spelling", f"{figures.consistency.share:.1%}", "of all uses of tags"),
    ]
    if captions.tokens is not None:
        over = f", {captions.over_limit:,} over {captions.token_limit}" if captions.token_limit else ""
        tiles.append(tile("Tokens", f"{captions.tokens.median:,.0f}", f"in the middle caption{over}"))
    if pictures.width is not None and pictures.height is not None:
        middle = f"{pictures.width.median:,.0f}×{pictures.height.median:,.0f}"
        tiles.append(tile("Pixels", middle, "of the middle picture"))
    if pictures.total_bytes is not None:
        formats = ", ".join(f"{number:,} {name.upper()}" for name, number in list(pictures.formats.items())[:3])
        tiles.append(tile("Originals", _weight(pictures.total_bytes), formats))
    return tiles


def _completeness(figures: Statistics) -> Markup:
    shares = figures.completeness
    rows = [
        ("a caption", shares.caption),
        ("the trigger word, of those captioned", shares.trigger),
        ("a mask", shares.mask),
        ("a known source", shares.source),
    ]
    drawn = [
        element("li", element("span", f"{name}"), meter(share), element("span", f"{share:.0%}", class_="points"))
        for name, share in rows
        if share is not None
    ]
    return join(element("h3", "How many have"), element("ul", *drawn, class_="shares"))


def _charts(figures: Statistics) -> Markup:
    captions, pictures = figures.captions, figures.pictures
    histograms: list[tuple[str, Histogram | None]] = [
        ("Words per caption", captions.words.histogram if captions.words else None),
        ("Tokens per caption", captions.tokens.histogram if captions.tokens else None),
        ("Width over height", pictures.aspect),
        ("Megapixels", pictures.megapixels),
        ("Shorter side in pixels", pictures.shorter_side),
    ]
    drawn = [
        (title, histogram_chart(title, one)) for title, one in histograms if one is not None and len(one.counts) > 1
    ]
    if figures.tags.counts:
        bars = [(tag.tag, tag.items) for tag in figures.tags.counts[:_TAGS]]
        drawn.insert(0, ("Most frequent tags", bar_chart("Most frequent tags", bars)))
    alike = [title.lower() for title, one in histograms if one is not None and len(one.counts) == 1]
    told = element("p", f"All pictures are alike in: {', '.join(alike)}.", class_="muted") if alike else None
    charts = [
        element("figure", element("figcaption", title), chart, class_="tall" if place == 0 and len(drawn) > 2 else None)
        for place, (title, chart) in enumerate(drawn)
    ]
    return join(element("div", *charts, class_="charts"), told)


def _spreads(figures: Statistics) -> Markup | None:
    captions, pictures = figures.captions, figures.pictures
    limit = f", limit {captions.token_limit}" if captions.token_limit else ""
    rows = [
        ("words per caption", captions.words),
        ("tags per caption", captions.tags),
        (f"tokens per caption ({captions.tokenizer}{limit})", captions.tokens),
        ("width in pixels", pictures.width),
        ("height in pixels", pictures.height),
    ]
    head = ("", "least", "10 %", "median", "mean", "90 %", "most")
    there = [(name, *_spread(found)) for name, found in rows if found is not None]
    return table("From the least to the most", head, there) if there else None


def _tags(figures: Statistics) -> list[Markup]:
    telling = [pair for pair in figures.tags.pairs if pair.lift >= _LIFT][:_PAIRS]
    pairs = [(f"{pair.first} + {pair.second}", f"{pair.items:,}", f"{pair.lift:.1f}×") for pair in telling]
    variants = [
        (found.key, " · ".join(f"{one.tag} ({one.items:,})" for one in found.spellings))
        for found in figures.consistency.variants[:_PAIRS]
    ]
    drawn = [table("Tags that go together", ("tags", "pictures", "times chance"), pairs)] if pairs else []
    if variants:
        drawn.append(table("One tag in several spellings", ("tag", "spellings"), variants, numbers=False))
    return drawn


def _spread(found: Distribution) -> tuple[str, ...]:
    numbers = (found.minimum, found.p10, found.median, found.mean, found.p90, found.maximum)
    return tuple(f"{number:,.0f}" if number == int(number) else f"{number:,.1f}" for number in numbers)


def _weight(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} {_UNITS[-1]}"


def buckets(rows: Sequence[BucketRow]) -> Markup:
    """Which buckets training makes of the shapes."""
    most = max((row.pictures for row in rows), default=1)
    cells = [
        (
            join(_shape(row), f"{row.width}×{row.height}"),
            join(meter(row.pictures / most), f"{row.pictures:,}"),
            f"{row.batches:,}" + (f" and {row.left_over:,} over" if row.left_over else ""),
            f"{row.cropped:.0%}",
            f"{row.enlarged:,}",
        )
        for row in rows
    ]
    head = ("width × height", "pictures", "batches per epoch", "cut away at most", "enlarged")
    said = "Where training puts the pictures: the same computation that the trainer itself uses."
    return section("buckets", "Buckets", said, table("Buckets of one epoch", head, cells))


def _shape(row: BucketRow) -> Markup:
    """A small drawing of its proportions."""
    scale = _EDGE / max(row.width, row.height)
    width, height = row.width * scale, row.height * scale
    box = element("rect", x=(28 - width) / 2, y=(28 - height) / 2, width=width, height=height, rx=2, class_="shape")
    return element("svg", box, viewBox="0 0 28 28", width=22, height=22, class_="shape-box", aria_hidden="true")
