"""Every cure of a training, done: a real job fails, its remedy is applied, and what comes of it succeeds."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorasmith import worker
from lorasmith.errors import ConfigError
from lorasmith.files import write_json
from lorasmith.studio import Studio
from tests.remedies.workshop import applied, cured, cures, failed, raw, short, worked

pytestmark = pytest.mark.filterwarnings("ignore")


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
@cures("out-of-memory/{remedy}")
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
@cures("loss-not-finite/{remedy}")
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
@cures("disk-full/{remedy}")
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


@cures("picture-damaged/leave-out")
def test_a_damaged_picture_is_left_out(studio: Studio) -> None:
    row = studio.enqueue.train("dots", short())
    blob = studio.curate.picture(studio.dataset("dots").items[1].image)
    blob.write_bytes(blob.read_bytes()[:200])
    row = failed(studio, row, "picture-damaged")
    new = cured(studio, row, "leave-out")
    assert new.state == "succeeded" and len(studio.dataset("dots").items) == 2
    assert len(studio.dataset("dots@1").items) == 3  # the old version stays


@cures("base-missing/again")
def test_a_base_that_was_moved_is_put_back(studio: Studio, tmp_path: Path) -> None:
    from lorasmith.sandbox import sandbox_weights

    base, away = tmp_path / "base", tmp_path / "away"
    shutil.copytree(sandbox_weights() / "base", base)
    row = studio.enqueue.train("dots", short(base=str(base)))
    base.rename(away)
    row = failed(studio, row, "base-missing")
    away.rename(base)
    assert cured(studio, row, "again").state == "succeeded"


@cures("base-damaged/again")
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
@cures("{diagnosis}/{remedy}")
def test_what_another_machine_could_do(studio: Studio, values: dict[str, Any], diagnosis: str, remedy: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a card can do all of this")
    row = failed(studio, raw(studio, **values), diagnosis)
    assert cured(studio, row, remedy).state == "succeeded"


@cures("checkpoint-damaged/anew")
def test_a_foreign_checkpoint_is_left_behind(studio: Studio) -> None:
    first = worked(studio, studio.enqueue.train("dots", short(**{"checkpoint.every_steps": 1})))
    assert first.state == "succeeded"
    row = studio.enqueue.train("dots", short(**{"adapter.rank": 4}))
    theirs = studio.queue.job(first.id).folder.path / "checkpoints"
    shutil.copytree(theirs, studio.queue.job(row.id).folder.path / "checkpoints")
    row = failed(studio, row, "checkpoint-damaged")
    assert cured(studio, row, "anew").state == "succeeded"


@cures("crash/again")
def test_a_crash_is_tried_again(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers import native

    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("division by zero")

    with monkeypatch.context() as patched:
        patched.setattr(native, "export", broken)
        row = failed(studio, studio.enqueue.train("dots", short()), "crash")
    assert "ZeroDivisionError" in row.reason
    assert cured(studio, row, "again").state == "succeeded"


@cures("picture-damaged/again")
def test_a_damaged_picture_is_imported_again(studio: Studio, tmp_path: Path) -> None:
    """The page that the remedy leads to takes the same bytes in, and they heal the store."""
    row = studio.enqueue.train("dots", short())
    blob = studio.curate.picture(studio.dataset("dots").items[1].image)
    blob.unlink()
    row = failed(studio, row, "picture-damaged")
    studio.import_dataset(tmp_path / "pictures", name="dots")
    assert cured(studio, row, "again").state == "succeeded"


@cures("dataset-changed/again")
def test_a_version_that_went_away_is_brought_back(studio: Studio) -> None:
    row = studio.enqueue.train("dots", short())
    header = studio.home / "datasets" / "dots" / "1.json"
    content = header.read_bytes()
    header.unlink()
    row = failed(studio, row, "dataset-changed")
    header.write_bytes(content)
    assert cured(studio, row, "again").state == "succeeded"


@cures("base-pickle/again")
def test_a_pickle_is_replaced(studio: Studio, tmp_path: Path) -> None:
    """Weights as a pickle are not opened, whatever the rest of the folder is."""
    from lorasmith.sandbox import sandbox_weights

    base = tmp_path / "base"
    shutil.copytree(sandbox_weights() / "base", base)
    row = studio.enqueue.train("dots", short(base=str(base)))
    weights = next(base.glob("unet/*.safetensors"))
    content = weights.read_bytes()
    pickled = weights.with_suffix(".bin")
    pickled.write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
    weights.unlink()
    row = failed(studio, row, "base-pickle")
    pickled.unlink()
    weights.write_bytes(content)
    assert cured(studio, row, "again").state == "succeeded"


@cures("card-unusable/processor")
def test_a_card_that_the_build_does_not_know(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers import native

    real = native.run

    def old_build(folder: Any, *rest: Any) -> Any:
        if folder.record().payload["config"]["device"] != "cpu":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
        return real(folder, *rest)

    monkeypatch.setattr(native, "run", old_build)
    row = failed(studio, studio.enqueue.train("dots", short()), "card-unusable")
    new = cured(studio, row, "processor")
    assert new.state == "succeeded" and new.parent == row.id


@cures("card-unusable/again")
def test_a_driver_that_is_too_old(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers import native

    def old_driver(*arguments: Any) -> Any:
        raise RuntimeError("The NVIDIA driver on your system is too old: CUDA driver version is insufficient")

    with monkeypatch.context() as patched:
        patched.setattr(native, "run", old_driver)
        row = failed(studio, studio.enqueue.train("dots", short()), "card-unusable")
    assert cured(studio, row, "again").state == "succeeded"


@cures("certificate/full-precision")
def test_an_adapter_that_half_precision_spoils(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the export that full precision does not have: the certificate sees it, and nothing is filed."""
    from safetensors.torch import load_file, save_file

    from lorasmith.adapters import certificate

    real = certificate.certify

    def spoiled(file: Path, *rest: Any, **options: Any) -> Any:
        tensors = load_file(file)
        if any(tensor.dtype.itemsize < 4 for tensor in tensors.values()):
            from safetensors import safe_open

            with safe_open(file, "pt") as opened:
                told = opened.metadata()
            save_file({key: tensor * 3 for key, tensor in tensors.items()}, file, told)
        return real(file, *rest, **options)

    monkeypatch.setattr(certificate, "certify", spoiled)
    row = failed(studio, studio.enqueue.train("dots", short(**{"export.dtype": "bf16"})), "certificate")
    assert studio.library.names() == ()
    assert cured(studio, row, "full-precision").state == "succeeded" and len(studio.library.names()) == 1


def _dies_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGKILL) -> None:
    """The system takes the worker away in mid-step, as when memory runs out, or stops it."""
    from lorasmith.families.sd import StableDiffusion

    real, passes = StableDiffusion.denoise, []

    def denoise(self: Any, model: Any, noisy: Any, *rest: Any) -> Any:
        import torch

        if torch.is_grad_enabled() and noisy.device.type != "meta":
            passes.append(1)
            if len(passes) > step:
                os.kill(os.getpid(), number)
        return real(self, model, noisy, *rest)

    monkeypatch.setattr(StableDiffusion, "denoise", denoise)


@cures("killed/go-on", "killed/smaller-batch")
def test_a_worker_that_was_killed(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        _dies_at(1, patched)
        values = short(**{"checkpoint.every_steps": 1, "gradient_checkpointing": False})
        row = failed(studio, studio.enqueue.train("dots", values), "killed")
    smaller = cured(studio, row, "smaller-batch")
    config = studio.queue.job(smaller.id).record().payload["config"]
    assert smaller.state == "succeeded" and config["train_batch_size"] == 1 and config["gradient_checkpointing"]
    assert cured(studio, row, "go-on").state == "succeeded"
    said = [event for _, event in studio.queue.job(row.id).folder.read_events()]
    steps = [event.step for event in said if type(event).__name__ == "Metric" and event.step]
    assert steps == sorted(set(steps)), "the step that was saved is not done again"


@cures("silent/pause")
def test_a_worker_that_stands_still(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in mid-step it holds its lock and says nothing: it is ended, what was saved is kept, and it goes on."""
    from lorasmith.queue.dispatcher import Pace
    from lorasmith.remedies import SILENCE

    row = studio.enqueue.train("dots", short(**{"checkpoint.every_steps": 1}))
    folder = studio.queue.job(row.id).folder.path
    write_json(folder / "start.json", {"token": secrets.token_hex(8)})
    with monkeypatch.context() as patched:
        _dies_at(1, patched, signal.SIGSTOP)
        child = os.fork()
        if not child:
            os.setsid()  # a session of its own, as every worker has one
            os._exit(worker.main([str(folder)]))
    try:
        os.waitpid(child, os.WUNTRACED)
        clock = [0.0]
        with studio.dispatcher(pace=Pace(search=0.0, grace=5.0), clock=lambda: clock[0]) as dispatcher:
            studio.queue.drain()
            dispatcher.tick()
            row = studio.queue.get(row.id)
            assert row.state in ("starting", "running") and studio.remedies.diagnose(row) is None  # it may just be busy
            beat = (folder / "heartbeat").stat().st_mtime - 2 * SILENCE
            os.utime(folder / "heartbeat", (beat, beat))
            found = studio.remedies.diagnose(row)
            assert found is not None and found.id == "silent" and "sign of life" in found.evidence
            assert applied(studio, row, "pause").state == "pausing"
            until = time.monotonic() + 60  # of the real clock: a killed process takes its time to be gone
            while studio.queue.get(row.id).state != "paused" and time.monotonic() < until:
                clock[0] += 10.0
                dispatcher.tick()
            assert studio.queue.get(row.id).state == "paused"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert worked(studio, studio.queue.resume(row.id)).state == "succeeded"


@cures("request-changed/anew")
def test_a_request_that_was_changed_in_its_folder(studio: Studio) -> None:
    row = studio.enqueue.train("dots", short())
    file = studio.queue.job(row.id).folder.path / "job.json"
    file.write_text(file.read_text().replace('"max_train_steps": 2', '"max_train_steps": 1'))
    with studio.dispatcher() as dispatcher:
        dispatcher.tick()
    row = studio.queue.get(row.id)
    found = studio.remedies.diagnose(row)
    assert row.state == "failed" and found is not None and found.id == "request-changed", row
    assert cured(studio, row, "anew").state == "succeeded"


def test_a_config_of_another_time_leads_to_its_form(studio: Studio) -> None:
    """The one failure without a button: the values are there in the form, to be changed."""
    recipe = studio.prepare("dots", short())
    config = recipe.config.model_dump(mode="json") | {"network_dim": 16}
    row = failed(studio, studio.queue.submit("train", recipe.payload() | {"config": config}, name="dots"), "config")
    found = studio.remedies.diagnose(row)
    assert found is not None and [one.address for one in found.remedies] == [f"/?from={row.id}"]
    with pytest.raises(ConfigError):
        studio.remedies.apply(row.id, "expert")  # it is a page, and no button


def test_what_should_follow_follows_the_cured_job_too(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers import native

    plan: Any = [{"verb": "generate", "values": {"base": "sandbox", "prompts": ["zib"], "steps": 1}}]
    with monkeypatch.context() as patched:
        patched.setattr(native, "export", lambda *arguments: 1 / 0)
        row = failed(studio, studio.enqueue.train("dots", short(), then=plan, about={"name": "Dots"}), "crash")
    again = studio.enqueue.clone(row.id, {"max_train_steps": 1})
    assert studio.enqueue.sequel(studio.queue.job(again.id)) == ["pictures with it"]
    done = worked(studio, again)
    assert done.output and done.output.get("next") and studio.library.about(done.output["adapter"]).title == "Dots"
