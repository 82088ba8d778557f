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
      | no[ ](?:caption|description|image)[ ](?:is[ ])?(?:available|provided|generated)\W*$
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
_THING: Final = (
    r"(?:image|picture|photo|file|caption|description|request|response|connection|operation|task|model|server)"
)
_DONE: Final = r"(?:process|generat|creat|load|open|read|complet|caption|describ|decod|fetch|found|handl|analy[sz])\w*"
_REPORTS: Final = re.compile(
    rf"""^\W*(?:
        an?[ ](?:unexpected[ ]|internal[ ]|unknown[ ])?(?:error|exception)[ ](?:has[ ])?occurred\b
      | (?:the|this|your)[ ]{_THING}[ ](?:could[ ]not|couldn['’]t|cannot|can['’]t)[ ]be[ ]{_DONE}
      | (?:the|this|your)[ ]{_THING}[ ](?:has[ ])?(?:failed|timed[ ]out)\b
      | {_THING}[ ](?:timed[ ]out|timeout|refused|aborted|was[ ]rejected)\b
      | (?:error|exception)\W*:(?!\))
      | error[ ](?:code[ ])?\d+\s*[:–-]
      | [A-Za-z_.]*(?:Error|Exception)\(
      | (?:caption(?:ing)?|tagging|processing|inference|api|network|server|decoding|download)[ ](?:error|failure)\W*$
      | (?:service[ ]unavailable|internal[ ]server[ ]error|bad[ ]gateway|gateway[ ]time-?out|too[ ]many[ ]requests
         |unauthorized|forbidden|access[ ]denied|not[ ]found)\W*$
      | (?:</?\|?[a-z_0-9]+\|?>\s*)+$
    )
    | ^\[(?:error|failed|failure|warning)\]""",
    re.IGNORECASE | re.VERBOSE,
)
_DECLINES: Final = re.compile(
    r"""^\W*(?:
        (?:i|we)[ ](?:must|have[ ]to|need[ ]to|will[ ]have[ ]to)[ ](?:respectfully[ ]|politely[ ])?(?:decline|refuse)\b
      | (?:i|we)[ ](?:do[ ]not|don['’]t|didn['’]t|did[ ]not)[ ](?:see|have|receive)[ ](?:any|an|the|access)\b
        [^.\n]{0,20}
        \b(?:image|picture|photo|attachment)
      | (?:it[ ](?:seems|looks|appears)|there)\b[^.\n]{0,40}\b(?:no|any|an)[ ](?:image|picture|photo)[ ]
        (?:was|is|has[ ]been|were)?[ ]?(?:provided|attached|uploaded|included|shared|missing)
      | (?:es[ ]tut[ ]mir|tut[ ]mir)[ ]leid,?[ ](?:aber[ ])?(?:ich|das|dabei)
      | (?:je[ ]suis[ ])?désolée?,?[ ](?:mais[ ])?je[ ]ne[ ]peux
      | lo[ ]siento,?[ ](?:pero[ ])?no[ ]puedo | mi[ ]dispiace,?[ ](?:ma[ ])?non[ ]posso
      | (?:desculpe|lamento|sinto[ ]muito),?[ ](?:mas[ ])?(?:eu[ ])?não[ ](?:posso|consigo)
      | (?:извините|к[ ]сожалению),?[ ](?:но[ ])?я[ ]не[ ]могу
      | 申し訳(?:ありません|ございません)
      | (?:很?抱歉|对不起|對不起)[，,]?\s*(?:但)?我?(?:无法|無法|不能) | 죄송(?:합니다|하지만)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SPEECH: Final = """
a an the this that these those i i'm we you your our my me it its it's us to of for in on at by with and or but so
as is are was were be been has have had do does did not no any some there here please from while during due out up
again later if when which because than too just only very really them one something anything isn't wasn't am
"""
_STRONG: Final = """
error errors failed fails failure exception timeout traceback retries exceeded unable cannot can't can’t couldn't
couldn’t won't won’t sorry apologize apologise apologies unfortunately rejected refused denied invalid unavailable
unsupported wrong empty decline declined policy policies undefined null corrupted blocked flagged
"""
_TOPICAL: Final = """
image images picture pictures photo photograph file caption captions captioning description descriptions describe
describing response request requests result results output connection network server client api key token tokens
model models system service content safety filter usage guidelines rate limit quota code status url http https max
returned return received provided provide processing process generate generating generated generation load loading
read open decode identify see view viewing analyze analyse help assist able explicit inappropriate sensitive ai
language text-only text assistant try retry went inconvenience occurred available could would should oops found
memory gpu device cuda aborted cancelled canceled closed reset expired missing upload uploaded attached comply
fulfill fulfil fulfilled complete completed do argument value type index key-error keyerror valueerror typeerror
runtimeerror oserror filenotfounderror content-policy
"""
_FUNCTION_WORDS: Final = frozenset(_SPEECH.split())
_STRONG_WORDS: Final = frozenset(_STRONG.split())
_EXCUSING: Final = _STRONG_WORDS | frozenset(_TOPICAL.split())
_WORD: Final = re.compile(r"[^\W\d_][\w'’-]*")
_MOSTLY: Final = 0.7
_SHORT_EXCUSE: Final = 40  # words; what describes a picture says more of it than an excuse of this length can


def _speaks_of_failure(text: str) -> bool:
    """Whether hardly a word speaks of anything but software and what it could not do, and one says that it failed."""
    words = [word for word in _WORD.findall(text.casefold()) if word not in _FUNCTION_WORDS]
    if not 2 <= len(words) <= _SHORT_EXCUSE or _STRONG_WORDS.isdisjoint(words):
        return False
    return sum(word in _EXCUSING for word in words) >= _MOSTLY * len(words)


_LOOKED_AT: Final = 2_000  # characters; an excuse stands at the beginning


def is_excuse(caption: str) -> bool:
    """Whether a program's error or a model's refusal stands in place of a caption.

    Captions that speak of errors (``a 404 error page on a monitor``, ``error, glitch``) are none: an excuse begins
    with its own formula and says what could not be done.
    """
    beginning = caption.lstrip()[:_LOOKED_AT]
    patterns = (_ERRORS, _REPORTS, _REFUSALS, _DECLINES)
    return any(pattern.search(beginning) for pattern in patterns) or _speaks_of_failure(beginning)
