from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from lorasmith.errors import CheckpointError
from lorasmith.events import Event, Notice
from lorasmith.training import checkpoint
from lorasmith.training.checkpoint import Checkpoints, Snapshot


def snapshot(step: int) -> Snapshot:
    weight = torch.full((2, 3), float(step))
    optimizer = {
        "state": {0: {"step": torch.tensor(float(step)), "exp_avg": weight / 7}, 5: {"none": None}},
        "param_groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.999), "fused": True, "params": [0, 1]}],
    }
    return Snapshot(
        step, {"unet.a": weight}, optimizer, {"loss": 1 / 3}, {"unet.a": weight}, {"cpu": torch.get_rng_state()}
    )


def nothing(event: Event) -> None:
    raise AssertionError(event)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert kept.newest(nothing) is None
    kept.save(snapshot(3))
    found = kept.newest(nothing)
    assert found is not None
    assert (found.step, found.numbers) == (3, {"loss": 1 / 3})
    expected = snapshot(3).optimizer
    assert found.optimizer["param_groups"] == expected["param_groups"]
    assert found.optimizer["state"].keys() == {0, 5}
    assert torch.equal(found.optimizer["state"][0]["exp_avg"], expected["state"][0]["exp_avg"])
    assert found.optimizer["state"][0]["step"].shape == ()
    assert torch.equal(found.adapter["unet.a"], torch.full((2, 3), 3.0))
    assert not list(tmp_path.rglob("*.tmp")) + list(tmp_path.rglob("*.partial"))


def test_only_the_newest_stay(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in (9, 10, 100):
        kept.save(snapshot(step))
    assert kept.steps() == [10, 100]


@pytest.mark.parametrize("name", ["adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_is_announced_and_the_one_before_is_used(tmp_path: Path, name: str) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    kept.save(snapshot(1))
    path = kept.save(snapshot(2)) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    said: list[Event] = []
    found = kept.newest(said.append)
    assert found is not None
    assert found.step == 1
    (notice,) = said
    assert isinstance(notice, Notice)
    assert "step 2 is damaged" in notice.message
    assert "step 1" in notice.message
    assert kept.steps() == [1]


def test_no_sound_one_is_an_error(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    (kept.save(snapshot(4)) / "adapter.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"step 4 is damaged \(adapter.safetensors is missing\)"):
        kept.newest(nothing)


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(snapshot(1))
    written = 0

    def full(path: Path, content: bytes) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        kept.save(snapshot(2))
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    found = kept.newest(nothing)
    assert found is not None
    assert found.step == 1


def test_saving_a_step_again_mends_a_damaged_one(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    path = kept.save(snapshot(2))
    (path / "state.json").write_text("{}")
    kept.save(snapshot(2))
    assert kept.damage(path) == ""
