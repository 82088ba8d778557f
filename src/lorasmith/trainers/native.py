"""Our own trainer: check, cache, train, export, certify."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.config import TrainConfig, known_keys
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.errors import AdapterError, DatasetError, OutOfDisk
from lorasmith.events import Emit, Notice, Phase
from lorasmith.families import Family
from lorasmith.files import bytes_in_words, write_json
from lorasmith.jobfolder import JobFolder
from lorasmith.trainers import ControlReader, Trainer
from lorasmith.training.plan import Plan, plan
from lorasmith.training.setting import Setting

if TYPE_CHECKING:
    from lorasmith.adapters.module import LoraModule
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.training.loop import Run


class Native(Trainer):
    """Diffusion, noise or velocity, and flow matching, with latents and prompts cached beforehand."""

    name: ClassVar[str] = "native"
    title: ClassVar[str] = "lorasmith's own"

    def supports(self, family: Family) -> bool:
        return family.objectives <= {"epsilon", "v_prediction", "flow"}

    def honours(self) -> frozenset[str]:
        return frozenset(known_keys())

    def train(self, folder: JobFolder, emit: Emit, control: ControlReader) -> dict[str, Any]:
        return run(folder, emit, control)


plugin = Native()


def run(folder: JobFolder, emit: Emit, control: ControlReader) -> dict[str, Any]:
    """See ``Trainer.train``. With ``rehearse`` in the payload nothing is trained for real, see ``rehearsal``."""
    from lorasmith.bases import family_of, open_base
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.training import memory
    from lorasmith.training.assembly import assemble, device_of, settle_torch
    from lorasmith.training.cache import Cache, encoders_of
    from lorasmith.training.loop import restore, train
    from lorasmith.training.precompute import precompute

    payload = folder.record().payload
    config = _config(payload["config"])
    emit(Phase("loading"))
    store = DatasetStore(folder.home)
    version = _dataset(store, config, str(payload["fingerprint"]))
    base = open_base(config.base, home=folder.home)
    family = family_of(base)
    the_plan = plan(config, version, family, base)
    device = device_of(config)
    settle_torch(config)
    setting = Setting(config, the_plan, version, store, family, base, device)
    if payload.get("rehearse"):
        from lorasmith.trainers.rehearsal import rehearse

        with memory.explained(config, family, device, "rehearsing"):
            return rehearse(folder, setting, emit)

    _check_disk(folder, the_plan)
    for left_out in the_plan.left_out:
        emit(Notice(f"'{left_out.item}' is left out: {left_out.reason}."))
    cache = Cache(folder.home / "cache", *encoders_of(base))
    with memory.explained(config, family, device, "caching"):
        if not precompute(cache, setting, emit=emit, control=control):
            return {"complete": False, "steps": 0}
    emit(Phase("loading"))
    with memory.explained(config, family, device, "training") as watched:
        training = watched.run = assemble(setting, cache, folder.path)
        saved = training.checkpoints.newest(emit)
        if saved is not None:
            restore(training, saved)
            emit(Notice(f"Going on from the checkpoint of step {saved.step}."))
        memory.refuse_what_cannot_fit(training, config, emit)
        ending = train(training, emit, control)
    if ending != "succeeded":
        return {"complete": False, "steps": training.step}
    with memory.explained(config, family, device, "exporting"):
        return export(folder, training, setting, emit)


def export(folder: JobFolder, training: Run, setting: Setting, emit: Emit) -> dict[str, Any]:
    """Write the adapter, load it again into a fresh base and compare; only then it gets its name.

    Raises:
        AdapterError: the certificate failed; the file is kept as ``adapter.failed.safetensors``.
    """
    from contextlib import nullcontext

    from lorasmith.adapters.metadata import TrainingFacts, describe

    config, base = setting.config, setting.base
    losses = {
        "smoothed_loss": training.smoothed_loss,
        "validation_loss": training.validation_loss,
        "base_validation_loss": training.base_validation_loss,
    }
    emit(Phase("exporting"))
    with training.average.in_place() if training.average else nullcontext():
        modules, share = training.lora.export()
    largest = max(modules, key=lambda module: module.rank)  # a layer thinner than the rank holds less
    if config.adapter.use_dora:
        emit(Notice(f"DoRA is exported as a plain LoRA of more rank, which keeps {share:.1%} of what was learned."))
    # Nothing here may depend on when the file is written: a resumed run writes the same bytes.
    facts = TrainingFacts(
        steps=training.step,
        objective=training.model.objective,
        rank=largest.rank,
        alpha=round(largest.alpha, 6),
        started=datetime.fromisoformat(folder.record().created).timestamp(),
        buckets={b.title: len(b.placed) for b in setting.plan.buckets},
        items=frozenset(placed.item for b in setting.plan.buckets for placed in b.placed),
        scores={name: value for name, value in losses.items() if value is not None},
    )
    metadata = describe(config, setting.version, base, trained=facts)
    first, *more = [
        _prove(folder, setting, own, metadata, word, emit) for word, own in files_of(training, modules).items()
    ]
    return {**first, "steps": training.step, "losses": losses, **({"more": more} if more else {})}


def files_of(training: Run, modules: Sequence[LoraModule]) -> dict[str, list[LoraModule]]:
    """The modules of each file, by the word that ends its name: of several experts, each has its own."""
    family = training.family
    if not training.model.experts:
        return {"": list(modules)}
    parts = {part: family.experts[part] for part in family.denoisers(training.model)}
    return {
        word: [replace(module, part=family.denoiser_part) for module in modules if module.part == part]
        for part, word in parts.items()
    }


def _prove(
    folder: JobFolder,
    setting: Setting,
    modules: Sequence[LoraModule],
    metadata: Mapping[str, str],
    word: str,
    emit: Emit,
) -> dict[str, Any]:
    """Write one file and its certificate.

    Raises:
        AdapterError: the certificate failed.
    """
    from lorasmith.adapters.certificate import certify
    from lorasmith.adapters.file import EXPERT, write_adapter

    ending = f"_{word}" if word else ""
    told = {**metadata, EXPERT: word} if word else dict(metadata)
    unproven = folder.path / f"adapter{ending}.unproven.safetensors"
    digest = write_adapter(
        unproven, modules, family=setting.family, dtype=setting.config.export.dtype, metadata=dict(sorted(told.items()))
    )
    emit(Phase("certifying"))
    certificate = certify(unproven, setting.base, trained=modules)
    name = f"adapter{ending}{'' if certificate.passed else '.failed'}.safetensors"
    report = certificate.model_copy(update={"file": name}).model_dump(mode="json")
    write_json(folder.path / f"certificate{ending}.json", report)
    unproven.replace(folder.path / name)
    if not certificate.passed:
        reason = certificate.findings[0] if certificate.findings else "it gave no reason"
        raise AdapterError(
            f"The exported adapter failed its load certificate: {reason}",
            f"It is kept as {name} beside certificate{ending}.json; the checkpoints are untouched.",
        )
    return {"adapter": name, "sha256": digest, "certificate": report, **({"expert": word} if word else {})}


def _config(frozen: Mapping[str, Any]) -> TrainConfig:
    """The config of a job. One that was queued before masks counted goes on without them, as it was meant."""
    objective = {"masked_loss": False, **frozen.get("objective", {})}
    return TrainConfig.model_validate({**frozen, "objective": objective})


def _dataset(store: DatasetStore, config: TrainConfig, fingerprint: str) -> DatasetVersion:
    version = store.get(config.dataset)
    if version.fingerprint != fingerprint:
        raise DatasetError(
            f"The dataset {version.reference} is not the one this job was made for.",
            "Submit the job again; to train an older version, name it as name@number.",
        )
    return version


def _check_disk(folder: JobFolder, the_plan: Plan) -> None:
    """Refuse to start what the disk cannot hold; what an earlier start already wrote is not asked for again."""
    free = shutil.disk_usage(folder.path).free
    kept = [file.stat().st_size for file in (folder.path / "checkpoints").rglob("*") if file.is_file()]
    # The cache is whole before the first checkpoint is written.
    written = sum(kept) + (the_plan.disk.cache if kept else 0)
    needed = max(0, the_plan.disk.total - written)
    if free < needed:
        raise OutOfDisk(
            f"This run may write {bytes_in_words(needed)}, and {bytes_in_words(free)} are free on the disk "
            f"of {folder.home}.",
            "Free some space, or lower checkpoint.keep, then resume.",
        )
