"""Regular expressions that cannot run away.

Python's engine goes back and tries again, which takes exponential time for a pattern such as ``(a+)+b``, and
nothing can stop it from outside. So a pattern is read before it runs:

* what is repeated may hold neither a repetition nor an alternative, and there are no back references: what is
  exponential cannot be written;
* for what is left, the worst case is counted: every start in the text, times the choices of every repetition that
  could have stopped elsewhere. ``\\w+ `` stops in one place, because a blank is no letter; ``.*x`` in as many as the
  text has signs. A text for which this exceeds ``STEPS`` is not searched; ``longest`` says how long it may be.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

LONGEST_PATTERN: Final = 300
STEPS: Final = 200_000_000
"""Tries of the engine for one text in the worst case: a few seconds."""
_LONGEST_REPEAT: Final = 1000
_NO_LIMIT: Final = 5_000_000

_TOKEN: Final = re.compile(
    r"(?P<group>\((?:\?(?::|=|!|<=|<!|P<\w+>))?)|(?P<close>\))|(?P<bar>\|)"
    r"|(?P<repeat>[*+?]|\{\d*,?\d*\})(?P<lazy>\??)(?P<possessive>\+?)"
    r"|(?P<anchor>\^|\$|\\[AbBZ])|(?P<reference>\\[1-9])"
    r"|(?P<atom>\[\^?\]?(?:[^\]\\]|\\.)*\]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.)",
    re.DOTALL,
)
_BOUNDS: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")


@dataclass(frozen=True)
class _Piece:
    atom: str
    """One sign or class; empty for the bounds of a group, where anything may stand."""
    fewest: int = 1
    most: int | None = 1
    """None: without limit."""


_EDGE: Final = _Piece("")  # of a group that is there exactly once
_ASIDE: Final = _Piece("", 3, 3)  # where it looks ahead or back
_FORK: Final = _Piece("", 2, 2)  # where the engine may go on in several ways


@dataclass(frozen=True)
class BoundedPattern:
    """A regular expression whose worst case is known."""

    pattern: re.Pattern[str]
    factors: tuple[int | None, ...]
    """Choices of the repetitions that could stop elsewhere; None: as many as the text has signs."""
    scans: bool
    """Whether it repeats without limit at all: then every start may read the rest of the text once."""

    required: str = ""
    """What every text holds in which the pattern is found; empty when that is not plain to see."""
    within_cells: bool = False
    """Whether what it finds never reaches over a comma, nor depends on what stands beyond one."""

    @cached_property
    def longest(self) -> int:
        """The longest text, in characters, whose worst case is within ``STEPS``."""
        fixed = math.prod(factor for factor in self.factors if factor is not None)
        choices = max(self.factors.count(None), int(self.scans))
        return min(_NO_LIMIT, int((STEPS / fixed) ** (1 / (choices + 1))))  # every start is a choice too


def bounded(pattern: str, *, ignore_case: bool = False) -> BoundedPattern:
    """Compile a pattern after reading it.

    Raises:
        ValueError: it is too long, invalid, or could take exponential time; in words for the user.
    """
    if not pattern:
        raise ValueError("the pattern is empty")
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"the pattern has {len(pattern)} characters; {LONGEST_PATTERN} are read")
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    try:
        compiled = re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as cause:
        raise ValueError(f"it is no regular expression: {cause}") from cause
    pieces = _read(pattern)
    alphabet = {chr(code) for code in range(0x180)} | set(pattern) | set(pattern.swapcase())
    scans = any(piece.most is None for piece in pieces)
    found = BoundedPattern(
        compiled,
        tuple(_factors(pieces, alphabet, flags)),
        scans,
        "" if ignore_case else _required(pieces),
        _stays_within_cells(pieces, pattern, flags),
    )
    if found.longest < 100:
        raise ValueError(
            "it has so many repetitions side by side that captions of 100 characters could take minutes; "
            "use narrower classes such as [^,]* or fewer of them"
        )
    return found


def _read(pattern: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    groups: list[int] = []  # where each open group begins in pieces
    simple: list[bool] = []  # whether it holds neither repetition nor alternative so far
    closed: tuple[int, bool] | None = None  # the group that ended just now
    for match in _TOKEN.finditer(pattern):
        text = match[0]
        if match["group"]:
            if text == "(" and pattern[match.end() : match.end() + 1] == "?":
                raise ValueError(f"'(?{pattern[match.end() + 1 : match.end() + 2]}' is not supported")
            groups.append(len(pieces))
            simple.append(True)
            pieces.append(_EDGE if text in ("(", "(?:") or "P<" in text else _ASIDE)
            continue
        if match["close"]:
            closed = (groups.pop(), simple.pop())
            if simple and not closed[1]:
                simple[-1] = False
            pieces.append(_EDGE)
            continue
        if match["repeat"] and _counts(match["repeat"]):
            _repeat(pieces, match, closed)
            simple[:] = [False] * len(simple)
        elif match["reference"]:
            raise ValueError("back references take exponential time and are not supported in a pattern")
        elif match["bar"]:
            simple[:] = [False] * len(simple)
            pieces.append(_FORK)
        elif not match["anchor"]:
            pieces.append(_Piece(text))
        closed = None
    return pieces


def _counts(text: str) -> bool:
    """Whether braces are a repetition; ``{`` alone and ``{,}`` are text in some versions and refused elsewhere."""
    bounds = _BOUNDS.fullmatch(text)
    return bounds is None or bool(bounds[1] or bounds[3])


def _repeat(pieces: list[_Piece], match: re.Match[str], closed: tuple[int, bool] | None) -> None:
    if match["possessive"]:
        raise ValueError("possessive repetitions are not supported")
    text = match["repeat"]
    fewest, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(text, (0, 0))
    bounds = _BOUNDS.fullmatch(text)
    if bounds:
        fewest = int(bounds[1] or 0)
        most = (int(bounds[3]) if bounds[3] else None) if bounds[2] else fewest
    if max(fewest, most or 0) > _LONGEST_REPEAT:
        raise ValueError(f"it repeats more than {_LONGEST_REPEAT} times")
    if closed is None:
        pieces[-1] = replace(pieces[-1], fewest=fewest, most=most)
        return
    start, is_simple = closed
    if (most is None or most > 1) and not is_simple:
        raise ValueError("a repeated group holds a repetition or an alternative, which can take exponential time")
    pieces[start] = _FORK
    pieces.append(_Piece("", fewest, most))


def _factors(pieces: list[_Piece], alphabet: set[str], flags: re.RegexFlag) -> list[int | None]:
    """The choices of each repetition that what follows does not settle."""
    signs: dict[str, frozenset[str]] = {}

    def reads(atom: str) -> frozenset[str]:
        if atom not in signs:
            single = re.compile(atom, flags | re.DOTALL)
            signs[atom] = frozenset(sign for sign in alphabet if single.fullmatch(sign))
        return signs[atom]

    factors: list[int | None] = []
    for place, piece in enumerate(pieces):
        if piece.fewest == piece.most:
            continue
        rest = pieces[place + 1 :]
        if not piece.atom:
            factors.append(None if piece.most is None else piece.most - piece.fewest + 1)
            continue
        if not any(other.atom or other.fewest != other.most for other in rest):
            continue  # nothing behind it can fail
        follower = next((other for other in rest if other is not _EDGE), _FORK)
        if follower.atom and follower.fewest >= 1 and reads(piece.atom).isdisjoint(reads(follower.atom)):
            continue
        factors.append(None if piece.most is None else piece.most - piece.fewest + 1)
    return factors


def _stays_within_cells(pieces: list[_Piece], pattern: str, flags: re.RegexFlag) -> bool:
    """Whether no sign of it reads a comma, and none looks at what is around it but at the bounds of words."""
    if _ASIDE in pieces or "\\B" in pattern:
        return False
    return not any(piece.atom and re.fullmatch(piece.atom, ",", flags | re.DOTALL) for piece in pieces)


def _required(pieces: list[_Piece]) -> str:
    """The longest run of plain signs that every match holds."""
    if any(piece.fewest == 2 and not piece.atom for piece in pieces) or _ASIDE in pieces:
        return ""
    runs = [""]
    for piece in pieces:
        if len(piece.atom) == 1 and piece.atom != "." and piece.fewest == piece.most == 1:
            runs[-1] += piece.atom
        elif piece is not _EDGE:
            runs.append("")
    return max(runs, key=len)
