"""The page of a dataset: one HTML file that loads nothing from anywhere, with ten thousand pictures in it if need be.

Findings, figures and tables are plain HTML. The gallery is drawn by a small script from data inside the page, a hundred
pictures at a time; the page's own policy lets this one script run and no other.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Final

from lorasmith.datasets.charts import CHART_STYLE
from lorasmith.datasets.report.annals import history, ledger
from lorasmith.datasets.report.figures import buckets, statistics
from lorasmith.datasets.report.findings import findings
from lorasmith.datasets.report.gallery import gallery, gallery_data
from lorasmith.datasets.report.parts import counted, meter, thumbnail_image, tile
from lorasmith.datasets.report.record import DatasetPage, PictureRow
from lorasmith.datasets.report.trainers import trainers
from lorasmith.markup import Markup, element, verbatim

_HERO: Final = 18  # pictures beside the title
_LONG_NAME: Final = 28  # letters; longer ones are set smaller
_LINKS: Final = (
    ("findings", "Findings"),
    ("gallery", "Gallery"),
    ("statistics", "Statistics"),
    ("buckets", "Buckets"),
    ("trainers", "Trainers’ eyes"),
    ("ledger", "Ledger"),
    ("history", "History"),
)


def render(page: DatasetPage) -> str:
    """The page as HTML."""
    script = _own("gallery.js")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("title", f"{page.reference}: dataset report"),
        element("style", CHART_STYLE, verbatim(_own("page.css"))),
    )
    main = element(
        "main",
        findings(page),
        gallery(page),
        statistics(page.statistics),
        buckets(page.buckets),
        trainers(page.trainers, len(page.pictures)),
        ledger(page),
        history(page),
        id="main",
        tabindex="-1",
    )
    body = element(
        "body",
        element("a", "Skip to the findings", href="#main", class_="skip"),
        _header(page),
        _navigation(page),
        main,
        element("footer", element("p", "Made by lorasmith on this machine. The page loads nothing and sends nothing.")),
        *gallery_data(page),
        element("script", verbatim(script)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _own(name: str) -> str:
    return resources.files("lorasmith.datasets.report").joinpath(name).read_text(encoding="utf-8")


def _header(page: DatasetPage) -> Markup:
    counts = page.statistics.counts
    graves = {level: sum(f.severity == level for f in page.findings) for level in ("error", "warning", "info")}
    taken = sum(number for fate, _, number in page.ledger_counts if fate != "left_out")
    left = sum(number for fate, _, number in page.ledger_counts if fate == "left_out")
    told = ", ".join(
        counted(graves[level], word)
        for level, word in (("error", "error"), ("warning", "warning"), ("info", "note"))
        if graves[level]
    )
    masked = f", {counts.masked:,} with a mask" if counts.masked else ""
    tiles = [
        ("Pictures", f"{counts.items:,}", f"{counts.captioned:,} with a caption{masked}"),
        ("Shown per epoch", f"{counts.shown:,}", "training pictures with their repeats"),
        ("Findings", f"{len(page.findings):,}", told or "nothing was found"),
        ("Files accounted for", f"{taken + left:,}", f"{taken:,} taken, {left:,} left out, each with its reason"),
    ]
    words = element(
        "div",
        element("p", "lorasmith", element("span", " · dataset report", class_="muted"), class_="brand"),
        element("h1", page.reference, class_="long" if len(page.reference) > _LONG_NAME else None),
        element("p", page.settings, class_="lede"),
        element("p", page.created, class_="muted"),
    )
    figures = element("dl", *(tile(*one) for one in tiles), class_="tiles")
    return element(
        "header",
        element("div", words, _hero(page.pictures), class_="hero"),
        element("div", figures, _health(page), class_="summary"),
    )


def _hero(pictures: tuple[PictureRow, ...]) -> Markup | None:
    """An even choice of the set: a look says more than its name."""
    there = [row for row in pictures if row.thumbnail is not None]
    chosen = there[:: max(1, len(there) // _HERO)][:_HERO]
    images = [thumbnail_image(row.thumbnail, "", lazy=False) for row in chosen if row.thumbnail is not None]
    return element("div", *images, class_="mosaic", aria_hidden="true") if images else None


def _health(page: DatasetPage) -> Markup:
    """The score, never without its parts."""
    rows = [
        element(
            "li",
            element("strong", part.name.capitalize()),
            meter(part.share, tone="good" if part.share > 0.9 else "fair" if part.share > 0.6 else "poor"),
            element("span", f"{part.points:.0f} of {100 * part.weight:.0f}", class_="points"),
            element("span", part.sentence.partition(": ")[2] or part.sentence, class_="muted said"),
        )
        for part in page.health.parts
    ]
    return element(
        "section",
        element("h2", "Health ", element("span", f"{page.health.score} of 100", class_="score")),
        element("ul", *rows, class_="parts"),
        class_="health",
        aria_label="Health and what it is made of",
    )


def _navigation(page: DatasetPage) -> Markup:
    there = {"findings": len(page.findings), "gallery": len(page.pictures)}
    links = [
        element(
            "li",
            element(
                "a",
                words,
                element("span", f" {there[key]:,}", class_="muted") if key in there else None,
                href=f"#{key}",
            ),
        )
        for key, words in _LINKS
    ]
    return element("nav", element("ul", *links), aria_label="Parts of this page")
