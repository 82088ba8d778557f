"""Libraries of others that the web app serves: which, in which version, and that their bytes are those of the release.

    python -m lorasmith.web.vendoring          check every file against vendor.lock.json (a test does so too)
    python -m lorasmith.web.vendoring PACK     take a release in anew: PACK is the tarball that `npm pack` made

``vendor.lock.json`` holds, for each library, name, version, licence, the SHA-512 of the release's tarball as the
registry states it, and the SHA-256 of every file that is served. Nothing is loaded from elsewhere at run time.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.files import write_json

FOLDER: Final = Path(__file__).parent / "static" / "vendor"
LOCK: Final = FOLDER / "vendor.lock.json"
SERVED: Final = {
    "bootstrap": ("dist/css/bootstrap.min.css", "LICENSE"),
    "cropperjs": ("dist/cropper.esm.min.js", "LICENSE"),
    "htmx.org": ("dist/htmx.min.js", "LICENSE"),
    "tus-js-client": ("dist/tus.min.js", "LICENSE"),
    "uplot": ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"),
}
"""By library: the files of its release that are taken."""
_LARGEST: Final = 4_000_000  # bytes of one file; none of these is near it


def check(folder: Path = FOLDER) -> list[str]:
    """What is wrong with the files that are here, a sentence each; empty when every byte is as locked."""
    lock = json.loads((folder / LOCK.name).read_bytes())
    wrong: list[str] = []
    expected = {LOCK.name}
    for library in lock["libraries"]:
        for name, digest in library["files"].items():
            path = f"{library['name']}-{library['version']}/{name}"
            expected.add(path)
            try:
                found = hashlib.sha256((folder / path).read_bytes()).hexdigest()
            except FileNotFoundError:
                wrong.append(f"{path} is missing.")
                continue
            if found != digest:
                wrong.append(f"{path} is not the file of the release.")
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return wrong + [f"{path} is not in {LOCK.name}." for path in sorted(here - expected)]


def take(pack: Path, folder: Path = FOLDER) -> dict[str, Any]:
    """Take the served files out of a release's tarball, and lock them.

    Raises:
        ConfigError: it is no release of a library that is served.
    """
    content = pack.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        about = json.loads(_read(archive, "package.json"))
        name, version = str(about["name"]), str(about["version"])
        if name not in SERVED:
            raise ConfigError(f"{name} is not served.", f"There are: {', '.join(SERVED)}; see SERVED.")
        served = {wanted.rpartition("/")[2]: _read(archive, wanted) for wanted in SERVED[name]}
    place = folder / f"{name}-{version}"
    place.mkdir(parents=True, exist_ok=True)
    for file, data in served.items():
        (place / file).write_bytes(data)
    entry = {
        "name": name,
        "version": version,
        "licence": about["license"],
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
        "files": {file: hashlib.sha256(data).hexdigest() for file, data in sorted(served.items())},
    }
    known = json.loads((folder / LOCK.name).read_bytes())["libraries"] if (folder / LOCK.name).exists() else []
    others = [library for library in known if library["name"] != name]
    write_json(folder / LOCK.name, {"libraries": sorted([*others, entry], key=lambda each: each["name"])})
    return entry


def address(file: str, folder: Path = FOLDER) -> str:
    """The path under ``/static`` of a served file, by its name: ``htmx.min.js``."""
    for library in json.loads((folder / LOCK.name).read_bytes())["libraries"]:
        if file in library["files"]:
            return f"vendor/{library['name']}-{library['version']}/{file}"
    raise ConfigError(f"{file} is not served.", "See SERVED in web/vendoring.py.")


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(f"package/{name}")
    if member is None:
        raise ConfigError(f"The release holds no file {name}.", "See SERVED in web/vendoring.py.")
    return member.read(_LARGEST)


def main(arguments: list[str]) -> int:
    """Check, or take in the tarballs that are named."""
    try:
        for pack in arguments:
            entry = take(Path(pack))
            sys.stdout.write(f"{entry['name']} {entry['version']} ({entry['licence']})\n")
    except LorasmithError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    wrong = check()
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
