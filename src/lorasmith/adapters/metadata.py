"""What an adapter's file says about itself: kohya's ``ss_*``, ``modelspec.*`` and our own recipe.

Every value is text, and nothing depends on the moment of writing: the same run gives the same bytes. No path, no
user name and, unless asked for, no caption is written. ``lora_adapter_metadata`` is left out on purpose: diffusers
refuses a file that has both it and ``.alpha`` keys, and the alphas are what every other program reads.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lorasmith import __version__
from lorasmith.config import TrainConfig
from lorasmith.datasets.captions.reading import CaptionReader
from lorasmith.datasets.manifest import DatasetVersion, Item, Role
from lorasmith.files import file_digest

if TYPE_CHECKING:
    from lorasmith.families import Base, ObjectiveName

_OPTIMIZERS = {
    "adamw": "torch.optim.adamw.AdamW",
    "adamw_8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "prodigy": "prodigyopt.prodigy.Prodigy",
    "adafactor": "transformers.optimization.Adafactor",
    "lion": "lorasmith.training.optimizers.Lion",
}


@dataclass(frozen=True)
class TrainingFacts:
    """What only the finished run knows.

    ``rank`` and ``alpha`` are the file's own, which differ from the config's where DoRA was exported as a plain LoRA or
    rank-stabilised scaling was folded in. ``started`` is when the job was created (seconds since the epoch), not when
    the file was written, so that a resumed run writes the same file. ``buckets`` maps "width x height" to the pictures
    in it; ``items`` names the pictures that were trained, None where all were but those for validation; ``scores``
    holds measured numbers worth keeping (``validation_loss`` ...).
    """

    steps: int
    objective: ObjectiveName
    rank: int
    alpha: float
    started: float = 0.0
    buckets: Mapping[str, int] = field(default_factory=dict)
    items: frozenset[str] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def describe(config: TrainConfig, version: DatasetVersion, base: Base, *, trained: TrainingFacts) -> dict[str, str]:
    """All metadata of an adapter, ready for ``write_adapter``."""
    from lorasmith.bases import family_of

    known = family_of(base).file_metadata(base.detection, trained.objective)
    everything = {**_kohya(config, version, base, trained), **_modelspec(config, base, trained), **known}
    everything |= _recipe(config, version, base, trained)
    return {name: value for name, value in sorted(everything.items()) if value != ""}


def _kohya(config: TrainConfig, version: DatasetVersion, base: Base, trained: TrainingFacts) -> dict[str, str]:
    """The keys kohya's trainer writes, in its spelling; the web interfaces show them."""
    folders = _folders(config, version, trained)
    learned = {name: folder for name, folder in folders.items() if folder.role == "train"}
    beside = {name: folder for name, folder in folders.items() if folder.role == "regularisation"}
    a_pass = sum(folder.shown for folder in folders.values())
    side = config.data.resolution or 0
    optimizer = config.optimizer
    shown = config.train_batch_size * config.gradient_accumulation_steps * trained.steps
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(trained.rank),
        "ss_network_alpha": str(trained.alpha),
        "ss_output_name": config.output_name,
        "ss_sd_model_name": base.name,
        **_base_hashes(base),
        "ss_resolution": f"({side}, {side})" if side else "",
        "ss_enable_bucket": str(config.data.buckets),
        "ss_bucket_info": _json({"buckets": _buckets(trained.buckets)}) if trained.buckets else "",
        "ss_dataset_dirs": _json({name: folder.counted for name, folder in learned.items()}),
        "ss_reg_dataset_dirs": _json({name: folder.counted for name, folder in beside.items()}) if beside else "",
        "ss_tag_frequency": _json({name: tag_frequency(folder.items) for name, folder in folders.items()})
        if config.export.include_tags
        else "",
        "ss_num_train_images": str(sum(folder.shown for folder in learned.values())),
        "ss_num_reg_images": str(sum(folder.shown for folder in beside.values())),
        "ss_num_epochs": str(max(1, round(shown / max(1, a_pass)))),
        "ss_batch_size_per_device": str(config.train_batch_size),
        "ss_gradient_accumulation_steps": str(config.gradient_accumulation_steps),
        "ss_gradient_checkpointing": str(config.gradient_checkpointing),
        "ss_learning_rate": str(optimizer.learning_rate),
        "ss_unet_lr": str(optimizer.learning_rate),
        "ss_text_encoder_lr": str(optimizer.resolved_text_encoder_learning_rate) if config.adapter.text_encoder else "",
        "ss_optimizer": _OPTIMIZERS[optimizer.name],
        "ss_lr_scheduler": optimizer.lr_scheduler,
        "ss_lr_warmup_steps": str(optimizer.lr_warmup_steps),
        "ss_max_grad_norm": str(optimizer.max_grad_norm),
        "ss_max_train_steps": str(config.max_train_steps),
        "ss_steps": str(trained.steps),
        "ss_seed": str(config.seed),
        "ss_mixed_precision": {"fp32": "no"}.get(config.mixed_precision, config.mixed_precision),
        "ss_min_snr_gamma": str(config.objective.min_snr_gamma or ""),
        "ss_noise_offset": str(config.objective.noise_offset or ""),
        "ss_caption_dropout_rate": str(config.data.caption_dropout),
        "ss_shuffle_caption": str(config.data.shuffle_captions),
        "ss_keep_tokens": str(config.data.keep_tokens),
        "ss_flip_aug": str(config.data.flip),
        "ss_training_started_at": str(trained.started) if trained.started else "",
    }


def _modelspec(config: TrainConfig, base: Base, trained: TrainingFacts) -> dict[str, str]:
    """Stability's ModelSpec 1.0.1 (https://github.com/Stability-AI/ModelSpec)."""
    from datetime import UTC, datetime

    side = config.data.resolution or 0
    started = datetime.fromtimestamp(trained.started, UTC).isoformat(timespec="seconds") if trained.started else ""
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": config.output_name,
        "modelspec.author": config.export.author,
        "modelspec.license": config.export.license,
        "modelspec.date": started,
        "modelspec.resolution": f"{side}x{side}" if side else "",
        "modelspec.trigger_phrase": config.trigger_word,
        "modelspec.usage_hint": f"Use the word '{config.trigger_word}'." if config.trigger_word else "",
        "modelspec.implementation_version": f"lorasmith/{__version__}",
    }


def _recipe(config: TrainConfig, version: DatasetVersion, base: Base, trained: TrainingFacts) -> dict[str, str]:
    """Ours: enough to make the adapter again and to know what it may be used for."""
    tree = config.model_dump(mode="json")
    tree["base"] = base.name  # the config's own value may be a path on somebody's disk
    if not config.export.include_captions:
        tree["sample"]["prompts"] = []
    captions = {item.name: item.caption for item in version.items} if config.export.include_captions else {}
    return {
        "lorasmith.version": __version__,
        "lorasmith.config": _json(tree),
        "lorasmith.dataset": version.reference,
        "lorasmith.dataset_fingerprint": version.fingerprint,
        "lorasmith.base": base.name,
        "lorasmith.base_license": base.license,
        "lorasmith.family": base.detection.family,
        "lorasmith.variant": base.detection.variant,
        "lorasmith.objective": trained.objective,
        "lorasmith.trigger_word": config.trigger_word,
        "lorasmith.scores": _json(dict(trained.scores)) if trained.scores else "",
        "lorasmith.captions": _json(captions) if captions else "",
    }


@dataclass(frozen=True)
class _Folder:
    """What would lie in one folder of kohya's layout: pictures of one role, concept and number of repeats."""

    role: Role
    repeats: int
    items: tuple[Item, ...]

    @property
    def shown(self) -> int:
        """Pictures that a pass shows."""
        return self.repeats * len(self.items)

    @property
    def counted(self) -> dict[str, int]:
        return {"n_repeats": self.repeats, "img_count": len(self.items)}


def _folders(config: TrainConfig, version: DatasetVersion, trained: TrainingFacts) -> dict[str, _Folder]:
    """The pictures that were trained, by the name that kohya's folder for them would have."""
    members: dict[tuple[Role, int, str], list[Item]] = {}
    for item in version.items:
        if item.role == "validation" if trained.items is None else item.name not in trained.items:
            continue
        key = (item.role, item.repeats * config.data.repeats, item.concept or version.dataset)
        members.setdefault(key, []).append(item)
    return {
        f"{'reg/' if role == 'regularisation' else ''}{repeats}_{concept}": _Folder(role, repeats, tuple(items))
        for (role, repeats, concept), items in members.items()
    }


def _base_hashes(base: Base) -> dict[str, str]:
    """How A1111 tells checkpoints apart: of the whole file, and of 64 KiB from 1 MiB on. A folder has neither."""
    if base.layout != "single_file":
        return {}
    with base.path.open("rb") as stream:
        stream.seek(0x100000)
        legacy = hashlib.sha256(stream.read(0x10000)).hexdigest()[:8]
    return {"ss_new_sd_model_hash": file_digest(base.path), "ss_sd_model_hash": legacy}


def tag_frequency(items: Iterable[Item]) -> dict[str, int]:
    """How many pictures carry each tag, most frequent first; sentences are not tags."""
    counts: Counter[str] = Counter()
    reader = CaptionReader()
    for item in items:
        counts.update(set(reader.tags(item.caption)))
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _buckets(buckets: Mapping[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, (size, count) in enumerate(sorted(buckets.items())):
        sides = [int(side) for side in size.replace(" ", "").split("x")]  # and frames, of clips
        found[str(number)] = {"resolution": sides, "count": count}
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=False, separators=(",", ":"))
