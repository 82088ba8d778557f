"""``report.html``: one file, no scripts, nothing from elsewhere, that shows all of a tour."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

import lorasmith
from lorasmith.demo.charts import loss_chart
from lorasmith.demo.dataset_sections import dataset_sections
from lorasmith.demo.pieces import facts, pill, section, table
from lorasmith.demo.record import Judged, Record
from lorasmith.evaluation.verdict import Share
from lorasmith.files import write_atomically
from lorasmith.markup import Child, Markup, element, join, picture, verbatim

_SHOWN_PAIRS: Final = 8
_OUTCOME_TONES: Final = {"learned": "good", "not learned": "bad", "cannot tell": "note"}
_TITLES: Final = {
    "learned": "It learned “{word}”.",
    "not learned": "It did not learn “{word}”.",
    "cannot tell": "Whether it learned “{word}” cannot be told.",
}
_LEAK_TONES: Final = {"no leak": "good", "leaks": "bad", "cannot tell": "note"}


def write_report(record: Record, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, render(record).encode("utf-8"))


def render(record: Record) -> str:
    """The page as HTML."""
    sections = [
        _line(record),
        *dataset_sections(record),
        _training(record),
        _previews(record),
        _comparison(record),
        _measured(record),
        _certificate(record),
        _repeat(record),
    ]
    style = resources.files("lorasmith.demo").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        # Belt and braces: even if something slipped through, the page may load nothing and run nothing.
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        ),
        element("title", f"lorasmith: did it learn “{record.trigger_word}”?"),
        element("style", verbatim(style)),
    )
    body = element("body", _header(record), element("main", *sections), _footer(record))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


# --- sections ----------------------------------------------------------------------------------------------


def _header(record: Record) -> Markup:
    verdict = record.verdict
    _, _, detail = verdict.sentence.partition(": ")
    total = sum(share.total for share in (verdict.with_trigger, verdict.without_trigger, verdict.base))
    hero = [
        element("figure", picture(judged.picture, judged.prompt), element("figcaption", words))
        for judged, words in zip(_typical_pair(record), ("base", "with the adapter"), strict=False)
    ]
    return element(
        "header",
        element("p", "lorasmith", element("span", " · the tour", class_="muted"), class_="brand"),
        element(
            "div",
            element(
                "div",
                element("p", pill(f"measured on {total} pictures", _OUTCOME_TONES[verdict.outcome])),
                element("h1", _TITLES[verdict.outcome].format(word=record.trigger_word)),
                element("p", detail[:1].upper() + detail[1:], class_="lede"),
                element("p", verdict.leak_sentence, class_="muted"),
            ),
            element("div", *hero, class_="hero-pictures"),
            class_="hero",
        ),
        element("dl", *(_tile(name, value, note) for name, value, note in _tiles(record)), class_="tiles"),
    )


def _tiles(record: Record) -> list[tuple[str, str, str]]:
    trained = record.curation.undo.redone.pictures
    last = record.curves.loss[-1][0] if record.curves.loss else 0
    memory = f"at most {record.peak_memory / 1e9:.1f} GB of memory" if record.peak_memory else ""
    passed = bool(record.certificate.get("passed"))
    modules = record.certificate.get("modules", 0)
    return [
        ("From ZIP to verdict", _duration(record.seconds), memory),
        ("Pictures", f"{trained:,} trained", f"of {len(record.ledger):,} files, each with its reason"),
        ("Training", f"{last:,} steps", "killed once, resumed exactly" if record.curves.marks else ""),
        ("Load certificate", "passed" if passed else "failed", f"{modules} modules compared, none lost"
         if passed else "see below"),
    ]  # fmt: skip


def _line(record: Record) -> Markup:
    items = [
        element(
            "li",
            element("span", station.title, class_="station"),
            element("span", station.detail, class_="muted detail"),
            element("span", _duration(station.seconds), class_="seconds"),
        )
        for station in record.stations
    ]
    return section("line", "The straight line", "What happened, in order, with the time each step took.",
                    element("ol", *items, class_="line-steps"))  # fmt: skip


def _training(record: Record) -> Markup:
    legend = [
        element("li", element("span", class_=f"key {kind}"), words)
        for kind, words in (
            ("smooth", "training loss, smoothed"),
            ("raw", "training loss, every measurement"),
            ("validation", "validation loss: held-out pictures, always the same noise"),
            ("mark", "something happened"),
        )
        if (kind != "validation" or record.curves.validation) and (kind != "mark" or record.curves.marks)
    ]
    return section(
        "training",
        "Training, killed in the middle" if record.curves.marks else "Training",
        "The worker was killed without warning (SIGKILL) and started again. It went on from its last checkpoint as if "
        "nothing had happened: same order of pictures, same noise."
        if record.curves.marks
        else "The loss as it was measured.",
        element("figure", element("div", loss_chart(record.curves), class_="scroll"),
                element("figcaption", element("ul", *legend, class_="legend"))),
    )  # fmt: skip


def _previews(record: Record) -> Markup | None:
    if not record.previews:
        return None
    prompts = [prompt for prompt, _ in record.previews[0].pictures]
    columns = ("Prompt", *(f"step {row.step:,}" for row in record.previews))
    rows: list[tuple[Child, ...]] = [
        (
            prompt,
            *(
                picture(row.pictures[n][1], f"{prompt}, after {row.step} steps", class_="cell")
                for row in record.previews
                if n < len(row.pictures)
            ),
        )
        for n, prompt in enumerate(prompts)
    ]
    return section(
        "previews",
        "How it learned",
        "The same prompts and seeds at every stop.",
        table("Previews during training", columns, rows, scroll=True),
    )


def _comparison(record: Record) -> Markup:
    sets = _sets(record)
    shown = min(_SHOWN_PAIRS, *(len(pictures) for _, _, pictures in sets))
    columns = ("", *(f"seed {judged.seed}" for judged in record.with_trigger[:shown]))
    rows: list[tuple[Child, ...]] = [
        (element("strong", name), *(_judged(judged, record.subject) for judged in pictures[:shown]))
        for name, _, pictures in sets
    ]
    everything = [
        join(
            element("h3", f"{name}: {sum(j.found for j in pictures)} of {len(pictures)}"),
            element("div", *(_judged(judged, record.subject) for judged in pictures), class_="sheet"),
        )
        for name, _, pictures in sets
    ]
    return section(
        "comparison",
        "With and without, at the same seeds",
        f"Each column begins from the same noise. A tick marks where the detector finds the {record.subject}; it looks "
        "at pixels only and knows nothing of prompts.",
        table("Pictures at the same seeds", columns, rows, scroll=True),
        element("details", element("summary", f"All {sum(len(p) for _, _, p in sets)} pictures"), *everything),
    )


def _measured(record: Record) -> Markup:
    verdict = record.verdict
    bars = [
        _bar(name, share, limit)
        for name, share, limit in (
            (f"adapter + “{verdict.trigger_word}”", verdict.with_trigger, (verdict.bars.present, "needs more than")),
            ("adapter, without the word", verdict.without_trigger, (verdict.bars.leak, "leaks above")),
            (f"base + “{verdict.trigger_word}”", verdict.base, (verdict.bars.absent, "needs less than")),
        )
    ]
    return section(
        "measured",
        "The measured verdict",
        f"Share of pictures that show the {verdict.subject}, with 95 % intervals (Wilson). The verdict looks at the "
        "ends of the intervals, never at the shares alone, so few pictures give “cannot tell”.",
        element("div", *bars, class_="bars"),
        element("p", pill(verdict.outcome, _OUTCOME_TONES[verdict.outcome]), " ", verdict.sentence),
        element("p", pill(verdict.leak, _LEAK_TONES[verdict.leak]), " ", verdict.leak_sentence),
    )


def _certificate(record: Record) -> Markup:
    certificate = record.certificate
    passed = bool(certificate.get("passed"))
    difference, tolerance = certificate.get("largest_relative_difference"), certificate.get("tolerance")
    rows: list[tuple[str, Child]] = [
        ("File", element("code", record.adapter_file)),
        ("SHA-256", element("code", str(certificate.get("sha256", "")))),
        ("Number format", str(certificate.get("dtype", ""))),
        ("Keys used", f"{certificate.get('keys_consumed', '?')} of {certificate.get('keys_total', '?')}"),
        ("Modules compared", str(certificate.get("modules", "?"))),
        (
            "Largest difference",
            f"{difference:.1e} of a module's largest entry (allowed: {tolerance:.0e})"
            if isinstance(difference, float) and isinstance(tolerance, float)
            else "not reached",
        ),
        ("Changes the output", "yes" if certificate.get("output_changed") else "no"),
    ]
    findings = certificate.get("findings") or ()
    return section(
        "certificate",
        "The load certificate",
        "The exported file was loaded again by the real library into a fresh base, and every module's update was "
        "compared with the trained one. A file that fails is never called finished.",
        element("p", pill("passed" if passed else "failed", "good" if passed else "bad")),
        facts(rows),
        element("ul", *(element("li", str(finding)) for finding in findings)) if findings else None,
    )


def _repeat(record: Record) -> Markup:
    return section(
        "repeat",
        "Do it again",
        "The same commands give the same result on the same machine.",
        element("pre", element("code", "\n".join(record.commands)), tabindex="0", aria_label="commands"),
        element("details", element("summary", "The resolved config"),
                element("pre", element("code", record.config), tabindex="0", aria_label="config")),
        element("h3", "Machine and versions"),
        facts(record.machine),
    )  # fmt: skip


def _footer(record: Record) -> Markup:
    return element(
        "footer", f"lorasmith {lorasmith.__version__} · {record.created} · this page loads nothing and runs nothing"
    )


# --- pieces ------------------------------------------------------------------------------------------------


def _tile(name: str, value: str, note: str) -> Markup:
    return element(
        "div", element("dt", name), element("dd", value, class_="value"), element("dd", note, class_="muted")
    )


def _bar(name: str, share: Share, limit: tuple[float, str]) -> Markup:
    bar, words = limit
    track = element(
        "div",
        element("div", class_="fill", style=f"width:{share.value:.2%}"),
        element("div", class_="interval", style=f"left:{share.low:.2%};width:{share.high - share.low:.2%}"),
        element("div", class_="limit", style=f"left:{bar:.2%}"),
        class_="track",
        role="img",
        aria_label=f"{share}; {words} {bar:.0%}",
    )
    numbers = f"{share.low:.0%} to {share.high:.0%}; {words} {bar:.0%}"
    return element(
        "div",
        element("p", element("strong", name), element("span", f"{share.found} of {share.total}", class_="count")),
        track,
        element("p", numbers, class_="muted"),
        class_="bar",
    )


def _sets(record: Record) -> tuple[tuple[str, str, tuple[Judged, ...]], ...]:
    word = record.trigger_word
    return (
        (f"Base, with “{word}”", "base", record.base),
        (f"Adapter, with “{word}”", "with", record.with_trigger),
        ("Adapter, without the word", "without", record.without_trigger),
    )


def _judged(judged: Judged, subject: str) -> Markup:
    found = f"{subject} found" if judged.found else f"no {subject}"
    return element(
        "span",
        picture(judged.picture, f"{judged.prompt}, seed {judged.seed}: {found}", class_="cell"),
        element("span", "✓", class_="tick-mark", aria_hidden="true") if judged.found else None,
        class_="judged",
        title=judged.prompt,
    )


def _typical_pair(record: Record) -> tuple[Judged, ...]:
    """Base and adapter at one seed, each showing what most of its set shows; empty without pictures."""
    pairs = list(zip(record.base, record.with_trigger, strict=False))
    usual = (record.verdict.base.value >= 0.5, record.verdict.with_trigger.value >= 0.5)
    return next((pair for pair in pairs if (pair[0].found, pair[1].found) == usual), pairs[0] if pairs else ())


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
