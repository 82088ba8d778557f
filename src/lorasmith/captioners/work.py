"""The work of one caption job: which pictures are left, batches, second tries, and what becomes of bad ones."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from lorasmith.captioners import Answer, Failure, Known
from lorasmith.captioners.answers import Answers
from lorasmith.captioners.batches import BatchSize
from lorasmith.captioners.children import ChildDiedError
from lorasmith.captioners.decoding import MOST_PROCESSES, Decoders, Picture, UnreadableError, reduced
from lorasmith.captioners.journal import FILE, Journal
from lorasmith.captioners.pairs import UNPAIRED, open_together, pair_count
from lorasmith.captioners.speaking import Shown, Speaker
from lorasmith.datasets.captions import is_excuse
from lorasmith.datasets.checks.text import has_loop
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, EnvironmentProblem, InputError, OutOfMemory
from lorasmith.events import Emit, Notice, Progress
from lorasmith.jobfolder import Control, JobFolder

_TRIES: Final = 2
_DEATHS: Final = 3  # of the captioner's process in a row, without one answer between: it is not the pictures' fault
_KEPT_AT_ONCE: Final = 500
_WORTH_A_PROCESS: Final = 8  # pictures that outweigh starting one
_HELD: Final = 512 * 1024 * 1024  # bytes of pixels given at once, whatever the size of a batch: a pair may be of many

Outcome = Answer | Failure
Opened = list[tuple[str, Shown]]


class CaptionWork:
    """The captions and failures of one job as they come in. Pictures that several items share are looked at once.

    Pictures stand under a key: their SHA-256 or, where the captioner reads more than pixels, the hash of all of it.
    """

    def __init__(
        self,
        folder: JobFolder,
        version: DatasetVersion,
        store: DatasetStore,
        speaker: Speaker,
        which: Literal["all", "missing"] = "all",
        lines: int = 1,
        batch_size: int | None = None,
        fresh: bool = False,
    ) -> None:
        about = speaker.about
        self._items = [item for item in version.items if which == "all" or not item.caption.strip()]
        self._store, self._speaker, self._lines, self._fresh = store, speaker, lines, fresh
        self._batch = BatchSize(batch_size, about.batch_limit)
        self._answers = Answers(folder.home, about.identity, about.legend or {})
        self._journal = Journal(
            folder.path / FILE, {"fingerprint": version.fingerprint, "by": about.identity.key, "lines": lines}
        )
        self._failures: dict[str, str] = {}
        self._known: dict[str, Known] = {}
        self._deaths = 0
        self._paired = "references" in about.reads

    def close(self) -> None:
        """Make what was done durable."""
        self._journal.close()

    def go(self, emit: Emit, control: Callable[[], Control]) -> None:
        """Caption what is left until done or told to stop.

        Raises:
            InputError: not one picture could be captioned.
            EnvironmentProblem: the captioner dies of every picture.
        """
        left: dict[str, list[Item]] = defaultdict(list)
        for item in self._items:
            if item.name not in self._journal.done:
                left[self._key(item)].append(item)
        pace = _Pace(sum(map(len, left.values())), len(self._items), emit)
        if not self._fresh:
            self._take_known(left, pace, emit, control)
        if self._paired:
            self._leave_out_the_unpaired(left, pace, emit)
        several = self._speaker.about.frames > 1
        clips = {key: items[0] for key, items in left.items() if several and items[0].clip is not None}
        files = {key: self._files_of(items[0]) for key, items in left.items() if key not in clips}
        processes = max(1, min(MOST_PROCESSES, os.cpu_count() or 1, sum(map(len, files.values())) // _WORTH_A_PROCESS))
        self._say_what_is_unseen(emit)
        with Decoders[tuple[str, int]](self._speaker.about.longest_side, processes=processes) as decoders:
            opened = chain(open_together(decoders, files), self._frames_of(clips))
            waiting: Opened = []
            held = 0
            for image, shown in opened:
                if isinstance(shown, UnreadableError):
                    self._settle(left[image], [Failure(str(shown))], emit)
                    pace.done(len(left[image]))
                    continue
                waiting.append((image, shown))
                held += sum(len(picture.rgb) for picture in shown)
                if len(waiting) >= self._batch.size or held >= _HELD:
                    if control().wanted != "run":
                        return
                    self._do(waiting, left, pace, emit)
                    waiting, held = [], 0
            if waiting and control().wanted == "run":
                self._do(waiting, left, pace, emit)
        self._refuse_if_all_failed()

    def output(self) -> dict[str, Any]:
        """The job's output, in the order of the items."""
        names = [item.name for item in self._items]
        done = self._journal.done
        return {
            "captions": {name: done[name] for name in names if name in done},
            "failures": {name: self._failures[name] for name in names if name in self._failures},
            "complete": all(name in done or name in self._failures for name in names),
        }

    # --- pictures ------------------------------------------------------------------------------------------------

    def _key(self, item: Item) -> str:
        """What the answer of an item is kept under."""
        reads = self._speaker.about.reads
        if not reads:
            return item.image
        about = self._speaker.about
        reads = tuple(field for field in reads if field != "references")
        told: dict[str, Any] = {"filename": PurePosixPath(item.name).stem, "tags": " ".join(item.caption.split())}
        told["frames"] = min(about.frames, item.clip.frames) if item.clip is not None else 1
        known = Known(**{field: told[field] for field in reads})
        words = {field: getattr(known, field) for field in ("filename", "tags")}
        words |= {"frames": known.frames} if known.frames > 1 else {}
        shown: Any = asdict(item.clip) if known.frames > 1 and item.clip is not None else None
        if self._paired:
            shown = list(item.references)  # in their order, which is what their numbers in the request mean
        looked_at = [item.image, words] if shown is None else [item.image, words, shown]
        plain = reads == ("frames",) and shown is None  # a picture, of which nothing but its pixels is read
        key = item.image if plain else hashlib.sha256(json.dumps(looked_at).encode()).hexdigest()
        self._known[key] = known
        return key

    def _files_of(self, item: Item) -> list[Path]:
        """What is shown of an item that is no clip: its references, where they are read, and its picture."""
        return [self._store.blob_path(sha) for sha in (*(item.references if self._paired else ()), item.image)]

    def _leave_out_the_unpaired(self, left: dict[str, list[Item]], pace: _Pace, emit: Emit) -> None:
        """List what has no reference, and say how much the rest is: what is sent may cost for every picture."""
        for key, items in list(left.items()):
            if not items[0].references:
                self._settle(left.pop(key), [Failure(UNPAIRED)], emit)
                pace.done(len(items))
        if left:
            times = f"Each is asked {self._lines} times." if self._lines > 1 else ""
            emit(Notice(pair_count(items[0] for items in left.values()).in_words, times))

    def _say_what_is_unseen(self, emit: Emit) -> None:
        """That of what moves one frame alone is looked at, where it is so."""
        moving = sum(item.clip is not None for item in self._items)
        if moving and self._speaker.about.frames == 1:
            clips = "One clip is" if moving == 1 else f"{moving} clips are"
            emit(
                Notice(
                    f"{clips} captioned by the first frame alone.",
                    "What happens after it is not seen; openai_compatible looks at more with its option frames.",
                )
            )

    def _frames_of(self, clips: Mapping[str, Item]) -> Iterator[tuple[str, Shown | UnreadableError]]:
        """Of each clip its frames that are looked at, evenly spread, one below the other."""
        side = self._speaker.about.longest_side
        for key, item in clips.items():
            assert item.clip is not None
            count = self._known[key].frames
            numbers = [number * (item.clip.frames - 1) // max(1, count - 1) for number in range(count)]
            try:
                frames = [reduced(frame, side) for frame in self._store.open_frames(item, numbers)]
            except (DatasetError, EnvironmentProblem) as cause:
                yield key, UnreadableError(str(cause))
                continue
            width, height = frames[0].size
            yield key, (Picture(width, height * count, b"".join(frame.tobytes() for frame in frames)),)

    def _take_known(self, left: dict[str, list[Item]], pace: _Pace, emit: Emit, control: Callable[[], Control]) -> None:
        """Answer from what is kept; those pictures are left no more."""
        for some in _pieces(list(left), _KEPT_AT_ONCE):
            known = [self._answers.get(some, line) for line in range(self._lines)]
            whole = [image for image in some if all(image in line for line in known)]
            if whole and control().wanted != "run":
                return
            before = sum(map(len, left.values()))
            for image, answers in zip(whole, self._read_kept(known, whole), strict=True):
                if not any(_fault(answer) for answer in answers):  # else it is asked as any other
                    self._settle(left.pop(image), answers, emit)
            pace.done(before - sum(map(len, left.values())))

    def _read_kept(self, known: Sequence[Mapping[str, Answer]], images: Sequence[str]) -> Iterator[list[Answer]]:
        flat = [line[image] for image in images for line in known]
        with_kept = [answer.kept for answer in flat if answer.kept]
        again = iter(self._speaker.again(with_kept) if with_kept else ())
        read = iter([next(again) if answer.kept else answer for answer in flat])
        for _ in images:
            yield [next(read) for _ in known]

    def _do(self, opened: Opened, left: Mapping[str, list[Item]], pace: _Pace, emit: Emit) -> None:
        """A batch, all its lines, and the second tries of what came out badly."""
        lines: dict[str, list[Outcome]] = {image: [] for image, _ in opened}
        for line in range(self._lines):
            answered = dict(zip(lines, self._ask(opened, line * _TRIES), strict=True))
            bad = [(image, picture) for image, picture in opened if _fault(answered[image])]
            if bad and self._speaker.about.varies:
                second = self._ask(bad, line * _TRIES + 1)
                answered.update({image: said for (image, _), said in zip(bad, second, strict=True)})
            for image, said in answered.items():
                lines[image].append(said)
        for line in range(self._lines):  # a tagger's numbers are worth keeping whatever the rule made of them
            told = {image: said for image, outcomes in lines.items() if isinstance(said := outcomes[line], Answer)}
            self._answers.put({image: said for image, said in told.items() if said.kept or not _fault(said)}, line)
        for image, outcomes in lines.items():
            self._settle(left[image], outcomes, emit)
        pace.done(sum(len(left[image]) for image in lines))

    def _ask(self, opened: Opened, attempt: int) -> list[Outcome]:
        """Answers in order, whatever becomes of the captioner's process."""
        began = time.monotonic()
        try:
            known = [self._known[key] for key, _ in opened] if self._known else ()
            answers = self._speaker.caption([shown for _, shown in opened], attempt, known)
        except ChildDiedError as cause:
            self._revive(cause)
            if len(opened) == 1:
                return [Failure(f"The captioner's process {cause} when it looked at this picture.")]
            return self._one_by_one(opened, attempt)
        except OutOfMemory:
            if not self._batch.failed() and len(opened) == 1:
                raise
            return [said for some in _pieces(opened, self._batch.size) for said in self._ask(some, attempt)]
        except InputError as cause:
            if len(opened) == 1:
                return [Failure(str(cause))]
            return self._one_by_one(opened, attempt)
        self._deaths = 0
        self._batch.took(len(opened), time.monotonic() - began)
        return answers

    def _one_by_one(self, opened: Opened, attempt: int) -> list[Outcome]:
        """A batch failed as a whole: find out which of its pictures is to blame, and caption the others."""
        return [said for one in opened for said in self._ask([one], attempt)]

    def _revive(self, cause: ChildDiedError) -> None:
        self._deaths += 1
        if self._deaths > _DEATHS:
            raise EnvironmentProblem(
                f"The captioner's process ends at every picture: it {cause}.",
                "Most often memory is short: take a smaller batch_size or model, or another device.",
            ) from cause
        self._speaker.restart()

    # --- what becomes of them ------------------------------------------------------------------------------------

    def _settle(self, items: Sequence[Item], outcomes: Sequence[Outcome], emit: Emit) -> None:
        """Write down what was said of a picture, for all items that show it."""
        good = [said for said in outcomes if isinstance(said, Answer) and not _fault(said)]
        if not good:
            reason = _fault(outcomes[0]) or "It gave no answer."
            for item in items:
                self._failures[item.name] = reason
                emit(Notice(f"{item.name} has no caption.", reason))
            return
        for note in dict.fromkeys(said.note for said in good if said.note):
            emit(Notice(f"{items[0].name}: {note}"))
        caption = "\n".join(dict.fromkeys(said.caption.strip("\r\n") for said in good))
        tags = [[tag.name, tag.category, round(tag.probability, 4)] for tag in good[0].tags]
        self._journal.add({item.name: {"caption": caption, "tags": tags} for item in items})

    def _refuse_if_all_failed(self) -> None:
        if self._items and not self._journal.done and len(self._failures) == len(self._items):
            failed = self._failures
            name = next((name for name, reason in failed.items() if reason != UNPAIRED), next(iter(failed)))
            reason = failed[name]
            raise InputError(
                f"None of the {len(self._items)} pictures could be captioned; {name}: {reason}",
                "Try lower thresholds or another captioner.",
            )


class _Pace:
    """Says how far it is and how fast; pictures that were done before this run do not count as speed."""

    def __init__(self, left: int, total: int, emit: Emit) -> None:
        self._left, self._total, self._emit = left, total, emit
        self._done = 0
        self._began = time.monotonic()

    def done(self, count: int) -> None:
        if not count:
            return
        self._done += count
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        left = self._left - self._done
        at = self._total - left
        self._emit(Progress(at, self._total, unit="pictures", per_second=rate, seconds_left=left / rate))


def _fault(said: Outcome) -> str:
    """Why an answer must not become a caption; empty when it may."""
    if isinstance(said, Failure):
        return said.reason
    text = said.caption
    if not text.strip():
        return "The captioner found nothing to say; lower its thresholds, or change its prompt."
    if is_excuse(text):
        return f"The captioner answered with an excuse: {text[:80]!r}."
    if not said.tags and has_loop(text):  # tags such as "ball 1, ball 2" are no loop
        return f"The captioner repeats itself: {text[:80]!r}."
    return ""


def _pieces(whole: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
