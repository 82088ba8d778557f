"""The repairs of ``lorasmith check --fix``: one finding, one operation, one version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lorasmith.cli.editing import made_line
from lorasmith.cli.prepare import summary
from lorasmith.cli.progress import meter
from lorasmith.cli.session import Session, plain
from lorasmith.cli.words import difference_document, difference_lines, tally_line
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.checks import Finding
    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion


def repairable(findings: Sequence[Finding]) -> dict[str, Finding]:
    """What --fix takes: the id, with a number behind it where several findings of one check have a repair."""
    having = [finding for finding in findings if finding.repair is not None]
    several = Counter(finding.id for finding in having)
    seen: Counter[str] = Counter()
    named: dict[str, Finding] = {}
    for finding in having:
        seen[finding.id] += 1
        named[finding.id if several[finding.id] == 1 else f"{finding.id}.{seen[finding.id]}"] = finding
    return named


def mend(
    session: Session,
    reference: str,
    version: DatasetVersion,
    wanted: str,
    looked_at: Lens,
    *,
    dry_run: bool,
    pictures: bool,
) -> None:
    """Carry out one repair, or say what it would change."""
    finding = _to_mend(session, version, wanted, looked_at, pictures=pictures)
    if finding is None:
        words = f"{version.reference}: {wanted.upper()} finds nothing, so there is nothing to mend."
        session.answer(summary(version) | {"before": version.reference, "finding": None}, words)
        return
    preview = session.studio.curate.preview_repair(version, finding, lens=looked_at)  # says why, if there is no repair
    difference = preview.difference
    document: dict[str, Any] = {"before": version.reference, "dry_run": dry_run, "finding": plain(finding)}
    document |= {name: getattr(preview, name) for name in ("scope", "total", "in_scope", "changed", "unchanged")}
    document |= {"examples": plain(preview.examples), "changes": difference_document(difference)}
    lines = [
        f"{finding.id}: {finding.message}",
        f"Repair: {preview.sentence}",
        f"On {preview.scope}: {preview.changed:,} changed, {preview.unchanged:,} left as they are.",
        f"{tally_line(difference)}.",
        *difference_lines(session, difference, 8),
    ]
    if dry_run:
        session.answer(document, *lines, "Nothing was changed: this was a dry run.")
        return
    made = session.studio.curate.repair(reference, finding, lens=looked_at)
    session.answer(document | summary(made), *lines, made_line(version.reference, made.reference, made.dataset))


def _to_mend(
    session: Session, version: DatasetVersion, wanted: str, looked_at: Lens, *, pictures: bool
) -> Finding | None:
    """The finding that --fix names; None when its check finds nothing.

    Raises:
        ConfigError: it names no check or several, its check was not carried out, or several findings have that id.
    """
    from lorasmith.datasets.checks import parse_ids

    written = wanted.strip().upper()
    ids = parse_ids([written.partition(".")[0]])
    if len(ids) != 1:
        raise ConfigError(f"'{wanted}' names {len(ids)} checks.", "Mend one at a time, so that each can be undone.")
    (id_,) = ids
    with meter(session, "checking") as progress:
        found = session.studio.curate.inspect(version, looked_at, pictures=pictures, only=ids, progress=progress)
    if id_ in found.not_run:
        raise ConfigError(f"{id_} was not carried out: {found.not_run[id_]}.", "Give what it needs, as to the check.")
    known = repairable(found.findings)
    if written in known:
        return known[written]
    if known:
        choices = [f"{name} ({finding.message})" for name, finding in known.items()]
        raise ConfigError(f"There is no single finding '{wanted}' to mend.", f"There are: {', '.join(choices)}")
    return found.findings[0] if found.findings else None
