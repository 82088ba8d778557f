"""A queue with the sturdy stand-in for workers, on SQLite and on a real Postgres where its programs are found."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lorasmith.jobs import Jobs
from lorasmith.queue.verbs import Queue

WORKER = Path(__file__).parents[1] / "chaos" / "sturdy_worker.py"


def command(folder: Path) -> Sequence[str]:
    """How the stand-in is started."""
    return (sys.executable, str(WORKER), str(folder))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "héim mit Leerzeichen"


@pytest.fixture
def queue(home: Path) -> Iterator[Queue]:
    yield from opened(home, "")


def opened(home: Path, address: str) -> Iterator[Queue]:
    queue = Queue.open(Jobs(home, command=command), address)
    yield queue
    for row in queue.list():
        job = queue.job(row.id)
        if (job.folder.path / "job.json").exists() and job.state() == "running":
            job.stop(force=True, grace=0.0)
    queue.close()


@pytest.fixture(params=["sqlite", "postgres"])
def either_queue(request: pytest.FixtureRequest, home: Path) -> Iterator[Queue]:
    """The same test on both databases."""
    address = request.getfixturevalue("postgres") if request.param == "postgres" else ""
    yield from opened(home, address)


def programs() -> Path | None:
    """Where Postgres's programs lie: on PATH, or where Debian keeps them."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A throwaway server that listens on a socket in its own folder, and on no network."""
    place = programs()
    if place is None or os.name == "nt":
        assert "postgres" not in os.environ.get("LORASMITH_TESTS_NEED", ""), "Postgres is not installed"
        pytest.skip("Postgres is not installed: apt-get install postgresql")
    root = Path("/tmp") / f"pg-{secrets.token_hex(4)}"
    root.mkdir(mode=0o700)
    account: dict[str, str] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        account = {"user": "nobody" if shutil.which("runuser") is None else "postgres"}
        shutil.chown(root, account["user"])

    def call(*arguments: str) -> None:
        subprocess.run(arguments, check=True, capture_output=True, cwd=root, **account)  # type: ignore[call-overload]

    data, options = root / "data", f"-c listen_addresses= -c unix_socket_directories={root} -c fsync=off"
    try:
        call(str(place / "initdb"), "--auth=trust", "--username=lorasmith", "--no-sync", "-D", str(data))
        call(str(place / "pg_ctl"), "-D", str(data), "-w", "-l", str(root / "log"), "-o", options, "start")
        try:
            yield root
        finally:
            call(str(place / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def postgres(cluster: Path) -> str:
    """The address of an empty database."""
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(host=str(cluster), user="lorasmith", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return f"postgresql://lorasmith@/{name}?host={cluster}"
