"""Files by their addresses: a ZIP, a tar, a Parquet table, pictures; what they are is told by their first bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from lorasmith.config import Section
from lorasmith.datasets.names import make_unique, safe_item_name
from lorasmith.errors import FetchError, InputError
from lorasmith.fetching import Expected, Found, safe_name, shown
from lorasmith.sources import Errand, Haul, Limit, Listing, Offered, Source

_MOST: Final = 1_000
"""Addresses at once; each is asked before the first byte is fetched."""
_PAGES: Final = ("html", "json", "xml", "text")
_READ: Final = ("zip", "tar", "gzip", "parquet", "image")
_WORDS: Final = {"html": "a web page", "json": "a JSON answer", "xml": "an XML document", "text": "a text"}
_OTHERS: Final = {
    "7z": "a 7z archive", "rar": "a RAR archive", "zstd": "a Zstandard archive", "pdf": "a PDF",
    "safetensors": "a safetensors file", "gguf": "a GGUF file", "pickle": "a Python pickle", "empty": "an empty file",
    "lfs": "a Git LFS pointer, not the file it points to",
}  # fmt: skip
_UNPACK: Final = ("7z", "rar", "zstd")
_MODELS: Final = ("safetensors", "gguf", "pickle")


class Url(Source):
    """Downloads a ZIP, a tar, a Parquet table or pictures from any address. Several addresses are separated by spaces;
    archives are opened."""

    name = "url"
    title = "Addresses of files"
    by_location = True
    examples = ("https://example.org/photos.zip", "https://example.org/1.jpg https://example.org/2.jpg")
    rank = 10

    class Options(Section):
        """How files are asked for."""

        sha256: str = ""
        """What the file has to be, as 64 hexadecimal digits; for a single address."""
        limit: Limit = None
        """How many pictures at most, the first by name, 1 to 1000000."""

    def accepts(self, location: str) -> bool:
        words = location.split()
        return bool(words) and all(_is_address(word) for word in words)

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        assert isinstance(options, Url.Options)
        addresses = list(dict.fromkeys(location.split()))
        _refuse_impossible(addresses, options.sha256)
        taken: set[str] = set()
        files = []
        for number, address in enumerate(addresses, start=1):
            found = errand.fetcher.probe(address, cancel=errand.cancel)
            _refuse_what_is_not_read(found)
            path = make_unique(safe_item_name(found.name), taken)
            digest = options.sha256.lower() or None
            files.append(Offered(path, address, found.size, digest, _expected(found)))
            if errand.watch is not None:
                errand.watch(number, len(addresses), path)
        name = PurePosixPath(files[0].path).stem if len(files) == 1 else _name_of(addresses[0])
        return Listing(self.name, " ".join(map(shown, addresses)), name, tuple(files))

    def bring(self, listing: Listing, options: Section, errand: Errand) -> Haul:
        assert isinstance(options, Url.Options)
        return replace(super().bring(listing, options, errand), limit=options.limit)


def _is_address(text: str) -> bool:
    return text.lower().startswith(("https://", "http://")) and len(text) > len("https://")


def _refuse_impossible(addresses: list[str], digest: str) -> None:
    if len(addresses) > _MOST:
        raise InputError(f"{len(addresses)} addresses are too many at once.", f"Give up to {_MOST} at a time.")
    for address in addresses:
        if not _is_address(address):
            raise InputError(f"'{shown(address)}' is not an address of a file.", "It has to begin with https://.")
    if digest and len(addresses) > 1:
        raise InputError("A SHA-256 is of one file, and there are several addresses.", "Ask for them one by one.")


def _refuse_what_is_not_read(found: Found) -> None:
    """Say what a file is that no pictures can be in, before it is fetched.

    Raises:
        FetchError: a page, a model, an archive of another kind.
    """
    if found.kind in _READ or (found.kind == "unknown" and not found.name.lower().endswith((".bin", ".exe"))):
        return
    place = urlsplit(found.url).netloc
    if found.kind in _PAGES:
        raise FetchError(
            f"{place} sent {_WORDS[found.kind]} instead of a file with pictures.",
            "Use the link of the download button, not of the page around it; a page with a gallery may be known to "
            "`lorasmith import gallery_dl LINK`.",
        )
    what = _OTHERS.get(found.kind, "a file that holds no pictures")
    hint = "Give a ZIP, a tar, a Parquet table or pictures."
    if found.kind in _UNPACK:
        hint = "Download and unpack it, and import the folder."
    elif found.kind in _MODELS:
        hint = f"Weights are added with `lorasmith bases add {found.url}`."
    raise FetchError(f"{found.name} of {place} is {what}.", hint)


def _expected(found: Found) -> Expected:
    return "zip" if found.kind == "zip" else "image" if found.kind == "image" else "any"


def _name_of(address: str) -> str:
    return safe_name(urlsplit(address).netloc.partition(":")[0]) or "pictures"


plugin = Url()
