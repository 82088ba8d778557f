from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.errors import CheckpointError
from lorasmith.training.sampler import CAPTION_VARIANTS, Sampler, wording

tables = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(
    lambda sizes: [[f"{b}/{n}" for n in range(size)] for b, size in enumerate(sizes)]
)


def sampler(buckets: list[list[str]], batch_size: int = 2, **changes: object) -> Sampler:
    return Sampler(buckets, **({"batch_size": batch_size, "window": batch_size * 2, "seed": 3} | changes))  # type: ignore[arg-type]


@settings(deadline=None)
@given(buckets=tables, batch_size=st.integers(1, 5), before=st.integers(0, 20), after=st.integers(1, 10))
def test_a_cursor_goes_on_exactly(buckets: list[list[str]], batch_size: int, before: int, after: int) -> None:
    one = sampler(buckets, batch_size, flip=True, shuffle=True, caption_dropout=0.3)
    for _ in range(before):
        one.next_batch()
    other = sampler(buckets, batch_size, flip=True, shuffle=True, caption_dropout=0.3)
    other.seek(one.cursor())
    assert [one.next_batch() for _ in range(after)] == [other.next_batch() for _ in range(after)]


@settings(deadline=None)
@given(buckets=tables, batch_size=st.integers(1, 5), batches=st.integers(1, 40), repeats=st.integers(1, 3))
def test_counts_are_exact_and_batches_are_of_one_bucket(
    buckets: list[list[str]], batch_size: int, batches: int, repeats: int
) -> None:
    dealer = sampler(buckets, batch_size, repeats=repeats)
    shown: Counter[str] = Counter({name: 0 for names in buckets for name in names})
    for _ in range(batches):
        batch = dealer.next_batch()
        assert len(batch) == batch_size
        assert len({e.bucket for e in batch}) == 1
        shown.update(e.item for e in batch)
    assert dealer.exposures() == dict(shown)
    ahead = sampler(buckets, batch_size, repeats=repeats)
    ahead.skip(batches)
    assert ahead.exposures() == dict(shown)
    for names in buckets:  # inside a bucket nobody is more than a pass ahead
        assert max(shown[n] for n in names) - min(shown[n] for n in names) <= repeats


def test_pictures_of_all_buckets_are_shown_equally_often() -> None:
    dealer = sampler([[f"a{n}" for n in range(17)], ["b"], ["c0", "c1"]], batch_size=4)
    dealer.skip(1000)
    counts = dealer.exposures().values()
    assert max(counts) - min(counts) <= 4


def test_times_of_a_step_are_stratified_and_depend_on_the_step() -> None:
    dealer = Sampler([["a"]], batch_size=2, window=4, seed=0)
    steps = [[e.time for _ in range(2) for e in dealer.next_batch()] for _ in range(50)]
    for times in steps:
        assert sorted(int(time * 4) for time in times) == [0, 1, 2, 3]
    assert len({times[0] for times in steps}) == 50


def test_another_seed_is_another_run() -> None:
    buckets = [[f"{n}" for n in range(8)]]
    assert [e.item for e in sampler(buckets, 8).next_batch()] != [
        e.item for e in sampler(buckets, 8, seed=4).next_batch()
    ]


def test_dropout_flip_and_variants_have_their_shares() -> None:
    dealer = sampler([["a", "b"]], 10, flip=True, shuffle=True, caption_dropout=0.25)
    shown = [e for _ in range(200) for e in dealer.next_batch()]
    assert 0.2 < sum(e.variant is None for e in shown) / len(shown) < 0.3
    assert 0.45 < sum(e.flip for e in shown) / len(shown) < 0.55
    assert {e.variant for e in shown} == {None, *range(CAPTION_VARIANTS)}
    plain = sampler([["a", "b"]], 10)
    assert {(e.flip, e.variant) for e in plain.next_batch()} == {(False, 0)}


def test_a_cursor_of_other_buckets_is_refused() -> None:
    with pytest.raises(CheckpointError, match="other buckets"):
        sampler([["a"]]).seek({"taken": [1, 2]})


@given(tags=st.lists(st.sampled_from(["zib", "blue hair", "blue eyes", "solo"]), max_size=6), keep=st.integers(0, 3))
def test_wordings_keep_what_they_should(tags: list[str], keep: int) -> None:
    caption = ", ".join(tags)
    assert wording(caption, None, seed=0, keep_tokens=keep) == ""
    assert wording(caption, 0, seed=0, keep_tokens=keep) == caption
    for variant in range(1, 5):
        parts = wording(caption, variant, seed=0, keep_tokens=keep).split(", ")
        assert sorted(parts) == sorted(caption.split(", "))
        assert parts[:keep] == caption.split(", ")[:keep]


def test_shuffling_does_shuffle() -> None:
    caption = "zib, a, b, c, d, e"
    assert len({wording(caption, v, seed=0, keep_tokens=1) for v in range(CAPTION_VARIANTS)}) > 5


@given(
    caption=st.lists(
        st.sampled_from(["zib", "blue hair", " a", "b.", "poster (object)", "x|||y", "", "c\nd"]), max_size=7
    ).map(",".join),
    variant=st.integers(1, 15),
    keep=st.integers(0, 3),
)
def test_every_comma_separates_where_nothing_encloses_it(caption: str, variant: int, keep: int) -> None:
    parts = [part.strip() for part in caption.split(",")]
    shown = wording(caption, variant, seed=7, keep_tokens=keep)
    if len(parts) <= keep + 1:
        assert shown == caption
        return
    order = np.random.default_rng((7, 4, variant)).permutation(len(parts) - keep)
    assert shown == ", ".join([*parts[:keep], *(parts[keep:][place] for place in order)])


def test_a_tag_with_a_comma_is_shuffled_as_one() -> None:
    caption = r"zib, artist \(a, b\), (c, d:1.2), e, f"
    shown = {wording(caption, variant, seed=0, keep_tokens=1) for variant in range(1, CAPTION_VARIANTS)}
    assert len(shown) > 5
    assert all(r"artist \(a, b\)" in text and "(c, d:1.2)" in text and text.startswith("zib, ") for text in shown)
