"""What is wrong or doubtful about a dataset, each finding under a stable id with the next thing to do.

Severity speaks of the version as it stands: an ``error`` would harm or stop training, a ``warning`` probably lowers
the result, ``info`` is worth knowing. A damaged file that the import left out is a warning: the version is sound
without it. ``docs/checks.md`` lists all of them.

    files.py       F   what became of the files
    pixels.py      P   size, form, light, damage
    duplicates.py  D   the same picture more than once
    captions.py    C   there, readable, with the trigger word, read to the end
    text.py        C   captions as text      tags.py  C   tags over the whole set
    sets.py        S   the set, its goal and its run
    pairs.py       R   references of edit models
    clips.py       V   clips

    looking.py     measures the pictures for the checks that need it    repairs.py   carries a finding's repair out

A check is a record (``finding.Check``) with a function that asks a ``CheckContext`` for what it needs. A check
whose needs are not met is named with the reason in ``Report.not_run``, never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lorasmith.datasets.buckets import Frames
from lorasmith.datasets.checks.context import (
    Bucket,
    CheckContext,
    CommonOverlay,
    FamilyFacts,
    Group,
    PictureSignals,
    Store,
    Subject,
    TrainingPlan,
    estimate_tokens,
)
from lorasmith.datasets.checks.finding import SEVERITIES, Check, Finding, Repair, Severity
from lorasmith.datasets.checks.health import Health, HealthPart, health
from lorasmith.datasets.checks.looking import look_at_pictures
from lorasmith.datasets.checks.proposing import RepairPreview, propose_repair
from lorasmith.datasets.checks.registry import CHECKS, parse_ids
from lorasmith.datasets.checks.repairs import preview_repair
from lorasmith.datasets.checks.sarif import to_sarif
from lorasmith.datasets.checks.trainers import TrainerName
from lorasmith.datasets.checks.trigger import TriggerReport, verify_trigger
from lorasmith.datasets.manifest import DatasetVersion

__all__ = [
    "CHECKS",
    "SEVERITIES",
    "Bucket",
    "Check",
    "CheckContext",
    "FamilyFacts",
    "Finding",
    "Health",
    "HealthPart",
    "Repair",
    "RepairPreview",
    "Report",
    "Severity",
    "Subject",
    "TrainerName",
    "TrainingPlan",
    "TriggerReport",
    "check",
    "estimate_tokens",
    "fails",
    "health",
    "inspect",
    "look_at_pictures",
    "parse_ids",
    "preview_repair",
    "propose_repair",
    "to_sarif",
    "verify_trigger",
]


@dataclass(frozen=True)
class Report:
    """Everything one pass over the checks said."""

    findings: tuple[Finding, ...]
    """Errors first, then in the order of the ids."""
    ran: tuple[str, ...]
    """Ids of the checks that were carried out."""
    not_run: Mapping[str, str]
    """Id to the reason why a check was not carried out."""


def inspect(
    context: CheckContext,
    *,
    only: Collection[str] | None = None,
    ignore: Collection[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Carry out all checks whose needs are met.

    Args:
        context: the version and what is known of it.
        only: ids to carry out, as ``parse_ids`` gives them; None means all.
        ignore: ids to pass over.
        progress: called before each check with how many are done, how many there are and its title.
    """
    findings: list[Finding] = []
    ran: list[str] = []
    not_run: dict[str, str] = {}
    for done, check_ in enumerate(CHECKS.values()):
        reasons = [reason for need in check_.needs if (reason := context.missing(need))]
        if check_.id in ignore or (only is not None and check_.id not in only):
            not_run[check_.id] = "it was not asked for"
        elif reasons:
            not_run[check_.id] = reasons[0]
        else:
            if progress is not None:
                progress(done, len(CHECKS), check_.title)
            findings.extend(check_.findings(context))
            ran.append(check_.id)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))  # stable: ids keep their order
    return Report(tuple(findings), tuple(ran), MappingProxyType(not_run))


def check(
    version: DatasetVersion,
    store: Store,
    *,
    trigger_word: str = "",
    resolution: int = 512,
    max_tokens: int = 75,
    count_tokens: Callable[[str], int] | None = None,
    bucket: Bucket | None = None,
    subject: Subject | None = None,
    family: str = "",
    frames: Frames | None = None,
    bucket_multiple: int = 64,
    trainer: TrainerName = "lorasmith",
    plan: TrainingPlan | None = None,
    signals: Mapping[str, PictureSignals] | None = None,
    groups: Sequence[Group] | None = None,
    overlay: CommonOverlay | None = None,
    compared: Sequence[str] | None = None,
    known_tags: Collection[str] | None = None,
    ignore: Collection[str] = (),
) -> list[Finding]:
    """Everything that can be told from a version, its ledger and what was measured on it, errors first.

    ``inspect`` says in addition which checks were not carried out, and why.

    Args:
        version: what to check.
        store: where its pictures lie; checked to be there.
        trigger_word: looked for in every caption; empty looks for none.
        resolution: side in pixels of the square whose area is trained.
        max_tokens: how many tokens of a caption the family's text encoder reads.
        count_tokens: the tokenizer's count; without it tokens are estimated from words, and the message says so.
        bucket: the trainer's bucket of a picture; without it that of ``datasets.buckets``.
        subject: what is learned, for the number of pictures it needs.
        family: name of the family of base models it is meant for.
        frames: how the family shows clips; None when it takes pictures alone.
        bucket_multiple: the family's step of bucket sides in pixels.
        trainer: who shall read the files.
        plan: the settings of the run; without it nothing is said about steps and batches.
        signals: what was measured on the pictures, by item name.
        groups: near duplicates over the version's items.
        overlay: a mark common to the pictures.
        compared: names of the items that were compared for such a mark, in order.
        known_tags: the tags that a tag-trained base knows.
        ignore: ids of checks to pass over.

    Raises:
        ConfigError: no such trainer.
    """
    context = CheckContext(
        version,
        store,
        trigger_word=trigger_word,
        goal=subject,
        family=FamilyFacts(family, max_tokens, bucket_multiple, resolution, frames),
        trainer=trainer,
        plan=plan,
        bucket=bucket,
        count_tokens=count_tokens,
        signals=signals,
        groups=groups,
        overlay=overlay,
        compared=compared,
        known_tags=known_tags,
    )
    return list(inspect(context, ignore=ignore).findings)


def fails(findings: Collection[Finding], fail_on: Severity = "error", *, ignore: Collection[str] = ()) -> bool:
    """Whether there is a finding as grave as ``fail_on`` or graver, for an exit code."""
    grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return any(finding.severity in grave and finding.id not in ignore for finding in findings)
