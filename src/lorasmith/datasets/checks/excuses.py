"""Texts that a program left in place of a caption: its error, or a model's refusal."""

from __future__ import annotations

import re
from typing import Final

_ERRORS: Final = re.compile(
    r"""^\W*(?:
        error[ ](?:while[ ]|during[ ]|in[ ])?
        (?:generating|creating|processing|loading|opening|reading|captioning|fetching)\b
      | error\s*(?::|[-–])\s*\S+.*
        (?:fail|exception|out[ ]of|timeout|timed[ ]out|invalid|not[ ]found|unable|could[ ]not|denied|\d{3})
      | (?:caption(?:ing)?|tagging|image|description|request|inference)[ ]?(?:generation|processing|loading)?[ ]
        (?:failed|error(?:ed)?\s*:)
      | (?:failed|unable)[ ]to[ ](?:generate|create|caption|describe|process|load|open|read|fetch|analy[sz]e)\b
      | could[ ]not[ ](?:generate|caption|describe|process|load|open|read|analy[sz]e)\b
      | traceback[ ]\(most[ ]recent[ ]call[ ]last\)
      | (?:torch\.)?(?:cuda|hip|mps)[ .:_]*(?:out[ ]of[ ]memory|error)\b
      | (?:[a-z_]+\.)*[A-Za-z]+(?:Error|Exception)\s*:
      | (?:http|status|response)(?:[ ]code|[ ]error)?\s*:?\s*[45]\d\d\b
      | (?:rate[ ]limit|quota)[ ]exceeded
      | <!doctype|<html|\{\s*"(?:error|detail|message)"\s*:
      | \[?(?:no[ ]caption|caption[ ](?:unavailable|not[ ]available|missing))\]?\W*$
      | (?:null|none|nan|undefined|n/a)\W*$
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_CANNOT: Final = (
    r"(?:can(?:no|['’]?)t|can[ ]not|won['’]?t|will[ ]not|am[ ](?:not[ ]able|unable)|['’]m[ ](?:not[ ]able|unable)"
    r"|(?:do[ ]not|don['’]t)[ ](?:have[ ]the[ ]ability|feel[ ]comfortable))"
)
_TASK: Final = (
    r"(?:help|assist|describe|caption|provide|identify|see|view|analy[sz]e|process|generate|create|comply|fulfil"
    r"|discuss|comment|continue|do[ ]that|answer|access|open|recognize|recognise|engage)"
)
_REFUSALS: Final = re.compile(
    rf"""^\W*(?:
        (?:i['’]?m|i[ ]am|i|we['’]?re|we[ ]are|we)?[ ]?(?:really[ ]|very[ ]|so[ ])?
        (?:sorry|apologi[sz]e|afraid)\b[^.!?\n]{{0,40}}
        (?:\b(?:i|we)[ ]?)?{_CANNOT}
      | (?:my[ ])?apologies\b[^\n]{{0,40}}\b(?:i|we)[ ]?{_CANNOT}
      | (?:unfortunately,?[ ]|sorry,?[ ](?:but[ ])?)?(?:i|we)[ ]?{_CANNOT}[ ](?:to[ ])?{_TASK}
      | as[ ]an?[ ](?:ai|large[ ]language|language|artificial|text-based)\b.{{0,30}}\b(?:model|assistant|ai|i)\b
      | (?:i['’]m|i[ ]am)[ ](?:just[ ])?an[ ]ai\b
      | this[ ](?:request|image|content)[ ](?:violates|may[ ]violate|goes[ ]against|was[ ]flagged|is[ ]blocked)
      | (?:please|could[ ]you(?:[ ]please)?)[ ](?:provide|upload|share|attach)[ ](?:an?|the|your|me)\b
        [^\n]{{0,20}}\b(?:image|picture|photo)
      | (?:no|there[ ]is[ ]no)[ ](?:image|picture)[ ](?:was[ ]|has[ ]been[ ])?(?:provided|attached|uploaded|found)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_LOOKED_AT: Final = 2_000  # characters; an excuse stands at the beginning


def is_excuse(caption: str) -> bool:
    """Whether a program's error or a model's refusal stands in place of a caption.

    Captions that speak of errors (``a 404 error page on a monitor``, ``error, glitch``) are none: an excuse begins
    with its own formula and says what could not be done.
    """
    beginning = caption.lstrip()[:_LOOKED_AT]
    return _ERRORS.search(beginning) is not None or _REFUSALS.search(beginning) is not None
