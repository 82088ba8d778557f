"""Errands for the tests of sources: a fetcher that may ask this machine, and pictures to be brought."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorasmith.credentials import Credentials
from lorasmith.datasets.store import DatasetStore
from lorasmith.fetching import Consents, Fetcher, Limits, Transfer
from lorasmith.gathering import Gathering
from lorasmith.sources import Errand
from tests.fetching.loopback import LOCAL, FakeTime


def picture(seed: int, form: str = "PNG", size: tuple[int, int] = (24, 16)) -> bytes:
    """A picture of noise, another one for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, form)
    return stream.getvalue()


def packed(files: Mapping[str, bytes]) -> bytes:
    """A ZIP of them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@contextmanager
def errand(
    home: Path,
    *,
    limits: Limits = LOCAL,
    services: Mapping[str, str] | None = None,
    watch: Callable[[int, int, str], None] | None = None,
    transfer: Callable[[Transfer], None] | None = None,
    cancel: Any = None,
) -> Iterator[Errand]:
    """An errand in one home, by a clock on which waiting takes no time."""
    credentials = Credentials(home)
    with Fetcher(limits, credentials, services=services, clock=FakeTime().clock()) as fetcher:
        folder = home / "fetched" / "test"
        yield Errand(fetcher, credentials, Consents(home), folder, watch=watch, transfer=transfer, cancel=cancel)


def gathering(home: Path, *, limits: Limits = LOCAL, services: Mapping[str, str] | None = None) -> Gathering:
    """``Studio.sources`` of a home that may ask this machine; ``services`` gives hosts here the secrets of others."""
    credentials = Credentials(home)

    def made(asked: Limits) -> Fetcher:
        return Fetcher(asked, credentials, services=services, clock=FakeTime().clock())

    return Gathering(home, DatasetStore(home), limits=limits, fetcher=made)


def quick(limits: Limits = LOCAL, **changed: Any) -> Limits:
    """The limits of tests, some of them changed."""
    return replace(limits, **changed)
