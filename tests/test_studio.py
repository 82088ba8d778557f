"""The verbs of Studio against real datasets and bases; only the worker is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import AdapterError, BaseError, ConfigError, ConflictError, DatasetError, JobError
from lorasmith.events import Event, Notice, Phase
from lorasmith.studio import Studio, default_home
from tests.stand_in import CERTIFICATE, command, tell, tell_to_train, write_base, write_pictures


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "héim", worker=command)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "bases" / "smäll base")


@pytest.fixture
def version(studio: Studio, tmp_path: Path) -> DatasetVersion:
    return studio.import_dataset(write_pictures(tmp_path / "my photos"), "cats")


def captions(version: DatasetVersion) -> list[str]:
    return [item.caption for item in version.items]


def config_of(job: Any) -> dict[str, Any]:
    return dict(job.record().payload["config"])


# Datasets


def test_edits_make_versions_that_know_their_parent(studio: Studio, version: DatasetVersion) -> None:
    word = studio.add_trigger_word(version, "ohwx")
    bare = studio.remove_tags("cats", ["red"])
    assert captions(version) == ["a cat, red", "a dog, red", ""]
    assert captions(word) == ["ohwx, a cat, red", "ohwx, a dog, red", "ohwx"]
    assert captions(bare) == ["ohwx, a cat", "ohwx, a dog", "ohwx"]
    assert (bare.number, bare.parent, bare.operation.arguments) == (3, 2, {"tags": ["red"]})
    assert studio.datasets() == {"cats": [1, 2, 3]}


def test_an_edit_that_changes_nothing_makes_no_version(studio: Studio, version: DatasetVersion) -> None:
    word = studio.add_trigger_word(version, "ohwx")
    assert studio.add_trigger_word(word, "ohwx") == word
    assert studio.remove_tags(word, ["nowhere"]) == word
    with pytest.raises(ConfigError, match="empty"):
        studio.add_trigger_word(word, "  ")


def test_who_names_a_version_goes_on_from_it(studio: Studio, version: DatasetVersion) -> None:
    studio.add_trigger_word("cats", "ohwx")
    bare = studio.remove_tags("cats@1", ["red"])
    assert (bare.number, bare.parent, captions(bare)) == (3, 1, ["a cat", "a dog", ""])
    assert studio.dataset("cats") == bare
    with pytest.raises(ConflictError, match="edited meanwhile"):
        studio.add_trigger_word(version, "zib")


def test_captions_are_joined_with_what_was_edited_meanwhile(studio: Studio, version: DatasetVersion) -> None:
    first, _, third = (item.name for item in version.items)
    tell(studio.home, "caption", output={"captions": {third: {"caption": "a bird", "tags": []}}, "failures": {}})
    edited = []

    def meanwhile(event: Event) -> None:
        if not edited:
            items = [replace(i, caption="by hand") if i.name == first else i for i in version.items]
            edited.append(DatasetStore(studio.home).commit(version, items, Operation(name="edit")))

    made = studio.caption(version, on_event=meanwhile)
    assert captions(made) == ["by hand", "a dog, red", "a bird"]
    assert (made.parent, made.operation.arguments["rebased_from"]) == (2, 1)
    assert studio.collect_captions("last") == made


def test_check_looks_at_the_size_of_the_base(studio: Studio, version: DatasetVersion, base: Path) -> None:
    plain = {finding.id for finding in studio.check(version, trigger_word="ohwx")}
    fitting = {finding.id for finding in studio.check(version, trigger_word="ohwx", base=str(base))}
    assert "C5" in plain and "C5" in fitting
    assert "P1" in plain and "P1" not in fitting, "too small for 512 pixels, large enough for a base of 128"


# Captions


def test_caption_commits_what_the_job_said_and_lists_what_failed(studio: Studio, version: DatasetVersion) -> None:
    first, second, third = (item.name for item in version.items)
    said = {first: {"caption": "a tiger", "tags": []}, second: {"caption": "a wolf", "tags": []}}
    tell(studio.home, "caption", output={"captions": said, "failures": {third: "too dark"}})
    heard: list[Event] = []
    made = studio.caption(version, general_threshold=0.5, on_event=heard.append)
    assert captions(made) == ["a tiger", "a wolf", ""]
    assert made.parent == version.number
    assert made.operation.arguments["failures"] == {third: "too dark"}
    assert made.operation.arguments["options"] == {"general_threshold": 0.5}
    assert made.items[0].provenance["caption"] == "wd_tagger"
    assert any(isinstance(event, Phase) for event in heard)
    assert studio.collect_captions("last") == made, "asking again commits nothing"


def test_captions_that_are_there_can_be_kept(studio: Studio, version: DatasetVersion) -> None:
    said = {item.name: {"caption": "a thing", "tags": []} for item in version.items}
    tell(studio.home, "caption", output={"captions": said, "failures": {}})
    assert captions(studio.caption(version, existing="keep")) == ["a cat, red", "a dog, red", "a thing"]


def test_a_captioner_is_refused_before_a_job_is_made(studio: Studio, version: DatasetVersion) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'wd_tagger'"):
        studio.caption(version, "wd_tager")
    with pytest.raises(ConfigError, match="no option 'treshold'"):
        studio.caption(version, treshold=1)
    assert studio.jobs() == ()


def test_a_captioner_that_says_nothing_makes_no_version(studio: Studio, version: DatasetVersion) -> None:
    tell(studio.home, "caption", output={"captions": {}, "failures": {version.items[0].name: "too dark"}})
    with pytest.raises(DatasetError, match="all 3 pictures of cats@1: too dark"):
        studio.caption(version)
    assert studio.datasets() == {"cats": [1]}


def test_ctrl_c_stops_the_worker_too(studio: Studio, version: DatasetVersion) -> None:
    tell(studio.home, "caption", "wait")

    def press(event: Event) -> None:
        if event == Phase(name="waiting", time=event.time):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studio.caption(version, on_event=press)
    assert studio.job("last").wait().outcome == "stopped"


# Training


def test_the_family_lies_under_the_users_values(
    studio: Studio, version: DatasetVersion, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    job = studio.train(version, {"base": base.name, "adapter": {"rank": 4}, "network_alpha": 2}, start=False)
    config = config_of(job)
    assert config["base"] == str(base), "a worker runs in another folder"
    assert config["dataset"] == "cats@1"
    assert config["adapter"]["rank"] == 4 and config["adapter"]["alpha"] == 2
    assert config["adapter"]["targets"] == "attention" and config["max_train_steps"] == 1500
    assert config["data"]["resolution"] == 128, "what the base was made for"
    assert job.record().payload["fingerprint"] == version.fingerprint
    assert job.state() == "queued"


@pytest.mark.parametrize(
    "values", [{"max_train_steps": 5}, {"max_train_steps": "5"}, {"optimizer": {"name": "prodigy"}}]
)
def test_a_default_never_turns_a_users_value_into_a_refusal(
    studio: Studio, version: DatasetVersion, base: Path, values: dict[str, Any]
) -> None:
    studio.prepare(version, {"base": str(base), **values})


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({}, ConfigError, "No base is chosen"),
        ({"base": "BASE", "lerning_rate": 1}, ConfigError, "Did you mean 'learning_rate'"),
        ({"base": "BASE", "dataset": "dogs"}, ConfigError, "names the dataset 'dogs'"),
        ({"base": "BASE", "max_train_steps": 5, "lr_warmup_steps": 9}, ConfigError, "must be below max_train_steps"),
        ({"base": "/nowhere/at/all"}, BaseError, "no base at"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_no_job(
    studio: Studio, version: DatasetVersion, base: Path, values: dict[str, Any], error: type[Exception], words: str
) -> None:
    values = {key: str(base) if value == "BASE" else value for key, value in values.items()}
    with pytest.raises(error, match=words):
        studio.train(version, values)
    assert studio.jobs() == ()


def test_an_empty_version_is_refused(studio: Studio, version: DatasetVersion, base: Path) -> None:
    with pytest.raises(DatasetError, match="holds no pictures"):
        studio.train(version.model_copy(update={"items": ()}), {"base": str(base)})


def test_notices_are_the_first_thing_a_job_says(studio: Studio, version: DatasetVersion, base: Path) -> None:
    tell_to_train(studio.home)
    job = studio.train(version, {"base": str(base), "trigger_word": "cat"})
    first, second, *rest = job.follow()
    assert isinstance(first, Notice) and "1 of 3 pictures have no caption" in first.message
    assert isinstance(second, Notice) and "'cat' is not in 2 of 3 captions" in second.message
    assert not any(isinstance(event, Notice) for event in rest)


def test_plan_counts_without_a_job(studio: Studio, version: DatasetVersion, base: Path) -> None:
    plan = studio.plan(version, {"base": str(base), "max_train_steps": 6})
    assert plan.steps == 6 and plan.pictures == 3 and plan.exposures == 6
    assert studio.jobs() == ()


def test_rehearse_hands_back_what_was_measured(studio: Studio, version: DatasetVersion, base: Path) -> None:
    figures = {"seconds_per_step": 0.5, "estimated_seconds": 60.0, "seconds": {"loading": 1.0}}
    tell(studio.home, "train", output=figures | {"peak_rss_bytes": 1, "peak_device_bytes": 2})
    rehearsal = studio.rehearse(version, {"base": str(base)})
    assert rehearsal.seconds_per_step == 0.5 and rehearsal.seconds == {"loading": 1.0}
    assert studio.job("last").record().payload["rehearse"] is True
    with pytest.raises(JobError, match="rehearsal"):
        studio.collect("last")


def test_collect_files_the_adapter_once_and_never_over_another(
    studio: Studio, version: DatasetVersion, base: Path
) -> None:
    def train(content: str) -> Any:
        tell_to_train(studio.home, content=content)
        job = studio.train(version, {"base": str(base), "output_name": "my cats"})
        job.wait()
        return job

    first, second = train("one"), train("two")
    assert studio.collect(first).name == "my cats.safetensors"
    assert studio.collect(second).name == "my cats-2.safetensors"
    assert studio.collect(first.id).name == "my cats.safetensors"
    assert studio.collect(train("two")).name == "my cats-2.safetensors", "the same bytes are the same adapter"
    assert studio.library.names() == ("my cats", "my cats-2")
    assert studio.collect(first).read_text() == "one"
    beside = json.loads((studio.home / "adapters" / "my cats.certificate.json").read_text())
    assert beside["passed"] is True


def test_an_adapter_that_fails_or_was_changed_is_not_filed(studio: Studio, version: DatasetVersion, base: Path) -> None:
    tell_to_train(studio.home, passed=False, findings=["An alpha is missing."])
    with pytest.raises(AdapterError, match=r"failed its certificate: An alpha is missing\."):
        studio.collect(studio.train(version, {"base": str(base)}))
    tell_to_train(studio.home)
    job = studio.train(version, {"base": str(base)})
    job.wait()
    (job.folder.path / "adapter.safetensors").write_text("flipped")
    with pytest.raises(AdapterError, match="not what the worker wrote"):
        studio.collect(job)
    assert studio.library.names() == ()


def test_a_failed_job_is_not_collected_and_another_kind_neither(
    studio: Studio, version: DatasetVersion, base: Path
) -> None:
    tell(studio.home, "train", "fail")
    job = studio.train(version, {"base": str(base)})
    with pytest.raises(BaseError, match="The base is damaged"):
        studio.collect(job)
    with pytest.raises(JobError, match="is a train job"):
        studio.collect_captions(job)


def test_resume_goes_on_with_a_lost_job(studio: Studio, version: DatasetVersion, base: Path) -> None:
    tell(studio.home, "train", "die by exit code")
    job = studio.train(version, {"base": str(base)})
    with pytest.raises(JobError, match="exit code 3"):
        job.wait()
    tell_to_train(studio.home)
    assert studio.collect(studio.resume(job.id)).is_file()


# Using adapters


@pytest.fixture
def adapter(studio: Studio, version: DatasetVersion, base: Path) -> Path:
    tell_to_train(studio.home)
    return studio.collect(studio.train(version, {"base": str(base), "output_name": "cats"}))


def test_generate_hands_the_worker_absolute_paths(
    studio: Studio, adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = {"path": "images/0.png", "prompt": "a cat", "negative_prompt": "", "seed": 7, "adapters": [["cats", 0.5]]}
    tell(studio.home, "generate", output={"images": [image], "seconds": 1.0})
    monkeypatch.chdir(base.parent)
    (picture,) = studio.generate(
        {"prompts": ["a cat"], "seed": 7}, base=base.name, adapters=[{"name": "cats", "weight": 0.5}]
    )
    job = studio.job("last")
    payload = job.record().payload
    assert payload["base"] == str(base)
    assert payload["adapters"] == [{"name": str(adapter), "weight": 0.5}]
    assert picture.path == job.folder.path / "images" / "0.png"
    assert (picture.prompt, picture.seed, picture.adapters) == ("a cat", 7, (("cats", 0.5),))


def test_generate_refuses_before_a_job_is_made(studio: Studio, base: Path) -> None:
    with pytest.raises(ConfigError):
        studio.generate(base=str(base), prompts=["a"], stpes=3)
    with pytest.raises(AdapterError, match="no adapter 'nope'"):
        studio.generate(base=str(base), prompts=["a"], adapters=[{"name": "nope"}])
    with pytest.raises(BaseError):
        studio.generate(base="/nowhere/at/all", prompts=["a"])
    assert studio.jobs() == ()


def test_certify_hands_back_the_certificate(studio: Studio, adapter: Path, base: Path) -> None:
    tell(studio.home, "certify", output=CERTIFICATE | {"passed": False, "findings": ["An alpha is missing."]})
    certificate = studio.certify("cats", str(base))
    assert not certificate.passed and certificate.findings == ("An alpha is missing.",)
    assert studio.job("last").record().payload == {"adapter": str(adapter), "base": str(base)}


# Where things lie, and what is not loaded


def test_the_home_is_the_argument_the_variable_or_the_systems_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORASMITH_HOME", str(tmp_path / "set"))
    assert Studio().home == tmp_path / "set" and Studio(tmp_path / "given").home == tmp_path / "given"
    monkeypatch.delenv("LORASMITH_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    places = {
        "linux": tmp_path / ".local" / "share" / "lorasmith",
        "darwin": tmp_path / "Library" / "Application Support" / "lorasmith",
        "win32": tmp_path / "local" / "lorasmith",
    }
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for system, place in places.items():
        monkeypatch.setattr(sys, "platform", system)
        assert default_home() == place


def test_nothing_is_written_until_asked(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "home")
    assert studio.jobs() == () and studio.library.names() == ()
    assert not studio.home.exists()


def test_preparing_a_run_loads_no_model_library(tmp_path: Path, base: Path) -> None:
    photos = write_pictures(tmp_path / "photos")
    code = f"""
import sys
from lorasmith.studio import Studio
studio = Studio({str(tmp_path / "home")!r})
version = studio.add_trigger_word(studio.import_dataset({str(photos)!r}), "ohwx")
studio.check(version, trigger_word="ohwx", base={str(base)!r})
studio.plan(version, {{"base": {str(base)!r}, "trigger_word": "ohwx"}})
studio.train(version, {{"base": {str(base)!r}}}, start=False)
loaded = {{"torch", "diffusers", "transformers", "peft", "onnxruntime"}} & sys.modules.keys()
assert not loaded, loaded
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert ran.returncode == 0, ran.stderr


def test_an_adapter_that_only_a_prompt_mentions_is_missed_before_a_job_is_made(studio: Studio, base: Path) -> None:
    with pytest.raises(AdapterError, match="There is no adapter 'nope'"):
        studio.generate(base=str(base), prompts=["a star <lora:nope:0.5>"])
    assert studio.jobs() == ()


def test_what_masks_do_to_a_run_is_told(studio: Studio, version: DatasetVersion, base: Path) -> None:
    masked = studio.curate.use_tool(version, "mask_rectangle", {"box": (0.0, 0.0, 0.5, 1.0)}).version
    told = {
        words: [notice.message for notice in studio.prepare(masked, {"base": str(base)} | values).notices]
        for words, values in {
            "the rest is not learned": {},
            "the rest counts 0.25 times as much": {"objective.unmasked_weight": 0.25},
            "whole pictures are trained": {"masked_loss": False},
        }.items()
    }
    assert all(any("have masks" in one and words in one for one in found) for words, found in told.items())
    idle = studio.prepare(version, {"base": str(base), "objective.unmasked_weight": 0.5}).notices
    assert any("no picture has a mask" in notice.message for notice in idle)
    assert not any("masks" in notice.message for notice in studio.prepare(version, {"base": str(base)}).notices)
