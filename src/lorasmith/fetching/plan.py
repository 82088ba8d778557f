"""What a download would bring, told before the first byte: what, from where, how large, which licence, does it fit."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.errors import OutOfDisk
from lorasmith.fetching.addresses import Gate
from lorasmith.fetching.limits import Limits

_RESERVE: Final = Limits().reserve_bytes


@dataclass(frozen=True)
class Offer:
    """One file that would be fetched."""

    what: str
    """For people: ``wd-vit-tagger-v3, model.onnx``."""
    url: str
    size: int | None = None
    """Bytes; None when nobody knows."""
    licence: str = ""
    present: int = 0
    """Bytes of it that are here already."""

    @property
    def missing(self) -> int | None:
        return None if self.size is None else max(0, self.size - self.present)

    @property
    def place(self) -> str:
        """The host it comes from."""
        return Gate(Limits(allow_http=True, allow_loopback=True)).check(self.url).place


@dataclass(frozen=True)
class DownloadPlan:
    """Everything a task would fetch into a folder. Bytes."""

    offers: tuple[Offer, ...]
    folder: Path
    free: int
    reserve: int = _RESERVE

    @classmethod
    def of(cls, offers: Iterable[Offer], folder: Path | str, *, reserve: int = _RESERVE) -> DownloadPlan:
        """A plan with the free space of the disk that the folder lies on, or would."""
        folder = Path(folder).absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        return cls(tuple(offers), folder, shutil.disk_usage(there).free, reserve)

    @property
    def size(self) -> int:
        """Of all files whose size is known."""
        return sum(offer.size or 0 for offer in self.offers)

    @property
    def missing(self) -> int:
        """Still to be fetched, as far as known."""
        return sum(offer.missing or 0 for offer in self.offers)

    @property
    def unknown(self) -> int:
        """How many files nobody knows the size of."""
        return sum(offer.size is None for offer in self.offers)

    @property
    def complete(self) -> bool:
        """Whether everything is here."""
        return not self.unknown and not self.missing

    @property
    def fits(self) -> bool:
        return self.missing + self.reserve <= self.free or self.complete

    def require_room(self) -> None:
        """Raise when it does not fit.

        Raises:
            OutOfDisk: naming both figures.
        """
        if not self.fits:
            missing, free = _gigabytes(self.missing), _gigabytes(self.free)
            raise OutOfDisk(
                f"{missing} are to be downloaded and {free} are free in {self.folder}.",
                f"Free some space; {_gigabytes(self.reserve)} are kept in reserve.",
            )

    def lines(self) -> list[str]:
        """For people, a line for each file and one for all."""
        lines = [_line(offer) for offer in self.offers]
        here = f", of which {_gigabytes(self.size - self.missing)} are here" if self.size != self.missing else ""
        more = f" and {self.unknown} of unknown size" if self.unknown else ""
        room = "" if self.fits else "; that does not fit"
        lines.append(
            f"In all {_gigabytes(self.size)}{more}{here}, into {self.folder} ({_gigabytes(self.free)} free{room})."
        )
        return lines

    def to_dict(self) -> Mapping[str, Any]:
        """As JSON values, with what follows from them."""
        figures = {"size": self.size, "missing": self.missing, "unknown": self.unknown, "fits": self.fits}
        return {"offers": [asdict(o) for o in self.offers], "folder": str(self.folder), "free": self.free, **figures}


def _line(offer: Offer) -> str:
    size = "size unknown" if offer.size is None else _gigabytes(offer.size)
    state = ", here already" if offer.missing == 0 else ""
    licence = f", licence {offer.licence}" if offer.licence else ", licence not stated"
    return f"{offer.what}: {size} from {offer.place}{licence}{state}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10_000_000 else f"{size / 1e6:.2f} MB"
