"""Whoever is no admin names bases of the home, and learns of no other path what lies there: not whether it is a base,
not whether it is a file, not whether it is anything.

No door and no verb is listed here. Both are found by what they take, so that one that comes tomorrow is asked as well.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeGuard
from urllib.parse import quote

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

import lorasmith
from lorasmith.adapters.tools.requests import REQUESTS, request_of
from lorasmith.bases import opening
from lorasmith.calculator import question
from lorasmith.errors import BaseError, LorasmithError
from lorasmith.sandbox import sandbox_weights
from lorasmith.web.owning import OwnedStudio
from lorasmith.web.owning.weights import OwnedShelf
from lorasmith.web.people import Actor, acting
from lorasmith.workbench import ModelChoice
from tests.web.security.team import Team, make_team, pictures
from tests.web.test_models import take_in

BOB: Final = Actor("bob", "member")
PLACES: Final = ("a base", "no base", "nothing")
NAMES: Final = ("base", "tuned", "certify", "link")
"""What a parameter is called that takes a base, or what shall become one."""
LOOSE: Final = ("config", "request", "values")
"""What one is called that holds such a parameter among others."""
SILENT: Final = {
    "toolbox.use(base)", "easel.save(request)", "workbench.pace(config)",  # take it as a text
    "bases.add(link)", "bases.assemble(reference)", "bases.assemble(files)", "bases.convert(source)",
    "bases.scan(folders)",  # refuse whoever is no admin, whatever they name
}  # fmt: skip
"""Verbs that take a base and do not ask for it."""
QUIET: Final = {
    "GET /bases", "GET /generate", "GET /loras/compare", "GET /loras/inspect", "GET /loras/use",
    "GET /loras/use/workflow.json", "POST /api/toolbox/use",  # show it as a text, in a form or for other programs
    "POST /api/bases",  # only admins
    "POST /models/new", "POST /models/new/estimate", "POST /models/new/options",
    "POST /models/new/again",  # the key of one that is offered
    "POST /models/import",  # a word about the file
    "POST /datasets/{name}/checks/ignore", "POST /datasets/{name}/picture/crop", "POST /datasets/{name}/picture/mask",
    "POST /datasets/{name}/picture/mask/{verb}",  # the address to go back to
}  # fmt: skip
"""Doors that take a base and do not ask for it."""
_MADE: Final = r"[0-9a-f]{12,}|\d{8}-\d{6}-\w+|20\d\d-\d\d-\d\dT[\d:.+Z]+"
"""Ids and times, which are others each time."""
FACES: Final = ("cli", "client", "curation", "demo", "notebook", "web")
ASKS: Final = {"open_base", "locate"}


@dataclass(frozen=True)
class Ground:
    """A server with Bob's things, and places outside of the home that he may not know of."""

    team: Team
    places: dict[str, str]
    out: Path
    asked: list[str]
    """What the shelf was asked for while somebody walked."""
    reached: list[str]
    """What the disk was asked for."""

    @property
    def studio(self) -> OwnedStudio:
        studio: OwnedStudio = self.team["bob"].app.state.studio  # type: ignore[attr-defined]
        return studio

    def answers(self, ask: Callable[[str], str]) -> list[str]:
        """What is answered for each place, the place itself taken out of it."""
        said = []
        for place in self.places.values():
            answer = ask(place)
            for spelled in (place, quote(place), quote(place, safe=""), place.replace("/", "\\/"), Path(place).name):
                answer = answer.replace(spelled, "PLACE")
            said.append(re.sub(_MADE, "ID", answer).replace("cat 2", "cat").replace("cat 3", "cat"))
        return said


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("bases")
    team = make_team(folder / "home")
    for name, seed in (("cat", 0), ("dog", 1)):
        take_in(team.studio, folder, name, seed=seed)
        team.studio.library.describe(name, visibility="team")
    outside = folder / "elsewhere"
    shutil.copytree(sandbox_weights() / "base", outside / "place-1")
    (outside / "place-2").write_text("a text")
    places = dict(zip(PLACES, (str(outside / name) for name in ("place-1", "place-2", "place-3")), strict=True))
    asked: list[str] = []
    reached: list[str] = []
    located, placed, linked = opening.locate, OwnedShelf.place, OwnedShelf.link

    def locate(reference: str, home: Path | None) -> Path:
        reached.append(reference)
        return located(reference, home)

    def place(self: OwnedShelf, reference: str) -> Path:
        asked.append(reference)
        return placed(self, reference)

    def link(self: OwnedShelf, text: str) -> Any:
        asked.append(text)
        return linked(self, text)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opening, "locate", locate)
        patched.setattr(OwnedShelf, "place", place)
        patched.setattr(OwnedShelf, "link", link)
        made = Ground(team, places, folder / "out.safetensors", asked, reached)
        token = acting.set(BOB)
        made.studio.import_dataset(pictures(folder / "bobs"), "bobs")
        acting.reset(token)
        yield made


@pytest.fixture
def as_bob() -> Iterator[None]:
    token = acting.set(BOB)
    yield
    acting.reset(token)


# Verbs


@dataclass(frozen=True)
class Verb:
    """A verb of a façade that takes a base in one of its parameters."""

    holder: str
    name: str
    call: Callable[..., Any]
    parameters: tuple[inspect.Parameter, ...]
    target: str

    @property
    def words(self) -> str:
        return f"{self.holder}.{self.name}({self.target})"

    def ask(self, ground: Ground, place: str) -> str:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for one in self.parameters:
            given = self._given(ground, one, place if one.name == self.target else "sandbox")
            if one.kind is one.VAR_KEYWORD:
                named |= given if one.name == self.target else {}
            elif one.name == self.target or one.default is one.empty:
                if one.kind is one.KEYWORD_ONLY:
                    named[one.name] = given
                else:
                    positional.append(given)
            elif one.kind is one.POSITIONAL_OR_KEYWORD:
                positional.append(one.default)
        try:
            return repr(self.call(*positional, **named))
        except LorasmithError as refusal:
            return f"{type(refusal).__name__}: {refusal} {refusal.hint}"

    def _given(self, ground: Ground, one: inspect.Parameter, base: str) -> Any:
        kind, name = str(one.annotation), one.name
        if name == "asked":
            merged = {"loras": [{"lora": "cat"}, {"lora": "dog"}], "base": base}
            extracted = {"base": base, "tuned": "sandbox"}
            if kind == "Question":
                return question({"base": base, "pictures": 3, "epochs": 1})
            return request_of("merge", merged) if kind == "Merge" else request_of("extract", extracted)
        if name == "values" and self.name == "tool":
            return {"base": base, "tuned": "sandbox"} if self.target == "values" else {"lora": "cat", "rank": 1}
        if name == "loras":
            return ["cat", "dog"] if kind == "Sequence[Reference]" else [("cat", 1.0), ("dog", 1.0)]
        more = {"prompts": ["x"]} if self.name == "generate" else {"dataset": "bobs", "epochs": 1}
        filled = {
            "config": {"base": base, "max_train_steps": 4},
            "request": {"base": base, "prompts": ["x"]},
            "values": {"base": base} | more,
            "choice": ModelChoice(base, "native", "", base, base, "", "", "", True, "", "", 0),
            "version": "bobs", "dataset": "bobs", "adapter": "cat", "lora": "cat", "first": "cat", "second": "dog",
            "name": "cat", "out": ground.out, "runs": [{}], "verb": "extract" if self.target == "values" else "resize",
            "question": "q", "files": [base], "folders": [base],
        }  # fmt: skip
        return filled.get(name, base)


def verbs_of(studio: OwnedStudio) -> list[Verb]:
    """All that take a base, by their signatures; of the shelf, all that take any text."""
    holders: dict[str, Any] = {"studio": studio}
    for name in dir(type(studio)):
        if not name.startswith("_") and isinstance(inspect.getattr_static(type(studio), name), property):
            holders[name] = getattr(studio, name)
    found = []
    for holder, held in holders.items():
        for name in dir(type(held)):
            call = getattr(held, name) if not name.startswith("_") else None
            if not inspect.ismethod(call) or call.__self__ is not held:
                continue
            shapes = [inspect.signature(vars(kind)[name]) for kind in type(held).__mro__ if name in vars(kind)]
            told = [shape for shape in shapes if all(p.kind is not p.VAR_POSITIONAL for p in shape.parameters.values())]
            parameters = tuple(told[0].parameters.values())[1:] if told else ()
            if holder == "bases" and all(one.name == "name" for one in parameters):
                continue  # a name of the list, which is no path
            targets = [one.name for one in parameters if _takes_a_base(holder, one)]
            found += [Verb(holder, name, call, parameters, target) for target in targets]
    return found


def _takes_a_base(holder: str, one: inspect.Parameter) -> bool:
    kind = str(one.annotation)
    typed = one.name == "asked" or kind == "ModelChoice"
    loose = one.name in LOOSE and ("Mapping" in kind or one.kind is one.VAR_KEYWORD)
    shelved = holder == "bases" and one.name in ("reference", "files", "source", "folders")
    return one.name in NAMES or typed or loose or shelved


def test_no_verb_tells_a_member_what_lies_at_a_path(ground: Ground, as_bob: None) -> None:
    found = verbs_of(ground.studio)
    assert len(found) > 40
    wrong, silent, outside = [], set(), set(ground.places.values())
    for verb in found:
        ground.asked.clear()
        ground.reached.clear()
        said = ground.answers(partial(verb.ask, ground))
        if outside & set(ground.reached):
            wrong.append(f"{verb.words} looked")
        if len(set(said)) > 1:
            wrong.append(f"{verb.words} said {said}")
        if not outside & set(ground.asked):
            silent.add(verb.words)
    assert wrong == []
    assert silent == SILENT


def test_only_the_shelf_turns_what_a_person_calls_a_base_into_a_file() -> None:
    """A verb cannot forget to ask where there is no other way."""
    source = Path(lorasmith.__file__).parent
    above = [file for face in FACES for file in (source / face).rglob("*.py")]
    above += [file for file in source.glob("*.py") if file.name not in ("shelf.py", "recipe.py")]
    assert len(above) > 150
    for file in above:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lorasmith.bases"):
                assert not ASKS & {one.name for one in node.names}, f"{file}: go through Studio.bases.open or place"


def test_bases_of_the_home_are_there_for_a_member(ground: Ground, as_bob: None) -> None:
    shelf = ground.studio.bases
    shutil.copytree(sandbox_weights() / "base", shelf.home / "bases" / "lying there")
    path = str(shelf.place("lying there"))
    for reference in ("sandbox", "lying there", path, str(shelf.place("sandbox"))):
        assert shelf.open(reference).path == shelf.place(reference)
    for reference in ("", ".", "..", "~", "a\0b", "x" * 5000, f"{path}/..", f"{path}/unet", "../bases/lying there"):
        with pytest.raises(BaseError, match="There is no base"):
            shelf.open(reference)


# Doors


@dataclass(frozen=True)
class Way:
    """A route that can be given a base: it says so, or reads whatever an address or a form holds."""

    method: str
    path: str
    declares: bool
    query: frozenset[str]
    form: bool
    body: type[BaseModel] | None

    @property
    def words(self) -> str:
        return f"{self.method} {self.path}"

    def ask(self, ground: Ground, verb: str, place: str) -> str:
        fill = {"verb": verb, "name": "bobs" if "/datasets" in self.path else "cat", "ref": "bobs"}
        path = re.sub(r"{(\w+)(:\w+)?}", lambda found: fill.get(found[1], "0"), self.path)
        given: dict[str, Any] = dict.fromkeys(NAMES, place) | {
            "lora": ["cat", "dog"], "first": "cat", "second": "dog", "adapter": "cat", "dataset": "bobs",
            "epochs": "1", "prompt": "x", "prompts": "x", "name": "cat", "item": "0.png", "number": "1",
            "mark": "0" * 16, "where": "name:*", "check": "A1", "left": "0", "top": "0", "right": "0", "bottom": "0",
        }  # fmt: skip
        options: dict[str, Any] = {
            "params": {name: given[name] for name in given if name in self.query or not self.query}
        }
        if self.form:
            options |= {"params": {name: given[name] for name in given if name in self.query}, "data": given}
        elif self.body is not None:
            options["json"] = _filled(self.body, verb if "{verb}" in self.path else "", place)
        answer = ground.team["bob"].request(self.method, path, **options)
        return f"{answer.status_code} {answer.headers.get('location', '')} {answer.text}"


def _filled(kind: type[BaseModel], verb: str, place: str) -> dict[str, Any]:
    """A body as the API shows one, with the place wherever it takes a base."""
    extra = kind.model_config.get("json_schema_extra")
    examples: Any = extra.get("examples", [{}]) if isinstance(extra, dict) else [{}]
    text = json.dumps(examples[0]).replace('"dataset": "cats"', '"dataset": "bobs"')
    body: dict[str, Any] = json.loads(text.replace('"cats"', '"cat"').replace('"dogs"', '"dog"'))
    body |= {name: place for name in NAMES if name in kind.model_fields}
    for name in LOOSE:
        if name in kind.model_fields:
            body[name] = {**body.get(name, {}), "base": place}
            if verb == "extract":
                body[name] = {"base": place, "tuned": place}
            elif verb in ("merge", "bake"):
                body[name] = {"loras": [{"lora": "cat"}, {"lora": "dog"}], "base": place}
    for name, field in kind.model_fields.items():
        if _is_section(field.annotation) and _holds_a_base(field.annotation):
            body[name] = _filled(field.annotation, verb, place)
    if "place" in kind.model_fields:
        body["place"] = {"held": True}
    return body


def _is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _holds_a_base(kind: type[BaseModel]) -> bool:
    """Whether a body takes one, itself or in a section of it."""
    sections = [one.annotation for one in kind.model_fields.values() if _is_section(one.annotation)]
    return any(name in kind.model_fields for name in (*NAMES, *LOOSE)) or any(map(_holds_a_base, sections))


def ways_of(team: Team) -> list[Way]:
    pending = list(team["bob"].app.routes)  # type: ignore[attr-defined]
    found = []
    while pending:
        route = pending.pop()
        if hasattr(route, "original_router"):
            pending += route.original_router.routes
        elif isinstance(route, APIRoute):
            needs = _all_needs(route.dependant)
            taken = [one for need in needs for one in need.query_params]
            sent = [one for need in needs for one in need.body_params]
            reads = any(inspect.iscoroutinefunction(one.call) and one.request_param_name for one in needs[1:])
            query = {
                name for one in taken for name in (*getattr(one.field_info.annotation, "model_fields", ()), one.name)
            }
            kind = sent[0].field_info.annotation if len(sent) == 1 else None
            body = kind if _is_section(kind) else None
            forms = {one.name for one in sent if body is None}
            declares = (body is not None and _holds_a_base(body)) or bool({*query, *forms} & {*NAMES})
            for method in sorted({*(route.methods or ())} - {"HEAD", "OPTIONS"}):
                anything = any(one.request_param_name for one in needs) if method == "GET" else reads
                if declares or anything:
                    form, body = method != "GET" and body is None, body if method != "GET" else None
                    given = frozenset() if anything and method == "GET" else frozenset(query)
                    found.append(Way(method, route.path, declares, given, form, body))
    return sorted(found, key=lambda way: way.words)


def _all_needs(dependant: Dependant) -> list[Dependant]:
    """A route's own parameters and those of all that it depends on."""
    return [dependant, *(one for need in dependant.dependencies for one in _all_needs(need))]


def test_no_door_tells_a_member_what_lies_at_a_path(ground: Ground) -> None:
    wrong, met, outside = [], set(), set(ground.places.values())
    ways = [way for way in ways_of(ground.team) if "events" not in way.path]  # streams have no end
    for way in ways:
        for verb in REQUESTS if "{verb}" in way.path else ("",):
            ground.asked.clear()
            ground.reached.clear()
            way.ask(ground, verb, ground.places["a base"])
            if not (way.declares or outside & {*ground.asked, *ground.reached}):
                continue  # it reads whatever it is sent, and nothing of this
            said = ground.answers(partial(way.ask, ground, verb))
            if outside & set(ground.reached):
                wrong.append(f"{way.words} {verb} looked")
            if len(set(said)) > 1:
                wrong.append(f"{way.words} {verb} said {said}")
            if outside & set(ground.asked):
                met.add(way.words)
    assert wrong == []
    assert {way.words for way in ways if way.declares} - met == QUIET
    assert len(met) > 40
