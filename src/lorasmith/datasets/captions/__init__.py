"""Captions as people write them: tags, prose or both. Editing touches what it names and nothing else.

grammar.py      the one parser: lines, sections, units, tags; lossless
style.py        tags or prose, told cell by cell
kaomoji.py      faces that are no grammar
decoding.py     from the bytes of a file to text
editing.py      split, join, remove, trigger word: plain functions
rewriting.py    how an edit of tags is written back without touching anything else
operations/     everything that can be done to captions in bulk, each described by its options
index.py        captions of a dataset held ready
bulk.py         preview and apply an operation, on all pictures or some
worddiff.py     two captions word by word
files.py        captions as .txt beside pictures, never over someone else's edit
"""

from lorasmith.datasets.captions.decoding import decode_caption, looks_like_error
from lorasmith.datasets.captions.editing import (
    add_trigger_word,
    count_word,
    has_word,
    join_tags,
    remove_tags,
    split_tags,
)
from lorasmith.datasets.captions.grammar import Caption, Variant, parse

__all__ = [
    "Caption",
    "Variant",
    "add_trigger_word",
    "count_word",
    "decode_caption",
    "has_word",
    "join_tags",
    "looks_like_error",
    "parse",
    "remove_tags",
    "split_tags",
]
