"""C9, C10, C17-C20, C23: what captions look like as text, whatever they describe."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from lorasmith.datasets.captions import same_spelling
from lorasmith.datasets.checks.context import CheckContext
from lorasmith.datasets.checks.finding import Check, Found, Repair, found

_SHORT_PROSE, _SHORT_TAGS = 20, 5
_LONG: Final = 200
_SAME_SHARE, _SAME_FEWEST = 0.2, 3
_REPEATS: Final = 4
_LONGEST_LOOP: Final = 12  # words
_WORD: Final = re.compile(r"[぀-ヿ㐀-鿿가-힣]|[^\W぀-ヿ㐀-鿿가-힣]+(?:['’]\w+)?")
_SENTENCE: Final = re.compile(r"[^.!?。！？\n]+")
_SENTENCE_WORDS: Final = 3
_PICTURE: Final = (
    r"(?:image|picture|photo|photograph|illustration|scene|artwork|painting|drawing|portrait|sketch|shot|frame|still"
    r"|render(?:ing)?|visual|composition|screenshot|snapshot)"
)
_SHOWS: Final = (
    r"(?:shows|depicts|features|displays|presents|portrays|captures|illustrates|contains|showcases|represents|conveys"
    r"|highlights|focuses[ ]on|consists[ ]of|appears[ ]to[ ](?:show|depict|be)|is[ ](?:of|an?|the)\b)"
)
BOILERPLATE: Final = re.compile(
    rf"""^\s*(?:(?:sure|certainly|of[ ]course|okay|ok)\b[^.:!\n]{{0,60}}[.:!]\s*)?
    (?:
        (?:this|the)[ ](?:[\w-]+[ ]){{0,4}}?{_PICTURE}(?:[ ](?:you|that|i|we)[ ]\w+(?:[ ]\w+)?)?[ ]{_SHOWS}
      | in[ ](?:this|the)[ ](?:[\w-]+[ ]){{0,3}}?{_PICTURE}
        (?:,?[ ](?:we|one|you)[ ](?:can[ ])?see\b|,(?:[ ]there[ ](?:is|are)\b)?|[ ]there[ ](?:is|are)\b)
      | (?:this|it)[ ](?:is|appears[ ]to[ ]be|seems[ ]to[ ]be|looks[ ]like)[ ]an?[ ](?:[\w-]+[ ]){{0,3}}?{_PICTURE}[ ]
        (?:of|showing|depicting|featuring)\b
      | an?[ ](?:image|picture)[ ](?:of|showing|depicting)\b
      | (?:pictured|depicted|shown|seen|featured)[ ](?:here|above|in[ ](?:this|the)[ ](?:[\w-]+[ ])?{_PICTURE})[ ]?
        (?:,|is|are|we[ ]see)
      | looking[ ]at[ ](?:this|the)[ ](?:[\w-]+[ ])?{_PICTURE},
      | here(?:['’]s|[ ]is)[ ](?:an?|the|my|your)[ ](?:\w+[ ]){{0,2}}(?:description|caption)\b[^:.\n]{{0,40}}[:.]
      | (?:image[ ])?(?:description|caption)\s*:
      | we[ ](?:can[ ])?see\b | you[ ]can[ ]see\b
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_WEIGHT: Final = re.compile(r"(?<!\\)[(\[][^()\[\]]*:\s*[0-9]*\.?[0-9]+\s*(?<!\\)[)\]]")
_LORA: Final = re.compile(r"<\s*(lora|lyco|hypernet|embedding)\s*:", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\.")
_FACES: Final = re.compile(
    r"(?:^|(?<=[\s,]))(?:[>}]?[:;=8xX]['’^o-]?[()\[\]{}|<>]+|[()\[\]{}<>]+['’^o-]?[:;=8]|<3|\(o\)_\(o\)|<[|o]>_<[|o]>"
    r"|>_<|>\.<|<_<|>_>|[\\/]?\([^\w\s()]{1,6}[^()]{0,6}[^\w\s()]{1,6}\)[\\/]?)(?=$|[\s,])"
)
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
_RAISED_ARMS: Final = re.compile(r"[\\/][(][^\s()\\]{1,5}[)][\\/]")
_LIST_MARK: Final = re.compile(r"(?:^|(?<=[\s,:]))\w\)")
_INCHES: Final = re.compile(r'(?<=\d)"')
_SITES: Final = (
    "twitter|x|patreon|pixiv|instagram|weibo|facebook|discord|tumblr|deviantart|artstation|fanbox|fantia|ko-?fi|youtube"
    "|tiktok|bluesky|fansly|onlyfans|subscribestar|gumroad|reddit"
)
_MARK: Final = re.compile(
    rf"(?:{_SITES}|artist|sample|third-party|logo|website)? ?(?:username|watermark|signature)"
    rf"|(?:{_SITES}) (?:logo|id|name|address)|artist (?:name|logo)|web address|url|dated"
    r"|copyright (?:notice|name|text|symbol|sign)|stock photo"
)
_MARKS_IN_PROSE: Final = re.compile(
    r"\b(?:water-?mark(?:ed|s)?|shutterstock|getty ?images|istock(?:photo)?|adobe stock|alamy|dreamstime|depositphotos"
    r"|all rights reserved|artist['’]?s? signature|signed by the artist|(?:time|date) ?stamp(?:ed)?"
    r"|(?:a|the) signature(?= (?:in|at|on|is|visible|can))|(?:artist|photographer)['’]s name"
    r"|(?:logo|text|url|name|date|signature) in (?:the|a|one) (?:\w+[ -]){0,2}corner)\b|©|www\.\w",
    re.IGNORECASE,
)


def _short(context: CheckContext) -> Iterator[Found]:
    prose = [n for n, count in context.tokens.items() if context.styles[n] == "prose" and count < _SHORT_PROSE]
    tagged = [
        item.name
        for item in context.trained
        if context.styles[item.name] == "tags" and len(context.captions.tags(item.caption)) < _SHORT_TAGS
    ]
    yield from found(prose, f"{{n}} with {{a sentence|sentences}} of fewer than {_SHORT_PROSE} tokens.")
    yield from found(tagged, f"{{n}} with fewer than {_SHORT_TAGS} tags.")


def _long(context: CheckContext) -> Iterator[Found]:
    yield from found(
        (name for name, count in context.tokens.items() if count > _LONG), f"{{n}} with more than {_LONG} tokens."
    )


def _identical(context: CheckContext) -> Iterator[Found]:
    texts = {item.name: " ".join(item.caption.casefold().split()) for item in context.trained if item.caption.strip()}
    for text, count in Counter(texts.values()).most_common(1):
        if count >= _SAME_FEWEST and count > _SAME_SHARE * len(context.trained):
            names = [name for name, other in texts.items() if other == text]
            yield from found(names, f"{{n}} of {len(context.trained)} share one and the same caption.")


def has_loop(caption: str) -> bool:
    """Whether the same one to twelve words come four times in a row, or the same sentence four times anywhere.

    The last time may lack a word, such as the "and" between the times.
    """
    text = caption.casefold()
    sentences = Counter(tuple(_WORD.findall(sentence)) for sentence in _SENTENCE.findall(text))
    if any(count >= _REPEATS and len(words) >= _SENTENCE_WORDS for words, count in sentences.items()):
        return True
    words = _WORD.findall(text)
    longest = min(_LONGEST_LOOP, (len(words) + 1) // _REPEATS)
    return any(_runs(words, length) for length in range(1, longest + 1))


def _runs(words: Sequence[str], length: int) -> bool:
    run, enough = 0, (_REPEATS - 1) * length - (length >= 3)
    for before, after in zip(words, words[length:], strict=False):
        run = run + 1 if before == after and not before.isdigit() else 0
        if run >= enough:
            return True
    return False


def _loops(context: CheckContext) -> Iterator[Found]:
    looping = [item.name for item in context.items if has_loop(item.caption)]
    yield from found(looping, "{n} whose caption repeats the same words over and over.")


def _boilerplate(context: CheckContext) -> Iterator[Found]:
    yield from found(
        (item.name for item in context.items if BOILERPLATE.search(item.caption)),
        "{n} whose caption opens with a phrase such as 'This image shows'.",
        repair=Repair("remove_opening", {}, "Remove the opening phrase."),
    )


def is_unbalanced(caption: str) -> bool:
    """Whether brackets or double quotes are left open; escaped ones and faces such as ``:)`` do not count."""
    text = _LIST_MARK.sub("", _FACES.sub("", _ESCAPED.sub("", _RAISED_ARMS.sub("", caption))))
    open_ones: list[str] = []
    for sign in text:
        if sign in "([{":
            open_ones.append(sign)
        elif sign in ")]}" and (not open_ones or open_ones.pop() != _PAIRS[sign]):
            return True
    return bool(open_ones) or _INCHES.sub("", text).count('"') % 2 == 1 or text.count("“") != text.count("”")


def _syntax(context: CheckContext) -> Iterator[Found]:
    loras = [item.name for item in context.items if _LORA.search(item.caption)]
    weights = [item.name for item in context.items if _WEIGHT.search(item.caption)]
    other = set(loras) | set(weights)
    open_ones = [i.name for i in context.items if i.name not in other and is_unbalanced(i.caption)]
    yield from found(loras, "{n} whose caption calls a LoRA (<lora:...>), which is prompt syntax.")
    yield from found(weights, "{n} with prompt weights such as (tag:1.2), which a trainer reads as text.")
    yield from found(open_ones, "{n} with a bracket or quotation mark that is never closed, or never opened.")


def _marks(context: CheckContext) -> Iterator[Found]:
    marked = [
        item.name
        for item in context.items
        if any(_MARK.fullmatch(same_spelling(tag)) for tag in context.captions.tags(item.caption))
        or _MARKS_IN_PROSE.search(item.caption)
    ]
    yield from found(marked, "{n} whose caption speaks of a watermark, signature or address.")


CHECKS: Final = (
    Check(
        "C9", "info", "Short caption",
        "What a caption leaves out is tied to the trigger word, wanted or not.",
        "Guides call under 20 tokens too short; with tags, under five say little about a picture.",
        "Describe what should stay changeable: pose, clothing, background, light.", _short,
    ),
    Check(
        "C10", "info", "Very long caption",
        "Long descriptions dilute each word and pass the limit of short text encoders.",
        "Guides call over 200 tokens too long and 50 to 150 good.",
        "Keep what distinguishes the picture.", _long,
    ),
    Check(
        "C17", "warning", "Many identical captions",
        "Words that never change carry no information; everything in these pictures melts into one meaning.",
        "A caption distinguishes pictures by what differs; copied template files are the usual cause.",
        "Caption each picture for itself.", _identical,
    ),
    Check(
        "C18", "warning", "Repetition loop",
        "A language model that got stuck fills the limit with one phrase, and that phrase is then learned.",
        "A known failure of text generation: Holtzman et al. 2019, 'The Curious Case of Neural Text Degeneration'.",
        "Caption them again, with another temperature.", _loops,
    ),
    Check(
        "C19", "warning", "Boilerplate opening",
        "The same opening on every caption takes tokens from the description and is needed in prompts later.",
        "Habits of chat models; prompts begin with the subject.",
        "Remove the opening.", _boilerplate,
    ),
    Check(
        "C20", "info", "Prompt syntax or open brackets",
        "Weights and LoRA calls are instructions to a user interface; in training they are literal text.",
        "No trainer interprets them; editors that turn brackets into weights destroy names such as poster (object).",
        "Remove the syntax, or close the bracket.", _syntax,
    ),
    Check(
        "C23", "info", "Watermark named in the caption",
        "The caption says that something is printed over the picture. Named, it can be kept out of what is generated; "
        "removed, it is better still.",
        "Danbooru-style taggers report such marks, which makes them a free detector.",
        "Crop or paint the mark away, then remove the word; or leave both.", _marks,
    ),
)  # fmt: skip
