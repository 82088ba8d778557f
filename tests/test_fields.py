"""What a section's fields say of themselves, for forms, the command line and the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lorasmith.config import Section
from lorasmith.fields import OneField, fields_of


class Inner(Section):
    """A section inside."""

    flip: bool = True
    """Whether."""


class Kinds(Section):
    """One of each."""

    name: Annotated[str, Field(min_length=1, max_length=20)]
    """Needed."""
    count: Annotated[int, Field(ge=1, le=2_000_000, multiple_of=8)] | None = None
    """Optional."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Open at both ends."""
    way: Literal["up", "down"] = "up"
    """A choice."""
    tags: tuple[str, ...] = ()
    """Texts."""
    sides: tuple[Literal["left", "right"], ...] = ("left",)
    """Chosen texts."""
    point: tuple[float, float] = (0.0, 1.0)
    """Two numbers."""
    steps: tuple[int, ...] = ()
    """Any count of numbers."""
    weights: dict[str, float] = {}
    """By name."""
    file: Path | None = None
    """A path."""
    inner: Inner = Inner()
    """A section."""


def fields() -> dict[str, OneField]:
    return {field.key: field for field in fields_of(Kinds)}


def test_kinds_in_words() -> None:
    words = {key: field.type_words() for key, field in fields().items()}
    assert words == {
        "name": "text", "count": "whole number", "share": "number", "way": "up | down", "tags": "list of text",
        "sides": "list of left | right", "point": "2 numbers", "steps": "list of numbers", "weights": "JSON object",
        "file": "path", "inner.flip": "true or false",
    }  # fmt: skip
    assert fields()["way"].type_words(between=", ", each="`{}`") == "`up`, `down`"
    assert fields()["inner.flip"].type_words(each="`{}`") == "`true` or `false`"


def test_bounds_in_words() -> None:
    bounds = {key: list(field.bound_words()) for key, field in fields().items()}
    assert bounds["name"] == ["not empty", "at most 20 characters"]
    assert bounds["count"] == ["at least 1", "at most 2000000", "in steps of 8"]
    assert bounds["share"] == ["above 0", "below 1"]
    assert bounds["tags"] == []


def test_defaults_in_words() -> None:
    defaults = {key: field.default_words() for key, field in fields().items()}
    assert (defaults["name"], defaults["count"], defaults["way"]) == (None, "null", '"up"')
    assert (defaults["point"], defaults["inner.flip"], defaults["sides"]) == ("[0.0, 1.0]", "true", '["left"]')
