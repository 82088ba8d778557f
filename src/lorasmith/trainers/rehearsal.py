"""A run in small: every stage for real, two steps, and figures for the whole. It keeps nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lorasmith.events import Emit, Event, Metric, Phase
from lorasmith.jobfolder import Control, JobFolder
from lorasmith.training.plan import sampler_of
from lorasmith.training.setting import Setting

STEPS: Final = 2


def rehearse(folder: JobFolder, setting: Setting, emit: Emit) -> dict[str, Any]:
    """Load, cache, two steps, preview, save, load again, export; then delete all of it.

    Returns:
        ``seconds_per_step`` (the second step: the first one warms up), ``estimated_seconds`` of the whole run,
        ``seconds`` of each stage, ``peak_rss_bytes``, ``peak_device_bytes``, ``cached_pictures``.
    """
    out = folder.path / "rehearsal"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        return _Rehearsal(out, setting, emit).run()
    finally:
        shutil.rmtree(out, ignore_errors=True)


class _Rehearsal:
    def __init__(self, out: Path, setting: Setting, emit: Emit) -> None:
        # Everything happens once in two steps; the warm-up of a longer run must fit into them.
        config = setting.config
        short = config.optimizer.model_copy(update={"lr_warmup_steps": 0})
        changes = {"max_train_steps": STEPS, "optimizer": short, "validation_every_steps": 0}
        self.short = replace(setting, config=config.model_copy(update=changes))
        self.out, self.setting, self.emit = out, setting, emit
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to a stage."""
        begun = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun

    def run(self) -> dict[str, Any]:
        from lorasmith.adapters.file import write_adapter
        from lorasmith.trainers.native import files_of
        from lorasmith.training import memory
        from lorasmith.training.assembly import assemble
        from lorasmith.training.cache import Cache, encoders_of
        from lorasmith.training.loop import restore, train
        from lorasmith.training.precompute import precompute

        config, plan, family = self.setting.config, self.setting.plan, self.setting.family
        ahead = sampler_of(config, plan.buckets)
        ahead.skip(STEPS * config.gradient_accumulation_steps)
        counts = ahead.exposures()
        shown = {placed.item for bucket in plan.buckets for placed in bucket.placed if counts[placed.key]}
        shown |= {placed.item for placed in plan.validation}
        with self.timed("caching"):
            cache = Cache(self.out / "cache", *encoders_of(self.setting.base))
            precompute(cache, self.setting, emit=self.emit, control=Control, only=shown)
        with self.timed("loading"):
            self.emit(Phase("loading"))
            running = assemble(self.short, cache, self.out)
        stopwatch = _Stopwatch()
        train(running, stopwatch, Control)
        for stage in ("training", "sampling", "validating", "saving"):
            self.seconds[stage] = stopwatch.by_phase.get(stage, 0.0)
        saved = running.checkpoints.newest(self.emit)
        assert saved is not None
        restore(running, saved)
        with self.timed("exporting"):
            modules, _ = running.lora.export()
            for word, own in files_of(running, modules).items():
                path = self.out / f"adapter{word}.safetensors"
                write_adapter(path, own, family=family, dtype=config.export.dtype, metadata={})
        step = stopwatch.step_seconds[-1]
        return {
            "rehearsal": True,
            "seconds_per_step": step,
            "estimated_seconds": self._estimate(step, len(shown)),
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "peak_rss_bytes": memory.peak_rss_bytes(),
            "peak_device_bytes": memory.peak_device_bytes(self.setting.device),
            "cached_pictures": len(shown),
        }

    def _estimate(self, step: float, cached: int) -> float:
        """Seconds of the whole run: the measured stages, each as often as it will come."""
        config, plan = self.setting.config, self.setting.plan
        steps, every = plan.steps, config.sample.every_steps
        previews = 2 + (steps - 1) // every if every else 2
        validations = 2 + (steps - 1) // config.validation_every_steps if config.validation_every_steps else 2
        saves = 1 + ((steps - 1) // config.checkpoint.every_steps if config.checkpoint.every_steps else 0)
        pictures = plan.pictures + len(plan.validation)
        return (
            self.seconds["caching"] * pictures / max(1, cached)
            + self.seconds["loading"]
            + step * steps
            + self.seconds["sampling"] / 2 * previews  # two were drawn: before the first step and after the last
            + self.seconds["validating"] / 2 * validations
            + self.seconds["saving"] * saves
            + self.seconds["exporting"]
        )


class _Stopwatch:
    """Listens to the loop instead of a user, and notes how long phases and steps take."""

    def __init__(self) -> None:
        self.by_phase: dict[str, float] = {}
        self.step_seconds: list[float] = []
        self._phase, self._since = "", time.perf_counter()
        self._step_begun = self._since

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if isinstance(event, Phase):
            self.by_phase[self._phase] = self.by_phase.get(self._phase, 0.0) + now - self._since
            self._phase, self._since, self._step_begun = event.name, now, now
        elif isinstance(event, Metric) and "loss" in event.values:
            self.step_seconds.append(now - self._step_begun)
            self._step_begun = now
