"""Texts that a program left in place of a caption: its error, or a model's refusal.

``assistants.py`` tells what a model says, ``programs.py`` what a program prints; both by what a text is made of, so
that wordings nobody listed are found. ``bench/datasets/error_texts.py`` measures that on texts the rules never saw.
"""

from __future__ import annotations

import re
from typing import Final

from lorasmith.datasets.captions.assistants import is_of_an_assistant
from lorasmith.datasets.captions.programs import STRONG, is_of_a_program

_TELLTALES_TEXT: Final = """
i i'm i've i'd i'll we we're we've my our me us myself assistant bot chatbot ai as being language sorry apology
apologies apologize apologise regret regrettably sadly afraid however you your you'll please kindly sure course
certainly absolutely okay thanks thank hello hi hey hm hmm oops uh whoops how what which send share attach upload
resend try retry let's lets something no not never nothing without can't cant cannot couldn't couldnt won't wouldn't
don't doesn't didn't isn't aren't wasn't violates violate violating breach infringes against flagged prohibited
disallowed removed forbidden inappropriate impossible incapable refuse refuses decline lack outside beyond exceptions
exit exited status http https code finish stop reason cloudflare nginx apache openresty gunicorn traceback request
requests payment found gone conflict large internal implemented gateway stack fault core killed panic fatal critical
stderr warn warning debug info failed errno signal contact upgrade renew checking update enable tokens token quota
limit deadline credits funds context maximum caption captions description descriptions desc text prompt prompts tags
alt answer output response inst sys describe explain analyze analyse summarize summarise write generate give provide n
na tbd tba todo fixme nil nan none placeholder pending no_output lorem memory image picture photo file subject object
setting ich kann leider tut nicht je désolé désolée malheureusement puedo lo lamento não desculpe non purtroppo mi
niet helaas het nie niestety przepraszam als en
"""
_TELLTALES: Final = frozenset(_TELLTALES_TEXT.split()) | STRONG
"""Of these words, or of ``_MARKS``, every excuse holds one. Most captions hold none, and are not looked at further."""
_MARKS: Final = re.compile(
    r"[{}<>\[\]$�]|[A-Z]_[A-Z]|[a-z]\.[A-Za-z]|\w:\s|^\W*\d{3}|^\W*$|E[A-Z]{5}|[A-Z][a-z]+(?:Error|Exception|Timeout)|\*\*"
)
_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)?")
_LOOKED_AT: Final = 1_000  # characters; an excuse stands at the beginning


def is_excuse(caption: str) -> bool:
    """Whether a program's error or a model's refusal stands in place of a caption.

    Captions that speak of errors (``a 404 error page on a monitor``, ``error, glitch``) are none: an excuse begins
    with its own formula and says what could not be done.
    """
    beginning = caption.lstrip()[:_LOOKED_AT]
    if not _may_be_one(beginning):
        return False
    return is_of_a_program(beginning) or is_of_an_assistant(beginning)


def _may_be_one(text: str) -> bool:
    if not text or not text.isascii():
        return bool(text)
    return _MARKS.search(text) is not None or not _TELLTALES.isdisjoint(_WORD.findall(text.lower()))
