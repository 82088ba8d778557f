"""Pictures that leave this machine do so only after the user has agreed to it, once for every place."""

from __future__ import annotations

from pathlib import Path

from lorasmith.captioners import Need
from lorasmith.fetching import Consents, Notice


def notice_of(place: str, *, references: bool = False) -> Notice:
    """What the user agrees to before pictures go to a place, alone or each with its references."""
    if references:
        return Notice(
            f"send-pairs-to:{place}",
            f"Pictures and their references leave this machine for {place}",
            f"Every picture that is captioned is sent to {place}, and all of its references with it, in one request "
            "with the prompt. What becomes of them there is said in the terms of whoever runs it; it may cost money "
            "for every one of these pictures, and they may be kept.",
        )
    return Notice(
        f"send-to:{place}",
        f"Pictures leave this machine for {place}",
        f"Every picture that is captioned is sent to {place}, with the prompt. What becomes of it there is said in the "
        "terms of whoever runs it; it may cost money, and it may be kept.",
    )


def refuse_unless_agreed(need: Need, home: Path) -> None:
    """Go on only when nothing leaves, or when the user agreed.

    Raises:
        ConsentNeeded: holding what to agree to, and how.
    """
    if need.sends_to:
        Consents(home).require(notice_of(need.sends_to, references=need.sends_references))
