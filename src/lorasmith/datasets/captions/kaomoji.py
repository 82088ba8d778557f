"""Faces written in signs: tags whose underscores, brackets or commas are eyes, cheeks and tears, and no grammar."""

from __future__ import annotations

import re
from typing import Final

# fmt: off
KAOMOJI: Final = frozenset((
    "0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^", "o_o",
    "u_u", "x_x", "|_|", "||_||",
))
# fmt: on
"""The faces that the WD taggers know; their vocabulary keeps the underscore in these and in no other tag."""

COMMA_FACES: Final = frozenset((":,(", ":,)", ";,;", ">,<", "^,^", "=,=", "@,@", "-,-"))
"""Faces with a comma inside. Only written without blanks and alone between commas are they taken for one tag."""

_EYES: Final = re.compile(r"(?P<left>[^\s_]{1,4})_+(?P<right>[^\s_]{1,4})")


def is_kaomoji(tag: str) -> bool:
    """Whether an underscore or comma in this tag is part of a face: a known one, or two eyes without words.

    Eyes are signs that are neither letters nor digits (``;_;``), or one letter or digit twice (``T_T``).
    """
    if tag in KAOMOJI or tag in COMMA_FACES:
        return True
    match = _EYES.fullmatch(tag)
    if match is None:
        return False
    left, right = match["left"], match["right"]
    return not any(map(str.isalnum, left + right)) or (len(left) == 1 and left == right)
