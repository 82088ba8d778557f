"""From what a user calls a base ("sandbox", a folder, a file) to the ``Base`` that a run uses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorasmith.bases.companions import companion
from lorasmith.bases.detection import detect, family_named, registered_families
from lorasmith.bases.header import Header
from lorasmith.bases.quantised import require_unpacker
from lorasmith.bases.reading import index_of, read_configs, read_header
from lorasmith.bases.recognition import ANSWER, recognise
from lorasmith.bases.registry import BaseRegistry, RegisteredBase
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from lorasmith.families import Base, Detection

CONFIGS = Path(__file__).parent / "configs"
SANDBOX = "sandbox"
SANDBOX_LICENSE = "Apache-2.0"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def open_base(reference: str, *, home: Path | None = None) -> Base:
    """The base that ``reference`` names: ``sandbox``, a folder in diffusers layout, or a file (safetensors, GGUF).

    A relative name that is not found where the program runs is looked for in ``<home>/bases``, then among the
    registered names (``bases list``).

    Raises:
        BaseError: not there, damaged, of no known family, or without the configs it needs.
        EnvironmentProblem: packed in a way that needs a package which is not installed.
    """
    from lorasmith.families import Base

    path = locate(reference, home)
    header = _answered(read_header(path), home)
    detection = detect(header)
    require_unpacker(header)
    sandbox = reference == SANDBOX
    name = SANDBOX if sandbox else path.name if header.layout == "folder" else path.stem
    license = SANDBOX_LICENSE if sandbox else header.metadata.get("modelspec.license", "")
    if header.layout == "folder":
        return Base(path, header.layout, detection, header, name, license)
    record = BaseRegistry(home).record_of(reference, path) if home is not None else None
    if record is not None and record.parts:
        return _assembled(record, header, detection, license)
    folder, detection, own = _config_folder(header, detection, home)
    configs = read_configs(folder)
    if own is not None:
        stated = read_configs(own)
        index = {**configs["model_index"], "_class_name": stated["model_index"]["_class_name"]}
        configs = {**configs, **stated, "model_index": index}
    return Base(path, header.layout, detection, replace(header, configs=configs), name, license, folder, own)


def _assembled(record: RegisteredBase, header: Header, detection: Detection, license: str) -> Base:
    """A base that was put together from files (``assembling``)."""
    from lorasmith.families import Base

    folder = Path(record.configs)
    if not record.present() or not index_of(folder):
        raise BaseError(
            f"The parts of '{record.name}' are not where they were, or have changed.",
            f"Put it together again: `lorasmith bases assemble {record.name}`.",
        )
    said = f"it was put together: {', '.join(f'{name} of {Path(file).name}' for name, file in record.parts.items())}"
    detection = replace(detection, evidence=(*detection.evidence, said))
    parts = {name: Path(file) for name, file in record.parts.items()}
    header = replace(header, configs=read_configs(folder))
    return Base(
        header.path, header.layout, detection, header, record.name, license or record.license, folder, parts=parts
    )


def shipped_for(header: Header, detection: Detection) -> Path:
    """The folder of the shipped configs of a denoiser.

    Raises:
        BaseError: none fits, or the file does not tell which.
    """
    chosen, reason = family_named(detection.family).shipped_config(header, detection)
    if not chosen:
        raise BaseError(
            f"{header.path.name} is {detection.title}, but {reason}.",
            "Add the base and say what it asks with `lorasmith bases answer`.",
        )
    return CONFIGS / chosen


def answered_header(path: Path, home: Path | None) -> Header:
    """The header of weights, with what their owner answered."""
    return _answered(read_header(path), home)


def _answered(header: Header, home: Path | None) -> Header:
    """The header with what the user answered where its tensors are silent: noise or velocity, from text or from a
    picture. What the file says of itself counts first."""
    answers = BaseRegistry(home).answers_for(header.path) if home is not None else {}
    told = {f"{ANSWER}{question}": answer for question, answer in answers.items()}
    if "prediction" in answers and not header.metadata.get("modelspec.prediction_type"):
        told["modelspec.prediction_type"] = "v" if answers["prediction"] == "v_prediction" else "epsilon"
    own = {key: value for key, value in header.metadata.items() if not key.startswith(ANSWER)}
    return replace(header, metadata={**own, **told})


def _akin(own: Header, detection: Detection) -> Detection | None:
    """What the folder beside a file says it is, among the families with the same tensors."""
    kind = family_named(detection.family)
    same = kind.recognised_as or kind.name
    families = registered_families().values()
    found = (family.detect(own) for family in families if same in (family.name, family.recognised_as))
    return next((answer for answer in found if answer is not None), None)


def locate(reference: str, home: Path | None) -> Path:
    """Where the base lies that a path, a name in the home or ``sandbox`` means.

    Raises:
        BaseError: nowhere, or its registered files are gone or changed.
    """
    if reference == SANDBOX:
        from lorasmith.sandbox import sandbox_weights

        return sandbox_weights() / "base"
    path = Path(reference).expanduser()
    if path.exists():
        return path.resolve()
    if home is not None and not path.is_absolute() and (home / "bases" / path).exists():
        return (home / "bases" / path).resolve()
    if home is not None and (registered := BaseRegistry(home).find(reference)) is not None:
        return registered
    if _HUB_ID.fullmatch(reference) and not path.suffix:
        raise BaseError(
            f"There is no folder {reference}; if it is a Hugging Face name, it is not here yet.",
            f"Run `lorasmith bases add {reference}`, then use the name that it gives.",
        )
    raise BaseError(
        f"There is no base at {path}.", "Check the path, use a name of `lorasmith bases list`, or use 'sandbox'."
    )


def _config_folder(header: Header, detection: Detection, home: Path | None) -> tuple[Path, Detection, Path | None]:
    """Where a single file's configs lie: in a folder of the file's own name beside it, else those we ship.

    A file holds weights only. The configs say what its shapes do not: activation functions, numbers of heads,
    and whether noise or velocity is predicted. A denoiser alone takes the other parts from a folder base of the home
    (``companion``); the last value is then where its own configs lie.
    """
    beside = header.path.with_suffix("")
    if (beside / "model_index.json").is_file():
        configs = read_configs(beside)
        own = replace(header, layout="folder", configs=configs)
        stated = family_named(detection.family).detect(own)
        if stated is None and not detection.certain:  # its tensors are those of several families
            detection = stated = _akin(own, detection) or detection
        if stated is None or stated.variant not in ("", detection.variant):
            raise BaseError(
                f"The folder {beside.name} beside {header.path.name} describes another kind of base than the file.",
                "Remove or correct that folder.",
            )
        evidence = (*detection.evidence, f"the folder {beside.name} beside it gives the configs", *stated.evidence)
        return beside, replace(detection, evidence=evidence, certain=True), None
    family = family_named(detection.family)
    chosen, reason = family.shipped_config(header, detection)
    whole = recognise(header).kind == "base"
    if chosen and (CONFIGS / chosen / "vae").is_dir() and whole:
        return CONFIGS / chosen, replace(detection, evidence=(*detection.evidence, reason), certain=True), None
    if chosen:
        found = companion(detection, CONFIGS / chosen, family, home)
        said = f"its text encoders and VAE are those of {found.name}"
        return found, replace(detection, evidence=(*detection.evidence, reason, said)), CONFIGS / chosen
    raise BaseError(
        f"{header.path.name} is {detection.title}, but {reason}.",
        f"Put the base's config folders (model_index.json, unet/config.json, ...) into {beside}, "
        "or add the base and say what it asks with `lorasmith bases answer`.",
    )
