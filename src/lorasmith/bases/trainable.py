"""All families as one table, made from what each says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lorasmith.families import Family

CARDS: Final = (8, 12, 16, 24, 48, 80)
"""Memory of the cards in the table, GB."""
_ROOM: Final = 0.92  # of a card; the rest is its driver's and what nobody foresaw


@dataclass(frozen=True)
class FamilyFacts:
    """One row. ``memory`` says for each predicted case and card how a step of batch 1 and rank 16 runs in bf16."""

    name: str
    title: str
    task: str
    objective: str
    text_encoders: int
    trains_text_encoders: bool
    resolution: int
    rank: int
    targets: str
    learning_rate: float
    bases: tuple[tuple[str, str, str], ...]
    """Name, licence, warning."""
    file_form: str
    example_key: str
    memory: Mapping[str, Mapping[int, str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def facts_of(family: Family) -> FamilyFacts:
    """What the table says of a family."""
    adapter, optimizer = family.defaults["adapter"], family.defaults["optimizer"]
    ending = "lora_down.weight + lora_up.weight + alpha" if family.file_form == "kohya" else "lora_A + lora_B.weight"
    return FamilyFacts(
        name=family.name,
        title=family.title,
        task=family.task,
        objective=" or ".join(sorted(name.replace("_", " ") for name in family.objectives)),
        text_encoders=len(family.text_encoder_parts),
        trains_text_encoders=bool(family.text_encoder_targets),
        resolution=family.default_resolution,
        rank=int(adapter["rank"]),
        targets=str(adapter["targets"]),
        learning_rate=float(optimizer["learning_rate"]),
        bases=tuple((base.name, base.license, base.warning) for base in family.pretrained),
        file_form=ending,
        example_key=family.key_names(family.denoiser_part, "…"),
        memory={case: fits(*needs) for case, needs in family.predicted_memory.items()},
    )


def fits(plain: float, checkpointed: float) -> dict[int, str]:
    """How a step of so many GiB, without and with gradient checkpointing, runs on each card; "" where it cannot."""
    return {
        card: "plain" if plain <= card * _ROOM else "checkpointing" if checkpointed <= card * _ROOM else ""
        for card in CARDS
    }
