#!/usr/bin/env python3
"""Gets lorasmith running from a fresh clone, with nothing but Python: ``python3 start.py demo``.

Makes ``.venv`` beside this file, installs the packages of ``requirements.lock`` (checked by hash), the torch
build that fits this machine and lorasmith itself, then hands over. Every finished step is noted in a stamp file,
so an interrupted start goes on where it was and a later one has nothing to do. Standard library only.
"""

# The check comes first, and the whole file keeps to syntax that Python 3.6 can read, so that it gets to speak.
import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        f"lorasmith needs Python 3.11 or newer; this is Python {sys.version_info[0]}.{sys.version_info[1]}.\n"
        "Install a newer one from your system or https://www.python.org/downloads/, "
        "then run start.py with it, for example: python3.12 start.py demo\n"
    )
    sys.exit(6)

import argparse
import contextlib
import csv
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "start.json"
LOCK = VENV / "start.lock"
LOG = VENV / "start.log"
TORCH = "2.13.0"
BUILDS = {"cpu": "cpu", "apple": "cpu", "cu126": "cuda", "cu130": "cuda", "skip": "skip"}  # and what asks for them
TORCH_INDEX = "https://download.pytorch.org/whl/"
WINDOWS = os.name == "nt"
BIN = VENV / ("Scripts" if WINDOWS else "bin")
PYTHON = BIN / ("python.exe" if WINDOWS else "python")
LORASMITH = BIN / ("lorasmith.exe" if WINDOWS else "lorasmith")
VERBS = ("demo", "test", "lorasmith")
USAGE = """\
python3 start.py [--torch cpu|cuda|skip] [demo | test | lorasmith ARGS...]

  demo              the guided tour: from a ZIP of pictures to a LoRA that is proven to work
  test              the test suite
  lorasmith ARGS    the command line; without ARGS, or with nothing at all, the studio in the browser

  --torch           cpu, cuda, or skip to install no torch; left out, the machine's hardware decides
"""


class StartError(Exception):
    """The start cannot go on: one sentence, the next thing to do, an exit code as in docs/architecture.md."""

    def __init__(self, message: str, hint: str = "", code: int = 6) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code


class Card(NamedTuple):
    """An NVIDIA card as its driver describes it; versions are (0, 0) where the driver does not say."""

    name: str
    cuda: tuple[int, int]
    capability: tuple[int, int]


class Offer(NamedTuple):
    """One place to get torch from; without a URL it is the machine's own pip configuration."""

    requirement: str
    url: str


class Step(NamedTuple):
    """One thing to install; done when the stamp holds ``wanted`` under ``key``."""

    key: str
    wanted: str
    name: str
    run: Callable[[], None]


def say(text: str) -> None:
    """A line for the person, on stderr: stdout belongs to the command that is started."""
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def tick(text: str) -> None:
    """A line that the next one overwrites; nothing where the output is not a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r" + text[:width].ljust(width))
        sys.stderr.flush()


def venv_remedy() -> str:
    """The one command that gives this Python what ``python -m venv`` needs; only Debian's kin split it off."""
    release = Path("/etc/os-release")
    if release.exists() and re.search(r"^ID(_LIKE)?=.*(debian|ubuntu)", release.read_text("utf-8"), re.MULTILINE):
        return f"Run: sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    return "Install Python from https://www.python.org/downloads/ and run start.py with it."


def find_card() -> Card | None:
    """The NVIDIA card of this machine (of several, the one of the oldest generation); None without one."""
    beside_windows = Path(os.environ.get("SystemRoot", r"C:\Windows")) / "System32" / "nvidia-smi.exe"
    for candidate in (shutil.which("nvidia-smi"), "/usr/lib/wsl/lib/nvidia-smi", str(beside_windows)):
        if candidate and Path(candidate).is_file():
            version = re.search(r"CUDA[^:]*Version\s*:\s*(\d+)\.(\d+)", _answer([candidate]))
            cuda = (int(version.group(1)), int(version.group(2))) if version else (0, 0)
            listed = _answer([candidate, "--query-gpu=name,compute_cap", "--format=csv,noheader"])
            found = re.findall(r"^\s*(.+?)\s*,\s*(\d+)\.(\d+)\s*$", listed, re.MULTILINE)
            if found:
                return min((Card(name, cuda, (int(a), int(b))) for name, a, b in found), key=lambda card: card[2])
    return Card("an NVIDIA card", (0, 0), (0, 0)) if any(Path("/proc/driver/nvidia/gpus").glob("*")) else None


def _answer(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def choose_torch(wanted: str, card: Card | None, system: str) -> tuple[str, str]:
    """The build (``cpu``, ``cu126``, ``cu130``, ``apple``, ``skip``) and the reason, in words.

    PyTorch 2.13 is built for CUDA 12.6, the last for cards before Turing (compute capability 7.5), and for
    CUDA 13.0, which needs a driver of the 580 series and is the first here for cards after Hopper (9.0).
    """
    if wanted == "skip" or (wanted == "cpu" and system != "Darwin"):
        return wanted, "as you asked"
    if system == "Darwin":
        if wanted == "cuda":
            raise StartError("There is no CUDA build of torch for macOS.", "Leave --torch out: Apple's GPU is used.", 2)
        return "apple", "this is macOS"
    if card is None:
        return ("cu130", "as you asked, but no NVIDIA card is here") if wanted else ("cpu", "no NVIDIA card was found")
    known = card.cuda != (0, 0)
    if known and card.cuda < (12, 0):
        trouble = f"the driver of {card.name} knows only CUDA {card.cuda[0]}.{card.cuda[1]}"
    elif known and card.cuda < (13, 0) and card.capability >= (10, 0):
        trouble = f"{card.name} needs a driver of the 580 series or newer"
    else:
        older = (known and card.cuda < (13, 0)) or (0, 0) < card.capability < (7, 5)
        return "cu126" if older else "cu130", f"{card.name} was found"
    if wanted == "cuda":
        raise StartError(f"torch {TORCH} cannot use this card: {trouble}.", "Update the NVIDIA driver and start again.")
    return "cpu", f"{trouble}; update it, then start again with --torch cuda"


def torch_offers(build: str, system: str) -> list[Offer]:
    """Where to look for a build, in order. A CPU build is asked for by its exact name (``+cpu``).

    No CUDA wheel has that name, so pip cannot answer with gigabytes that the machine has no use for. The plain
    name means a CPU build on Windows and macOS and a CUDA 13.0 build on Linux.
    """
    if build == "apple":
        return [Offer(f"torch=={TORCH}", "")]
    own = [Offer(f"torch=={TORCH}+{build}", "")]
    if build == "cpu" and system == "Windows":
        own.append(Offer(f"torch=={TORCH}", ""))
    if build == "cu130" and system == "Linux":
        own.append(Offer(f"torch=={TORCH},!={TORCH}+cpu", ""))
    return [*own, Offer(f"torch=={TORCH}+{build}", TORCH_INDEX + build)]


def install_torch(build: str, reason: str) -> None:
    """Install torch in the chosen build from the first place that has it."""
    if build == "skip":
        say(f"      no torch, {reason}: nothing that trains or generates will run.")
        return
    title = {"cpu": "CPU build", "apple": "Apple build"}.get(build, f"CUDA {build[2:4]}.{build[4:]} build, about 3 GB")
    needed, free = (9 if build.startswith("cu") else 1), shutil.disk_usage(ROOT).free / 1e9
    if free < needed:
        raise StartError(
            f"torch needs about {needed} GB of disk; {free:.1f} GB are free.", "Make room, then start again."
        )
    say(f"      torch {TORCH}, {title}: {reason} (--torch cpu|cuda|skip decides otherwise).")
    for offer in torch_offers(build, platform.system()):
        say(f"      looking in {offer.url or 'what pip is configured to use here'} ...")
        # A CPU build needs only packages that the lock has already brought; CUDA builds bring their libraries.
        extra = [] if build.startswith("cu") else ["--no-deps"]
        extra += ["--index-url", offer.url, "--retries", "2"] if offer.url else []
        code, tail = pip("install", *extra, offer.requirement)
        if code == 0:
            return
        if not any("No matching distribution found for torch" in line for line in tail):
            raise pip_failure(f"torch {TORCH} could not be installed", tail)
    raise StartError(
        f"No {title} of torch {TORCH} was found for Python {platform.python_version()} on {platform.platform()}.",
        "Check the connection and that this is Python 3.11 to 3.14; --torch skip goes on without torch.",
    )


def pip(*arguments: str) -> tuple[int, list[str]]:
    """Run the environment's pip, tell how far it is, and return its exit code and last lines."""
    environment = {**environment_of(_MISLEADING), "PYTHONIOENCODING": "utf-8"}
    command = [str(PYTHON), "-m", "pip", "--no-input", "--disable-pip-version-check"]
    tail: deque[str] = deque(maxlen=30)
    found, began = 0, time.monotonic()
    command += [*arguments, "--progress-bar", "off"]
    with LOG.open("a", encoding="utf-8") as log, running(command, env=environment, cwd=ROOT) as process:
        for line in process.stdout:
            log.write(line)
            tail.append(line.strip())
            found += line.startswith("Collecting ")
            size = re.match(r"\s*Downloading (\S+) \((\d+(?:\.\d+)?) ([MG])B\)", line)
            if size and (size.group(3) == "G" or float(size.group(2)) >= 10):
                name = size.group(1).rpartition("/")[2].split("-")[0]
                say(f"      downloading {name} ({size.group(2)} {size.group(3)}B)")
            doing = "putting them in place" if line.startswith("Installing") else line.split("(")[0].strip()
            tick(f"      {found} packages, {time.monotonic() - began:.0f} s: {doing}")
    return process.returncode, list(tail)


def environment_of(dropped: tuple[str, ...]) -> dict[str, str]:
    """This process's environment variables but for some."""
    return {name: value for name, value in os.environ.items() if name not in dropped}


# Settings that would bring in packages from outside .venv, or send new ones elsewhere.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")
_MISLEADING = (*_FOREIGN, "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[Any]:
    """A child process, its output as text, that never outlives this one's interruption."""
    options.update(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    # A group of its own, so that a signal also reaches what pip starts; each of them holds the lock (see alone).
    process = subprocess.Popen(command, start_new_session=not WINDOWS, close_fds=WINDOWS, **options)
    try:
        yield process
        process.wait()
    except BaseException:
        with contextlib.suppress(OSError):
            process.terminate() if WINDOWS else os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def pip_failure(what: str, tail: list[str]) -> StartError:
    """The error that tells what pip said last."""
    for line in [line for line in tail if line][-12:]:
        say(f"      | {line}")
    return StartError(f"{what}; all of pip's words are in {LOG}.", "Start again: what was downloaded is kept.")


def remove_torn_packages() -> None:
    """Forget packages that a killed pip left half in place, so that pip installs them anew."""
    for folder in [*VENV.glob("lib/python*/site-packages"), *VENV.glob("Lib/site-packages")]:
        for record in folder.glob("*.dist-info"):
            if not _is_whole(folder, record / "RECORD"):
                say(f"      {record.name.split('-')[0]} was left unfinished; it is installed anew.")
                shutil.rmtree(record)


def _is_whole(folder: Path, listing: Path) -> bool:
    """Whether the list of files, which pip writes last, is there, and every file in it has its recorded size."""
    if not listing.is_file():
        return False
    with listing.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if len(row) == 3 and not row[0].endswith(".pyc")]
    return all(
        (folder / name).is_file() and size in ("", str((folder / name).stat().st_size)) for name, _, size in rows
    )


def read_stamp() -> dict[str, str]:
    """What is installed; empty where nothing is or the stamp was torn."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    """Replace the stamp in one move."""
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(json.dumps(stamp, indent=2), encoding="utf-8")
    temporary.replace(STAMP)


def digest(*paths: Path, salt: str = "") -> str:
    """A short fingerprint of files."""
    total = hashlib.sha256(salt.encode())
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()[:20]


def install_locked(name: str) -> None:
    """Install a lock file, every package checked by its hash."""
    # Everything the packages need is in the lock but torch, hence --no-deps; no wheel means no surprise compiler run.
    code, tail = pip("install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", name)
    if code != 0:
        raise pip_failure(f"The packages of {name} could not be installed", tail)


def install_itself() -> None:
    """Install lorasmith as a link to this folder, so that ``git pull`` is all an update takes."""
    code, tail = pip("install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))
    if code != 0:
        raise pip_failure("lorasmith itself could not be installed", tail)


def make_venv() -> None:
    """Make ``.venv`` from nothing; what an interrupted try left in it goes."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise StartError(f"The Python at {sys.executable} lacks venv or pip.", venv_remedy())
    for path in VENV.iterdir():
        if path not in (STAMP, LOCK):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    base = getattr(sys, "_base_executable", None) or sys.executable
    with running([base, "-m", "venv", str(VENV)]) as process:
        said = process.stdout.read()
    if process.returncode != 0 or not PYTHON.exists():
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        raise StartError(f"Python's venv module failed: {last}", venv_remedy())


def steps(stamp: dict[str, str], wanted_torch: str, tests: bool) -> list[Step]:
    """What has to be installed, in order, finished or not."""

    def torch() -> None:
        build, reason = choose_torch(wanted_torch, find_card(), platform.system())
        install_torch(build, reason)
        stamp["torch"] = f"{TORCH} {build}"

    lock, dev_lock = "requirements.lock", "requirements-dev.lock"
    has = stamp.get("torch", "")
    words = {f"{TORCH} {build}": word for build, word in BUILDS.items()}
    fits = has in words and wanted_torch in ("", words[has])
    package = digest(ROOT / "pyproject.toml", ROOT / "src/lorasmith/__init__.py", salt=str(ROOT))
    plan = [
        Step("venv", python_identity() or "new", "an environment of its own in .venv", make_venv),
        Step("packages", digest(ROOT / lock), "the locked packages", lambda: install_locked(lock)),
        Step("torch", has if fits else "chosen when installed", "torch", torch),
        Step("package", package if LORASMITH.exists() else "missing", "lorasmith itself", install_itself),
    ]
    if tests:
        plan.append(Step("tests", digest(ROOT / dev_lock), "the tools of the tests", lambda: install_locked(dev_lock)))
    return plan


def python_identity() -> str:
    """Which Python the environment runs on, or nothing where it does not: a new minor release of the system's
    Python looks for packages in another folder, a new patch release does not."""
    try:
        config = (VENV / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return digest(salt=Path(os.path.realpath(PYTHON)).name + config) if PYTHON.exists() else ""


def prepare(wanted_torch: str, tests: bool) -> None:
    """Do the steps that are not done yet, under a lock, noting each one as it ends."""
    if VENV.exists() and not STAMP.exists() and any(path != LOCK for path in VENV.iterdir()):
        raise StartError(f"{VENV} was not made by start.py.", "Rename or remove it, then start again.")
    VENV.mkdir(exist_ok=True)
    with alone():
        stamp = read_stamp()
        unfinished = stamp.pop("unfinished", "")
        if unfinished and stamp.get("venv"):
            say("Going on where the last start was interrupted.")
            remove_torn_packages()
            stamp = {key: value for key, value in stamp.items() if key in ("venv", "torch")}
        if python_identity() != stamp.get("venv", ""):
            stamp.clear()  # what was installed belongs to an environment that is no more
        write_stamp(stamp)
        total = len(steps(stamp, wanted_torch, tests))
        for number in range(total):
            step = steps(stamp, wanted_torch, tests)[number]
            if stamp.get(step.key) == step.wanted:
                continue
            began = time.monotonic()
            stamp.pop(step.key, "")
            write_stamp({**stamp, "unfinished": step.key})
            say(f"[{number + 1}/{total}] {step.name}")
            step.run()
            stamp[step.key] = steps(stamp, wanted_torch, tests)[number].wanted
            write_stamp(stamp)
            say(f"      done in {time.monotonic() - began:.0f} s")


def is_ready(wanted_torch: str, tests: bool) -> bool:
    """Whether every step is done, by the stamp alone."""
    stamp = read_stamp()
    done = (stamp.get(step.key) == step.wanted for step in steps(stamp, wanted_torch, tests))
    return "unfinished" not in stamp and all(done)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One start at a time; a second one waits until the first and all that it started are gone, however they end."""
    with LOCK.open("a+b") as handle:
        if not _try_lock(handle.fileno()):
            say("Another start.py is installing here; waiting for it ...")
            while not _try_lock(handle.fileno()):
                time.sleep(0.5)
        os.set_inheritable(handle.fileno(), True)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def hand_over(verb: str, arguments: list[str]) -> int:
    """Become the command that was asked for; on Windows, which cannot, run it and return its exit code."""
    abreast: list[str] = []
    if verb == "test":
        os.chdir(ROOT)
        abreast = processes(arguments, os.cpu_count() or 1)
        command = [str(PYTHON), "-m", "pytest", *abreast, *arguments]
    else:
        command = [str(LORASMITH), *(["demo"] if verb == "demo" else []), *arguments]
    environment = environment_of(_FOREIGN)
    if abreast:
        environment.setdefault("OMP_NUM_THREADS", "1")  # a process a core; threads beside them would only wait
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(command[0], command, environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to answer
    return subprocess.call(command, env=environment)


def processes(arguments: list[str], cores: int) -> list[str]:
    """What lets all tests run in a process a core and one more, for many wait for workers of their own; file by file.
    A part of them, or ``-n 0``, runs in this one."""
    if cores < 2 or any(not word.startswith("--") for word in arguments):
        return []
    return ["-n", str(min(cores + 1, 8)), "--dist", "loadfile"]


def read_command(argv: list[str]) -> tuple[str, str, list[str]]:
    """Torch choice, verb and the verb's own arguments, which for ``lorasmith`` are everything behind it."""
    place = next((number for number, word in enumerate(argv) if word in VERBS), len(argv))
    own, kept = (argv[:place], argv[place:]) if argv[place : place + 1] == ["lorasmith"] else (argv, [])
    parser = argparse.ArgumentParser(prog="start.py", usage=USAGE.strip(), add_help=False, allow_abbrev=False)
    parser.add_argument("--torch", choices=("cpu", "cuda", "skip"), default="")
    options, rest = parser.parse_known_args(own)
    rest = [*rest, *kept] or ["lorasmith"]
    if rest[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        raise SystemExit(0)
    if rest[0] not in VERBS:
        meant = " ".join(["python3 start.py lorasmith", *rest])
        raise StartError(f"start.py knows no '{rest[0]}'.", f"Did you mean: {meant}", 2)
    return options.torch, rest[0], rest[1:]


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: list[str]) -> int:
    """Prepare what is missing and hand over; the exit code when there is nothing to hand over to."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        torch, verb, arguments = read_command(argv)
        if not is_ready(torch, verb == "test"):
            prepare(torch, verb == "test")
        return hand_over(verb, arguments)
    except KeyboardInterrupt:
        say("\nInterrupted. Start again with the same command: it goes on from here.")
        return 130
    except StartError as error:
        say(f"{error.message}\n{error.hint}".rstrip())
        return error.code
    except OSError as cause:
        say(f"The start met a problem with files: {cause}.\nCheck free space and rights in {ROOT}, then start again.")
        return 6


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
