from __future__ import annotations

import errno
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.resume import Killer, context, lines_of, work
from filelock import FileLock

from lorasmith import worker
from lorasmith.adapters import certificate as certificates
from lorasmith.adapters.tools.describing import describe
from lorasmith.errors import ConfigError
from lorasmith.events import Finished, Notice, Phase, Progress
from lorasmith.heartbeat import Heartbeat
from lorasmith.jobfolder import Control, JobFolder
from lorasmith.sandbox.single_file import write_single_file
from tests.tiny import build_tiny_base
from tests.training.home import make_dataset, make_job, quick_config

Kind = Callable[[JobFolder, Any, Callable[[], Control]], dict[str, Any]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def expected(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """SHA-256 and number of events of a run nobody disturbs."""
    job = trainable(tmp_path_factory.mktemp("undisturbed"), base)
    assert worker.main([str(job.path)]) == 0
    return sha_of(job), len(lines_of(job.path / "events.jsonl"))


def trainable(home: Path, base: Path, **changes: Any) -> JobFolder:
    return make_job(home, quick_config(base, **changes), make_dataset(home))


def sha_of(job: JobFolder) -> str:
    result = job.result()
    assert result is not None
    assert result.outcome == "succeeded", result
    return str(result.output["sha256"])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Kind], JobFolder]:
    """A job whose kind is the given function."""

    def make(run: Kind) -> JobFolder:
        module = types.ModuleType("stand_in_kind")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stand_in_kind", module)
        monkeypatch.setitem(worker.KINDS, "train", "stand_in_kind")
        return make_job(tmp_path, quick_config(Path("x")), make_dataset(tmp_path))

    return make


def test_a_whole_run_leaves_a_proven_adapter(base: Path, tmp_path: Path) -> None:
    job = trainable(tmp_path, base)
    assert worker.main([str(job.path)]) == 0
    result = job.result()
    assert result is not None
    assert result.output["certificate"]["passed"]
    assert result.output["certificate"]["file"] == "adapter.safetensors" == result.output["adapter"]
    assert result.output["steps"] == 6
    assert (job.path / "adapter.safetensors").is_file()
    assert not (job.path / "adapter.unproven.safetensors").exists()
    phases = list(dict.fromkeys(e.name for _, e in job.read_events() if isinstance(e, Phase)))
    assert phases == ["loading", "caching", "training", "validating", "sampling", "saving", "exporting", "certifying"]
    assert json.loads((job.path / "heartbeat").read_bytes())["beat"] >= 1
    assert not (job.path / ".reserve").exists()


def test_a_single_file_trains_in_bf16_with_its_text_encoder_and_rslora(base: Path, tmp_path: Path) -> None:
    file = write_single_file(base, tmp_path / "a single file é.safetensors")
    changes = {"adapter.text_encoder": True, "adapter.use_rslora": True, "adapter.rank": 4, "mixed_precision": "bf16"}
    job = trainable(tmp_path, file, **changes, **{"max_train_steps": 2, "adapter.targets": "attention"})
    assert worker.main([str(job.path)]) == 0
    report = describe(job.path / "adapter.safetensors")
    assert min(report.kind.parts["denoiser"], report.kind.parts["text_encoder"]) > 0
    assert report.alphas == {8.0: report.modules}  # alpha / sqrt(rank) = 8 / rank
    assert (report.metadata["ss_network_dim"], report.metadata["ss_network_alpha"]) == ("4", "8.0")
    certificate = json.loads((job.path / "certificate.json").read_bytes())
    assert certificate["passed"] and certificate["text_encoder_change"] > 0


def test_dora_leaves_a_plain_lora_whose_metadata_say_its_real_rank(base: Path, tmp_path: Path) -> None:
    changes = {"adapter.use_dora": True, "adapter.targets": "attention", "sample.prompts": [], "max_train_steps": 2}
    job = trainable(tmp_path, base, **changes)
    assert worker.main([str(job.path)]) == 0
    report = describe(job.path / "adapter.safetensors")
    assert not report.kind.dora
    assert report.kind.ranks == {8: report.modules} and report.alphas == {8.0: report.modules}
    assert (report.metadata["ss_network_dim"], report.metadata["ss_network_alpha"]) == ("8", "8.0")
    assert any(isinstance(e, Notice) and "plain LoRA" in e.message for _, e in job.read_events())


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL and a fork server are POSIX's")
def test_killed_at_random_moments_it_ends_in_the_same_bytes(
    base: Path, tmp_path: Path, expected: tuple[str, int]
) -> None:
    digest, events = expected
    killer = Killer(seed=1)
    for home in range(8):  # a worker may be quicker than its killer: then another one is killed
        job = trainable(tmp_path / str(home), base)
        killer.round(job.path, kills=4, most_events=events * 2 // 3)
        assert sha_of(job) == digest
        if len(killer.log) >= 2:
            break
    assert len(killer.log) >= 2, killer.log


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_a_termination_signal_saves_and_the_next_start_goes_on(
    base: Path, tmp_path: Path, expected: tuple[str, int]
) -> None:
    for home in range(8):  # one that had ended before the signal came proves nothing
        job = trainable(tmp_path / str(home), base)
        process = context().Process(target=work, args=(str(job.path),))
        process.start()
        said = job.path / "events.jsonl"
        while process.is_alive() and not any(b'"learning_rate"' in line for line in lines_of(said)):
            process.join(0.002)
        process.terminate()
        process.join()
        if process.exitcode != 0:
            break
    assert process.exitcode == worker.INTERRUPTED
    result = job.result()
    assert result is not None
    assert (result.outcome, result.output["complete"]) == ("stopped", False)
    assert (job.path / "checkpoints" / str(result.output["steps"])).is_dir()
    assert worker.main([str(job.path)]) == 0
    assert any(isinstance(e, Notice) and "Going on from" in e.message for _, e in job.read_events())
    assert sha_of(job) == expected[0]


def test_a_pause_is_honoured_and_being_started_again_means_to_go_on(
    base: Path, tmp_path: Path, expected: tuple[str, int]
) -> None:
    job = trainable(tmp_path, base)
    job.set_control(Control(wanted="pause"))
    assert worker.main([str(job.path)]) == 0
    result = job.result()
    assert result is not None
    assert result.outcome == "paused"
    assert "resume" in result.hint
    assert worker.main([str(job.path)]) == 0
    assert job.control().wanted == "run"
    assert sha_of(job) == expected[0]


def test_a_running_job_is_left_alone(base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = trainable(tmp_path, base)
    (job.path / "owner.json").write_text('{"pid": 4711, "started": 1.0, "host": "here"}')
    before = sorted(p.name for p in job.path.iterdir())
    with FileLock(job.path / "lock"):
        assert worker.main([str(job.path)]) == 7
    assert "already running, as process 4711 on here" in capfd.readouterr().err
    assert [p for p in sorted(p.name for p in job.path.iterdir()) if p != "lock"] == before


def test_a_finished_job_says_so(stand_in: Callable[[Kind], JobFolder], capfd: pytest.CaptureFixture[str]) -> None:
    job = stand_in(lambda folder, emit, control: {"answer": 42})
    assert worker.main([str(job.path)]) == 0
    assert worker.main([str(job.path)]) == 0
    assert "has finished already" in capfd.readouterr().err
    assert sum(isinstance(e, Finished) for _, e in job.read_events()) == 1


def test_no_job_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert worker.main([str(tmp_path / "jobs" / "none")]) == 7
    assert "There is no job at" in capfd.readouterr().err
    assert worker.main([]) == 2


def test_a_users_error_keeps_its_words_and_exit_code(stand_in: Callable[[Kind], JobFolder]) -> None:
    def run(folder: JobFolder, emit: Any, control: Any) -> dict[str, Any]:
        os.write(2, b"a library grumbles\n")
        raise ConfigError("It is wrong.", "Make it right.")

    job = stand_in(run)
    assert worker.main([str(job.path)]) == 2
    result = job.result()
    assert result is not None
    assert (result.outcome, result.message, result.hint) == ("failed", "It is wrong.", "Make it right.")
    assert result.error == "ConfigError"
    assert any("a library grumbles" in line for line in result.output["log"])
    finished = [e for _, e in job.read_events() if isinstance(e, Finished)]
    assert [(e.outcome, e.message) for e in finished] == [("failed", "It is wrong.")]


def test_an_unforeseen_error_is_told_in_words_and_its_log_in_lines(stand_in: Callable[[Kind], JobFolder]) -> None:
    def run(folder: JobFolder, emit: Any, control: Any) -> dict[str, Any]:
        return {"one": 1 // 0}

    job = stand_in(run)
    assert worker.main([str(job.path)]) == 1
    result = job.result()
    assert result is not None
    assert "ZeroDivisionError: integer division" in result.message
    assert any("Traceback" in line for line in result.output["log"])
    assert len(result.output["log"]) <= worker.LOG_LINES


def test_a_full_disk_pauses(stand_in: Callable[[Kind], JobFolder]) -> None:
    full = True

    def run(folder: JobFolder, emit: Any, control: Any) -> dict[str, Any]:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return {"done": True}

    job = stand_in(run)
    assert worker.main([str(job.path)]) == 6
    result = job.result()
    assert result is not None
    assert (result.outcome, result.error) == ("paused", "OutOfDisk")
    assert "nothing that was saved is lost" in result.message
    full = False
    assert worker.main([str(job.path)]) == 0


def test_counters_are_those_since_the_start(stand_in: Callable[[Kind], JobFolder]) -> None:
    seen: list[Control] = []

    def run(folder: JobFolder, emit: Any, control: Callable[[], Control]) -> dict[str, Any]:
        seen.append(control())
        folder.set_control(Control(save_now=6, sample_now=2))
        seen.append(control())
        return {}

    job = stand_in(run)
    job.set_control(Control(save_now=5, sample_now=2))
    assert worker.main([str(job.path)]) == 0
    assert seen == [Control(), Control(save_now=1)]


def test_another_dataset_is_refused(base: Path, tmp_path: Path) -> None:
    version = make_dataset(tmp_path).model_copy(update={"items": ()})
    job = make_job(tmp_path, quick_config(base), version)
    assert worker.main([str(job.path)]) == 3
    result = job.result()
    assert result is not None
    assert "is not the one this job was made for" in result.message


def test_too_little_disk_is_known_before_the_start(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers import native

    monkeypatch.setattr(native.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    job = trainable(tmp_path, base)
    assert worker.main([str(job.path)]) == 6
    result = job.result()
    assert result is not None
    assert result.outcome == "paused"
    assert not (tmp_path / "cache").exists()


def test_an_adapter_that_fails_its_certificate_is_not_called_finished(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = certificates.certify

    def failing(*arguments: Any, **options: Any) -> Any:
        finding = "The key lora_unet_x has no place."
        return honest(*arguments, **options).model_copy(update={"passed": False, "findings": (finding,)})

    monkeypatch.setattr(certificates, "certify", failing)
    job = trainable(tmp_path, base, max_train_steps=1)
    assert worker.main([str(job.path)]) == 5
    result = job.result()
    assert result is not None
    assert "lora_unet_x has no place" in result.message
    assert sorted(p.name for p in job.path.glob("adapter*")) == ["adapter.failed.safetensors"]


def test_a_rehearsal_measures_and_keeps_nothing(base: Path, tmp_path: Path) -> None:
    version = make_dataset(tmp_path)
    job = make_job(tmp_path, quick_config(base, max_train_steps=1000), version, rehearse=True)
    assert worker.main([str(job.path)]) == 0
    result = job.result()
    assert result is not None
    output = result.output
    assert output["rehearsal"]
    assert output["seconds_per_step"] > 0
    assert output["estimated_seconds"] > 1000 * output["seconds_per_step"]
    assert output["peak_rss_bytes"] > 50_000_000
    assert {"caching", "training", "sampling", "saving"} <= {k for k, v in output["seconds"].items() if v > 0}
    left = {p.name for p in job.path.iterdir()}
    assert not left & {"rehearsal", "checkpoints", "samples", "adapter.safetensors"}
    assert not (tmp_path / "cache").exists()


def test_progress_has_a_unit_and_an_end(base: Path, tmp_path: Path) -> None:
    job = trainable(tmp_path, base, max_train_steps=2)
    assert worker.main([str(job.path)]) == 0
    ends = {e.unit: (e.done, e.total) for _, e in job.read_events() if isinstance(e, Progress)}
    assert ends["steps"] == (2, 2)
    assert ends["pictures"][0] == ends["pictures"][1]


def test_a_heartbeat_beats_and_ends(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path / "heartbeat", seconds=0.001, phase="caching")
    with heartbeat.beating():
        while not (tmp_path / "heartbeat").exists() or json.loads((tmp_path / "heartbeat").read_bytes())["beat"] < 3:
            heartbeat.count += 1
    last = (tmp_path / "heartbeat").read_bytes()
    assert json.loads(last)["phase"] == "caching"
    assert (tmp_path / "heartbeat").read_bytes() == last


def test_a_resume_asks_the_disk_only_for_what_is_still_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorasmith.errors import OutOfDisk
    from lorasmith.trainers import native
    from lorasmith.training.plan import DiskNeed

    plan: Any = types.SimpleNamespace(disk=DiskNeed(cache=600, checkpoints=300, samples=50, adapter=50))
    monkeypatch.setattr(native.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=250))
    folder = JobFolder(tmp_path / "jobs" / "one")
    with pytest.raises(OutOfDisk):
        native._check_disk(folder, plan)
    (folder.path / "checkpoints" / "10").mkdir(parents=True)
    (folder.path / "checkpoints" / "10" / "adapter.safetensors").write_bytes(bytes(150))
    native._check_disk(folder, plan)
