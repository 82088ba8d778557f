"""Pickles are converted in a locked process: tensors come through bit by bit, and nothing else ever runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lorasmith.bases import converting
from lorasmith.bases.converting import convert
from lorasmith.errors import BaseError

FOLDER = str(Path(converting.__file__).parent)
TENSORS = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.arange(72, dtype=torch.float32).reshape(2, 4, 3, 3),
    "half": torch.tensor([1.5, float("nan"), float("inf")], dtype=torch.float16),
    "brain": torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16),
    "whole": torch.tensor(7, dtype=torch.int64),
}


def same(one: torch.Tensor, two: torch.Tensor) -> bool:
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (one, two)]
    return one.dtype == two.dtype and one.shape == two.shape and torch.equal(*as_bytes)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_through_bit_by_bit(tmp_path: Path, legacy: bool) -> None:
    source = tmp_path / "mödel é.ckpt"
    shared = torch.arange(6.0)
    inside = TENSORS | {"one": shared[:3], "other": shared.reshape(2, 3).T}
    torch.save({"state_dict": inside, "global_step": 5}, source, _use_new_zipfile_serialization=not legacy)
    before = source.read_bytes()
    made = convert(source)
    assert made.path == tmp_path / "mödel é.safetensors" and made.tensors == 6 and made.left_out == ("global_step",)
    written = load_file(made.path)
    assert written.keys() == inside.keys() and all(same(written[name], inside[name]) for name in inside)
    assert source.read_bytes() == before
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == [source.name, made.path.name]


class Bad:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def archive(pickled: bytes, *, compression: int = zipfile.ZIP_STORED, extra: dict[str, bytes] | None = None) -> bytes:
    """A torch archive around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", b"3\n")
        for name, content in (extra or {}).items():
            file.writestr(f"archive/{name}", content)
    return stream.getvalue()


def hostile(canary: str) -> dict[str, Callable[[], bytes]]:
    """Pickles that would make the canary file, or eat the machine."""
    touch = f"open({canary!r}, 'w').close()"
    shell = f"touch '{canary}'" if os.name == "posix" else f'type nul > "{canary}"'

    def zipped(value: Any) -> Callable[[], bytes]:
        return lambda: archive(pickle.dumps(value, 2))

    proto0 = f"cos\nsystem\n(S{shell!r}\ntR.".encode()
    stack_global = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(shell)]) + shell.encode() + b"\x85R."
    rebuild = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n."
    return {
        "os.system": zipped({"state_dict": Bad(os.system, shell)}),
        "eval": zipped({"weight": Bad(eval, touch)}),
        "exec": zipped(Bad(exec, touch)),
        "nested": zipped({"a": [({"b": [Bad(exec, touch)]},)]}),
        "as a key": zipped({Bad(os.system, shell): 1}),
        "subprocess": zipped(Bad(subprocess.Popen, shell, -1, None, None, None, None, None, True, True)),
        "pickle in a pickle": zipped({"x": Bad(pickle.loads, pickle.dumps(Bad(exec, touch)))}),
        "torch.load in a pickle": zipped(Bad(torch.load, io.BytesIO)),
        "import": zipped(Bad(__import__, "antigravity")),
        "getattr": zipped(Bad(getattr, os, "system") if False else Bad(getattr, "x", "upper")),
        "open": zipped(Bad(open, canary, "w")),
        "torch.hub": lambda: archive(b"\x80\x02ctorch.hub\nload\n(Va/b\nVc\ntR."),
        "torch jit": lambda: archive(b"\x80\x02ctorch.jit\nload\n(V/etc/passwd\ntR."),
        "numpy": lambda: archive(b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(V" + touch.encode() + b"\n}tR."),
        "bare pickle": lambda: proto0,
        "bare pickle, protocol 4": lambda: stack_global,
        "archive, protocol 0": lambda: archive(proto0),
        "archive, stack global": lambda: archive(stack_global),
        "a function and no tensor": lambda: archive(rebuild),
        "compressed bomb": lambda: archive(
            pickle.dumps({}), compression=zipfile.ZIP_DEFLATED, extra={"data/0": bytes(30_000_000)}
        ),
        "bytearray bomb": zipped({"x": Bad(bytearray, 200_000_000_000)}),
        "memo bomb": lambda: archive(b"\x80\x02" + b"(" * 200_000 + b"."),
        "long bomb": lambda: archive(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"."),
        "string bomb": lambda: archive(b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"."),
        "negative length": lambda: archive(b"\x80\x02T\xff\xff\xff\xff."),
        "cut": lambda: archive(pickle.dumps(TENSORS, 2))[:200],
        "empty": lambda: b"",
        "zip without a pickle": lambda: archive(b""),
        "text": lambda: b"<html>you need to sign in</html>",
        "a list": zipped([1, 2, 3]),
        "no tensors": zipped({"a": 1}),
    }


@pytest.mark.parametrize("name", list(hostile("x")))
def test_no_pickle_runs_anything(tmp_path: Path, name: str) -> None:
    """Each is refused in a sentence; the canary never appears, and nothing is left behind."""
    canary = tmp_path / "canary"
    source = tmp_path / "bad.pt"
    source.write_bytes(hostile(str(canary))[name]())
    with pytest.raises(BaseError, match="is not converted") as caught:
        convert(source, seconds=60)
    assert caught.value.hint and "\n" not in caught.value.message
    assert not canary.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.pt"]


def test_a_view_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "wide.pt"
    torch.save({"x": torch.zeros(1).expand(1_000_000_000)}, source)
    with pytest.raises(BaseError, match="claims more numbers than it has"):
        convert(source)


def test_the_lock_holds_even_where_the_loader_would_not(tmp_path: Path) -> None:
    """What ``weights_only`` refuses already is refused by the lock as well: no process, no socket, no other file."""
    tries = {
        "subprocess": "import subprocess; subprocess.run(['true'])",
        "system": "os.system('true')",
        "socket": "import socket; socket.create_connection(('127.0.0.1', 9))",
        "write": f"open({str(tmp_path / 'other')!r}, 'w')",
        "remove": f"os.remove({str(tmp_path / 'kept')!r})",
        "result": f"open({str(tmp_path / 'made')!r}, 'w').write('fine')",
    }
    (tmp_path / "kept").touch()
    for name, code in tries.items():
        program = (
            f"import os, sys, pathlib, socket, subprocess\nsys.path.insert(0, {FOLDER!r})\n"
            f"import unpickling; unpickling._lock(1000, pathlib.Path({str(tmp_path / 'made')!r}))\n"
            f"try:\n    {code}\nexcept PermissionError as error:\n    print('refused', error)\nelse:\n    print('done')"
        )
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
        assert done.stdout.startswith("done" if name == "result" else "refused the file tried"), (name, done)
    assert (tmp_path / "kept").exists() and not (tmp_path / "other").exists()


def test_each_wall_stands_alone(tmp_path: Path) -> None:
    """Without the look at the opcodes, torch's own rule refuses; without that rule, the lock does."""
    canary = tmp_path / "canary"
    names = ["os.system", "eval", "exec", "nested", "subprocess", "open", "bare pickle", "archive, stack global"]
    files = [tmp_path / f"{n}.pt" for n in range(len(names))]
    for name, file in zip(names, files, strict=True):
        file.write_bytes(hostile(str(canary))[name]())
    program = f"""
import functools, pathlib, sys
sys.path.insert(0, {FOLDER!r})
import torch, safetensors.torch, unpickling
unpickling._look = lambda pickled: None
unpickling._lock(10_000, pathlib.Path({str(tmp_path / "made")!r}))
unpickling._lock = lambda size, target: None
if sys.argv[1] == "unsafe":
    load = torch.load
    torch.load = lambda *a, **k: load(*a, **(k | {{"weights_only": False, "mmap": None}}))
for file in {[str(file) for file in files]!r}:
    unpickling.main([file, {str(tmp_path / "made")!r}])
"""
    for rule in ("weights_only", "unsafe"):
        command = [sys.executable, "-I", "-c", program, rule]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        answers = done.stdout.splitlines()
        assert len(answers) == len(names) and all('"refused"' in answer for answer in answers), (rule, done)
        assert not canary.exists() and not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.safetensors", "safetensors already"), ("a.txt", "no pickle"), ("no.ckpt", "There is no file")],
)
def test_what_cannot_be_converted_is_said(tmp_path: Path, name: str, message: str) -> None:
    if name != "no.ckpt":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BaseError, match=message):
        convert(tmp_path / name)
    (tmp_path / "b.ckpt").write_bytes(b"x")
    (tmp_path / "b.safetensors").write_bytes(b"y")
    with pytest.raises(BaseError, match="exists already"):
        convert(tmp_path / "b.ckpt")
    assert (tmp_path / "b.safetensors").read_bytes() == b"y"
