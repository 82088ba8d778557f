"""Whether an adapter learned its subject, said with the certainty that the number of pictures allows.

Three sets of pictures at the same seeds tell it: adapter with trigger word, adapter without, base with trigger
word. A detector that is no network says of each picture whether the subject is in it. Shares come with Wilson's
interval (Wilson 1927), and the verdict is decided by the intervals' ends, never by the shares themselves: a few
pictures give "cannot tell", not a lucky answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from PIL.Image import Image

Outcome = Literal["learned", "not learned", "cannot tell"]
LeakOutcome = Literal["no leak", "leaks", "cannot tell"]
CONFIDENCE_Z: Final = 1.959964  # of a two-sided 95 % interval


class Share(BaseModel):
    """``found`` of ``total`` pictures, with a 95 % Wilson interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    found: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.found > self.total:
            raise ValueError(f"found ({self.found}) cannot exceed total ({self.total})")
        return self

    @property
    def value(self) -> float:
        """The share, 0 to 1; 0 without pictures."""
        return self.found / self.total if self.total else 0.0

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return wilson_interval(self.found, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return wilson_interval(self.found, self.total)[1]

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.found} of {self.total}, 95 % interval {self.low:.0%} to {self.high:.0%})"


def wilson_interval(found: int, total: int, z: float = CONFIDENCE_Z) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) without pictures, for then nothing is known."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = found / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    low = 0.0 if found == 0 else max(0.0, centre - half)
    high = 1.0 if found == total else min(1.0, centre + half)
    return low, high


class Bars(BaseModel):
    """What counts as learned: the subject appears in more than ``present``, and in the base in less than ``absent``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    present: Annotated[float, Field(gt=0, lt=1)] = 0.5
    absent: Annotated[float, Field(gt=0, lt=1)] = 0.25
    leak: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Without the trigger word: above it leaks, below it does not."""


class Verdict(BaseModel):
    """The measured answer. ``sentence`` says it in words, ``leak_sentence`` what happens without the trigger word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    trigger_word: str
    with_trigger: Share
    without_trigger: Share
    base: Share
    bars: Bars = Bars()
    outcome: Outcome
    sentence: str
    leak: LeakOutcome
    leak_sentence: str


def judge(
    *,
    with_trigger: Iterable[Image],
    without_trigger: Iterable[Image],
    base: Iterable[Image],
    shows: Callable[[Image], bool],
    subject: str,
    trigger_word: str,
    bars: Bars | None = None,
) -> Verdict:
    """Look at all pictures with the detector ``shows`` and say what they prove.

    Args:
        with_trigger: adapter and trigger word.
        without_trigger: adapter, the same prompts without the trigger word.
        base: no adapter, with the trigger word.
        shows: whether a picture shows the subject.
        subject: what was to be learned, for the sentence: "mascot".
        trigger_word: the word that calls it.
        bars: what counts as present and absent.
    """
    return decide(
        with_trigger=count(with_trigger, shows),
        without_trigger=count(without_trigger, shows),
        base=count(base, shows),
        subject=subject,
        trigger_word=trigger_word,
        bars=bars,
    )


def count(pictures: Iterable[Image], shows: Callable[[Image], bool]) -> Share:
    """The share of pictures in which the detector finds the subject."""
    found = [shows(picture) for picture in pictures]
    return Share(found=sum(found), total=len(found))


def decide(
    *,
    with_trigger: Share,
    without_trigger: Share,
    base: Share,
    subject: str,
    trigger_word: str,
    bars: Bars | None = None,
) -> Verdict:
    """The verdict on counted pictures.

    Learned: the interval with the trigger word lies wholly above ``bars.present``, and wholly above the base's.
    Not learned: it lies wholly below, or wholly under what the base does anyway.
    """
    bars = bars or Bars()
    outcome: Outcome = "cannot tell"
    if with_trigger.low > bars.present and with_trigger.low > base.high and base.high < bars.absent:
        outcome = "learned"
    elif with_trigger.total and (with_trigger.high < bars.present or with_trigger.high < base.low):
        outcome = "not learned"
    leak: LeakOutcome = "cannot tell"
    if without_trigger.high < bars.leak:
        leak = "no leak"
    elif without_trigger.low > bars.leak:
        leak = "leaks"
    return Verdict(
        subject=subject,
        trigger_word=trigger_word,
        with_trigger=with_trigger,
        without_trigger=without_trigger,
        base=base,
        bars=bars,
        outcome=outcome,
        sentence=_sentence(outcome, with_trigger, base, f"the {subject}", trigger_word),
        leak=leak,
        leak_sentence=_leak_sentence(leak, without_trigger, subject, trigger_word),
    )


def _sentence(outcome: Outcome, adapter: Share, base: Share, subject: str, word: str) -> str:
    shares = (
        f"{subject} appears in {adapter.found} of {adapter.total} pictures with the adapter and “{word}”, "
        f"in {base.found} of {base.total} without the adapter"
    )
    if outcome == "learned":
        return f"Learned: {shares}."
    if outcome == "not learned":
        return f"Not learned: {shares}."
    if base.total and base.high >= adapter.low and base.value >= 0.5:
        return f"Cannot tell what was learned, because the base shows it too: {shares}."
    return f"Cannot tell yet: {shares}; more pictures or more training would decide it."


def _leak_sentence(leak: LeakOutcome, share: Share, subject: str, word: str) -> str:
    counted = f"without “{word}” the adapter shows the {subject} in {share.found} of {share.total} pictures"
    if leak == "no leak":
        return f"The trigger word controls it: {counted}."
    if leak == "leaks":
        return f"It leaks: {counted}. Captions that name other things, or pictures of them, would tie it to the word."
    return f"Whether it leaks cannot be told: {counted}."
