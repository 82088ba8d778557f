"""Texts that a program left in place of a caption: its error, or a model's refusal."""

from __future__ import annotations

import re
from typing import Final

from lorasmith.datasets.captions.style import prose_stretch

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
      | as[ ]an?[ ](?:ai|large[ ]language|language|artificial|text-(?:based|only))\b.{{0,30}}
        \b(?:model|assistant|ai|i)\b
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
_SEEING: Final = (
    r"(?:(?:describ|caption|identif|recogni[sz]|analy[sz]|process|interpret|display|assist|answer|complet|complying|fulfil"
    r"|discuss|comment|engag|provid|generat|creat)\w*"
    r"|(?:see|view|look|access|open|read|load|help|talk|produc|perform|continu|comply|make|mak)"
    r"(?:e|ing)?\b|do[ ](?:that|this))"
)
_UNABLE: Final = (
    r"(?:(?:can(?:no|['’]?)t|can[ ]not|could(?:n['’]?t|[ ]not)|won['’]?t|will[ ]not)(?:[ ]be[ ]able[ ]to)?"
    r"|(?:['’]?m|am|are|['’]?re|was|were)[ ](?:currently[ ]|simply[ ]|just[ ])?"
    r"(?:unable|not[ ](?:able|allowed|permitted|authori[sz]ed|equipped|designed|in[ ]a[ ]position|comfortable))"
    r"|(?:do[ ]not|don['’]?t|did[ ]not|didn['’]?t)[ ]"
    r"(?:have[ ](?:the[ ]ability|access|permission|a[ ]way)|feel[ ]comfortable)"
    r"|(?:have|['’]?ve|got|lack)[ ](?:no[ ]|the[ ])?(?:way|means|ability|capability|access)[ ](?:of|to)"
    r"|(?:must|have[ ]to|need[ ]to|['’]?ll[ ]have[ ]to|would[ ]rather|['’]?d[ ]rather|prefer[ ]to)(?:[ ]\w+ly)?[ ]"
    r"(?:decline|refuse|pass[ ]on|skip|not|abstain[ ]from))"
)
_FIRST_PERSON: Final = re.compile(
    rf"""(?:^\W*|[.!?;,:][ ]+|\b(?:but|because|so|and|that|since|as)[ ]+|^without\b[^.\n]{{0,60}}?[ ])
    (?:unfortunately,?[ ]|sadly,?[ ]|currently,?[ ])?(?:i|we)[ ]?{_UNABLE}\b[^.,\n]{{0,30}}?\b{_SEEING}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OPEN_QUOTE: Final = re.compile(r"[“„«][^”“»]*\Z|(?<!\w)['‘][^'’]*\Z")
_PICTURE: Final = r"(?:image|picture|photo(?:graph)?|file|attachment|upload)"
_TO_THE_USER: Final = re.compile(
    rf"""
        \b(?:please|kindly|could[ ]you|can[ ]you|would[ ]you|need[ ]you[ ]to|you[ ]to|let[ ]me[ ]know)\b[^.\n]{{0,30}}
        \b(?:re-?)?(?:upload|attach|send|share|submit|provide|paste|retry|try)\b[^.\n]{{0,25}}
        \b(?:{_PICTURE}|it|again|request|later)\b
      | \b(?:try|trying)[ ]again\b.{{0,30}}\b(?:later|minutes?|seconds?|moments?|soon|shortly|different|another)\b
      | ^\W*(?:oops|uh-?oh|whoops)\b.{{0,20}}\bsomething\b
      | \bsomething[ ](?:went|has[ ]gone|broke)\b.{{0,8}}(?:wrong|$)
      | \b(?:no|not[ ]an?[y]?|without[ ]an?)[ ]{_PICTURE}[ ](?:came|was|were|has[ ]been|is|seems|to)\b[^.\n]{{0,20}}
        \b(?:through|received|attached|uploaded|provided|included|loaded|shared|describe|caption)\b
      | ^\W*(?:i|we)[ ](?:do[ ]not|don['’]?t|didn['’]?t|cannot|can['’]?t)[ ](?:see|find|get|receive)[ ]
        (?:an?|any|the|your)\b[^.\n]{{0,20}}\b{_PICTURE}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_POLICY: Final = re.compile(
    r"""\b(?:content|safety|usage|use|moderation|community|responsible)\b[^.\n]{0,25}
        \b(?:polic(?:y|ies)|filters?|systems?|guidelines|terms|standards|checks?|rules)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_STOPPED: Final = re.compile(
    r"""\b(?:violat|reject|flagg|block|filter(?:ed|ing)|refus|trigger|against|denied|declin|withheld|remov|prohibit
        |disallow|not[ ]allowed|cannot|can['’]t)""",
    re.IGNORECASE | re.VERBOSE,
)
_MACHINE: Final = re.compile(
    r"""^\W*(?:(?-i:(?:\w+\.)*[A-Z]\w*[a-z](?:Error|Exception|Timeout|Refused)\W*$)
      | [1-5]\d\d[ ]+(?:(?:client|server)[ ]error|bad[ ](?:request|gateway)|unauthori[sz]ed|forbidden|not[ ]found
         |too[ ]many[ ]requests|internal[ ]server|service[ ]unavailable|gateway)
      | (?:segmentation[ ]fault|bus[ ]error|illegal[ ]instruction|core[ ]dumped|killed|aborted)\b.{0,16}$
      | (?:panic|fatal|critical|stderr|warn(?:ing)?|debug|info)\s*(?::|\])\s*\S+.*
        \b(?:fail|error|could[ ]not|cannot|unable|missing|invalid|not[ ]found|timed?[ ]?out|exceeded|deprecated)
      )
      | \[(?:errno|winerror)[ ]-?\d+\] | \b\w+\(host=['"] | \bmax[ ]retries[ ]exceeded | \bfor[ ]url:\s*http
      | ^\s*file[ ]".+",[ ]line[ ]\d+ | \bstack[ ]?trace: | ^\s*<\?xml
      | \bexit(?:ed)?[ ](?:with[ ])?(?:code|status)[ ]-?\d
      | ^\s*[{\[].*["'](?:error|status|code|detail|details|message|reason|traceback|exception)["']\s*:
      | (?:^|\b(?:the|our|this)[ ](?:\w+[ ])?)(?:model|server|service|engine|api|backend|endpoint|worker|gpu)[ ]
        (?:is|was)[ ](?:currently[ ]|temporarily[ ])?
        (?:overloaded|busy|unavailable|down|offline|not[ ](?:loaded|found|responding|available|ready))
      | \bstatus(?:[ ]code)?[ ]?:?[ ]?[45]\d\d\b | \b(?:out|short)[ ]of[ ](?:credits|tokens|quota|funds)\b
      | \b(?:safety|content|nsfw|moderation)[ -](?:checker|filter|system|guard)\w*[ ](?:was[ ])?
        (?:triggered|blocked|active)
      | \b(?:captions?|description|generation|response|output|request|inference|processing)[ ]
        (?:was[ ]|were[ ]|is[ ]|has[ ]been[ ])?
        (?:withheld|blocked|skipped|truncated|aborted|cancel+ed|refused|rejected)\b
      | \b(?:rate[ -]?limit(?:ed)?|quota|context[ ]length|token[ ]limit|deadline)\b.{0,24}\b(?:exceed|reach|hit)\w*
      | \b(?:exceeded|reached|hit)\b.{0,24}\b(?:rate[ -]?limit|quota|context[ ]length|token[ ]limit)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_PLACEHOLDERS: Final = re.compile(
    r"""^\W*(?:
        (?:n/?a|tbd|tba|todo|fixme|nil|nan|null|none|undefined|placeholder|missing|pending|no[ ]data|no[ ]output)\W*
      | (?:todo|tbd|fixme|placeholder|insert|add|write|enter|put|type|replace|your)\b\s*:?.{0,16}
        \b(?:captions?|descriptions?|text)\b(?:[ ](?:here|goes[ ]here|later|please))?\W*
      | (?:the[ ])?(?:captions?|descriptions?|tags|image|file|response|output|result)[ ](?:text[ ])?
        (?:was[ ]|is[ ]|are[ ])?
        (?:not[ ](?:found|available|generated|provided|set)|missing|unavailable|pending|empty|goes[ ]here|here)\W*
      | no[ ](?:captions?|descriptions?|output|response|results?|alt[ ]text|tags)
        (?:[ ](?:yet|found|(?:could|can|was|were|has|have)\b[^.,\n]{0,40}))?\W*
      | lorem[ ]ipsum[ ]dolor\b.*
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
_ABROAD: Final = re.compile(
    r"""^\W*(?:
        (?:leider[ ])?(?:ich[ ]kann|kann[ ]ich)\b[^.\n]{0,60}\bnicht\b
      | ich[ ]bin[ ](?:leider[ ])?nicht[ ]in[ ]der[ ]lage
      | (?:désolée?\b.{0,12})?je[ ]ne[ ](?:peux|suis)[ ]pas\b | (?:lo[ ]siento\b.{0,12})?no[ ](?:puedo|soy[ ]capaz)\b
      | (?:purtroppo[ ])?non[ ](?:posso|riesco|sono[ ]in[ ]grado)\b | (?:infelizmente,?[ ])?não[ ](?:posso|consigo)\b
      | я[ ]не[ ]могу\b | (?:niestety,?[ ])?nie[ ]mogę\b | het[ ]spijt[ ]me\b | ik[ ]kan\b[^.\n]{0,40}\bniet\b
      ) | (?:无法|無法|不能)(?:描述|查看|识别|識別|处理|處理|提供|看到|协助|協助|帮助|分析|生成)
      | (?:説明|表示|確認|処理|お答え|生成|提供)(?:することが)?でき(?:ません|かねます) | 할[ ]수[ ]없(?:습니다|어요)""",
    re.IGNORECASE | re.VERBOSE,
)
_SELF: Final = re.compile(r"\b(?:i|i['’]m|i['’]ve|i['’]d|i['’]ll|we|my|me|our)\b", re.IGNORECASE)
_NEGATION: Final = re.compile(
    r"\b(?:not|no|cannot|unable|outside|beyond|nothing|never|without|refuse|decline|prevent|\w+n['’]t)\b", re.IGNORECASE
)
_TASK_WORDS: Final = re.compile(
    r"""\b(?:images?|pictures?|photos?|photographs?|captions?|descriptions?|describ\w+|contents?|requests?|input
        |output|guidelines|polic(?:y|ies)|analy[sz]\w+|identify\w*|identif\w+|assist\w*|json|model|file|response)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_BEGINS_WITH_FAILURE: Final = re.compile(
    r"^\W*(?:unable|failed|failure|impossible|not[ ](?:able|possible)|could(?:n['’]?t|[ ]not)|cannot|can['’]?t)\b"
    r"[^.,\n]*",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE: Final = re.compile(r"[^.!?\n]+")
_SPOKEN: Final = re.compile(r"[\"“”„«]|(?<!\w)['‘]")  # somebody in the picture says it
_SHORT_SPEECH: Final = 60
"""Words; policies are named, and users spoken to, in texts that are not longer."""


_TELLING: Final = """
i i'm i've i'd i'll we we're my me our sorry apologies apologize apologise unfortunately as failed failure fails
failing timed timeout out cannot can can't cant unable could couldn't couldnt no not none null nan undefined n na
nil tbd tba todo fixme missing placeholder pending invalid denied refused rejected request forbidden unauthorized
unauthorised unavailable exceeded exceeds reached hit quota limit overloaded policy policies guidelines filter
filtered safety terms standards please kindly try trying something oops whoops uh status http https killed aborted
fault panic fatal critical stderr warn warning debug info exit exited withheld blocked skipped truncated lorem
insert add write enter put type replace your decline busy down offline server service connection download caption
captions captioning tagging description descriptions processing inference api network decoding gateway must won't
don't didn't traceback it this that here there violates ich je lo non mi es tut infelizmente desculpe lamento
sinto purtroppo nie niestety het ik leider stack image images file bad internal too access content model cuda
"""
_TELLTALES: Final = frozenset(_TELLING.split())
"""Of these words, or of ``_MARKS``, every excuse holds one. Most captions hold none, and are not looked at further."""
_MARKS: Final = ("error", "exception", "fault", "timeout", "refused", "{", "<", "[", "=", "�")
_BEFORE_APOSTROPHE: Final = re.compile(r"[a-z]+(?:'[a-z]+)?")


def _may_be_one(text: str) -> bool:
    folded = text.casefold().replace("’", "'")
    if not folded.isascii() or any(mark in folded for mark in _MARKS) or folded[:3].isdigit():
        return True
    return not _TELLTALES.isdisjoint(_BEFORE_APOSTROPHE.findall(folded))


def _speaks_in_its_own_name(text: str) -> bool:
    """Whether a model speaks of itself and what it cannot do; what a person in a picture says stands in quotes."""
    if any(not _is_quoted(text[: found.start()]) for found in _FIRST_PERSON.finditer(text)):
        return True
    failing = _BEGINS_WITH_FAILURE.match(text)
    if failing is not None and _TASK_WORDS.search(failing[0]):
        return True
    cells = text.split(",")
    if len(text.split()) > _SHORT_SPEECH or _SELF.search(text) is None or prose_stretch(cells) != (0, len(cells) - 1):
        return False
    return any(
        _SELF.search(said) and _NEGATION.search(said) and _TASK_WORDS.search(said) and not _SPOKEN.search(said)
        for said in _SENTENCE.findall(text)
    )


def _is_quoted(before: str) -> bool:
    """Whether a quotation is open at the end of a text."""
    return before.count('"') % 2 == 1 or _OPEN_QUOTE.search(before) is not None


def _is_of_software(text: str) -> bool:
    """Whether the shape of the text is that of a program's message, or of an answer to a user."""
    if _MACHINE.search(text) or _PLACEHOLDERS.search(text) or _ABROAD.search(text):
        return True
    if len(text.split()) > _SHORT_SPEECH:
        return False
    spoken = _TO_THE_USER.search(text)
    if spoken and not _is_quoted(text[: spoken.start()]):
        return True
    named = _POLICY.search(text)
    return named is not None and _STOPPED.search(text) is not None and not _is_quoted(text[: named.start()])


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
    if not _may_be_one(beginning):
        return False
    patterns = (_ERRORS, _REPORTS, _REFUSALS, _DECLINES)
    if any(pattern.search(beginning) for pattern in patterns) or _speaks_of_failure(beginning):
        return True
    return _speaks_in_its_own_name(beginning) or _is_of_software(beginning)
