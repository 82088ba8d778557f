"""Turns a pickle of weights into safetensors, only when asked to, in a process that can do nothing else.

A pickle is a program: whoever opens one runs it. So none is opened anywhere in lorasmith but in ``unpickling``, a
process without environment, network and rights, which lets tensors through and nothing more. Its result is checked
with the same eyes as any downloaded file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorasmith.bases.header import read_safetensors_header
from lorasmith.errors import BaseError, EnvironmentProblem

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # to start Python, no secrets


@dataclass(frozen=True)
class Converted:
    """What a conversion made."""

    path: Path
    tensors: int
    size: int
    sha256: str
    left_out: tuple[str, ...]
    """Names of what the pickle held beside tensors: step counters, optimizer states (at most 100)."""


def convert(source: Path, out: Path | None = None, *, seconds: float = 3600) -> Converted:
    """Write the tensors of a pickle as safetensors, beside it or to ``out``; the pickle stays as it is.

    Args:
        source: ``.ckpt``, ``.pt``, ``.pth`` or ``.bin``.
        out: the file to write; left out, the same name with ``.safetensors``.
        seconds: after which the process is ended.

    Raises:
        BaseError: there is no such file, the target exists, or it holds anything but tensors.
        EnvironmentProblem: torch or safetensors is not installed.
    """
    source = source.expanduser()
    target = (out or source.with_suffix(".safetensors")).expanduser().absolute()
    _refuse(source, target)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as folder:
        made = Path(folder).resolve() / "made.safetensors"
        answer = _run(source.resolve(), made, seconds)
        if "refused" in answer:
            raise BaseError(
                f"{source.name} is not converted: {answer['refused']}.",
                "Download the .safetensors form of this base; nothing in the file was run.",
            )
        shapes, _, _ = read_safetensors_header(made)
        if len(shapes) != answer["tensors"]:
            raise BaseError(f"The conversion of {source.name} lost tensors.", "Download its .safetensors form.")
        digest = file_digest(made)
        size = made.stat().st_size
        made.replace(target)
    return Converted(target, len(shapes), size, digest, tuple(str(name) for name in answer.get("left_out", ())))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse(source: Path, target: Path) -> None:
    if not source.is_file():
        raise BaseError(f"There is no file {source}.", "Check the path.")
    if source.suffix.lower() == ".safetensors":
        raise BaseError(f"{source.name} is safetensors already.", "Use it as it is.")
    if source.suffix.lower() not in PICKLES:
        raise BaseError(
            f"{source.name} is no pickle of weights.", f"What can be converted ends in {', '.join(PICKLES)}."
        )
    if target.exists():
        raise BaseError(f"{target} exists already.", "Choose another place with --out, or use that file.")
    if not target.parent.is_dir():
        raise BaseError(f"There is no folder {target.parent}.", "Make it, or choose another place with --out.")
    for package in ("torch", "safetensors"):
        if find_spec(package) is None:
            message = f"Converting needs the package {package}, which is not installed."
            raise EnvironmentProblem(message, 'Run `python -m pip install "lorasmith[train]"`.')


def _run(source: Path, made: Path, seconds: float) -> dict[str, Any]:
    program = Path(__file__).with_name("unpickling.py")
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HOME": str(made.parent)}
    try:
        done = subprocess.run(  # noqa: S603  our own program; -I: nothing of the user's is imported
            [sys.executable, "-I", "-B", str(program), str(source), str(made)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=environment,
            cwd=made.parent,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"it was not read within {seconds:.0f} seconds"}
    try:
        answer = json.loads(done.stdout.decode("utf-8", "replace").strip().rpartition("\n")[2])
    except ValueError:
        return {"refused": f"reading it ended the process (exit status {done.returncode})"}
    return answer if isinstance(answer, dict) else {"refused": "reading it gave no answer"}
