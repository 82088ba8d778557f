"""Captions as people write them: tags, prose or both. Editing touches what it names and nothing else.

grammar.py      the one parser: lines, sections, units, tags; lossless
style.py        tags or prose, told cell by cell
spelling.py     when two tags are one
kaomoji.py      faces that are no grammar
excuses.py      error texts and refusals that stand in a caption's place
trigger_word.py where the trigger word stands
decoding.py     from the bytes of a file to text
rewriting.py    how an edit of tags is written back without touching anything else
operations/     everything that can be done to captions in bulk, each described by its options
index.py        captions of a dataset held ready
bulk.py         preview and apply an operation, on all pictures or some
worddiff.py     two captions word by word
files.py        captions as .txt beside pictures, never over someone else's edit
"""

from lorasmith.datasets.captions.decoding import decode_caption
from lorasmith.datasets.captions.excuses import is_excuse
from lorasmith.datasets.captions.grammar import Caption, Variant, parse, split_tags
from lorasmith.datasets.captions.spelling import fold, same_spelling
from lorasmith.datasets.captions.trigger_word import count_word, has_word

__all__ = [
    "Caption",
    "Variant",
    "count_word",
    "decode_caption",
    "fold",
    "has_word",
    "is_excuse",
    "parse",
    "same_spelling",
    "split_tags",
]
