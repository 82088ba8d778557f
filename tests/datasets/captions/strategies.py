"""Captions as they are found, and as nobody would write them."""

from __future__ import annotations

from hypothesis import strategies as st

CELLS = [
    "1girl",
    "blue hair",
    "blue_hair",
    "Blue Hair",
    "hair",
    "white shirt",
    "shirt",
    "solo",
    "solo focus",
    "ohwx",
    "zib",
    "^_^",
    ":,(",
    ">_<",
    "(o)_(o)",
    r"artist \(a, b\)",
    r"\(open",
    "(tag:1.2)",
    "(a, b:1.2)",
    "<lora:x, y:1>",
    "",
    "[trigger]",
    "A woman stands in a field",
    "her hair is blowing.",
    "a red star",
    "the legend of zelda",
    "a，b",
    "(",
    ")",
    "  spaced  out ",
    "cat ears",
    "animal ears",
    "She smiles. He does not",
    "machigatteiru.",
]
SEPARATORS = [", ", ", ", ", ", ",", " , ", " ||| ", ";;;", "\n", "\r\n", "\r", ". "]

plain_captions = st.lists(st.sampled_from(CELLS[:15]), min_size=1, max_size=8).map(", ".join)
odd_captions = st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(SEPARATORS)), max_size=8).map(
    lambda pairs: "".join(cell + separator for cell, separator in pairs)
)
captions = (
    plain_captions | odd_captions | st.text(max_size=30) | st.text(st.sampled_from(", ;|\\()<>:1a\n"), max_size=20)
)
