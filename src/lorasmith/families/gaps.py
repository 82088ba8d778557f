"""What a family does not have, told from what it is: options that would do nothing are refused, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorasmith.families import Base, Family


def lacking(family: Family) -> dict[str, str]:
    """Config keys that a family does not use, with the reason: its own, and those of the objectives it has not."""
    found: dict[str, str] = {}
    if family.objectives == {"flow"}:
        why = "it learns by flow matching, whose noise levels have no such weight"
        found |= {
            "objective.min_snr_gamma": why,
            "objective.noise_offset": "its noise must stay plain: it is part of the target",
        }
    if "flow" not in family.objectives:
        why = "only flow families have it"
        found |= dict.fromkeys(
            ("objective.timestep_density", "objective.timestep_shift", "objective.loss_weighting"), why
        )
    if not family.reference_pictures[1]:
        found["data.reference_resolution"] = "it takes no reference pictures"
    if not family.frame_step:
        found |= dict.fromkeys(("data.frames", "data.fps", "data.cut", "sample.frames"), "it learns pictures, no clips")
    if not family.may_begin_with_picture:
        why = "every clip begins with its first frame" if family.begins_with_picture else "its clips begin with noise"
        found |= dict.fromkeys(("data.first_frame_conditioning", "sample.first_frame"), why)
    if not family.text_encoder_targets:
        why = "its text encoder is a large language model that stays as it is"
        found |= dict.fromkeys(("adapter.text_encoder", "optimizer.text_encoder_learning_rate"), why)
    return found | dict(family.lacks)


def without_guidance(base: Base) -> dict[str, str]:
    """What a base lacks whose denoiser is told no guidance, of a family of which others are."""
    if base.header.configs.get("transformer", {}).get("guidance_embeds"):
        return {}
    return {"objective.guidance": "this base has no guidance built in"}
