"""The forms of the tools that write a LoRA file: what was sent, as ``adapters.tools.requests`` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from lorasmith.errors import ConfigError
from lorasmith.studio import Studio

MOST: Final = 32  # LoRAs of a merge
_PICTURE: Final = 16 * 2**20
_FIELDS: Final = ("title", "author", "description", "license", "trigger", "usage")


@dataclass(frozen=True)
class Fields:
    """A form as it came: names with values, in their order."""

    pairs: tuple[tuple[str, str], ...] = ()
    picture: UploadFile | None = None

    def one(self, name: str) -> str:
        """The first value of a name; empty when there is none."""
        return next((value.strip() for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for key, value in self.pairs if key == name]

    def sent(self, name: str) -> bool:
        """Whether it is there at all."""
        return any(key == name for key, _ in self.pairs)


async def _fields(request: Request) -> Fields:
    if request.method == "GET":
        return Fields(tuple(request.query_params.multi_items()))
    form = await request.form()
    pairs = tuple((key, value) for key, value in form.multi_items() if isinstance(value, str))
    picture = form.get("thumbnail")
    return Fields(pairs, picture if isinstance(picture, UploadFile) and picture.filename else None)


Given = Annotated[Fields, Depends(_fields)]


@dataclass(frozen=True)
class Row:
    """One LoRA of the form of a merge, a bake or an average."""

    lora: str
    weight: str = "1"
    blocks: str = ""
    step: str = ""


def rows_of(given: Fields) -> list[Row]:
    """The chosen LoRAs, with one that is added and without one that is dropped."""
    loras, others = given.all("lora"), {name: given.all(name) for name in ("weight", "blocks", "step")}

    def at(name: str, place: int, otherwise: str) -> str:
        return others[name][place] if place < len(others[name]) else otherwise

    rows = [
        Row(one, at("weight", place, "1"), at("blocks", place, ""), at("step", place, ""))
        for place, one in enumerate(loras[:MOST])
        if one.strip() and given.one("drop") != str(place)
    ]
    added = given.one("add")
    return [*rows, Row(added)] if added and len(rows) < MOST else rows


def values_of(studio: Studio, verb: str, given: Fields) -> dict[str, Any]:
    """What a form says, as the request takes it; what is empty is left out.

    Raises:
        ConfigError: nothing was chosen, or a line that says nothing.
    """
    if verb in ("merge", "bake", "average"):
        return _of_several(verb, given)
    if verb == "extract":
        values: dict[str, Any] = {name: given.one(name) for name in ("base", "tuned")}
        if missing := next((word for name, word in _ENDS.items() if not values[name]), ""):
            raise ConfigError(f"{missing} is not chosen.", "Choose both: a LoRA is what lies between the two.")
        if blocks := lines(given.one("blocks")):
            values["by_block"] = blocks
        values |= {name: given.one(name) == "on" for name in ("text_encoders", "keep_rest")}
        return values | _filled(given, ("rank", "dialect", "family", "only_for", "dtype"))
    values = {"lora": given.one("lora")}
    if verb == "resize":
        if blocks := lines(given.one("blocks")):
            values["by_block"] = blocks
        return values | _filled(given, ("rank", "method", "value", "dtype", "base"))
    if verb == "convert":
        values["drop_others"] = given.one("drop_others") == "on"
        return values | _filled(given, ("dialect", "family", "rank", "only_for", "dtype", "base"))
    if verb == "scale":
        return values | {"by_block": lines(given.one("blocks"))} | _filled(given, ("factor",))
    return values | _edits(given, said_of(studio.inspect(values["lora"]).metadata))


_ENDS: Final = {"base": "What it was tuned from", "tuned": "The fine-tuned checkpoint"}


def _of_several(verb: str, given: Fields) -> dict[str, Any]:
    made: dict[str, Any]
    rows = rows_of(given)
    if verb == "average" and given.one("run"):
        made = {"run": given.one("run"), "steps": [step for step in given.all("step") if step.strip()]}
        if given.sent("chosen") and not made["steps"]:
            raise ConfigError("No checkpoint is chosen.", "Choose two of them or more.")
        return made | _of_average(given)
    if verb == "average":
        if len(rows) < 2:
            raise ConfigError("An average takes two checkpoints or more.", "Choose the LoRAs of one run.")
        made = {"loras": [row.lora for row in rows]}
        if any(row.step.strip() for row in rows):
            made["steps"] = [row.step.strip() or "0" for row in rows]
        return made | _of_average(given)
    if not rows:
        word = "merge" if verb == "merge" else "bake in"
        raise ConfigError(
            f"There is nothing to {word}.", "Choose " + ("two LoRAs or more." if verb == "merge" else "a LoRA.")
        )
    parts = [{"lora": row.lora, "weight": row.weight or "1", "by_block": lines(row.blocks)} for row in rows]
    if verb == "merge":
        names = ("method", "rank", "density", "seed", "dialect", "family", "only_for", "dtype", "base")
        return {"loras": parts} | _filled(given, names)
    if not given.one("base"):
        raise ConfigError("No base is chosen.", "Choose what the LoRAs shall become part of.")
    return {"loras": parts, "allow_missing": given.one("allow_missing") == "on"} | _filled(given, ("base", "family"))


def _of_average(given: Fields) -> dict[str, Any]:
    if given.one("alike") == "on":
        return {"sigma_rel": None} | _filled(given, ("rank", "dialect", "family", "dtype"))
    return _filled(given, ("rank", "dialect", "family", "dtype", "sigma_rel"))


def said_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """What a file says in the fields of the form."""
    names = {"trigger": "trigger_phrase", "usage": "usage_hint"}
    said = {name: metadata.get(f"modelspec.{names.get(name, name)}", "") for name in _FIELDS}
    return said | {"tags": metadata.get("modelspec.tags", "")}


def _edits(given: Fields, before: Mapping[str, str]) -> dict[str, Any]:
    """Only what a field says otherwise than the file; browsers write lines their own way."""
    sent = {name for name, _ in given.pairs}
    now = {name: given.one(name).replace("\r\n", "\n") for name in (*_FIELDS, "tags") if name in sent}
    other = {name: text for name, text in now.items() if text != before[name].replace("\r\n", "\n").strip()}
    tags = other.pop("tags", None)
    made: dict[str, Any] = {"fields": other, "strip": given.all("strip"), "remove": given.all("remove")}
    if tags is not None:
        made["tags"] = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if values := lines(given.one("values")):
        made["values"] = values
    return made


def _filled(given: Fields, names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name in names if (value := given.one(name))}


def lines(text: str) -> dict[str, str]:
    """``pattern = number`` lines as a table.

    Raises:
        ConfigError: a line without an equals sign.
    """
    found: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"The line '{line[:80]}' says nothing.", "Write lines such as up_blocks* = 0.5.")
        found[name.strip()] = value.strip()
    return found


def picture_in(sent: UploadFile | None, folder: Path) -> Path | None:
    """An uploaded picture as a file."""
    if sent is None:
        return None
    content = sent.file.read(_PICTURE + 1)
    if len(content) > _PICTURE:
        raise ConfigError("The thumbnail is larger than 16 MB.", "Take a smaller picture; 256 pixels are kept of it.")
    path = folder / "thumbnail"
    path.write_bytes(content)
    return path
