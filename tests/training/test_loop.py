from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest
import torch

from lorasmith.errors import NonFiniteLoss, OutOfMemory
from lorasmith.events import Phase, Progress, Sample
from lorasmith.families.sd import StableDiffusion
from lorasmith.families.sd import plugin as sd
from lorasmith.jobfolder import Control
from lorasmith.training import checkpoint, memory
from lorasmith.training.loop import restore, train
from tests.training.home import quick_config
from tests.training.runs import Said, make_run

PLAIN = {"adapter.dropout": 0.0, "sample.prompts": [], "data.validation_fraction": 0.0, "ema_decay": None}
CPU = torch.device("cpu")


def weights(home: Path, tiny_base: Path, out: str = "out", **changes: object) -> dict[str, torch.Tensor]:
    run = make_run(home, tiny_base, out, **changes)
    assert train(run, Said(), Control) == "succeeded"
    return run.lora.state()


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_what_a_run_says(tiny_base: Path, tmp_path: Path) -> None:
    run, said = make_run(tmp_path, tiny_base), Said()
    assert train(run, said, Control) == "succeeded"
    for name in ("loss", "smoothed_loss", "learning_rate", "grad_norm", "rss_bytes"):
        assert list(said.values(name)) == [1, 2, 3, 4, 5, 6], name
    assert list(said.values("validation_loss")) == [0, 3, 6]
    base = said.values("base_validation_loss")
    assert len(set(base.values())) == 1
    gain = said.values("validation_gain")
    assert gain[0] == 0
    assert gain[6] == pytest.approx(base[6] - said.values("validation_loss")[6])
    samples = [(e.step, e.path) for e in said.events if isinstance(e, Sample)]
    assert samples == [(n, f"samples/{n:06d}-0.png") for n in (0, 3, 6)]
    assert all((tmp_path / "out" / path).is_file() for _, path in samples)
    last = [e for e in said.events if isinstance(e, Progress)][-1]
    assert (last.done, last.total, last.seconds_left) == (6, 6, 0)
    assert last.per_second is not None
    assert run.checkpoints.steps() == [4, 6]
    assert {e.name for e in said.events if isinstance(e, Phase)} == {"training", "validating", "sampling", "saving"}


def test_it_learns(tiny_base: Path, tmp_path: Path) -> None:
    changes = {"max_train_steps": 40, "adapter.rank": 8, "optimizer.learning_rate": 5e-3}
    run, said = make_run(tmp_path, tiny_base, **(PLAIN | changes)), Said()
    train(run, said, Control)
    losses = list(said.values("loss").values())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tiny_base: Path, tmp_path: Path) -> None:
    first = weights(tmp_path, tiny_base, "a")
    assert largest_difference(first, weights(tmp_path, tiny_base, "b")) == 0
    assert largest_difference(first, weights(tmp_path, tiny_base, "c", seed=8)) > 0


def test_previews_validation_and_checkpoints_change_nothing(tiny_base: Path, tmp_path: Path) -> None:
    quiet = {"sample.prompts": [], "checkpoint.every_steps": 0, "validation_every_steps": 0}
    assert largest_difference(weights(tmp_path, tiny_base, "a"), weights(tmp_path, tiny_base, "b", **quiet)) == 0


def test_accumulation_is_a_larger_batch(tiny_base: Path, tmp_path: Path) -> None:
    square = PLAIN | {"data.buckets": False, "optimizer.name": "lion", "max_train_steps": 3}
    # Lion takes the gradient's sign, so a wrong sum would show; plain decay off keeps it exact.
    together = weights(tmp_path, tiny_base, "a", **square, train_batch_size=4)
    apart = {"train_batch_size": 1, "gradient_accumulation_steps": 4}
    run, said = make_run(tmp_path, tiny_base, "b", **square, **apart), Said()
    train(run, said, Control)
    one, said_one = make_run(tmp_path, tiny_base, "c", **square, train_batch_size=4), Said()
    train(one, said_one, Control)
    for name in ("loss", "grad_norm"):
        assert said.values(name)[1] == pytest.approx(said_one.values(name)[1], rel=1e-4)
    agreeing = [
        torch.isclose(together[name], value, atol=1e-6).float().mean().item()
        for name, value in run.lora.state().items()
    ]
    assert sum(agreeing) / len(agreeing) > 0.99


def test_gradient_checkpointing_changes_nothing_but_what_is_kept(tiny_base: Path, tmp_path: Path) -> None:
    short = PLAIN | {"max_train_steps": 2, "adapter.text_encoder": True, "checkpoint.every_steps": 0}

    def trained(out: str, **changes: object) -> tuple[dict[str, torch.Tensor], int]:
        run, kept = make_run(tmp_path, tiny_base, out, **short, **changes), 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            run.batches.conditioning(["zib"])
        text, kept = kept, 0
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            conditioning = run.batches.conditioning(["zib"])
            sd.denoise(run.model, torch.zeros(1, 4, 8, 8), torch.tensor([0.5]), conditioning)
        train(run, Said(), Control)
        return run.lora.state(), min(text, kept)

    plain, all_of_it = trained("a")
    saving, less = trained("b", gradient_checkpointing=True)
    assert largest_difference(plain, saving) < 1e-6
    assert less < all_of_it / 2


def test_the_learning_rates_that_counted_are_told(tiny_base: Path, tmp_path: Path) -> None:
    changes = {"adapter.text_encoder": True, "optimizer.text_encoder_learning_rate": 1e-5}
    steady = {"optimizer.lr_scheduler": "constant", "optimizer.lr_warmup_steps": 0, "optimizer.learning_rate": 1e-3}
    said = Said()
    train(make_run(tmp_path, tiny_base, **changes, **steady), said, Control)
    assert set(said.values("learning_rate").values()) == {1e-3}
    assert set(said.values("text_encoder_learning_rate").values()) == {1e-5}
    prodigy = {"optimizer.name": "prodigy", "optimizer.learning_rate": 1.0}
    said = Said()
    train(make_run(tmp_path, tiny_base, "prodigy", **{**steady, **prodigy}), said, Control)
    assert 0 < max(said.values("learning_rate").values()) < 0.1, "its own step size, and not the factor 1"


@pytest.mark.parametrize(
    ("name", "text_encoder"),
    [("adamw", False), ("adamw", True), ("prodigy", False), ("adafactor", False), ("lion", False)],
)
def test_stopping_and_resuming_is_bit_exact(tiny_base: Path, tmp_path: Path, name: str, text_encoder: bool) -> None:
    rate = 1.0 if name == "prodigy" else 1e-3
    changes = {"optimizer.name": name, "optimizer.learning_rate": rate, "adapter.text_encoder": text_encoder}
    changes |= {"sample.prompts": [], "checkpoint.every_steps": 0, "optimizer.lr_warmup_steps": 2}
    whole = make_run(tmp_path, tiny_base, "whole", **changes)
    train(whole, Said(), Control)
    steps = 0

    def stop_at_three() -> Control:
        nonlocal steps
        steps += 1
        return Control(wanted="stop" if steps == 4 else "run")

    first = make_run(tmp_path, tiny_base, "cut", **changes)
    assert train(first, Said(), stop_at_three) == "stopped"
    assert first.step == 3
    second = make_run(tmp_path, tiny_base, "cut", **changes)
    saved = second.checkpoints.newest(Said())
    assert saved is not None
    restore(second, saved)
    assert train(second, Said(), Control) == "succeeded"
    assert largest_difference(whole.lora.state(), second.lora.state()) == 0
    assert whole.average is not None
    assert second.average is not None
    assert largest_difference(whole.average.values, second.average.values) == 0
    assert whole.smoothed_loss == second.smoothed_loss


def test_half_precision_trains_fp32_adapters(tiny_base: Path, tmp_path: Path) -> None:
    run, said = make_run(tmp_path, tiny_base, mixed_precision="bf16"), Said()
    train(run, said, Control)
    assert all(p.dtype == torch.float32 for p in run.lora.parameters.values())
    assert next(run.model.denoiser.conv_in.parameters()).dtype == torch.bfloat16  # type: ignore[union-attr]
    assert all(math.isfinite(loss) for loss in said.values("loss").values())


def test_pause_save_now_and_sample_now(tiny_base: Path, tmp_path: Path) -> None:
    run, said = make_run(tmp_path, tiny_base, **{"checkpoint.every_steps": 0, "sample.every_steps": 0}), Said()
    wishes = {
        2: Control(save_now=1),
        3: Control(save_now=1, sample_now=1),
        4: Control(wanted="pause", save_now=1, sample_now=1),
    }
    assert train(run, said, lambda: wishes.get(run.step, Control())) == "paused"
    assert run.checkpoints.steps() == [2, 4]
    assert [e.step for e in said.events if isinstance(e, Sample)] == [0, 3]


def test_a_poisoned_latent_stops_at_once_and_is_named(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, tiny_base, **PLAIN)
    honest = sd.denoise
    steps = []

    def poisoned(self: StableDiffusion, *arguments: object) -> torch.Tensor:
        prediction = honest(*arguments)  # type: ignore[arg-type]
        if run.step == 3:
            prediction = torch.cat([prediction[:1] * math.nan, prediction[1:]])
        steps.append(run.step)
        return prediction

    monkeypatch.setattr(StableDiffusion, "denoise", poisoned)
    with pytest.raises(NonFiniteLoss) as error:
        train(run, Said(), Control)
    assert "at step 4" in error.value.message
    assert error.value.message.count("猫") == 1
    assert "checkpoint of step 2 is good" in error.value.hint
    assert steps == [0, 1, 2, 3]
    assert all(torch.isfinite(p).all() for p in run.lora.parameters.values())


def test_a_full_disk_keeps_the_checkpoint_before(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, tiny_base, **PLAIN)
    honest = checkpoint.write_atomically

    def full(path: Path, content: bytes) -> None:
        if run.step >= 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            train(run, Said(), Control)
    assert run.checkpoints.steps() == [2]
    again = make_run(tmp_path, tiny_base, **PLAIN)
    saved = again.checkpoints.newest(Said())
    assert saved is not None
    restore(again, saved)
    train(again, Said(), Control)
    assert largest_difference(again.lora.state(), weights(tmp_path, tiny_base, "whole", **PLAIN)) == 0


def test_a_validation_loss_that_is_no_number_stops_the_run_too(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, tiny_base, **{"sample.prompts": []})
    assert run.validation is not None
    monkeypatch.setattr(run.validation, "loss", lambda *_: math.nan if run.step == 3 else 1.0)
    with pytest.raises(NonFiniteLoss, match=r"after step 3, with 猫 \d\.png") as error:
        train(run, Said(), Control)
    assert "checkpoint of step 2 is good" in error.value.hint


def test_a_text_encoder_that_learns_runs_in_the_precision_of_the_run(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"mixed_precision": "bf16", "adapter.text_encoder": True, "max_train_steps": 1}
    run = make_run(tmp_path, tiny_base, **(PLAIN | changes))
    honest, seen = sd.encode_prompts, []

    def watched(self: StableDiffusion, *arguments: object) -> object:
        seen.append(torch.is_autocast_enabled("cpu"))
        return honest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(StableDiffusion, "encode_prompts", watched)
    train(run, Said(), Control)
    assert seen == [True]


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_out_of_memory_names_what_would_help(failure: RuntimeError) -> None:
    config = quick_config(Path("x"), train_batch_size=4)
    with pytest.raises(OutOfMemory) as error, memory.explained(config, sd, CPU, "training"):
        raise failure
    hint = error.value.hint
    ladder = ["gradient_checkpointing: true", "train_batch_size: 2 with gradient_accumulation_steps: 2", "bf16"]
    assert [hint.index(rung) for rung in ladder] == sorted(hint.index(rung) for rung in ladder)
    light = quick_config(Path("x"), train_batch_size=1, gradient_checkpointing=True, mixed_precision="bf16")
    assert memory.lighter(light, sd) == []


def test_advice_fits_what_was_being_done() -> None:
    config = quick_config(Path("x"), train_batch_size=4, **{"data.resolution": 512, "adapter.rank": 16})
    assert [word for word, _ in memory.lighter(config, sd, "caching")] == ["data.resolution: 384"]
    assert [word for word, _ in memory.lighter(config, sd, "exporting")] == ["adapter.rank: 8"]


def test_other_failures_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory.explained(quick_config(Path("x")), sd, CPU, "training"):
        raise RuntimeError("shapes do not fit")
