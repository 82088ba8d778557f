"""What an assistant says in place of a caption: that it will not, that it cannot, or that it waits for a picture.

Refusals have no fixed wording and a fixed anatomy. Each part is found by itself, and which parts meet in one sentence
decides:

    speaker       I, we, this assistant: who answers. What stands in quotes is said in the picture and does not count.
    inability     cannot, not able, not allowed, decline, lack, outside of what ...
    task          what was asked: describe, identify, image, request ...
    apology       sorry, unfortunately, regrettably
    machine       as an AI, a language model, trained on text
    user          please send, which image do you mean, how can I help

One part is an honest caption ("a man who cannot open a door", "a sorry looking dog"); a speaker with an inability, a
machine with either, a user who is asked for the picture is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_FLAGS: Final = re.IGNORECASE | re.VERBOSE
_QUOTED: Final = re.compile(
    r"\"[^\"]*\"?|[“„«][^”“»]*[”“»]?|「[^」]*」?|(?<!\w)['‘][^'’]*(?:\w['’]\w[^'’]*)*(?:['’](?!\w)|\Z)"
)
_SENTENCE: Final = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_NEW_CLAUSE: Final = re.compile(r",(?!\s*(?:because|as|since|so|but|and|for|given|which|due)\b)", re.IGNORECASE)
_SENTENCES: Final = 4
_WORDS: Final = 70
"""An answer has said what it will not do by then; what is longer describes a picture."""

_CANNOT: Final = r"(?:can(?:no|['’]?)t|can\snot|could(?:n['’]?t|\snot)|won['’]?t|will\snot|would(?:n['’]?t|\snot))"
_NOT: Final = r"(?:not|n['’]t|never)"
_SPEAKER: Final = re.compile(
    r"""(?:^\W*(?:[\w'’]+\W+){0,1}|[,;:()–—-]\s*|\b(?:but|because|so|and|or|that|since|as|what|which|something|anything|nothing
          |if|while|where|when|here|currently|now|without\b[^.\n]{0,40})\s+)(?:i|i['’](?:m|ve|d|ll)|we|we['’](?:re|ve|d|ll))\b
        |\b(?:my|our|me|us|myself|(?:this|the)\s(?:assistant|bot|chatbot))\b""",
    _FLAGS,
)
_UNABLE: Final = re.compile(
    rf"""\b(?:{_CANNOT}\b
        |unable\b|incapable\b
        |(?:is|are|am|was|were|be|['’](?:m|re|s))?\s?{_NOT}\s(?:\w+ly\s)?(?:able|allowed|permitted|authori[sz]ed|equipped
          |comfortable|capable|going\sto|in\sa\sposition|designed|trained|supposed|willing|appropriate|possible|suitable
          |something|(?:a\s)?topic)\b
        |(?:isn|aren|wasn|weren)['’]?t\s(?:\w+ly\s)?(?:able|allowed|permitted|comfortable|possible|something|appropriate
          |suitable|within)\b
        |(?:do|does|did)(?:n['’]?t|\snot)\s(?:\w+ly\s)?(?:have|possess|do|think|feel|see|process|produce|provide|describe
          |caption|generate|support|understand|want|wish|know|identify|recogni[sz]e|interpret|perceive|let|permit|allow)\b
        |(?:have|has|['’]ve|possess(?:es)?|lacks?|lacking|got)\s(?:no|the|any)?\s?(?:\w+\s)?(?:way|means|ability|capability
          |capabilities|access|eyes|vision|permission|authori[sz]ation)\b
        |lack\b
        |(?:must|have\sto|need\sto|going\sto\shave\sto|['’]ll\shave\sto|will\shave\sto|would\srather|['’]d\srather
          |would\sprefer|['’]d\sprefer|prefer)\s(?:to\s)?(?:\w+ly\s)?(?:decline|refuse|pass\son|pass|skip|not|abstain|stop
          |say\sno|leave)\b
        |(?:decline|refuse|refrain)\b
        |(?:outside|beyond|against)\s(?:\w+\s){{0,3}}(?:what|my|our|me|scope|guidelines|polic|capabilit)
        |(?:prevents?|forbids?|prohibits?|keeps?|stops?|restricts?)\s(?:me|us)\b
        |\b(?:trained|works?|work|process|handle|understand|read|see)\s(?:\w+\s)?(?:only|on)\s(?:with\s)?text
        |only\s(?:process|handle|read|work\swith|understand|see|support)\b
        |mean\snothing\sto\b|nothing\s(?:i|we)\scan\b)""",
    _FLAGS,
)
_TASK: Final = re.compile(
    r"""\b(?:images?|pictures?|photos?|photographs?|visuals?|attachments?|content|material|requests?|captions?|captioning
        |descri\w+|identif\w+|identity|recogni[sz]\w*|analy[sz]\w*|interpret\w*|assist\w*|help\w*|comply\w*|fulfil\w*
        |discuss\w*|comment\w*|speculat\w*|engag\w*|respond\w*|answer\w*|generat\w+|provid\w+|view\w*|display\w*|name
        |(?:do|write|say|tell|show|make|give|produce|create)\s(?:that|this|it|you|one|a|an|the|any|out|sexual|explicit)\b
        |do|does|talk\w*|go\sinto|no\sto|text|sexual|explicit|graphic|minors?|appearance|individuals?|prompt)\b""",
    _FLAGS,
)
_OF_PEOPLE: Final = re.compile(r"\b(?:we|us|our|we['’]\w+)\b", re.IGNORECASE)
_APOLOGY: Final = re.compile(
    r"\b(?:sorry|apolog(?:y|ies|i[sz]e)|unfortunately|regret(?:tably)?|sadly|afraid|however)\b", re.IGNORECASE
)
_MACHINE: Final = re.compile(
    r"""(?:\b(?:as|being|i\sam|i['’]m|since\si['’]?\s?a?m|because\si['’]?\s?a?m)\s(?:just\s|only\s|merely\s|still\s)?
          (?:an?\s)(?:\w+[\s-]){0,2}?(?:ai|a\.i\.|artificial|language|text|virtual|chat|computer)\b)
        |\b(?:large\s)?language\smodel\b.{0,30}\b(?:i|my)\b""",
    _FLAGS,
)
_NOTHING: Final = re.compile(rf"\b(?:no|nothing|{_NOT}|without|unable|\w+n['’]t)\b|{_CANNOT}", re.IGNORECASE)
_PICTURE: Final = r"(?:images?|pictures?|photos?|photographs?|files?|attachments?|uploads?|links?|urls?)"
_SENDING: Final = r"(?:re-?)?(?:upload|attach|send|share|submit|paste|post|provide|transmit|include|suppl[yi])"
_TO_THE_USER: Final = re.compile(
    rf"""^\W*(?:sure|of\scourse|certainly|absolutely|okay|ok|great|thanks?|thank\syou|hello|hi|hey|hm+|oops|uh-?oh|whoops)\b
          .*\b(?:i|i['’]\w+|me|you|your|something)\b
        |\b(?:how|what)\s(?:can|may|could|else\scan|would)\s(?:i|we|you)\b.{{0,30}}\b(?:help|assist|like|do|want)\b
        |^\W*(?:which|what)\s(?:{_PICTURE})\b.{{0,20}}\b(?:you|mean|refer)
        |\b(?:please|kindly|could\syou|can\syou|would\syou|you\sto|you['’]ll\sneed\sto|just)\b[^.\n]{{0,40}}
          \b{_SENDING}\b[^.\n]{{0,30}}\b(?:{_PICTURE}|it|one|again)\b
        |^\W*{_SENDING}\s(?:me\s)?(?:an?|the|your)\s(?:\w+\s)?{_PICTURE}\b.{{0,30}}\b(?:i|you|again|me)\b
        |\b(?:no|not|nothing|haven['’]?t|hasn['’]?t|didn['’]?t|wasn['’]?t|isn['’]?t|missing|without)\b[^.\n]{{0,40}}
          \b(?:attached|uploaded|received|transmitted|come\sthrough|came\sthrough|your\smessage|sent|provided|shared)\b
        |\b(?:blank|empty|missing)\b[^.\n]{{0,30}}\b(?:your\smessage|re-?send|attach|sent|upload)\b
        |\b{_PICTURE}\b[^.\n]{{0,40}}\b(?:missing\sfrom|not\sattached|did(?:n['’]?t|\snot)\s(?:upload|load|come|arrive)
          |failed\sto\s(?:load|upload)|seems?\sto\sbe\s(?:empty|broken|missing|corrupt)
          |appears?\sto\sbe\s(?:blank|empty|broken|missing|corrupt))
        |\b(?:try|trying)\sagain\b.{{0,30}}\b(?:later|minutes?|seconds?|moments?|soon|shortly|different|another)\b
        |^\W*(?:please\s)?(?:re)?try\sagain\b
        |\bsomething\s(?:went|has\sgone|broke)\b.{{0,8}}(?:wrong|$)
        |\blet['’]?s\s(?:talk\sabout|discuss|try|change)\b""",
    _FLAGS,
)
_FORBIDDEN: Final = re.compile(
    r"""\b(?:violat\w+|breach\w*|flagged|blocked|rejected|filtered|refused|denied|prohibited|disallowed|withheld|removed
        |against|infring\w+|triggered|cannot\sbe|can['’]?t\sbe|not\s(?:be\s)?(?:allowed|permitted)|may\scontain
        |too\sexplicit|inappropriate)\b""",
    _FLAGS,
)
_POLICY: Final = re.compile(
    r"""\b(?:(?:content|safety|usage|use|moderation|community|responsible|our|my|the)\b[^.\n]{0,25}
          \b(?:polic(?:y|ies)|filters?|systems?|guidelines|terms|standards|checks?|rules)\b
        |content\s(?:management\s)?polic|your\s(?:request|prompt|input|message)|for\sme\sto)""",
    _FLAGS,
)
_SUBJECT: Final = re.compile(
    r"^\W*(?:this|that|the|your|it|such)\b\W*(?:image|picture|photo|request|content|prompt|input|topic|response)?",
    re.IGNORECASE,
)
_WITHOUT_SUBJECT: Final = re.compile(
    r"^\W*(?:unable|failed|failure|impossible|not\s(?:able|possible)|could(?:n['’]?t|\snot)|cannot|can['’]?t|skipp(?:ed|ing)"
    r"|no)\b[^,]*",
    re.IGNORECASE,
)
_OF_WORK: Final = re.compile(
    r"\b(?:images?|pictures?|photos?|photographs?|captions?|descriptions?|describe\w*|requests?|response|output|model|file|json"
    r"|content|analy[sz]e|identify)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Tongue:
    """Stems of another language. ``machine`` and ``asks`` need one more part, as ``unable`` and ``sorry`` do."""

    sorry: str
    unable: str
    task: str
    machine: str


_ABROAD: Final = (
    _Tongue(  # German
        r"\b(?:tut\s(?:mir|uns)\s(?:\w+\s)?leid|leider|bedaure|entschuldigung|entschuldige)\b",
        r"\b(?:(?:kann|darf|werde|möchte|könnte)\sich\b[^.]*\b(?:nicht|kein\w*)|ich\s(?:kann|darf|werde|möchte|könnte)\b[^.]*"
        r"\b(?:nicht|kein\w*)|nicht\sin\sder\slage|habe\sich\skein\w*|ich\s(?:habe|sehe)\b[^.]*\bkein\w*"
        r"|(?:mir|uns)\s(?:\w+\s)?nicht\s(?:möglich|erlaubt|gestattet)|verstößt\sgegen)",
        r"\b(?:bild\w*|foto\w*|anfrage|beschreib\w*|helfen|inhalt\w*|identifizier\w*|person\w*|antwort\w*|richtlinien|zugriff)",
        r"\bals\s(?:\w+\s)?(?:ki|sprachmodell|künstliche|assistent)|\bals\s(?:ki|ai)-",
    ),
    _Tongue(  # French
        r"\b(?:désolée?s?|malheureusement|regrette|excusez|navrée?)\b",
        r"\b(?:je\sne\s(?:peux|puis|suis|vais|dois|saurais|vois)|je\sn['’]ai\s(?:pas|aucun)|(?:m['’]est|il\sest)\s(?:pas\s)?"
        r"(?:impossible|possible)|enfreint|contraire\sà|ne\speut\spas\sêtre)",
        r"\b(?:image\w*|photo\w*|demande|décri\w*|contenu|répondre|aider|identifi\w*|analys\w*|voir|accès|consignes)",
        r"\ben\stant\sque?\b|\ben\stant\squ['’]",
    ),
    _Tongue(  # Spanish and Portuguese
        r"\b(?:lo\s(?:siento|lamento)|lamentablemente|disculpa\w*|perdón|desculpe|desculpa|lamento|infelizmente|sinto\smuito)\b",
        r"\b(?:no\s(?:puedo|podemos|soy\scapaz|tengo|estoy|me\ses|veo)|não\s(?:posso|consigo|tenho|sou\scapaz|estou|vejo)"
        r"|(?:me\ses|é)\s(?:imposible|impossível)|(?:infringe|viola|incumple)\b)",
        r"\b(?:im[aá]ge\w*|imagem|fotos?|fotograf\w+|describ\w+|descrev\w+|ayud\w+|ajud\w+|solicitud|pedido|contenido|conteúdo|ver"
        r"|acceso|acesso|identific\w+|analiz\w+|analis\w+|autoriza\w+|normas|políticas)",
        r"\bcomo\s(?:un[ao]?\s|um[ao]?\s)?(?:modelo|inteligencia|inteligência|asistente|assistente|ia)\b",
    ),
    _Tongue(  # Italian
        r"\b(?:mi\sdispiace|purtroppo|scusa\w*)\b",
        r"\bnon\s(?:posso|riesco|sono\sin\sgrado|ho|vedo|mi\sè)\b",
        r"\b(?:immagin\w+|foto\w*|descriv\w+|aiut\w+|richiesta|contenut\w+|veder\w*|accesso|analizz\w+|identific\w+)",
        r"\b(?:come|in\squanto)\s(?:un[ao']?\s?)?(?:modello|intelligenza|assistente|ia|ai)\b",
    ),
    _Tongue(  # Dutch and Polish
        r"\b(?:het\sspijt\sme|helaas|sorry|niestety|przepraszam)\b",
        r"\b(?:ik\skan\b[^.]*\b(?:niet|geen)|kan\sik\b[^.]*\b(?:niet|geen)|ik\sheb\sgeen|nie\s(?:mogę|jestem\sw\sstanie|mam|widzę))",
        r"\b(?:afbeelding\w*|foto\w*|beeld\w*|verzoek|helpen|beschrijv\w+|obraz\w*|zdjęci\w*|opis\w*|pomóc|dostęp\w*)",
        r"\b(?:als\s(?:een\s)?(?:ai|taalmodel)|jako\s(?:model|ai|sztuczna|asystent))",
    ),
    _Tongue(  # Russian
        r"(?:извин\w+|простите|к\sсожалению|сожалею)",
        r"(?:(?:^|[\s,])(?:я\s)?не\s(?:могу|имею|вижу|способ\w+|в\sсостоянии|умею|буду)|у\sменя\sнет|невозможно)",
        r"(?:изображени\w*|картин\w*|фото\w*|описа\w*|описыва\w*|запрос\w*|помочь|просм\w*|доступ\w*|содержан\w*)",
        r"(?:как\s(?:\w+\s)?(?:ии|языков\w+|модель|ассистент|искусственн\w+))",
    ),
    _Tongue(  # Chinese
        r"(?:抱歉|对不起|對不起|很遗憾|很遺憾|遗憾)",
        r"(?:我?(?:无法|無法|不能|没有|沒有|没办法|不会|不會|不可以))",
        r"(?:图像|圖像|图片|圖片|照片|请求|請求|描述|识别|識別|协助|協助|帮助|幫助|查看|提供|分析|生成|回答|内容|內容|访问)",
        r"(?:作为|作為|我是|身为).{0,4}(?:人工智能|人工智慧|语言模型|語言模型|ai|助手)",
    ),
    _Tongue(  # Japanese
        r"(?:申し訳|すみません|恐れ入り|残念ながら|ごめんなさい)",
        r"(?:できません|できかねます|出来ません|られません|いたしかねます|えません|けません|ありません|わかりません)",
        r"(?:画像|写真|リクエスト|ご要望|依頼|説明|回答|お手伝い|お答え|確認|認識|内容|応え)",
        r"(?:(?:ai|人工知能|言語モデル|アシスタント)(?:である|なの|として|です))",
    ),
    _Tongue(  # Korean
        r"(?:죄송|미안|유감)",
        r"(?:할\s?수\s?없|볼\s?수\s?없|드릴\s?수\s?없|못합니다|않습니다)",
        r"(?:이미지|사진|요청|설명|도움|도와|내용|분석|확인)",
        r"(?:ai|인공지능|언어\s?모델).{0,3}(?:로서|이기)",
    ),
)


def unquoted(text: str) -> str:
    """A text without what stands in quotes."""
    return _QUOTED.sub(" ", text)


def is_of_an_assistant(text: str) -> bool:
    """Whether a text is an assistant's answer that it has no caption to give."""
    spoken = unquoted(text)
    if len(spoken.split()) > _WORDS:
        spoken = " ".join(spoken.split()[:_WORDS])
    if not spoken.isascii() and any(_refuses_in(tongue, spoken) for tongue in _TONGUES):
        return True
    if any(_refuses_in(tongue, spoken) for tongue in _LATIN):
        return True
    sentences = _SENTENCE.findall(spoken)[:_SENTENCES]
    sorry = _APOLOGY.search(spoken) is not None
    return any(_refuses(sentence, sorry=sorry) for sentence in sentences) or _asks(sentences)


def _refuses(sentence: str, *, sorry: bool) -> bool:
    speaker, unable = _SPEAKER.search(sentence), _UNABLE.search(sentence)
    task = _TASK.search(_clause(sentence, unable.end()) if unable else sentence) is not None
    if _MACHINE.search(sentence) and speaker and _NOTHING.search(sentence):
        return True
    if speaker and unable and (task or sorry):
        # People in pictures say "we" of themselves and of whoever looks on; "I" is the one who was asked.
        return sorry or not _OF_PEOPLE.search(speaker[0]) or _OF_WORK.search(sentence) is not None
    if _FORBIDDEN.search(sentence) and _POLICY.search(sentence):
        return True
    bare = _WITHOUT_SUBJECT.match(sentence)
    if bare is not None and not bare[0].lstrip(" \"'*[(").lower().startswith("no") and _OF_WORK.search(bare[0]):
        return True
    about = _SUBJECT.match(sentence)
    return about is not None and sorry and unable is not None and (task or speaker is not None)


def _clause(sentence: str, at: int) -> str:
    """A sentence up to the comma behind a place, unless a reason follows: a caption goes on with what it shows."""
    end = _NEW_CLAUSE.search(sentence, at)
    return sentence if end is None else sentence[: end.start()]


def _asks(sentences: Sequence[str]) -> bool:
    return any(_TO_THE_USER.search(sentence) for sentence in sentences)


def _refuses_in(tongue: tuple[re.Pattern[str], ...], text: str) -> bool:
    sorry, unable, task, machine = (pattern.search(text) is not None for pattern in tongue)
    return (unable and (sorry or machine or (task and _is_first(tongue[1], text)))) or (sorry and task and unable)


def _is_first(pattern: re.Pattern[str], text: str) -> bool:
    """Whether it begins the text or a sentence: captions speak of somebody first."""
    found = pattern.search(text)
    return found is not None and len(text[: found.start()].split()) <= 2


_TONGUES: Final = tuple(
    tuple(re.compile(stem, re.IGNORECASE) for stem in (one.sorry, one.unable, one.task, one.machine)) for one in _ABROAD
)
_LATIN: Final = _TONGUES[:5]
