"""check: what would spoil a training, for people and for machines; ``mending`` has the repairs."""

from __future__ import annotations

import json
import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.completion import complete_dataset
from lorasmith.cli.lens import lens_of, lens_options
from lorasmith.cli.mending import mend, repairable
from lorasmith.cli.prepare import summary
from lorasmith.cli.progress import meter
from lorasmith.cli.session import Session, count, listed, plain, table, verb
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.checks import Finding, Health, Report
    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion

_FOUND: Final = 3
_TITLES: Final = {"error": ("Errors", "red"), "warning": ("Warnings", "yellow"), "info": ("Worth knowing", "blue")}
_FAIL_ON: Final = ("error", "warning", "info", "never")
_WIDEST: Final = 110  # columns of text that is wrapped


def _list_checks(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from lorasmith.datasets.checks import CHECKS

    rows = [(check.id, check.severity, check.title, ", ".join(check.needs)) for check in CHECKS.values()]
    fields = ("id", "severity", "title", "why", "source", "fix", "needs")
    document = {"checks": [{name: plain(getattr(check, name)) for name in fields} for check in CHECKS.values()]}
    context.ensure_object(Session).answer(document, *table(("id", "severity", "what it looks for", "needs"), rows))
    context.exit()


@verb("check")
@click.argument("dataset", shell_complete=complete_dataset)
@lens_options("goal", "trainer", "batch_size", "epochs")
@click.option(
    "--known-tags",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The tags that a tag-trained base knows: text or CSV, the tag first.",
)
@click.option("--no-pictures", is_flag=True, help="Do not look at pixels: no blur, duplicates, watermarks.")
@click.option("--only", multiple=True, metavar="ID", help="Only these checks: C5, C, P1-P5; repeatable.")
@click.option("--ignore", multiple=True, metavar="ID", help="Without these checks; repeatable.")
@click.option(
    "--fail-on",
    type=click.Choice(_FAIL_ON),
    default="error",
    show_default=True,
    help="The least severity that ends it with exit code 3.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say why each finding matters, and what that rests on.")
@click.option("--fix", metavar="ID", help="Carry out the repair of this finding, as one new version.")
@click.option("--dry-run", is_flag=True, help="With --fix: say what would change, and change nothing.")
@click.option(
    "--sarif", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write a SARIF 2.1.0 log."
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write one HTML page."
)
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_checks, help="List all checks.")
@click.pass_context
def check(
    context: click.Context,
    session: Session,
    /,
    *,
    dataset: str,
    no_pictures: bool,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    verbose: bool,
    fix: str | None,
    dry_run: bool,
    sarif: Path | None,
    report: Path | None,
    **lens: Any,
) -> None:
    """Find what would spoil a training.

    \b
      lorasmith check cats --base sandbox --trigger-word ohwx --goal character
      lorasmith check cats --fix C12 --dry-run
      lorasmith check cats --ignore P1-P5 --fail-on warning --sarif check.sarif

    DATASET is a name, which means the present version, or name@number. Errors found end it with exit code 3; --fail-on
    says from which severity on.
    """
    from lorasmith.datasets.checks import fails, parse_ids

    if dry_run and fix is None:
        raise ConfigError("--dry-run says nothing without --fix.", "A check alone changes nothing.")
    ignored, chosen = parse_ids(ignore), parse_ids(only) if only else None
    looked_at, version = lens_of(session, lens), session.studio.dataset(dataset)
    if fix is not None:
        mend(session, dataset, version, fix, looked_at, dry_run=dry_run, pictures=not no_pictures)
        return
    with meter(session, "checking") as progress:
        # A SARIF log keeps what is ignored, marked as such; without one it need not be looked for.
        passed_over = frozenset[str]() if sarif is not None else ignored
        found = session.studio.curate.inspect(
            version, looked_at, pictures=not no_pictures, only=chosen, ignore=passed_over, progress=progress
        )
    shown = _without(found, ignored)
    health = session.studio.curate.health(version, shown)
    files = _write_files(session, version, found, ignored, looked_at, sarif, report)
    lines = [f"{version.reference}: {count(len(version.items), 'picture')}. {looked_at.words}"]
    again = f"lorasmith check {shlex.quote(dataset)}{_looked_at_again(context, lens)} --fix"
    lines += _finding_lines(session, again, shown.findings, verbose=verbose)
    lines += ["", *_not_run_lines(shown.not_run), *_health_lines(health, partly=bool(shown.not_run)), *files.values()]
    tally = Counter(finding.severity for finding in shown.findings)
    ending = ", ".join(count(number, severity) for severity, number in tally.items()) or "nothing to mend"
    document = summary(version) | _document(shown, health) | {"looked_at": looked_at.words, "files": files}
    session.answer(document, *lines, f"{version.reference}: {ending.replace('infos', 'info')}.")
    failed = fail_on != "never" and fails(shown.findings, fail_on)  # type: ignore[arg-type]
    context.exit(_FOUND if failed else 0)


def _without(found: Report, ignored: Collection[str]) -> Report:
    """A report without what is ignored."""
    from dataclasses import replace

    said = dict.fromkeys((id_ for id_ in found.ran if id_ in ignored), "it was not asked for")
    return replace(
        found,
        findings=tuple(finding for finding in found.findings if finding.id not in ignored),
        ran=tuple(id_ for id_ in found.ran if id_ not in ignored),
        not_run={**found.not_run, **said},
    )


def _document(found: Report, health: Health) -> dict[str, Any]:
    parts = [plain(part) | {"points": part.points} for part in health.parts]
    return {
        "findings": plain(found.findings),
        "ran": plain(found.ran),
        "not_run": plain(found.not_run),
        "health": {"score": health.score, "parts": parts},
    }


def _write_files(
    session: Session,
    version: DatasetVersion,
    found: Report,
    ignored: Collection[str],
    looked_at: Lens,
    sarif: Path | None,
    report: Path | None,
) -> dict[str, str]:
    """The log and the page that were asked for; their paths."""
    from lorasmith.datasets.checks import to_sarif

    files: dict[str, str] = {}
    if sarif is not None:
        log = to_sarif(found.findings, ignore=ignored, dataset=version.reference)
        sarif.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
        files["sarif"] = str(sarif.absolute())
    if report is not None:
        from lorasmith.cli.shipping import write_page

        write_page(session, version.reference, report, looked_at)
        files["report"] = str(report.absolute())
    return files


def _looked_at_again(context: click.Context, names: Collection[str]) -> str:
    """The options of the lens that were given, as they would be given again: a repair needs the same."""
    from click.core import ParameterSource

    given = [name for name in names if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    words = (f" --{name.replace('_', '-')} {shlex.quote(str(context.params[name]))}" for name in given)
    return "".join(words)


def _finding_lines(session: Session, again: str, findings: Sequence[Finding], *, verbose: bool) -> list[str]:
    lines: list[str] = []
    commands = {id(finding): command for command, finding in repairable(findings).items()}
    for severity, (title, color) in _TITLES.items():
        ours = [finding for finding in findings if finding.severity == severity]
        if ours:
            shown = click.style(title, fg=color, bold=True) if session.coloured else title
            lines += ["", f"{shown} ({len(ours)})"]
        for finding in ours:
            lines += _wrapped(finding.message, f"  {finding.id:<4}", "      ")
            if finding.items:
                lines.append(f"      {listed(finding.items)}")
            if verbose:
                lines += _wrapped(finding.why, "      Why: ", "        ")
                lines += _wrapped(finding.source, "      Source: ", "        ")
            lines += _wrapped(finding.fix, "      Fix: ", "        ")
            if finding.repair is not None:
                lines += _wrapped(finding.repair.sentence, "      Repair: ", "        ")
                lines.append(f"        {again} {commands[id(finding)]}")
    return lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    return textwrap.wrap(
        text,
        max(40, width),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _not_run_lines(not_run: Mapping[str, str]) -> list[str]:
    """Checks that were not carried out, by reason."""
    by_reason: dict[str, list[str]] = {}
    for id_, reason in not_run.items():
        by_reason.setdefault(reason, []).append(id_)
    lines: list[str] = []
    for reason, ids in by_reason.items():
        lines += _wrapped(f"{', '.join(_ranges(ids))}: {reason}.", "  ", "    ")
    return ["Not carried out", *lines, ""] if lines else []


def _ranges(ids: Sequence[str]) -> list[str]:
    """Ids with runs as ``C1-C7``, in the order of the table."""
    from lorasmith.datasets.checks import CHECKS

    order = list(CHECKS)
    runs: list[list[str]] = []
    for id_ in sorted(ids, key=order.index):
        follows = runs and runs[-1][-1][0] == id_[0] and order.index(runs[-1][-1]) + 1 == order.index(id_)
        if follows:
            runs[-1].append(id_)
        else:
            runs.append([id_])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def _health_lines(health: Health, *, partly: bool) -> list[str]:
    rows = [(f"  {p.name}", f"{p.points:.0f} of {100 * p.weight:.0f}".rjust(8), p.sentence) for p in health.parts]
    title = f"Health {health.score} of 100{', as far as it was looked at' if partly else ''}"
    return [title, *table(("  part", "points", "because"), rows)[1:], ""]
