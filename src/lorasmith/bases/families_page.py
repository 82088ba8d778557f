"""``docs/families.md``, made from what each family says of itself: ``python -m lorasmith.bases.families_page``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from lorasmith.bases.detection import registered_families
from lorasmith.bases.trainable import CARDS, facts_of

if TYPE_CHECKING:
    from lorasmith.families import Family

_HEAD: Final = """\
# Families

Written by `python -m lorasmith.bases.families_page`; a test fails when it is stale.
"""
_MEMORY: Final = """\
## What runs where

Predicted, not measured on a card: a step of batch 1 in bf16 with an attention adapter of rank 16, computed from the
shapes of the models, with 8 % of the card left free. `yes` as it is,
`ckpt` with gradient checkpointing, `-` not in bf16.
"""
_FORMS: Final = """\
## The LoRA file

The one form that diffusers and the user interfaces read; `lorasmith lora convert` writes the others.
"""
_MARKS: Final = {"plain": "yes", "checkpointing": "ckpt", "": "-"}


def page() -> str:
    """All families as Markdown."""
    families = list(registered_families().values())
    facts = [facts_of(family) for family in families]
    lines = [_HEAD]
    lines += _table(
        ("family", "title", "task", "objective", "text encoders", "defaults", "prompt", "size"),
        (
            (
                f"`{fact.name}`",
                fact.title,
                fact.task,
                fact.objective,
                f"{fact.text_encoders}{', trainable' if fact.trains_text_encoders else ''}",
                f"rank {fact.rank}, {fact.learning_rate:g}, {fact.targets}, {fact.resolution} px",
                f"{family.max_prompt_tokens} tokens",
                _sizes(family),
            )
            for fact, family in zip(facts, families, strict=True)
        ),
    )
    lines += ["## Bases", ""]
    lines += _table(
        ("base", "family", "repository", "licence", "mind"),
        (
            (base.name, f"`{family.name}`", base.repository, base.license, base.warning)
            for family in families
            for base in family.pretrained
        ),
    )
    refused = [(family, variant, reason) for family in families for variant, reason in family.refused.items()]
    lines += ["Told apart and not trained:", ""]
    lines += _table(
        ("family", "variant", "reason"),
        ((f"`{family.name}`", variant.replace("_", " "), reason) for family, variant, reason in refused),
    )
    lines += [_MEMORY]
    lines += _table(
        ("base", *(f"{card} GB" for card in CARDS)),
        (
            (f"{fact.title}, {case}", *(_MARKS[fits[card]] for card in CARDS))
            for fact in facts
            for case, fits in fact.memory.items()
        ),
    )
    without = [fact.title for fact in facts if not fact.memory]
    if without:
        lines += [f"Without figures: {', '.join(without)}.", ""]
    lines += [_FORMS]
    lines += _table(
        ("family", "names", "pieces", "alpha", "attention", "attention_ff adds"),
        (
            (
                f"`{fact.name}`",
                f"`{fact.example_key}`",
                f"`{fact.file_form}`",
                "beside them" if family.file_form == "kohya" else "folded in",
                _targets(family.target_presets["attention"]),
                _targets(
                    t for t in family.target_presets["attention_ff"] if t not in family.target_presets["attention"]
                ),
            )
            for fact, family in zip(facts, families, strict=True)
        ),
    )
    return "\n".join(lines).rstrip("\n") + "\n"


def _sizes(family: Family) -> str:
    """Published sizes of the denoiser; a family that does not say has none."""
    if len(family.billions) == 1:
        return f"{next(iter(family.billions.values())):g} B"
    return ", ".join(f"{variant.replace('_', ' ')} {size:g} B" for variant, size in family.billions.items())


def _targets(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') or ' ' for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body, ""]


if __name__ == "__main__":
    sys.stdout.write(page())
