"""The doctor: what it says of this machine, of one without torch, of one with a card, and that it loads nothing."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lorasmith import doctor

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def named(diagnosis: doctor.Diagnosis, name: str) -> doctor.Check:
    return next(check for check in diagnosis.checks if check.name == name)


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_cards", lambda: [])


def test_the_extras_are_those_of_the_project() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    for name, (_, packages) in doctor.EXTRAS.items():
        assert set(packages) <= {line.split(">")[0].split("=")[0] for line in extras[name]}


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_card: None) -> None:
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    diagnosis = doctor.examine(tmp_path)
    assert not diagnosis.can_train
    assert named(diagnosis, "torch").verdict == "missing"
    assert "pip install" in named(diagnosis, "extra 'train'").advice
    assert not named(diagnosis, "extra 'caption'").needed
    assert diagnosis.lines()[-1] == "This machine cannot train yet."


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder this user may not write")
def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, no_card: None) -> None:
    tmp_path.chmod(0o500)
    diagnosis = doctor.examine(tmp_path / "home")
    tmp_path.chmod(0o700)
    assert named(diagnosis, "home").verdict == "missing" and not diagnosis.can_train


def test_looking_makes_no_home(tmp_path: Path, no_card: None) -> None:
    assert named(doctor.examine(tmp_path / "home"), "home").verdict == "good"
    assert not (tmp_path / "home").exists()


def test_a_cpu_build_beside_a_card_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "nvidia_cards", lambda: ["H100, 81559 MiB, 580.1"])
    monkeypatch.setattr(doctor, "torch_build", lambda package: ("2.13.0+cpu", "CPU"))
    diagnosis = doctor.examine(tmp_path)
    assert named(diagnosis, "card 0").found == "NVIDIA H100, 81559 MiB, 580.1"
    assert named(diagnosis, "torch").verdict == "note" and "--torch cuda" in named(diagnosis, "torch").advice


def test_it_loads_no_model_library(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from lorasmith.doctor import examine
examine(Path({str(tmp_path)!r}))
assert not {{"torch", "diffusers", "transformers", "onnxruntime"}} & sys.modules.keys()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
