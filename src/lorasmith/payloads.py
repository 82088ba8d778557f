"""What jobs are asked: checked here, so that no worker starts for what it would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.errors import DatasetError, InputError

if TYPE_CHECKING:
    from lorasmith.captioning import Existing
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.families import Base
    from lorasmith.studio import Studio


def caption_payload(
    studio: Studio,
    parent: DatasetVersion,
    captioner: str,
    options: Mapping[str, Any],
    existing: Existing,
    lines: int,
    fresh: bool,
    download: bool,
    device: str,
) -> dict[str, Any]:
    """What a caption job is asked, checked."""
    from lorasmith.captioning import check_options

    if not parent.items:
        raise DatasetError(f"{parent.reference} holds no pictures.", "Import some with `lorasmith import`.")
    name, checked = check_options(captioner, dict(options), download=download, home=studio.home, version=parent)
    which = "missing" if existing == "keep" else "all"
    payload: dict[str, Any] = {"dataset": parent.reference, "captioner": name, "options": checked, "device": device}
    return payload | {"which": which, "lines": lines, "fresh": fresh, "download": download}


def generate_payload(studio: Studio, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a generate job is asked, checked, with absolute paths."""
    from lorasmith.bases.detection import family_of
    from lorasmith.generation.fitting import refuse_misfits
    from lorasmith.generation.request import is_hash, plan_pictures, reference_path, resolve_request

    asked = resolve_request(dict(values))
    payload = asked.model_dump(mode="json")
    base = studio.bases.open(asked.base)
    payload["base"] = _wherever(base, asked.base)
    refuse_misfits(asked, base, family_of(base))

    def found(picture: str) -> str:
        place = reference_path(picture, studio.home)
        if not place.is_file():
            raise InputError(f"There is no picture {picture}.", "Check the path, or the hash of the picture.")
        return picture if is_hash(picture) else str(place.absolute())

    payload["references"] = [found(one) for one in asked.references]
    payload["first_frame"] = found(asked.first_frame) if asked.first_frame else ""
    for mentioned in {name for picture in plan_pictures(asked) for name, _ in picture.adapters}:
        studio.adapter(mentioned)  # one that only a prompt mentions is missed now and not in the worker
    payload["adapters"] = [{"name": str(studio.adapter(use.name)), "weight": use.weight} for use in asked.adapters]
    if asked.grid is not None:
        payload["grid"]["adapters"] = [str(studio.adapter(name)) for name in asked.grid.adapters]
    return payload


def certify_payload(studio: Studio, adapter: Path | str, base: str) -> dict[str, Any]:
    """What a certify job is asked."""
    return {"adapter": str(studio.adapter(adapter)), "base": base_reference(studio, base)}


def base_reference(studio: Studio, reference: str) -> str:
    """A base's reference as a worker can use it from any folder; checked by opening its header."""
    return _wherever(studio.bases.open(reference), reference)


def _wherever(base: Base, reference: str) -> str:
    from lorasmith.recipe import SANDBOX

    return reference if reference == SANDBOX else str(base.path.absolute())
