"""Every cure, done: a real job fails by a real error, its remedy is applied, and the job that comes of it succeeds.

Jobs are run by the worker's own ``main`` in a fork, so that faults can be put where a machine would have them.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith import worker
from lorasmith.config import layer
from lorasmith.files import write_json
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.retries import Retries
from lorasmith.studio import Studio

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="faults are put into a fork"),
]
SHORT: dict[str, Any] = {
    "base": "sandbox",
    "max_train_steps": 2,
    "train_batch_size": 2,
    "adapter.rank": 2,
    "sample.every_steps": 0,
    "checkpoint.every_steps": 0,
    "data.caption_dropout": 0.0,
    "threads": 1,
}


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Loaded once here and not in every fork."""
    import diffusers
    import peft

    from lorasmith.adapters import certificate
    from lorasmith.training import assembly, loop, precompute

    assert all((diffusers.StableDiffusionPipeline, peft.LoraConfig, certificate, assembly, loop, precompute))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    made = Studio(tmp_path / "home")
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("zib")
    made.import_dataset(folder, name="dots")
    return made


def short(**changes: Any) -> dict[str, Any]:
    return layer(SHORT, {"data.resolution": 64}, changes)


def worked(studio: Studio, row: QueuedJob) -> QueuedJob:
    """The job after its worker has ended and the queue has looked at it."""
    folder = studio.queue.job(row.id).folder.path
    write_json(folder / "start.json", {"token": secrets.token_hex(8)})
    child = os.fork()
    if not child:  # a process of its own, as a worker is one; faults that were put into this one are in it
        os._exit(worker.main([str(folder)]))
    os.waitpid(child, 0)
    with studio.dispatcher(retries=Retries(crash=0, infrastructure=0)) as dispatcher:
        studio.queue.drain()  # it looks at what ended and starts nothing
        dispatcher.tick()
    return studio.queue.get(row.id)


def cured(studio: Studio, row: QueuedJob, remedy: str) -> QueuedJob:
    found = studio.remedies.diagnose(row)
    assert found is not None and remedy in [one.id for one in found.remedies], found
    return worked(studio, studio.remedies.apply(row.id, remedy))


def failed(studio: Studio, row: QueuedJob, diagnosis: str) -> QueuedJob:
    row = worked(studio, row)
    found = studio.remedies.diagnose(row)
    assert found is not None and found.id == diagnosis, (row, found)
    return row


def raw(studio: Studio, **changes: Any) -> QueuedJob:
    """A job whose config was good when it was made, on another machine or for another base."""
    recipe = studio.prepare("dots", short())
    config = layer(recipe.config.model_dump(mode="json"), changes)
    return studio.queue.submit("train", recipe.payload() | {"config": config}, name="dots")


def _large(noisy: Any, model: Any) -> bool:
    return bool(noisy.shape[0] > 1)


def _kept(noisy: Any, model: Any) -> bool:
    return not any(getattr(module, "gradient_checkpointing", False) for module in model.denoiser.modules())


def _full_precision(noisy: Any, model: Any) -> bool:
    import torch

    return not torch.is_autocast_enabled("cpu")


def _wide(noisy: Any, model: Any) -> bool:
    return bool(noisy.shape[-1] > 8)


@pytest.mark.parametrize(
    ("remedy", "too_much", "values"),
    [
        ("checkpointing", _kept, {}),
        ("smaller-batch", _large, {}),
        ("bf16", _full_precision, {}),
        ("smaller-pictures", _wide, {"data.resolution": 128}),
    ],
)
def test_memory(
    studio: Studio,
    monkeypatch: pytest.MonkeyPatch,
    remedy: str,
    too_much: Callable[[Any, Any], bool],
    values: dict[str, Any],
) -> None:
    import torch

    from lorasmith.families.sd import StableDiffusion

    real = StableDiffusion.denoise

    def small_device(self: Any, model: Any, noisy: Any, *rest: Any) -> Any:
        counted = type(noisy) is not torch.Tensor or noisy.device.type == "meta"  # what would fit is only worked out
        if not counted and torch.is_grad_enabled() and too_much(noisy, model):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, model, noisy, *rest)

    monkeypatch.setattr(StableDiffusion, "denoise", small_device)
    row = failed(studio, studio.enqueue.train("dots", short(**values)), "out-of-memory")
    new = cured(studio, row, remedy)
    if remedy == "smaller-pictures":  # 128 becomes 64, which fits
        assert studio.queue.job(new.id).record().payload["config"]["data"]["resolution"] == 64
    assert new.state == "succeeded" and new.parent == row.id, new.reason


@pytest.mark.parametrize("remedy", ["smaller-steps", "shorter-gradients"])
def test_numbers_that_blow_up(studio: Studio, monkeypatch: pytest.MonkeyPatch, remedy: str) -> None:
    import torch

    from lorasmith.families.sd import StableDiffusion

    real = StableDiffusion.denoise

    def narrow(self: Any, model: Any, noisy: Any, *rest: Any) -> Any:
        """Arithmetic that knows no number above 6, as fp16 knows none above 65504."""
        weights = [p.detach().abs().max() for p in model.denoiser.parameters() if p.requires_grad]
        made = real(self, model, noisy, *rest)
        return made * float("nan") if torch.is_grad_enabled() and weights and max(weights) > 6 else made

    monkeypatch.setattr(StableDiffusion, "denoise", narrow)
    wild = short(**{"optimizer.learning_rate": 8.0, "optimizer.lr_scheduler": "constant"})
    row = failed(studio, studio.enqueue.train("dots", wild), "loss-not-finite")
    assert cured(studio, row, remedy).state == "succeeded"


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("remedy", ["room", "fewer-checkpoints"])
def test_a_full_disk_pauses_and_goes_on(studio: Studio, monkeypatch: pytest.MonkeyPatch, remedy: str) -> None:
    config = short(**{"checkpoint.keep": 1000})
    row = studio.enqueue.train("dots", config)
    needed = studio.plan("dots", config).disk.total
    free = {"room": 1, "fewer-checkpoints": needed - 1}[remedy]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    row = failed(studio, row, "disk-full")
    assert row.state == "paused"
    if remedy == "room":
        monkeypatch.undo()
    new = cured(studio, row, remedy)
    assert new.state == "succeeded" and (new.id == row.id) == (remedy == "room")


def test_a_damaged_picture_is_left_out(studio: Studio) -> None:
    row = studio.enqueue.train("dots", short())
    blob = studio.curate.picture(studio.dataset("dots").items[1].image)
    blob.write_bytes(blob.read_bytes()[:200])
    row = failed(studio, row, "picture-damaged")
    new = cured(studio, row, "leave-out")
    assert new.state == "succeeded" and len(studio.dataset("dots").items) == 2
    assert len(studio.dataset("dots@1").items) == 3  # the old version stays


def test_a_base_that_was_moved_is_put_back(studio: Studio, tmp_path: Path) -> None:
    from lorasmith.sandbox import sandbox_weights

    base, away = tmp_path / "base", tmp_path / "away"
    shutil.copytree(sandbox_weights() / "base", base)
    row = studio.enqueue.train("dots", short(base=str(base)))
    base.rename(away)
    row = failed(studio, row, "base-missing")
    away.rename(base)
    assert cured(studio, row, "again").state == "succeeded"


def test_a_base_that_is_cut_short_is_replaced(studio: Studio, tmp_path: Path) -> None:
    from lorasmith.sandbox import sandbox_weights

    base = tmp_path / "base"
    shutil.copytree(sandbox_weights() / "base", base)
    row = studio.enqueue.train("dots", short(base=str(base)))
    weights = next(base.glob("unet/*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    row = failed(studio, row, "base-damaged")
    weights.write_bytes(whole)
    assert cured(studio, row, "again").state == "succeeded"


@pytest.mark.parametrize(
    ("values", "diagnosis", "remedy"),
    [
        ({"device": "cuda"}, "device-missing", "any-device"),
        ({"mixed_precision": "fp16"}, "device-missing", "plain-numbers"),
        ({"optimizer": {"name": "adamw_8bit"}}, "optimizer-missing", "adamw"),
        ({"data": {"upscale": False, "resolution": 128}}, "too-small", "upscale"),
        ({"data": {"upscale": False, "resolution": 128}}, "too-small", "lower"),
    ],
)
def test_what_another_machine_could_do(studio: Studio, values: dict[str, Any], diagnosis: str, remedy: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a card can do all of this")
    row = failed(studio, raw(studio, **values), diagnosis)
    assert cured(studio, row, remedy).state == "succeeded"


def test_a_foreign_checkpoint_is_left_behind(studio: Studio) -> None:
    first = worked(studio, studio.enqueue.train("dots", short(**{"checkpoint.every_steps": 1})))
    assert first.state == "succeeded"
    row = studio.enqueue.train("dots", short(**{"adapter.rank": 4}))
    theirs = studio.queue.job(first.id).folder.path / "checkpoints"
    shutil.copytree(theirs, studio.queue.job(row.id).folder.path / "checkpoints")
    row = failed(studio, row, "checkpoint-damaged")
    assert cured(studio, row, "anew").state == "succeeded"


def test_a_crash_is_tried_again(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers import native

    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("division by zero")

    with monkeypatch.context() as patched:
        patched.setattr(native, "export", broken)
        row = failed(studio, studio.enqueue.train("dots", short()), "crash")
    assert "ZeroDivisionError" in row.reason
    assert cured(studio, row, "again").state == "succeeded"
