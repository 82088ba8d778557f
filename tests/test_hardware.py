"""Devices told without torch, and runs that are refused because this machine cannot begin them."""

from __future__ import annotations

import os
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from lorasmith import hardware
from lorasmith.config import TrainConfig, resolve
from lorasmith.errors import EnvironmentProblem


@pytest.mark.parametrize(
    ("lines", "build"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None", ("2.13.0+cpu", "CPU")),
        ("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None", ("2.13.0+cu130", "CUDA 13.0")),
        ("__version__ = '2.13.0'\ncuda = None\nhip: Optional[str] = '7.1'", ("2.13.0", "ROCm 7.1")),
    ],
)
def test_the_build_of_torch_is_read_from_its_version_file(tmp_path: Path, lines: str, build: tuple[str, str]) -> None:
    (tmp_path / "version.py").write_text(lines)
    assert hardware.torch_build(tmp_path) == build


@pytest.mark.skipif(os.name == "nt", reason="a shell script plays nvidia-smi")
def test_cards_are_those_nvidia_smi_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB, 580.1'\n")
    tool.chmod(0o755)
    assert hardware.nvidia_cards() == ["NVIDIA H100 80GB HBM3, 81559 MiB, 580.1"]
    tool.write_text("#!/bin/sh\necho 'driver mismatch' >&2; exit 9\n")
    assert hardware.nvidia_cards() == []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes this look like a machine with that build of torch, those cards and packages."""

    def make(cuda: str | None, cards: list[str], packages: tuple[str, ...] = ()) -> None:
        (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\ncuda = {cuda!r}\n")

        def find_spec(name: str) -> ModuleSpec | None:
            if name not in ("torch", *packages):
                return None
            return ModuleSpec(name, None, origin=str(tmp_path / "__init__.py"))

        monkeypatch.setattr(hardware, "find_spec", find_spec)
        monkeypatch.setattr(hardware, "nvidia_cards", lambda: cards)
        monkeypatch.setattr(hardware.sys, "platform", "linux")

    return make


def config(**values: Any) -> TrainConfig:
    return resolve({"base": "b", "dataset": "d", **{key.replace("__", "."): value for key, value in values.items()}})


@pytest.mark.parametrize(
    ("values", "words", "hint"),
    [
        ({"device": "cuda"}, "no cuda device", "auto or cpu"),
        ({"device": "mps"}, "no mps device", "auto or cpu"),
        ({"mixed_precision": "fp16"}, "fp16 needs CUDA, and this run would be on cpu", "bf16 or fp32"),
        ({"optimizer__name": "adamw_8bit"}, "adamw_8bit needs CUDA", "adamw"),
        (
            {"optimizer__name": "prodigy", "optimizer__learning_rate": 1},
            "prodigyopt, which is not installed",
            "pip install prodigyopt",
        ),
    ],
)
def test_a_machine_without_a_card_refuses(machine: Any, values: dict[str, Any], words: str, hint: str) -> None:
    machine(None, [])
    with pytest.raises(EnvironmentProblem, match=words) as refused:
        hardware.refuse_what_is_missing(config(**values))
    assert hint in refused.value.hint


def test_a_card_without_a_build_for_it_counts_for_nothing(machine: Any) -> None:
    machine(None, ["H100"])
    assert hardware.devices() == ("cpu",)
    machine("13.0", [])
    assert hardware.devices() == ("cpu",)
    machine("13.0", ["H100"])
    assert hardware.devices() == ("cuda", "cpu")


def test_a_machine_with_a_card_begins(machine: Any) -> None:
    machine("13.0", ["H100"], ("bitsandbytes",))
    for values in ({"device": "cuda"}, {"mixed_precision": "fp16"}, {"optimizer__name": "adamw_8bit"}, {}):
        hardware.refuse_what_is_missing(config(**values))
    machine("13.0", ["H100"])
    with pytest.raises(EnvironmentProblem, match="bitsandbytes"):
        hardware.refuse_what_is_missing(config(optimizer__name="adamw_8bit"))


@pytest.mark.parametrize(("busy", "cores", "idle"), [(0.0, 8, 8), (100.0, 8, 1), (50.0, 2, 1), (26.0, 4, 3)])
def test_threads_are_as_many_as_cores_are_idle(
    monkeypatch: pytest.MonkeyPatch, busy: float, cores: int, idle: int
) -> None:
    monkeypatch.setattr(hardware.psutil, "cpu_percent", lambda interval: busy)
    monkeypatch.setattr(hardware.os, "cpu_count", lambda: cores)
    assert hardware.idle_cores() == idle


def test_a_plain_run_asks_no_tool(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi takes its time; a run that needs nothing special does not wait for it."""
    machine(None, [])

    def never() -> list[str]:
        raise AssertionError("asked for cards")

    monkeypatch.setattr(hardware, "nvidia_cards", never)
    hardware.refuse_what_is_missing(config())
