"""The page of a dataset: one HTML file that loads nothing from anywhere, with ten thousand pictures in it if need be.

Tables, findings and charts are plain HTML. The gallery is drawn by a small script from data inside the page, a hundred
pictures at a time; the page's own policy lets this one script run and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from lorasmith.datasets.charts import CHART_STYLE, bar_chart, histogram_chart
from lorasmith.datasets.checks import Finding
from lorasmith.datasets.distributions import Distribution
from lorasmith.datasets.report.record import DatasetPage, PictureRow, SeenRow, TrainerRow
from lorasmith.markup import Markup, element, join, picture, verbatim

_WORST: Final = 10  # pictures shown beside a finding
_TAGS: Final = 25
_WORDS: Final = {"error": "error", "warning": "warning", "info": "note"}


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
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", f"{page.reference}: dataset report"),
        element("style", verbatim(_own("page.css")), CHART_STYLE),
    )
    sections = (
        _findings(page),
        _gallery(page),
        _statistics(page),
        _buckets(page),
        _trainers(page.trainers),
        _ledger(page),
        _history(page),
    )
    data = join(
        _data("pictures", [_row(row) for row in page.pictures]),
        _data("finding-titles", {finding.id: finding.message for finding in page.findings}),
    )
    body = element(
        "body",
        element("a", "Skip to the findings", href="#findings", class_="skip"),
        _header(page),
        element("main", *sections),
        element("footer", element("p", "Made by lorasmith on this machine; the page loads nothing and sends nothing.")),
        data,
        element("script", verbatim(script)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _own(name: str) -> str:
    return resources.files("lorasmith.datasets.report").joinpath(name).read_text(encoding="utf-8")


def _data(key: str, value: Any) -> Markup:
    """A block of JSON that no text in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    safe = safe.encode("utf-8", "replace").decode("utf-8")
    return element("script", verbatim(safe), type="application/json", id=key)


def _row(row: PictureRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "n": row.name, "c": row.caption, "w": row.width, "h": row.height, "r": row.role, "k": row.concept,
        "b": row.bucket, "f": list(row.findings),
    }  # fmt: skip
    if row.thumbnail is not None:
        shown |= {"t": row.thumbnail.data, "tw": row.thumbnail.width, "th": row.thumbnail.height}
    return shown


# --- the head ------------------------------------------------------------------------------------------------


def _header(page: DatasetPage) -> Markup:
    counts = page.statistics.counts
    graves = {level: sum(f.severity == level for f in page.findings) for level in _WORDS}
    taken = sum(number for fate, _, number in page.ledger_counts if fate != "left_out")
    left = sum(number for fate, _, number in page.ledger_counts if fate == "left_out")
    tiles = [
        ("Pictures", f"{counts.items:,}", f"{counts.captioned:,} with a caption, {counts.masked:,} with a mask"),
        ("Findings", f"{len(page.findings):,}", f"{graves['error']} errors, {graves['warning']} warnings, "
         f"{graves['info']} notes"),
        ("Files accounted for", f"{taken + left:,}", f"{taken:,} taken, {left:,} left out, each with its reason"),
        ("Health", f"{page.health.score} of 100", "made of the parts below"),
    ]  # fmt: skip
    links = [
        ("findings", "Findings"), ("gallery", "Gallery"), ("statistics", "Statistics"), ("buckets", "Buckets"),
        ("trainers", "What trainers see"), ("ledger", "Ledger"), ("history", "History"),
    ]  # fmt: skip
    parts = [
        element(
            "li",
            element("strong", part.name.capitalize()),
            element("span", f"{part.points:.0f} of {100 * part.weight:.0f}"),
            element("span", part.sentence, class_="muted"),
        )
        for part in page.health.parts
    ]
    return element(
        "header",
        element("p", "lorasmith", element("span", " · dataset report", class_="muted"), class_="brand"),
        element("h1", page.reference),
        element("p", f"{page.created}. {page.settings}", class_="muted"),
        element("dl", *(_tile(*tile) for tile in tiles), class_="tiles"),
        element("details", element("summary", "What the score is made of"), element("ul", *parts, class_="parts")),
        element("nav", element("ul", *(element("li", element("a", words, href=f"#{key}")) for key, words in links)),
                aria_label="Parts of this page"),
    )  # fmt: skip


def _tile(name: str, value: str, note: str) -> Markup:
    return element(
        "div", element("dt", name), element("dd", value, class_="value"), element("dd", note, class_="muted")
    )


# --- findings and gallery ------------------------------------------------------------------------------------


def _findings(page: DatasetPage) -> Markup:
    rows = {row.name: row for row in page.pictures}
    shown = [_finding(finding, rows) for finding in page.findings]
    if not shown:
        shown = [element("p", "Nothing was found.")]
    skipped = [element("li", element("strong", id_), f": {reason}") for id_, reason in page.not_run]
    return element(
        "section",
        element("h2", "Findings"),
        element("p", "Gravest first. Each says what it rests on and what to do.", class_="muted"),
        *shown,
        element("details", element("summary", f"{len(skipped)} checks were not run"), element("ul", *skipped))
        if skipped
        else None,
        id="findings",
    )


def _finding(finding: Finding, rows: dict[str, PictureRow]) -> Markup:
    pictures = [rows[name] for name in finding.items if name in rows]
    strip = [element("li", _thumbnail(row)) for row in pictures[:_WORST] if row.thumbnail is not None]
    others = [name for name in finding.items if name not in rows]
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    return element(
        "article",
        element(
            "h3",
            element("span", _WORDS[finding.severity], class_=f"pill {finding.severity}"),
            f" {finding.id}: {finding.message}",
        ),
        element("p", f"{finding.why} ", element("span", finding.source, class_="muted")) if finding.why else None,
        element("p", element("strong", "What to do: "), finding.fix),
        element("p", f"Repair: {finding.repair.sentence}") if finding.repair is not None else None,
        element("p", f"Files: {', '.join(others[:5])}{more}", class_="muted") if others else None,
        element("ul", *strip, class_="strip") if strip else None,
        element("button", f"Show all {len(pictures):,} in the gallery", type="button", class_="link",
                data_show_finding=finding.id) if pictures else None,
        class_="finding",
    )  # fmt: skip


def _thumbnail(row: PictureRow) -> Markup:
    assert row.thumbnail is not None
    return element(
        "img",
        src=f"data:image/webp;base64,{row.thumbnail.data}",
        alt=row.name,
        title=row.name,
        width=row.thumbnail.width,
        height=row.thumbnail.height,
        loading="lazy",
    )


def _gallery(page: DatasetPage) -> Markup:
    ids = sorted({id_ for row in page.pictures for id_ in row.findings}, key=_check_order)
    found = [("", "any"), ("*", "with a finding"), ("-", "without one"), *((id_, id_) for id_ in ids)]
    filters = [
        element("label", "Words in name or caption", element("input", type="search", id="filter-words", size=28)),
        _select("finding", "Finding", found),
        _select("role", "Role", _choices(row.role for row in page.pictures)),
        _select("concept", "Concept", _choices(row.concept for row in page.pictures)),
        _select("bucket", "Bucket", _choices(row.bucket for row in page.pictures)),
    ]
    return join(
        element(
            "section",
            element("h2", "Gallery"),
            element("div", *filters, class_="filters"),
            element("p", id="count", class_="muted", aria_live="polite"),
            element("p", "Arrow keys move, Enter opens, Escape closes.", class_="muted"),
            element("ul", id="grid", class_="grid", aria_label="Pictures"),
            element(
                "p",
                element("button", "Previous page", type="button", id="page-back", class_="button"),
                " ",
                element("button", "Next page", type="button", id="page-forth", class_="button"),
            ),
            element("dialog", id="detail", aria_labelledby="detail-name"),
            id="gallery",
            hidden="hidden",
        ),
        element(
            "noscript", element("section", element("p", "The gallery needs scripts; all else on this page does not."))
        ),
    )


def _check_order(id_: str) -> tuple[str, int]:
    return id_[:1], int(id_[1:]) if id_[1:].isdigit() else 0


def _choices(values: Any) -> list[tuple[str, str]]:
    return [("", "any"), *((value, value) for value in sorted(set(values)) if value)]


def _select(name: str, words: str, choices: Sequence[tuple[str, str]]) -> Markup:
    options = [element("option", shown, value=value) for value, shown in choices]
    return element("label", words, element("select", *options, id=f"filter-{name}"))


# --- figures -------------------------------------------------------------------------------------------------


def _statistics(page: DatasetPage) -> Markup:
    figures = page.statistics
    captions, tags, pictures = figures.captions, figures.tags, figures.pictures
    limit = f" (limit {captions.token_limit})" if captions.token_limit else ""
    rows = [
        ("Words per caption", captions.words),
        ("Tags per caption", captions.tags),
        (f"Tokens per caption, {captions.tokenizer}{limit}", captions.tokens),
        ("Width in pixels", pictures.width),
        ("Height in pixels", pictures.height),
    ]
    charts = [
        bar_chart("Most frequent tags", [(tag.tag, tag.items) for tag in tags.counts[:_TAGS]]),
        histogram_chart("Words per caption", captions.words.histogram) if captions.words else None,
        histogram_chart("Tokens per caption", captions.tokens.histogram) if captions.tokens else None,
        histogram_chart("Width over height", pictures.aspect),
        histogram_chart("Megapixels", pictures.megapixels),
        histogram_chart("Shorter side in pixels", pictures.shorter_side),
    ]
    shares = figures.completeness
    complete = [
        ("caption", shares.caption), ("trigger word", shares.trigger), ("mask", shares.mask), ("source", shares.source),
    ]  # fmt: skip
    pairs = [(f"{pair.first} + {pair.second}", f"{pair.items:,}", f"{pair.lift:.1f}") for pair in tags.pairs[:15]]
    variants = [
        (" · ".join(f"{one.tag} ({one.items})" for one in found.spellings),)
        for found in figures.consistency.variants[:15]
    ]
    return element(
        "section",
        element("h2", "Statistics"),
        element(
            "p",
            f"{tags.vocabulary:,} different tags in {tags.uses:,} uses, {tags.once:,} of them in one picture only. "
            f"{figures.consistency.share:.1%} of tag uses are in the usual spelling. "
            + ", ".join(f"{share:.0%} have a {name}" for name, share in complete if share is not None)
            + ".",
        ),
        _table(
            "How much, from the least to the most",
            ("", "least", "10 %", "median", "mean", "90 %", "most"),
            [(name, *_spread(found)) for name, found in rows if found is not None],
        ),
        element("div", *(element("figure", chart) for chart in charts if chart is not None), class_="charts"),
        _table("Tags that go together", ("tags", "pictures", "times as often as by chance"), pairs) if pairs else None,
        _table("One tag in several spellings", ("spellings, with their pictures",), variants) if variants else None,
        id="statistics",
    )


def _spread(found: Distribution) -> tuple[str, ...]:
    numbers = (found.minimum, found.p10, found.median, found.mean, found.p90, found.maximum)
    return tuple(f"{number:,.0f}" if number == int(number) else f"{number:,.1f}" for number in numbers)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table whose first column is text and whose others are numbers."""
    names = [
        element("th", name, scope="col", class_="number" if index else None) if name else element("td")
        for index, name in enumerate(head)
    ]
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell, class_="number") for cell in row[1:]))
        for row in rows
    ]
    table = element(
        "table", element("caption", title), element("thead", element("tr", *names)), element("tbody", *body)
    )
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=title)


def _buckets(page: DatasetPage) -> Markup:
    rows = [(row.size, f"{row.pictures:,}", row.batches, row.cropped, f"{row.enlarged:,}") for row in page.buckets]
    return element(
        "section",
        element("h2", "Buckets"),
        element("p", "Where training puts the pictures: the same computation that the trainer itself uses.",
                class_="muted"),
        _table("Buckets", ("width x height", "pictures", "batches per epoch", "cut away at most", "enlarged"), rows),
        id="buckets",
    )  # fmt: skip


# --- trainers, ledger, history -------------------------------------------------------------------------------


def _trainers(rows: Sequence[TrainerRow]) -> Markup:
    return element(
        "section",
        element("h2", "What trainers would see"),
        element("p", "Picture and caption as each program really reads them, where that differs from what is meant.",
                class_="muted"),
        *(_trainer(row) for row in rows),
        id="trainers",
    )  # fmt: skip


def _trainer(row: TrainerRow) -> Markup:
    notes = [
        element("li", element("span", _WORDS[severity], class_=f"pill {severity}"), f" {sentence} ",
                element("span", f"({count:,} {'picture' if count == 1 else 'pictures'})", class_="muted"))
        for severity, sentence, count in row.notes
    ]  # fmt: skip
    told = element("ul", *notes) if notes else element("p", "Everything is read as it is meant.")
    pairs = [_seen(example) for example in row.examples]
    looks = element("details", element("summary", f"{len(pairs)} examples"), *pairs) if pairs else None
    return join(element("h3", row.title), told, looks)


def _seen(row: SeenRow) -> Markup:
    meant = element(
        "figure", picture(row.meant, f"{row.name} as it is meant", side=160), element("figcaption", "meant")
    )
    seen = (
        element("figure", picture(row.seen, f"{row.name} as it is seen", side=160), element("figcaption", "seen"))
        if row.seen is not None
        else element("p", "This picture is not read.")
    )
    texts = [element("p", text or "(nothing)") for text in row.texts] or [element("p", "(no caption)")]
    cut = element("p", "Not read: ", element("span", row.cut, class_="unread")) if row.cut else None
    notes = [element("li", sentence) for _, sentence in row.notes]
    words = element("div", element("p", element("code", row.name)), *texts, cut, element("ul", *notes))
    return element("div", meant, seen, words, class_="pair")


def _ledger(page: DatasetPage) -> Markup:
    counts = [(f"{fate.replace('_', ' ')}: {rule}", f"{number:,}") for fate, rule, number in page.ledger_counts]
    rows = [
        element("tr", element("th", row.path, scope="row"), element("td", row.rule), element("td", row.detail))
        for row in page.left_out
    ]
    head = element("tr", *(element("th", name, scope="col") for name in ("file", "rule", "why")))
    table = element(
        "table", element("caption", "Files that were left out"), element("thead", head), element("tbody", *rows)
    )
    return element(
        "section",
        element("h2", "Ledger"),
        element("p", "Every file that was offered, and what became of it.", class_="muted"),
        _table("Files by what became of them", ("", "files"), counts),
        element("details", element("summary", f"{len(rows):,} files were left out"),
                element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Files left out"))
        if rows else None,
        id="ledger",
    )  # fmt: skip


def _history(page: DatasetPage) -> Markup:
    rows = [
        element(
            "tr",
            element("th", row.reference + (" (this one)" if row.reference == page.reference else ""), scope="row"),
            element("td", row.what),
            element("td", f"{row.items:,}", class_="number"),
            element("td", row.created),
        )
        for row in page.history
    ]
    head = element("tr", *(element("th", name, scope="col") for name in ("version", "made by", "pictures", "when")))
    table = element("table", element("caption", "Versions"), element("thead", head), element("tbody", *rows))
    return element(
        "section",
        element("h2", "History"),
        element("p", "Every change made a version; `undo` goes back one.", class_="muted"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Versions"),
        id="history",
    )
