"""A run, prepared: the family's defaults under the user's values, frozen, and what to know before it starts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lorasmith.config import TrainConfig, known_keys, layer, resolve
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.events import Notice

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.families import Base, Family
    from lorasmith.trainers import Trainer

SANDBOX = "sandbox"
_THIN = 0.01
"""Share of a picture below which a mask is said to leave little to learn from."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, and the notices about it."""

    config: TrainConfig
    version: DatasetVersion
    base: Base
    family: Family
    notices: tuple[Notice, ...]

    def payload(self) -> dict[str, Any]:
        """The payload of the train job."""
        return {"config": self.config.model_dump(mode="json"), "fingerprint": self.version.fingerprint}


def prepare(
    version: DatasetVersion,
    values: Mapping[str, Any],
    *,
    home: Path,
    trainer: str = "native",
    opens: Callable[[str], Base] | None = None,
) -> Recipe:
    """Lay the defaults of the base's family under the user's values and check them against the dataset.

    Args:
        version: the pictures to learn from.
        values: a tree of ``TrainConfig`` keys, nested or dotted; ``base`` is needed.
        home: where named bases lie.
        trainer: name of who shall train.
        opens: tells the base that a name or path means, if not ``open_base`` alone; it may refuse.

    Raises:
        ConfigError: no base, an unknown key, an impossible value, frames among them, values at odds; no such trainer,
            one that cannot train this family, or that would pass over a value of the user's; a resolution that the
            family cannot divide.
        BaseError: the base is missing, damaged or of no known family.
        DatasetError: the version holds no pictures, or pictures for regularisation and the config no weight for them,
            or a mask lets nothing through of what would be trained, or the family edits pictures and some have no
            reference.
    """
    import lorasmith.trainers
    from lorasmith.bases import family_of, open_base
    from lorasmith.bases.quantised import said_of_size
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.plugins import choose, discover
    from lorasmith.trainers import Trainer
    from lorasmith.training.masks import open_shares
    from lorasmith.training.plan import refuse_uneven, refuse_unweighed
    from lorasmith.training.references import refuse_unpaired
    from lorasmith.training.windows import frames_of

    own = layer(values)
    reference = own.get("base")
    if not reference or not isinstance(reference, str):
        raise ConfigError("No base is chosen.", "Name a folder or .safetensors file with --base, or 'sandbox'.")
    if not version.items:
        raise DatasetError(f"{version.reference} holds no pictures.", "Import some with `lorasmith import`.")
    if own.get("dataset", version.reference) not in (version.reference, version.dataset):
        raise ConfigError(
            f"The config names the dataset '{own['dataset']}', but {version.reference} is to be trained.", "Keep one."
        )
    who = choose(discover(lorasmith.trainers, Trainer), trainer, "trainer")  # type: ignore[type-abstract]
    base = opens(reference) if opens is not None else open_base(reference, home=home)
    family = family_of(base)
    fixed = {"base": reference if reference == SANDBOX else str(base.path.absolute()), "dataset": version.reference}
    config = resolve(_defaults(family, base, own), own, fixed)
    refuse_idle(who, family, own, config, family.lacks_of(base))
    refuse_uneven(config.data.resolution or family.default_resolution, config.data.buckets, family)
    refuse_unweighed(version, config)
    refuse_unpaired(version, family)
    frames_of(config, family)
    shares = open_shares(DatasetStore(home), version.items, config, family)
    packed = said_of_size(base.header, base.name, config.mixed_precision)
    notices = (
        *([packed] if packed else []),
        *_base_notices(base, family),
        *_notices(config, version.items, shares),
        *_reference_notices(version.items, family),
        *_sound_notices(version.items, family),
        *_beginning_notices(config, version.items, family),
    )
    return Recipe(config, version, base, family, notices)


def refuse_idle(
    trainer: Trainer,
    family: Family,
    own: Mapping[str, Any],
    config: TrainConfig,
    besides: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """What a trainer cannot do is an error before a run, and no option of the user's is passed over in silence.

    A value that is the default anyway may stand in a tree of all options, such as the config of an earlier run.

    Args:
        trainer: who shall train.
        family: of the base.
        own: the user's values, as ``layer`` gives them.
        config: what they became.
        besides: keys that these weights lack beside what the family does, with the reason.

    Raises:
        ConfigError: the trainer cannot train the family, or does not use a value that was set.
    """
    from lorasmith.families import lacking

    if not trainer.supports(family):
        raise ConfigError(
            f"The trainer '{trainer.name}' cannot train {family.title}.", "Choose another base or another trainer."
        )
    for key, reason in {**lacking(family), **besides}.items():
        if _at(own, key) is not None and _at(config.model_dump(), key) != _default(known_keys()[key], key):
            raise ConfigError(f"{key} is set, and {family.title} does not have it: {reason}.", "Leave it out.")
    used = trainer.honours()
    idle = [
        key
        for key, section in known_keys().items()
        if key not in used and _at(own, key) is not None and _at(config.model_dump(), key) != _default(section, key)
    ]
    if idle:
        more = f", nor {len(idle) - 1} more options that are set" if len(idle) > 1 else ""
        raise ConfigError(
            f"The trainer '{trainer.name}' does not use {idle[0]}{more}.", "Leave it out, or choose another trainer."
        )


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _default(section: type[BaseModel], key: str) -> Any:
    return section.model_fields[key.rpartition(".")[2]].get_default()


def _defaults(family: Family, base: Base, own: Mapping[str, Any]) -> dict[str, Any]:
    """The family's defaults, made to agree with the user's values where those would turn a default into a refusal."""
    defaults = family.defaults_for(base)
    steps = own.get("max_train_steps", defaults.get("max_train_steps"))
    optimizer = defaults.setdefault("optimizer", {})
    if str(steps).isdigit() and "lr_warmup_steps" in optimizer:
        optimizer["lr_warmup_steps"] = min(optimizer["lr_warmup_steps"], int(steps) // 10)
    chosen = own.get("optimizer", {})
    if isinstance(chosen, dict) and chosen.get("name") == "prodigy":
        optimizer["learning_rate"] = 1.0  # it finds its own; the family's figure is meant for the others
    return defaults


def _notices(config: TrainConfig, items: Sequence[Item], shares: Mapping[str, float]) -> tuple[Notice, ...]:
    """What is allowed and probably not meant."""
    from lorasmith.datasets.captions import has_word

    found: list[Notice] = []
    bare = [item.name for item in items if not item.caption.strip()]
    if bare:
        found.append(
            Notice(
                f"{len(bare)} of {len(items)} pictures have no caption ({_some(bare)}).",
                "Write them on the dataset's page, under 'Captioning', or with `lorasmith caption`.",
            )
        )
    if config.train_batch_size > len(items):
        found.append(
            Notice(
                f"A batch of {config.train_batch_size} holds every one of the {len(items)} pictures more than once.",
                f"Lower train_batch_size to {len(items)} or less, unless that is meant.",
            )
        )
    found += _mask_notices(config, items, shares)
    word = config.trigger_word
    if word:
        # Regularisation pictures show the class without the subject: the word must not stand there.
        without = [i.name for i in items if i.role != "regularisation" and not has_word(i.caption, word)]
        if without:
            found.append(
                Notice(
                    f"The trigger word '{word}' is not in {len(without)} of {len(items)} captions: {_some(without)}.",
                    "Add it on the dataset's page, under 'Edit captions', or with "
                    f"`lorasmith captions {config.dataset} --trigger-word {shlex.quote(word)}`.",
                )
            )
    return tuple(found)


def _base_notices(base: Base, family: Family) -> list[Notice]:
    """That a base is known to be a bad one to train on."""
    from lorasmith.bases.recognition import recognise

    why = recognise(base.header).distilled
    if not why:
        return []
    plain = " or ".join(known.name for known in family.pretrained if not known.distilled)
    said = f"{base.name} is distilled to few steps ({why}): an adapter trained straight on it undoes that."
    hint = f"Train on {plain}, or bake a training adapter into it first with `lorasmith lora bake`."
    return [Notice(said, hint)]


def _mask_notices(config: TrainConfig, items: Sequence[Item], shares: Mapping[str, float]) -> list[Notice]:
    """What masks do to this run, and where they leave little to learn from."""
    weight = config.objective.unmasked_weight
    masked = [item.name for item in items if item.mask is not None]
    if not masked:
        idle = f"objective.unmasked_weight is {weight:g}, and no picture has a mask: it does nothing."
        hint = "Leave it out, or make masks with an image tool such as mask_rectangle."
        return [Notice(idle, hint)] if weight else []
    of = f"{len(masked)} of {len(items)} pictures have masks"
    if not config.objective.masked_loss:
        said = f"{of}, which are passed over: whole pictures are trained ({_some(masked)})."
        return [Notice(said, "Set objective.masked_loss to true to train only what they let through.")]
    rest = f"the rest counts {weight:g} times as much" if weight else "the rest is not learned"
    said = f"{of}: what they let through is trained, {rest} ({_some(masked)})."
    found = [Notice(said, "Set objective.masked_loss to false to train whole pictures.")]
    thin = [name for name, share in shares.items() if share < _THIN]
    if thin:
        said = (
            f"Less than {_THIN:.0%} of {len(thin)} pictures is let through, and counts like a whole one: {_some(thin)}."
        )
        found.append(Notice(said, "Crop these pictures closer to their subject."))
    return found


def _reference_notices(items: Sequence[Item], family: Family) -> list[Notice]:
    """That a family passes over what pictures were made from."""
    from lorasmith.training.references import unused

    names = unused(items, family)
    if not names:
        return []
    said = f"{len(names)} of {len(items)} pictures have references, which {family.title} does not use: {_some(names)}."
    return [Notice(said, "Choose a base that edits pictures to learn from pairs.")]


def _sound_notices(items: Sequence[Item], family: Family) -> list[Notice]:
    """That what is heard is not learned, where one could think it is."""
    names = [item.name for item in items if any(str(t).startswith("sound:") for t in _transforms(item))]
    if not (names and family.sounds):
        return []
    said = f"{len(names)} of {len(items)} items have sound, and of {family.title} only what is seen is trained here"
    return [Notice(f"{said}: {_some(names)}.", "Nothing is to be done; what it sounds like stays the base's.")]


def _beginning_notices(config: TrainConfig, items: Sequence[Item], family: Family) -> list[Notice]:
    """That first frames were asked for, and nothing moves."""
    usual = family.defaults.get("data", {}).get("first_frame_conditioning", 0.0)
    asked = config.sample.first_frame or config.data.first_frame_conditioning not in (0.0, usual)
    if not asked or any(item.clip is not None and item.clip.frames > 1 for item in items):
        return []
    return [
        Notice("No first frame is given in this run, for nothing in the dataset moves.", "Import clips with --clips.")
    ]


def _transforms(item: Item) -> Sequence[object]:
    """What was done to its pixels, or found in its file, when it came."""
    found = item.provenance.get("transforms", ())
    return found if isinstance(found, list | tuple) else ()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
