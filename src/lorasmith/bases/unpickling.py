"""Opens one pickle and writes its tensors as safetensors: a program of its own, started by ``converting`` and locked.

It imports nothing of lorasmith and is given no environment. It looks at the pickle's opcodes first, without running
them, and refuses what names anything but tensors. Before the file is opened it gives up what it does not need: memory
beyond a measure, processor time, the network (where the system lets it), and by an audit hook the starting of
processes, sockets, and the writing of any file but its result. Then ``torch.load(weights_only=True)`` reads tensors
and refuses everything else. Its answer is one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickletools
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_SPARE_MEMORY = 2_000_000_000
_MAX_ENTRIES = 200_000
_MAX_PICKLE = 64_000_000  # names and places of tensors: a megabyte or two
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate",
    "os.putenv", "os.kill", "shutil.", "pty.", "ftplib.", "urllib.", "http.", "smtplib.", "webbrowser.",
    "ctypes.dlopen",
    "winreg.", "signal.",
)  # fmt: skip


class _Refused(Exception):
    """Why nothing is converted, in a sentence."""


def main(arguments: list[str]) -> int:
    source, target = Path(arguments[0]), Path(arguments[1])
    try:
        _check_archive(source)
        for pickled in _pickles(source):
            _look(pickled)
        import safetensors.torch
        import torch

        torch.set_num_threads(1)
        _lock(source.stat().st_size, target)
        answer = _convert(source, target, torch, safetensors.torch)
    except _Refused as refusal:
        answer = {"refused": str(refusal)}
    except MemoryError:
        answer = {"refused": "it asks for more memory than its size explains"}
    except Exception as error:  # noqa: BLE001  the boundary of this process: whatever the file provoked is its answer
        answer = {"refused": _in_words(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _check_archive(source: Path) -> None:
    """torch stores its archives uncompressed, so one whose entries claim more than the file holds is a bomb."""
    size = source.stat().st_size
    if not zipfile.is_zipfile(source):
        return  # the format before torch 1.6: plain pickles one after another
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise _Refused(f"its archive has {len(entries):,} entries")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _Refused("its archive is compressed, which torch never does")
    if sum(entry.file_size for entry in entries) > size:
        raise _Refused("its archive claims more bytes than the file has")
    if any(entry.filename.endswith("data.pkl") and entry.file_size > _MAX_PICKLE for entry in entries):
        raise _Refused("its table of tensors is far larger than any is")
    if len({entry.filename for entry in entries}) != len(entries):
        raise _Refused("its archive names an entry twice")


_NUMBERS = re.compile(
    r"torch\.(\w+Storage|(b?float|u?int|complex|q[u]?int)\d\w*|half|double|float|long|short|int|bool)"
)
_NAMED = ("torch._utils._rebuild_", "torch._tensor._rebuild_", "torch.storage.", "torch.serialization._get_layout")
_NAMES = frozenset(
    {
        "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "_codecs.encode", "torch.Size",
        "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter", "builtins.set",
        "__builtin__.set", "builtins.dict", "__builtin__.dict", "builtins.list", "builtins.int", "builtins.float",
        "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    }
)  # fmt: skip


def _pickles(source: Path) -> Iterator[IO[bytes]]:
    """The pickles in the file, each ready to be looked at; the old format has five of them before its numbers."""
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = [entry.filename for entry in archive.infolist() if entry.filename.endswith(".pkl")]
            if not names:
                raise _Refused("it is an archive of another kind")
            for name in names:
                yield io.BytesIO(archive.read(name))
        return
    with source.open("rb") as stream:
        for _ in range(5):
            yield stream


def _look(pickled: IO[bytes]) -> None:
    """Read a pickle's opcodes without running them; refused when it names anything that is not needed for tensors."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in ("GLOBAL", "INST"):
                _allow(str(argument).replace(" ", ".", 1))
            elif opcode.name == "STACK_GLOBAL":
                if len(texts) < 2:
                    raise _Refused("it hides the names of what it holds")
                _allow(f"{texts[-2]}.{texts[-1]}")
            elif opcode.name in ("EXT1", "EXT2", "EXT4"):
                raise _Refused("it refers to things outside the file")
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
            elif opcode.name.endswith("GET"):
                texts = []  # a name from the memo is not followed: real files write theirs out
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError) as damage:
        raise _Refused("it is no pickle, or a damaged one") from damage


def _allow(name: str) -> None:
    if not (name in _NAMES or name.startswith(_NAMED) or _NUMBERS.fullmatch(name)):
        raise _Refused(f"it holds {name[:80]}, which is no tensor")


def _lock(size: int, target: Path) -> None:
    """Give up what is not needed to read tensors and write one file."""
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            most = pages * resource.getpagesize() + 3 * size + _SPARE_MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for limit, value in (
            (resource.RLIMIT_CPU, 60 + size // 5_000_000),
            (resource.RLIMIT_FSIZE, 2 * size + 100_000_000),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(limit, (value, value))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # refused in some containers
    allowed = os.fspath(target)

    def refuse(event: str, details: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"the file tried to use {event}")
        if event == "open" and _writes(details) and os.fspath(details[0]) != allowed:
            raise PermissionError(f"the file tried to write {details[0]}")

    sys.addaudithook(refuse)  # cannot be taken away again


def _writes(details: tuple[Any, ...]) -> bool:
    path, mode, flags = details
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _convert(source: Path, target: Path, torch: Any, safetensors: Any) -> dict[str, Any]:
    mapped = zipfile.is_zipfile(source)
    content = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped or None)
    tensors, left_out = _tensors(content, torch)
    _check_sizes(tensors, source.stat().st_size)
    # Views of one storage are written one by one: the format knows no sharing.
    written = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    del content, tensors
    safetensors.save_file(written, os.fspath(target), metadata={"format": "pt"})
    again = safetensors.load_file(os.fspath(target))
    for name, tensor in written.items():
        same = again[name].shape == tensor.shape and again[name].dtype == tensor.dtype
        if not same or not torch.equal(_bytes(again[name], torch), _bytes(tensor, torch)):
            raise _Refused(f"the tensor '{name}' was not written as it was read")
    return {"tensors": len(written), "left_out": sorted(left_out)[:100], "left_out_count": len(left_out)}


def _bytes(tensor: Any, torch: Any) -> Any:
    return tensor.contiguous().reshape(-1).view(torch.uint8)  # NaN equals NaN so


def _tensors(content: Any, torch: Any) -> tuple[dict[str, Any], list[str]]:
    """The tensors of a checkpoint, wherever trainers put them, and the names of what is none."""
    if not isinstance(content, dict):
        raise _Refused(f"it holds a {type(content).__name__} and no table of tensors")
    for inside in ("state_dict", "module", "model", "params_ema", "params", "ema", "generator"):
        if isinstance(content.get(inside), dict) and any(torch.is_tensor(v) for v in content[inside].values()):
            outside = [str(key) for key in content if key != inside]
            found, more = _tensors(content[inside], torch)
            return found, outside + more
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and torch.is_tensor(value)}
    if not tensors:
        raise _Refused("it holds no tensors")
    return tensors, [str(key) for key in content if key not in tensors]


def _check_sizes(tensors: dict[str, Any], size: int) -> None:
    """A view may claim any shape over a few bytes (a stride of nought); what is written must be in the file."""
    total = 0
    for name, tensor in tensors.items():
        if tensor.layout.__str__() != "torch.strided":
            raise _Refused(f"the tensor '{name}' is sparse, which safetensors cannot hold")
        count = tensor.numel() * tensor.element_size()
        if count > tensor.untyped_storage().nbytes():
            raise _Refused(f"the tensor '{name}' claims more numbers than it has")
        total += count
    if total > 2 * size:
        raise _Refused("its tensors claim far more bytes than the file has")


def _in_words(error: Exception) -> str:
    """The first sentence of an error; torch's own explain at length how to trust the file after all."""
    text = " ".join(str(error).split())
    for mark in (
        "Unsupported global: GLOBAL ",
        "Unsupported class ",
        "Unsupported operand ",
        "Trying to load unsupported GLOBAL ",
    ):
        if mark in text:
            return f"it holds {text.partition(mark)[2].split()[0]}, which is no tensor"
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
