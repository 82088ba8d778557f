"""What a program leaves in place of a caption: its error, its log line, or the place where a caption should stand.

Messages are told by their shape: an exception's name before a colon, a status with its number, a dictionary whose keys
speak of errors, the colon after a command, a line of a log. What has no shape is told by its words: when hardly one of
them speaks of anything but software and what it could not do, nothing is described.
"""

from __future__ import annotations

import re
from typing import Final

_FLAGS: Final = re.IGNORECASE | re.VERBOSE | re.DOTALL
_FAILING: Final = (
    r"(?:fail\w*|errors?|errored|could\snot|couldn['’]t|cannot|can['’]t|unable|missing|invalid|not\sfound|no\ssuch|timed?\s?out"
    r"|time-?out|exceeded|deprecated|denied|refused|crash\w*|died|abort\w*|killed|rejected|unreachable|disconnect\w*|reset"
    r"|exception|out\sof|truncated|skipp\w+|unavailable|interrupted|corrupt\w*|unexpected\w*)"
)
_REASONS: Final = (
    r"(?:bad\srequest|unauthori[sz]ed|payment\srequired|forbidden|not\sfound|method\snot\sallowed|not\sacceptable"
    r"|(?:request|gateway)\stime-?\s?out|conflict|gone|length\srequired|precondition\sfailed"
    r"|(?:payload|request\sentity|content)\stoo\slarge|(?:request-)?uri\stoo\slong|unsupported\smedia\stype"
    r"|unprocessable\s(?:entity|content)|too\smany\srequests|internal\sserver\serror|not\simplemented|bad\sgateway"
    r"|service\s(?:temporarily\s)?unavailable|access\sdenied|permission\sdenied|connection\s(?:refused|reset|closed|timed\sout))"
)
_SHAPES: Final = re.compile(
    rf"""
      # exceptions and what they are printed with
      ^\W*(?-i:(?:[\w$]+[.:]+)*[A-Z]\w*(?:Error|Exception|Timeout|Refused|Interrupt|Failure|Warning)\b)\s*(?:[:(].*|\W*$)
    | ^\W*(?-i:[a-z]\w*(?:\.[a-z]\w*)+\.[A-Z]\w+)\W*(?::.*)?$
    | traceback\s\(most\srecent | ^\s*file\s\".+\",\sline\s\d+ | \bstack\s?trace: | \[(?:errno|winerror)\s-?\d+\]
    | ^\W*(?-i:[A-Z][A-Z0-9]*_(?:[A-Z0-9]+_?){{1,8}})\W*$
    | ^\W*(?-i:E[A-Z]{{5,}})\b[^,]*$
    | \b(?-i:[A-Z]+(?:_[A-Z]+)*_(?:ERROR|INITIALIZED|EXHAUSTED|EXCEEDED|DENIED|FAILED|TIMEOUT))\b
      # HTTP and its relatives
    | ^\W*https?(?:/[\d.]+|\sstatus|\scode|\serror)?\s*:?\s*[1-5]\d\d\b
    | ^\W*(?:error|status|response|code)\W*(?:code|status)?\W*\d{{3,4}}\s*(?::|[-–]|$|\W*{_REASONS})
    | \bstatus(?:\scode)?\s?:?\s?[45]\d\d\b
    | ^\W*[1-5]\d\d\W+(?:(?:client|server)\serror|{_REASONS})
    | ^\W*(?:error\W+)?(?:\d{{3}}\W+)?{_REASONS}\W*$
    | <!doctype|<html|^\s*<\?xml | \b\w+\(host=['"] | \bmax\sretries\sexceeded | \bfor\surl:\s*http
      # dictionaries
    | ^\s*[{{\[].{{0,200}}?["'](?:errors?|status|code|details?|message|reason|traceback|exception|choices|success
        |finish_reason|stop_reason)["']\s*:
    | ^\W*(?:finish|stop)_?\s?reason\W+\w+\W*$
      # commands, logs
    | ^\W*[\w./-]+:\s(?:[\w./-]+:\s|\(\d+\)\s|line\s\d+:\s)*[^,]{{0,60}}?{_FAILING}\b
    | ^\W*(?:panic|fatal|critical|stderr|warn(?:ing)?|debug|info|error|exception|failed|failure)
      \s*(?::(?!\))|\]|[-–])\s*\S
    | ^\s*\[(?:error|failed|failure|warning|fatal|critical)\]
    | ^\W*\d{{4}}-\d\d-\d\d[\sT]\d\d:\d\d.{{0,40}}\b(?:error|warn\w*|critical|fatal|fail\w*)\b
    | ^\W*(?:cloudflare|nginx|apache|openresty|gunicorn)\b.{{0,4}}:
    | ^\W*(?:segmentation\sfault|bus\serror|illegal\sinstruction|core\sdumped|killed|aborted|terminated)\b.{{0,16}}$
    | \bexit(?:ed)?\s(?:with\s)?(?:code|status|signal)\s-?\d
    | ^\W*(?:torch\.)?(?:cuda|hip|mps|cudnn|cublas|nccl|rocm)\s?[.:_ ]*(?:out\sof\smemory|error)\b
    | ^\W*(?:the|this|your|an?)?\s?(?:\w+\s)?(?:image|picture|photo|file|caption|description|request|response|connection
        |operation|task|model|server|job|prompt)\s(?:could\snot|couldn['’]t|cannot|can['’]t)
        \sbe\s(?:\w+ly\s)?\w+(?:ed|en|ead|ound)\b
    | ^\W*out\sof\s(?:\w+\s)?memory\W*$
    | ^\*{{2,}}[^*]*\b{_FAILING}\b[^*]*\*{{2,}}$
    | ^\W*(?:error|failed|unable|failure|could\snot)\s(?:while\s|during\s|in\s|to\s)?(?:the\s)?(?:\w+\s)?
      (?:generat\w+|creat\w+|process\w+|load\w+|open\w*|read\w*|caption\w*|fetch\w*|infer\w*|describ\w*|analy[sz]\w*
        |decod\w*|pars\w+|connect\w*|resolv\w+|allocat\w+|download\w*)\b
    """,
    _FLAGS,
)
_USER: Final = re.compile(
    r"""\b(?:your|you\shave)\s(?:\w+\s){0,2}?(?:account|trial|plan|subscription|requests?|prompt|api|session|input|quota
          |credits?|key|token|licen[cs]e|balance|request)\b[^,.]{0,30}?
          \b(?:has|have|is|was|does|did|contains?|exceed\w*|ended|expired|for\sthis|run\sout|insufficient|rejected|reached)\b
        | \byou\s(?:have\s)?(?:run\sout\sof|exceeded|reached|used\s(?:up|all))\b
        | \b(?:upgrade|renew|top\sup|check|update)\syour\s(?:plan|account|subscription|billing|key|settings|browser)\b
        | \b(?:checking|update|enable|upgrade)\s(?:your\sbrowser|javascript|cookies)\b
        | \bcontact\s(?:your\s|the\s|our\s)?(?:administrator|support|admin|help\sdesk|sales)\b
        | \b(?:exceed\w*|requested|maximum|limit\sof)\b.{0,40}\btokens?\b
        | \btokens?\b.{0,40}\b(?:exceed\w*|maximum|limit)
        | \bcontext\s(?:length|window)\b.{0,40}\d
        | \b(?:rate[ -]?limit(?:ed)?|quota|deadline)\b.{0,24}\b(?:exceed|reach|hit)\w*
        | \b(?:out|short)\sof\s(?:credits|tokens|quota|funds)\b""",
    _FLAGS,
)
_SLOT: Final = (
    r"(?:captions?|descriptions?|desc|text|prompts?|tags?|alt|name|subject|object|setting|place|location|scene|style|colou?r"
    r"|adjective|noun|action|person|character|response|output|answer|result|content|input|image|title)"
)
_PLACEHOLDERS: Final = re.compile(
    rf"""^\W*(?:
        (?:n/?a|tbd|tba|todo|fixme|nil|nan|null|none|undefined|placeholder|missing|pending|no\sdata|no\soutput|empty\sstring)\W*
      | (?:todo|tbd|fixme|placeholder|insert|add|write|enter|put|type|replace|your)\b\s*:?.{{0,16}}
        \b(?:captions?|descriptions?|text)\b(?:\s(?:here|goes\shere|later|please))?\W*
      | (?:the\s)?(?:captions?|descriptions?|tags|image|file|response|output|result)\s(?:text\s)?(?:was\s|is\s|are\s)?
        (?:not\s(?:found|available|generated|provided|set)|missing|unavailable|pending|empty|goes\shere|here)\W*
      | no\s(?:captions?|descriptions?|output|response|results?|alt\stext|tags|image|picture|photo)
        (?:\s(?:is\s)?(?:yet|found|available|provided|generated|given|attached|(?:could|can|was|were|has|have)\b[^.,\n]{{0,40}}))?
        \W*
      | (?:\[?no\scaption|caption\s(?:unavailable|not\savailable|missing))\]?\W*
      | (?:captions?|descriptions?|tags|answer|output|response|prompt|alt\stext)\s*:\s*
      | [\[<({{$%]+\s*{_SLOT}\s*[\]>)}}%]+\W*
      | {_SLOT}\s*[\]>)}}%]+\W*
      | (?:\[?/?(?:inst|sys|assistant|user|system|end)\]|<<?/?sys>>?|/?inst\])\W*
      | lorem\sipsum\sdolor\b.*
    )$
    | ^\s*(?:<[/|]?[a-z_0-9]+[|]?>\s*)+$
    | ^\W*$(?<!\s)(?<=[.\-_?*])
    | [\[{{<(]{_SLOT}[\]}}>)].*[\[{{<(]{_SLOT}[\]}}>)]
    | ^\s*(?:please\s)?(?:describe|caption|explain|analy[sz]e|summari[sz]e|write|generate|give|provide)\s
      (?:me\s)?(?:in\sdetail\s)?(?:an?|the|this|what)\s(?:[\w-]+\s){{0,3}}?(?:image|picture|photo|caption|description)\b
    """,
    _FLAGS,
)

_FUNCTION_WORDS_TEXT: Final = """
a an the this that these those i i'm we you your our my me it its it's us to of for in on at by with and or but so as
is are was were be been has have had do does did not no any some there here please from while during due out up again
later if when which because than too just only very really them one something anything isn't wasn't am before after
however other no. per via into within until can
"""
_FUNCTION_WORDS: Final = frozenset(_FUNCTION_WORDS_TEXT.split())
_STRONG_TEXT: Final = """
error errors errored failed fails failing failure exception timeout traceback retries exceeded exceeds unable cannot
can't can’t couldn't couldn’t won't won’t sorry apologize apologise apologies unfortunately rejected refused denied
invalid unavailable unsupported wrong empty decline declined policy policies undefined null corrupted blocked flagged
crashed died aborted cancelled canceled interrupted skipped skipping expired disconnect disconnected reset revoked
respond timed triggered withheld insufficient truncated overloaded exhausted terminated unreachable unauthorized blank
corrupt suspended disabled
"""
STRONG: Final = frozenset(_STRONG_TEXT.split())
_TOPICAL_TEXT: Final = """
image images picture pictures photo photograph file files caption captions captioning captioner description
descriptions describe described describing response responses request requests result results output input connection
connect connected network server client api key token tokens model models system service worker workers job jobs task
tasks process processed processing pipeline inference batch queue backend endpoint upstream proxy gateway host port
url http https headers header ssl dns socket node gpu cpu cuda memory disk device driver kernel thread content safety
filter usage guidelines rate limit quota code status max maximum minimum return returned received provided provide
produced produce generate generated generating generation load loaded loading read open decode identify see view
viewing analyze analyse help assist able explicit inappropriate sensitive ai language text-only text assistant try
retry went inconvenience occurred encountered problem problems issue available could would should oops found completed
complete comply fulfill fulfil fulfilled argument value type index user administrator admin browser checking session
login log account balance billing plan trial subscription upgrade credits seconds second minutes ms bytes mb gb
missing upload uploaded attached closed written waiting wait run running start started stop stopped action limited
checker filters message messages parse parsed json xml program software application app script module library package
version update install settings configuration config option options parameter parameters null data database query
transaction large entity accessing access allowed permission permissions unexpectedly abnormally continue contact your
"""
_TOPICAL: Final = frozenset(_TOPICAL_TEXT.split()) | STRONG
_WORD: Final = re.compile(r"[^\W\d_][\w'’-]*")
_FILE_NAME: Final = re.compile(
    r"\b[\w-]+\.(?:jpe?g|png|webp|gif|bmp|tiff?|txt|json|py|safetensors|onnx)\b", re.IGNORECASE
)
_MOSTLY: Final = 0.74
_SHORT: Final = 40  # words; what describes a picture says more of it than a message of this length can


def is_of_a_program(text: str) -> bool:
    """Whether a text is the message of a program, or stands where its answer should."""
    if _SHAPES.search(text) or _PLACEHOLDERS.search(text):
        return True
    return _USER.search(text) is not None or _speaks_of_failure(text)


def _speaks_of_failure(text: str) -> bool:
    """Whether hardly a word speaks of anything but software and what it could not do, and one says that it failed."""
    words = [word for word in _WORD.findall(_FILE_NAME.sub(" ", text.casefold())) if word not in _FUNCTION_WORDS]
    if not 2 <= len(words) <= _SHORT or STRONG.isdisjoint(words):
        return False
    return sum(word in _TOPICAL for word in words) >= _MOSTLY * len(words)
