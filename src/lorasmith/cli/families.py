"""families: what can be trained, made from what each family says of itself."""

from __future__ import annotations

from collections.abc import Sequence

import click

from lorasmith.bases.trainable import CARDS, FamilyFacts
from lorasmith.cli.session import Session, table, verb

_MARKS = {"plain": "yes", "checkpointing": "ckpt", "": "-"}


@verb("families")
@click.argument("name", required=False)
def families(session: Session, name: str | None) -> None:
    """List the families of bases that can be trained, or say all of one.

    The figures for cards are predicted from the models' shapes, for a batch of 1 in bf16: yes is without, ckpt with
    gradient checkpointing.
    """
    facts = session.studio.bases.families(name or "")
    lines = _one(facts[0]) if name else _all(facts)
    session.answer({"families": [fact.to_dict() for fact in facts]}, *lines)


def _all(facts: Sequence[FamilyFacts]) -> list[str]:
    rows = [
        (
            fact.name,
            fact.task,
            fact.objective,
            f"{fact.text_encoders}{' (trainable)' if fact.trains_text_encoders else ''}",
            f"rank {fact.rank}, {fact.learning_rate:g}, {fact.targets}, {fact.resolution} px",
            ", ".join(dict.fromkeys(license for _, license, _ in fact.bases)),
        )
        for fact in facts
    ]
    lines = table(("family", "task", "objective", "text encoders", "defaults", "licence"), rows)
    cases = [
        (f"{fact.title}, {case}", *(_MARKS[fits[card]] for card in CARDS))
        for fact in facts
        for case, fits in fact.memory.items()
    ]
    lines += ["", *table(("predicted, batch 1, bf16", *(f"{card} GB" for card in CARDS)), cases)]
    forms = [(fact.name, fact.example_key, fact.file_form) for fact in facts]
    return [*lines, "", *table(("family", "names in a LoRA file", "pieces"), forms)]


def _one(fact: FamilyFacts) -> list[str]:
    warned = [f"{name}: {warning}." for name, _, warning in fact.bases if warning]
    bases = [(name, license) for name, license, _ in fact.bases]
    return [f"{fact.title}: {fact.task}.", *table(("base", "licence"), bases), *warned, "", *_all([fact])]
