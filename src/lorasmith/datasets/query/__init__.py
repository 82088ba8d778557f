"""A query language over the pictures of a version, the same for every command, page and saved selection.

    tag:blue_hair -tag:solo tags:>13            all three: AND is what stands between two conditions
    (cat OR "black dog") NOT missing:trigger    a bare word or a quoted phrase stands in the caption
    aspect:0.9..1.1 blur:<40                    numbers: exact, above, below, between
    name:cats/* role:validation                 * any characters, ? one character

Case is never minded. ``tag:`` compares whole tags and takes ``_`` and space for the same; nothing else does. What a
field means stands in ``fields.py``.
"""

from __future__ import annotations

from lorasmith.datasets.query.facts import Facts, GivenFacts
from lorasmith.datasets.query.fields import FIELDS, Field
from lorasmith.datasets.query.parser import Query, QueryError, parse_query

__all__ = ["FIELDS", "Facts", "Field", "GivenFacts", "Query", "QueryError", "parse_query"]
