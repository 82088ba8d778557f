"""Which picture comes when, mirrored or not, in which wording, at which noise level.

Everything random about an exposure is a function of the seed and of the exposure's number, never of what was
drawn before it. The place in the run is therefore the whole state, and resuming replays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lorasmith.datasets.captions.grammar import split_commas
from lorasmith.datasets.dealing import Dealer
from lorasmith.errors import CheckpointError

CAPTION_VARIANTS: Final = 16
"""How many shuffled wordings a picture has; few, because each is encoded and cached."""

# Streams of random numbers, so that one decision never shifts another.
_ORDER, _CHOICES, _STRATA, _NOISE, _WORDING, _BEGINNING = range(6)


@dataclass(frozen=True)
class Exposure:
    """One picture shown once."""

    index: int
    """Its number among all exposures of the run, from 0."""
    item: str
    bucket: int
    flip: bool
    variant: int | None
    """Which wording of the caption, see ``wording``; None is the empty caption."""
    time: float
    """0 = data to 1 = noise, excluding 1."""
    noise_seed: int


def wording(caption: str, variant: int | None, *, seed: int, keep_tokens: int) -> str:
    """The caption of an exposure: empty for None, as written for 0, else its parts shuffled behind the kept ones.

    Parts are what stands between commas; a comma in escaped parentheses, a weighted group or a face is none of them.
    """
    if variant is None:
        return ""
    parts = [part.strip() for part in split_commas(caption)]
    if variant == 0 or len(parts) <= keep_tokens + 1:
        return caption
    rest = parts[keep_tokens:]
    order = np.random.default_rng((seed, _WORDING, variant)).permutation(len(rest))
    return ", ".join([*parts[:keep_tokens], *(rest[i] for i in order)])


def begins(exposure: Exposure, share: float) -> bool:
    """Whether an exposure of a clip is given its first frame, as that share of them is."""
    return bool(share) and bool(np.random.default_rng((exposure.noise_seed, _BEGINNING)).random() < share)


class Sampler:
    """An endless, exactly resumable stream of batches, each from one bucket, as ``Dealer`` counts them.

    Every bucket deals its own pictures, shuffled anew at each pass, and a batch may span two passes.

    Args:
        buckets: names of the pictures, bucket by bucket; no bucket empty. A name that stands n times is shown n times
            as often.
        batch_size: pictures per batch.
        window: pictures per optimizer step; their times are stratified: one from each of ``window`` equal intervals.
        seed: of everything random.
        repeats: how often a pass shows each picture.
        flip: mirror half of the exposures.
        shuffle: draw one of ``CAPTION_VARIANTS`` wordings instead of the caption as written.
        caption_dropout: share of exposures with the empty caption.
    """

    def __init__(
        self,
        buckets: Sequence[Sequence[str]],
        *,
        batch_size: int,
        window: int,
        seed: int,
        repeats: int = 1,
        flip: bool = False,
        shuffle: bool = False,
        caption_dropout: float = 0.0,
    ) -> None:
        self._buckets = [list(names) * repeats for names in buckets]
        self._dealer = Dealer([len(names) for names in self._buckets], batch_size)
        self._batch_size, self._window, self._seed = batch_size, window, seed
        self._flip, self._shuffle, self._dropout = flip, shuffle, caption_dropout
        self._orders: dict[int, tuple[int, list[int]]] = {}

    @property
    def batches(self) -> int:
        """Batches dealt so far."""
        return self._dealer.batches

    @property
    def epoch(self) -> float:
        """Passes over all pictures and repeats so far."""
        return self._dealer.epoch

    def next_batch(self) -> list[Exposure]:
        """The next ``batch_size`` exposures, all of one bucket."""
        dealt = self.batches
        bucket = self._dealer.next()
        first = (self._dealer.taken[bucket] - 1) * self._batch_size
        return [
            self._expose(dealt * self._batch_size + place, bucket, first + place) for place in range(self._batch_size)
        ]

    def _expose(self, index: int, bucket: int, position: int) -> Exposure:
        names = self._buckets[bucket]
        turn, place = divmod(position, len(names))
        name = names[self._order(bucket, turn)[place]]
        flip, drop, jitter = np.random.default_rng((self._seed, _CHOICES, index)).random(3)
        variant = int(np.random.default_rng((self._seed, _NOISE, index, 1)).integers(CAPTION_VARIANTS))
        step, inside = divmod(index, self._window)
        stratum = np.random.default_rng((self._seed, _STRATA, step)).permutation(self._window)[inside]
        return Exposure(
            index=index,
            item=name,
            bucket=bucket,
            flip=self._flip and bool(flip < 0.5),
            variant=None if drop < self._dropout else variant if self._shuffle else 0,
            time=float((stratum + jitter) / self._window),
            noise_seed=int(np.random.default_rng((self._seed, _NOISE, index)).integers(2**62)),
        )

    def _order(self, bucket: int, turn: int) -> list[int]:
        known = self._orders.get(bucket)
        if known is None or known[0] != turn:
            rng = np.random.default_rng((self._seed, _ORDER, bucket, turn))
            known = (turn, rng.permutation(len(self._buckets[bucket])).tolist())
            self._orders[bucket] = known
        return known[1]

    def cursor(self) -> dict[str, Any]:
        """Where the stream stands, for a checkpoint."""
        epoch, position = divmod(self.batches * self._batch_size, self._dealer.total)
        return {"taken": list(self._dealer.taken), "epoch": epoch, "position": position}

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go on from a cursor of the same pictures.

        Raises:
            CheckpointError: the cursor is of other buckets.
        """
        taken = [int(count) for count in cursor["taken"]]
        if len(taken) != len(self._buckets):
            raise CheckpointError("The checkpoint was made with other buckets.", "Start a new job.")
        self._dealer.seek(taken)

    def exposures(self) -> dict[str, int]:
        """How often each picture has been shown so far."""
        counts: dict[str, int] = {}
        for bucket, names in enumerate(self._buckets):
            turns, rest = self._dealer.passes(bucket)
            for name in names:
                counts[name] = counts.get(name, 0) + turns
            for place in self._order(bucket, turns)[:rest]:
                counts[names[place]] += 1
        return counts

    def skip(self, batches: int) -> None:
        """Deal ``batches`` batches without looking at them."""
        self._dealer.skip(batches)
