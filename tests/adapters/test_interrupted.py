"""What writes a file may be killed, starved, shut out or misled at any moment: nothing half written, nothing left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lorasmith.adapters import arrays
from lorasmith.adapters.tools.averaging import average
from lorasmith.adapters.tools.baking import bake
from lorasmith.adapters.tools.converting import convert
from lorasmith.adapters.tools.editing import edit
from lorasmith.adapters.tools.extracting import extract
from lorasmith.adapters.tools.merging import Ingredient, merge
from lorasmith.adapters.tools.resizing import resize
from lorasmith.adapters.tools.scaling import scale
from lorasmith.errors import AdapterError, OutOfDisk
from lorasmith.files import clear_leftovers
from lorasmith.sandbox import sandbox_weights
from tests.adapters.files import FLUX, noise, save_lora
from tests.web.tiny_lora import write_lora

Tool = Callable[..., Any]
TOOLS: Final[dict[str, Callable[[Path, Path], Tool]]] = {
    "convert": lambda f, out: (
        lambda: convert(f / "a.safetensors", out, dialect="comfyui", family="flux", only_for="any")
    ),
    "resize": lambda f, out: lambda: resize(f / "a.safetensors", out, rank=2),
    "merge": lambda f, out: (
        lambda: merge([Ingredient(f / "a.safetensors"), Ingredient(f / "b.safetensors")], out, family="flux")
    ),
    "scale": lambda f, out: lambda: scale(f / "a.safetensors", out, 0.5),
    "average": lambda f, out: lambda: average([f / "a.safetensors", f / "b.safetensors"], out, family="flux"),
    "edit": lambda f, out: lambda: edit(f / "a.safetensors", out, fields={"title": "x"}),
    "strip": lambda f, out: lambda: edit(f / "a.safetensors", out, strip=["paths"]),
    "extract": lambda f, out: lambda: extract(f / "base.safetensors", f / "fine.safetensors", out, family="flux"),
    "bake": lambda f, out: lambda: bake(f / "base.safetensors", [Ingredient(f / "a.safetensors")], out, family="flux"),
    "bake a folder": lambda f, out: (
        lambda: bake(sandbox_weights() / "base", [Ingredient(f / "sd.safetensors")], out.with_suffix(""), family="sd")
    ),
}
LAZY = ("convert", "scale", "edit", "bake")
"""Tools that read their source while they write."""


def fill(folder: Path) -> Path:
    """Something of everything."""
    for number, name in enumerate("ab"):
        said = {"ss_steps": str(number + 1), "path": "/home/somebody/it"}
        save_lora(folder / f"{name}.safetensors", "flux", seed=number, metadata=said)
    base = {f"{name}.weight": noise(shape, n, 1.0) for n, (name, shape) in enumerate(FLUX.items())}
    save_file(base, folder / "base.safetensors")
    save_file({key: value + noise(value.shape, 7) for key, value in base.items()}, folder / "fine.safetensors")
    write_lora(folder / "sd.safetensors")
    return folder


def at_second(do: Callable[[], None]) -> Callable[..., bytes]:
    """``arrays._data`` that does something when the second tensor is about to be written."""
    asked, real = [0], arrays._data

    def data(name: str, planned: arrays.Planned) -> bytes:
        asked[0] += 1
        if asked[0] == 2:
            do()
        return real(name, planned)

    return data


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return fill(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target" / "x.safetensors"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_takes_nothing_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path, tool: str, number: int
) -> None:
    real = os.fsync

    def refuse(descriptor: int) -> None:
        real(descriptor)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutOfDisk if number == errno.ENOSPC else AdapterError) as caught:
        TOOLS[tool](source, target)()
    assert "\n" not in caught.value.message and caught.value.hint and not names_in(target.parent)
    if number != errno.ENOSPC:
        assert "cannot be written in" in caught.value.message


@pytest.mark.parametrize("tool", TOOLS)
def test_a_target_that_is_there_stays(source: Path, target: Path, tool: str) -> None:
    there = target.with_suffix("") if tool == "bake a folder" else target
    there.write_bytes(b"mine")
    with pytest.raises(AdapterError, match="exists already"):
        TOOLS[tool](source, target)()
    assert there.read_bytes() == b"mine" and names_in(target.parent) == {there.name}


@pytest.mark.parametrize("tool", LAZY)
def test_a_source_that_changes_meanwhile_is_noticed(
    monkeypatch: pytest.MonkeyPatch, source: Path, target: Path, tool: str
) -> None:
    """Another file of the very same length: nothing but its time and place tell."""

    def change() -> None:
        for name in ("a", "base"):
            file = source / f"{name}.safetensors"
            other = file.read_bytes()
            (source / "other").write_bytes(other[:-4] + b"\0\0\0\0")
            (source / "other").replace(file)

    monkeypatch.setattr(arrays, "_data", at_second(change))
    with pytest.raises(AdapterError, match="was changed while it was read"):
        TOOLS[tool](source, target)()
    assert not names_in(target.parent)


def test_a_source_that_goes_meanwhile_is_noticed(monkeypatch: pytest.MonkeyPatch, source: Path, target: Path) -> None:
    monkeypatch.setattr(arrays, "_data", at_second((source / "a.safetensors").unlink))
    with pytest.raises(AdapterError, match="was taken away"):
        TOOLS["edit"](source, target)()
    assert not names_in(target.parent)


def test_a_source_may_be_the_target_where_that_is_said(source: Path) -> None:
    file = source / "a.safetensors"
    before = load_file(file)
    scale(file, file, 0.5, overwrite=True)
    assert names_in(source) == {f"{name}.safetensors" for name in ("a", "b", "base", "fine", "sd")}
    after = load_file(file)
    key = next(key for key in before if key.endswith("lora_B.weight"))
    assert after.keys() == before.keys() and not np.array_equal(after[key], before[key])


_KILLED = """
import os, signal, sys
from pathlib import Path
from lorasmith.adapters import arrays
from tests.adapters.test_interrupted import TOOLS, at_second
arrays._data = at_second(lambda: os.kill(os.getpid(), signal.SIGKILL))
TOOLS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGKILL")
@pytest.mark.parametrize("tool", ["scale", "bake a folder"])
def test_what_a_killed_one_left_goes_with_the_next(source: Path, target: Path, tool: str) -> None:
    words = [sys.executable, "-c", _KILLED, tool, str(source), str(target)]
    assert subprocess.run(words, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}).returncode < 0
    (left,) = names_in(target.parent)
    assert left.startswith(".x") and left.endswith(".tmp"), "what is not whole has not got its name"
    TOOLS[tool](source, target)()
    assert names_in(target.parent) == {"x" if tool == "bake a folder" else "x.safetensors"}


def test_only_what_is_surely_left_is_taken_away(tmp_path: Path) -> None:
    mine, ended = os.getpid(), subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    alive = tmp_path / f".x.safetensors.{mine}.tmp"
    kept = [alive, tmp_path / ".x.safetensors.tmp", tmp_path / f"x.safetensors.{ended.pid}.tmp",
            tmp_path / f".other.{ended.pid}.tmp"]  # fmt: skip
    gone = [tmp_path / f".x.safetensors.{ended.pid}.tmp", tmp_path / f".old.{ended.pid}.tmp"]
    for path in (*kept, *gone):
        path.write_bytes(b"")
    os.utime(gone[1], (1, 1))
    clear_leftovers(tmp_path / "x.safetensors")
    assert set(tmp_path.iterdir()) == set(kept)
    clear_leftovers(tmp_path / "nowhere" / "x.safetensors")
