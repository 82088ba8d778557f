"""The schedulers a person can ask for: short names, diffusers' classes, and A1111's words for them.

The base's scheduler config stays as it is; only the class changes (``from_config``). A class that does not know a
setting which the base was trained with (zero terminal SNR, say) would drop it without a word and paint grey:
that is refused here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from lorasmith.errors import ConfigError

AS_THE_BASE: Final = "base"


@dataclass(frozen=True)
class SchedulerChoice:
    """A diffusers class, what is set on top of the base's config, and the name in A1111's parameters."""

    class_name: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)


SCHEDULERS: Final[Mapping[str, SchedulerChoice]] = MappingProxyType(
    {
        "ddim": SchedulerChoice("DDIMScheduler", "DDIM"),
        "ddpm": SchedulerChoice("DDPMScheduler", "DDPM"),
        "dpmpp_2m": SchedulerChoice("DPMSolverMultistepScheduler", "DPM++ 2M"),
        "dpmpp_2m_karras": SchedulerChoice(
            "DPMSolverMultistepScheduler", "DPM++ 2M Karras", {"use_karras_sigmas": True}
        ),
        "dpmpp_2m_sde": SchedulerChoice(
            "DPMSolverMultistepScheduler", "DPM++ 2M SDE", {"algorithm_type": "sde-dpmsolver++"}
        ),
        "euler": SchedulerChoice("EulerDiscreteScheduler", "Euler"),
        "euler_a": SchedulerChoice("EulerAncestralDiscreteScheduler", "Euler a"),
        "heun": SchedulerChoice("HeunDiscreteScheduler", "Heun"),
        "lms": SchedulerChoice("LMSDiscreteScheduler", "LMS"),
        "pndm": SchedulerChoice("PNDMScheduler", "PLMS"),
        "unipc": SchedulerChoice("UniPCMultistepScheduler", "UniPC"),
    }
)
_TRAINED_WITH = {"rescale_betas_zero_snr": False, "prediction_type": "epsilon", "timestep_spacing": None}


def scheduler_for(name: str, current: Any) -> Any:
    """The scheduler to sample with, made from the config of the base's own (``current``); ``base`` keeps that.

    Raises:
        ConfigError: an unknown name, or a class that cannot express what the base was trained with.
    """
    if name == AS_THE_BASE:
        return current
    import diffusers

    if type(current).__name__.startswith("FlowMatch"):
        raise ConfigError(
            f"The scheduler '{name}' is of discrete diffusion, and this base learns by flow matching.",
            f"Choose {AS_THE_BASE}.",
        )
    choice = SCHEDULERS.get(name)
    if choice is None:
        raise ConfigError(f"There is no scheduler '{name}'.", f"There are: {', '.join((AS_THE_BASE, *SCHEDULERS))}.")
    kind = getattr(diffusers, choice.class_name)
    dropped = _dropped_settings(kind, current.config)
    if dropped:
        able = [key for key, other in SCHEDULERS.items()
                if not _dropped_settings(getattr(diffusers, other.class_name), current.config)]  # fmt: skip
        raise ConfigError(
            f"The scheduler '{name}' cannot express what this base was trained with ({', '.join(dropped)}).",
            f"Choose one of: {', '.join((AS_THE_BASE, *able))}.",
        )
    return kind.from_config(current.config, **choice.settings)


def scheduler_title(name: str, current: Any) -> str:
    """A1111's word for the scheduler, or diffusers' class name where A1111 has none."""
    if name in SCHEDULERS:
        return SCHEDULERS[name].title
    class_name: str = type(current).__name__
    titles = [choice.title for choice in SCHEDULERS.values() if choice.class_name == class_name]
    return titles[0] if titles else class_name.removesuffix("Scheduler")


def _dropped_settings(kind: Any, config: Mapping[str, Any]) -> list[str]:
    """Settings of the base's config that decide the outcome and that ``kind`` has no parameter for."""
    known = inspect.signature(kind.__init__).parameters
    return [
        f"{key}={config[key]}"
        for key, neutral in _TRAINED_WITH.items()
        if config.get(key, neutral) not in (neutral, None) and key not in known
    ]
