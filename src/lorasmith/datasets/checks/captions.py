"""C1-C8, C11, C22: whether each picture has its caption, can be read, holds the trigger word and is read to its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from lorasmith.datasets.captions import count_word, has_word, is_excuse, same_spelling, split_tags
from lorasmith.datasets.checks.context import CheckContext
from lorasmith.datasets.checks.finding import Check, Found, Repair, found
from lorasmith.datasets.checks.words import COMMON_WORDS

NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff\ufffd]")
_READ_WRONG: Final = re.compile(r"[ÃÂ][\x80-\xbf‘’“”•–—™œžŸƒ„…†‡ˆ‰Š‹ŒŽ˜š›€]|â€[\x80-\xbf™œ\x9d“”˜–—¦¢]")
_SHOWN_CUT: Final = 40
_WORDS: Final = re.compile(r"[^\W\d_]+")
_SHORT_TRIGGER: Final = 3
_IMAGE_SUFFIX: Final = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?|avif)$", re.IGNORECASE)


def _blank(context: CheckContext, *, had_file: bool) -> list[str]:
    return [
        item.name for item in context.items if not item.caption.strip() and ("caption" in item.provenance) == had_file
    ]


def _fill(context: CheckContext) -> Repair | None:
    word = context.trigger_word
    return Repair("fill_caption", {"text": word}, f"Give them the caption '{word}'.") if word else None


def _missing(context: CheckContext) -> Iterator[Found]:
    yield from found(_blank(context, had_file=False), "{n} without a caption.", repair=_fill(context))


def _empty(context: CheckContext) -> Iterator[Found]:
    ending = f"; {context.reader.title} stops at the first" if context.reader.dies_of_empty_captions else ""
    yield from found(_blank(context, had_file=True), f"{{n}} with an empty caption{ending}.", repair=_fill(context))


def _unreadable(context: CheckContext) -> Iterator[Found]:
    ledger = context.told_fates
    lost = [f.path for f in ledger if f.fate == "left_out" and f.rule == "unreadable_caption"]
    yield from found(
        lost, "{files} that should be {a caption is|captions are} no readable text.", severity="warning",
        fix="Save them as UTF-8 and import again.",
    )  # fmt: skip
    guessed = [f.item for f in ledger if f.rule == "caption" and f.fate == "converted" and f.item is not None]
    yield from found(
        guessed,
        "The {caption|captions} of {n} {was|were} not UTF-8 and {was|were} read as Windows-1252.",
        severity="warning",
    )
    broken = [item.name for item in context.items if NOT_TEXT.search(item.caption)]
    yield from found(
        broken,
        "{n} with control characters, a byte order mark or replacement characters in the caption.",
        fix="Remove them.",
        repair=Repair("remove_broken_characters", {}, "Remove the characters that are no text."),
    )
    wrong = [item.name for item in context.items if _READ_WRONG.search(item.caption)]
    yield from found(
        wrong, "{n} whose caption was read in the wrong encoding (such as 'Ã©' for 'é').", severity="warning"
    )


def _excuses(context: CheckContext) -> Iterator[Found]:
    yield from found(
        (item.name for item in context.items if is_excuse(item.caption)),
        "{n} with a program's error text or a model's refusal as caption.",
        repair=Repair("fill_caption", {"text": context.trigger_word, "overwrite": True}, "Empty these captions.")
        if context.trigger_word
        else None,
    )


def _no_trigger(context: CheckContext) -> Iterator[Found]:
    word = context.trigger_word
    if not word:
        return
    yield from found(
        (item.name for item in context.trained if not has_word(item.caption, word)),
        "{n} without the trigger word '{word}' in {its caption|their captions}.",
        word=word,
        repair=Repair("add_trigger_word", {"word": word}, f"Put '{word}' in front of the captions that lack it."),
    )
    yield from found(
        (item.name for item in context.items if item.role == "regularisation" and has_word(item.caption, word)),
        "{n} for regularisation with the trigger word '{word}', which should stay with the subject.",
        fix="Remove it from them.",
        word=word,
        repair=Repair(
            "remove_tags",
            {"tags": [word], "ignore_case": True},
            f"Remove '{word}' from the regularisation captions.",
        ),
    )


def _double_trigger(context: CheckContext) -> Iterator[Found]:
    word = context.trigger_word
    if not word:
        return
    twice = [i.name for i in context.trained if max(count_word(x, word) for x in i.caption.splitlines() or [""]) > 1]
    yield from found(
        twice,
        "{n} with the trigger word '{word}' more than once.",
        word=word,
        repair=Repair("remove_duplicates", {}, "Keep the first of each tag."),
    )
    kept = context.plan.keep_tokens if context.plan else 0
    if kept < 1:
        return
    late = [
        item.name
        for item in context.trained
        if (tags := [same_spelling(tag) for tag in split_tags(item.caption)]) and same_spelling(word) not in tags[:kept]
        and has_word(item.caption, word)
    ]  # fmt: skip
    yield from found(
        late,
        f"{{n}} with the trigger word '{{word}}' behind the first {kept} kept in place; shuffling moves it.",
        fix="Put it first.",
        word=word,
    )


def _common_trigger(context: CheckContext) -> Iterator[Found]:
    word = context.trigger_word
    if not word:
        return
    parts = [part.casefold() for part in _WORDS.findall(word)]
    if parts and all(part in COMMON_WORDS for part in parts):
        yield Found((), f"The trigger word '{word}' is common English, with a meaning the model already knows.")
    elif len(word) < _SHORT_TRIGGER:
        yield Found((), f"The trigger word '{word}' is so short that it turns up by chance.")
    elif context.counts_exactly and context.count(word) == 1:
        yield Found(
            (),
            f"The trigger word '{word}' is a single token of the text encoder, so it may already mean something.",
            severity="info",
            fix="Try it in a prompt of the base alone; choose another if a picture changes with it.",
        )


def _too_long(context: CheckContext) -> Iterator[Found]:
    limit, tokens = context.family.max_tokens, context.tokens
    longer = {name: count for name, count in tokens.items() if count > limit}
    if not longer:
        return
    worst = max(longer, key=longer.__getitem__)
    about = "" if context.counts_exactly else "about "
    yield from found(
        longer,
        f"{{n}} with {{a caption|captions}} over {limit} tokens ({about}{longer[worst]} at most); "
        "the text encoder does not read the rest, such as '{word}'.",
        word=_cut_off(_longest_line(context, worst), limit, context),
        repair=Repair("limit_tokens", {"limit": limit}, f"Cut them at {limit} tokens, between tags."),
    )


def _longest_line(context: CheckContext, name: str) -> str:
    caption = context.by_name[name].caption
    return caption if context.reader.lines == "whole" else max(caption.splitlines(), key=context.count)


def _cut_off(caption: str, limit: int, context: CheckContext) -> str:
    """The beginning of what is not read; found by halving where there is a count but no tokenizer that cuts."""
    if context.tokenizer is not None:
        rest = context.tokenizer.cut(caption, limit)[1].strip()
    else:
        words = caption.split()
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if context.count(" ".join(words[:middle])) <= limit else (low, middle - 1)
        rest = " ".join(words[low:])
    return rest if len(rest) <= _SHOWN_CUT else rest[:_SHOWN_CUT].rstrip() + "..."


def _lines(context: CheckContext) -> Iterator[Found]:
    several = [item.name for item in context.items if sum(bool(x.strip()) for x in item.caption.splitlines()) > 1]
    if context.reader.lines == "first":
        yield from found(
            several, f"{{n}} with several lines of caption, of which {context.reader.title} reads the first."
        )
    elif context.reader.lines == "whole":
        yield from found(
            several,
            f"{{n}} with several lines of caption, which {context.reader.title} reads as one long text.",
            severity="info",
        )


def _strays(context: CheckContext) -> Iterator[Found]:
    rules = ("orphan_caption", "duplicate_caption")
    paths = [f.path for f in context.told_fates if f.fate == "left_out" and f.rule in rules]
    dotted = [path for path in paths if _IMAGE_SUFFIX.search(PurePosixPath(path).stem)]
    yield from found(
        (path for path in paths if path not in set(dotted)),
        "{files} {is a caption without a picture of its|are captions without a picture of their} own.",
    )
    yield from found(
        dotted,
        "{files} {is a caption|are captions} named after a picture's whole name (x.jpg.txt), which no trainer pairs.",
    )


CHECKS: Final = (
    Check(
        "C1", "error", "No caption",
        "Without words a picture is tied to the empty prompt, or to the folder's name, and cannot be called up.",
        "sd-scripts falls back to class tokens or stops; diffusion-pipe trains on the empty text with a warning.",
        "Run `lorasmith caption`, or put a .txt beside each picture and import again.", _missing,
    ),
    Check(
        "C2", "error", "Empty caption",
        "A file that is there but empty is a caption that failed; some trainers stop on it, others train on nothing.",
        "sd-scripts ends with an assertion on an empty caption file.",
        "Run `lorasmith caption`, or put a .txt beside each picture and import again.", _empty,
    ),
    Check(
        "C3", "error", "Caption that is not clean UTF-8",
        "Trainers read UTF-8 and keep a byte order mark as part of the first tag; other encodings stop them or "
        "garble letters.",
        "sd-scripts decodes strictly and keeps the mark; diffusion-pipe opens files in the machine's own encoding.",
        "Look at their accented letters; save them as UTF-8 if they are wrong.", _unreadable,
    ),
    Check(
        "C4", "error", "Error text or refusal as caption",
        "The picture would be tied to the words of an apology, and nobody notices until the samples are strange.",
        "Captioning programs that write their exception into the .txt; chat models that decline. Of wordings that it "
        "was not adjusted to, it finds under half: look at a few captions yourself.",
        "Caption them again.", _excuses,
    ),
    Check(
        "C5", "warning", "Trigger word missing",
        "A picture without the word teaches the subject to the ordinary words beside it, so it appears uncalled.",
        "The most frequent complaint about trained adapters: sd-scripts issues 1045, 1854; ai-toolkit issue 54.",
        "Add it to all captions.", _no_trigger,
    ),
    Check(
        "C6", "warning", "Trigger word twice or out of place",
        "Repeated words are weighted; and with shuffling only the first keep_tokens tags stay in place.",
        "sd-scripts' keep_tokens; adding a word twice is the commonest slip of tag editors.",
        "Keep the first.", _double_trigger,
    ),
    Check(
        "C7", "warning", "Trigger word that is already known",
        "The model's own meaning of the word mixes with the subject, and the word works without the adapter.",
        "Ruiz et al. 2022, 'DreamBooth': rare identifiers work better than common words.",
        "Choose a rare word such as 'ohwx' followed by a word of your own.", _common_trigger,
    ),
    Check(
        "C8", "warning", "Longer than the model reads",
        "Everything behind the limit is cut off without a word, whatever it describes.",
        "CLIP reads 75 tokens beside its two marks; FLUX schnell 256, other T5 encoders 512.",
        "Put what matters first, or shorten them.", _too_long,
    ),
    Check(
        "C11", "warning", "Several lines, read otherwise than meant",
        "Lines are variants to some trainers, one text to others, and one trainer drops all but the first.",
        "kohya-ss/sd-scripts issue 870 (open since 2023): the first line only, unless wildcards are on.",
        "Keep one line, or choose a trainer that reads lines as variants.", _lines,
    ),
    Check(
        "C22", "warning", "Caption without a picture",
        "A caption file whose name matches no picture is read by nobody, and its picture trains without it.",
        "Every trainer pairs by name without suffix; some downloaders write x.jpg.txt.",
        "Name each like its picture, with .txt in place of the suffix.", _strays,
    ),
)  # fmt: skip
