"""A query language over the pictures of a version, the same for every command, page and saved selection.

    tag:blue_hair -tag:solo tags:>13            all three: AND is what stands between two conditions
    (cat OR "black dog") NOT missing:trigger    a bare word or a quoted phrase stands in the caption
    aspect:0.9..1.1 blur:<40                    numbers: exact, above, below, between with both ends
    name:cats/* role:validation                 * any characters, ? one character

Rules. AND binds closer than OR; NOT, ``-`` and ``!`` closer than both. Joining words are in capitals.
Case is never minded, nor whether an accent is one character with its letter or its own.
``tag:`` compares whole tags, never parts of them, and takes ``_`` and space for the same; no other field does.
A bare word is a word of its own: ``cat`` is not in ``catalogue``, ``cat*`` is, and ``caption:cat`` looks inside words.
``name:`` and ``source:`` find a part; with a wildcard they, like all other texts, mean the whole value.
In quotes ``*`` and ``?`` are themselves; outside a backslash makes any character itself.
Equal, for a number with decimals, is whatever rounds to it: ``megapixels:1.5``; for ``3:2`` it is within one percent.
A picture that lacks a figure (a score, a JPEG quality) matches no comparison with it.

What each field means stands in ``fields.py``.
"""

from __future__ import annotations

from lorasmith.datasets.query.arrivals import added_in
from lorasmith.datasets.query.facts import Facts, GivenFacts
from lorasmith.datasets.query.fields import FIELDS, Field
from lorasmith.datasets.query.parser import Query, QueryError, parse_query

__all__ = ["FIELDS", "Facts", "Field", "GivenFacts", "Query", "QueryError", "added_in", "parse_query"]
