"""Looking through a trainer's eye: at a dataset version, at its originals, or at a folder as it lies.

``look`` and ``look_at_folder`` say for each picture what the trainer would train and how that differs from what is
meant (``seen``); ``drawing`` shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, Protocol

from PIL import Image

from lorasmith.datasets.buckets import Frames
from lorasmith.datasets.eyes import CaptionFile, EyeSettings, Note, Outcome, SeenCaption, Severity, TrainerEye, eye_of
from lorasmith.datasets.eyes.fitting import Fit
from lorasmith.datasets.eyes.moving import USUAL_RATE, misread
from lorasmith.datasets.eyes.picture_file import MEANT, PictureFile, examine
from lorasmith.datasets.eyes.seen import Seen, worst_first
from lorasmith.datasets.layouts.clips import window_of
from lorasmith.datasets.magic import VIDEO_SUFFIX_OF
from lorasmith.datasets.masked_area import averaged, lets_nothing_through
from lorasmith.errors import DatasetError, InputError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.datasets.store import DatasetStore

Progress = Callable[[int, int, str], None]
_NOTEWORTHY_CROP: Final = 0.10
_NOTEWORTHY_SCALE: Final = 1.1
_ALIASING_SCALE: Final = 0.5
_BAD_CROP: Final = 0.30
_LATENT: Final = 8  # pixels of a latent position's side, where the mask is looked at
_CAPTION_SUFFIX: Final = ".txt"
_SETTLED: Final = ("turned", "pixels", "hdr", "frame_rate")  # by our own import


class TokenCutter(Protocol):
    """What ``tokens.counter_for`` gives: where a text encoder stops reading."""

    def cut(self, text: str) -> tuple[str, str]:
        """The text that is read, and what is cut away."""
        ...


def look(
    version: DatasetVersion,
    store: DatasetStore,
    trainer: str,
    *,
    resolution: int,
    batch_size: int = 1,
    family: str = "",
    clips: Frames | None = None,
    trigger_word: str = "",
    originals: bool = False,
    names: Collection[str] | None = None,
    settings: EyeSettings | None = None,
    counter: TokenCutter | None = None,
    progress: Progress | None = None,
) -> list[Seen]:
    """What ``trainer`` would see of a version, in the order of its items.

    Args:
        version: whose pictures and captions; validation pictures are looked at too.
        store: where its blobs lie.
        trainer: name of an eye.
        resolution: side in pixels of the square whose area buckets keep.
        batch_size: pictures per batch; buckets with fewer are named where the trainer drops them.
        family: name of the base's family, for the step of buckets and the length of captions; empty: no token cut.
        clips: how that family shows clips; None when it takes pictures alone.
        trigger_word: as set in that trainer's configuration.
        originals: look at the files as they came, as if they were put before the trainer without an import, and not at
            what an export writes.
        names: only these items; None for all.
        settings: what else the trainer's configuration says; the arguments above override its fields.
        counter: where the text encoder stops; None asks ``tokens.counter_for(family)``.
        progress: called with pictures done, pictures in all and the name of the last one.

    Raises:
        ConfigError: no such trainer or family.
        DatasetError: ``names`` has one that the version lacks.
    """
    eye = eye_of(trainer)
    base = settings or EyeSettings()
    base = replace(base, resolution=resolution, family=family, trigger_word=trigger_word or base.trigger_word)
    moving = [item.clip for item in version.items if item.clip is not None]
    base = replace(
        base, clips=clips or base.clips, lengths=tuple(sorted({window_of(clip, USUAL_RATE) for clip in moving}))
    )
    viewer = _Viewer(eye, base, _cutter(eye, family, counter))
    wanted = _items(version, names)
    seen: list[Seen] = []
    for item in wanted:
        if item.clip is not None and (not originals or item.provenance.get("format") in VIDEO_SUFFIX_OF):
            seen.append(viewer.see_clip(item, store.blob_path(item.image), originals=originals))
            if progress is not None:
                progress(len(seen), len(wanted), item.name)
            continue
        sha256 = item.original if originals else item.image
        name = _name_on_disk(item, eye, base, originals)
        caption = CaptionFile(item.caption.encode() or eye.empty_export, PurePath(name).name)
        file = None if originals else _exported(item, name)
        found = viewer.see(item.name, store.blob_path(sha256), name, caption, file)
        counts = eye.reads_masks and base.masked and not originals
        seen.append(_with_mask(found, item, store) if counts else found)
        if progress is not None:
            progress(len(seen), len(wanted), item.name)
    return _dropped_batches(seen, eye, batch_size)


def look_at_folder(
    folder: Path,
    trainer: str,
    *,
    settings: EyeSettings | None = None,
    counter: TokenCutter | None = None,
    progress: Progress | None = None,
) -> list[Seen]:
    """What ``trainer`` would see of the pictures that lie directly in ``folder``, with ``.txt`` files beside them.

    Files that no program takes for a picture are left out; damaged ones are there with the reason.

    Raises:
        InputError: there is no such folder.
        ConfigError: no such trainer.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder at {folder}.", "Check the path.")
    eye, settings = eye_of(trainer), settings or EyeSettings()
    viewer = _Viewer(eye, settings, _cutter(eye, settings.family, counter))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    captions = {path.name: path.read_bytes() for path in files if path.suffix == _CAPTION_SUFFIX}
    pictures = [path for path in files if _is_picture(path.name)]
    seen: list[Seen] = []
    for path in pictures:
        caption = CaptionFile(captions.get(path.stem + _CAPTION_SUFFIX), path.name, captions)
        seen.append(viewer.see(path.name, path, path.name, caption, None))
        if progress is not None:
            progress(len(seen), len(pictures), path.name)
    return seen


def look_at_file(picture: Path, caption: bytes | None, trainer: str, *, settings: EyeSettings | None = None) -> Seen:
    """What ``trainer`` would see of one file and the bytes of its caption file; None: there is none.

    Raises:
        ConfigError: no such trainer.
    """
    eye, settings = eye_of(trainer), settings or EyeSettings()
    viewer = _Viewer(eye, settings, _cutter(eye, settings.family, None))
    return viewer.see(picture.name, picture, picture.name, CaptionFile(caption, picture.name), None)


class _Viewer:
    """One eye with its settings; remembers what the trainer's bucketing remembers."""

    def __init__(self, eye: TrainerEye, settings: EyeSettings, cutter: TokenCutter | None) -> None:
        self._eye, self._settings, self._cutter = eye, settings, cutter
        self._fit = eye.fitter(settings)

    def see(self, item: str, path: Path, name: str, caption: CaptionFile, file: PictureFile | None) -> Seen:
        """``file`` None: read the header at ``path``, which lies before the trainer under ``name``."""
        refused = self._eye.refuses(name, self._settings)
        if refused is not None:
            return self._unseen(item, path, "skipped", (refused,))
        if file is None:
            try:
                file = examine(path, PurePath(name).name)
            except InputError as damage:
                return self._unseen(item, path, "stops", (Note("format", "error", damage.message),))
        outcome, notes = self._eye.see_picture(file, self._settings)
        text = self._eye.see_caption(caption, self._settings)
        notes += text.notes
        outcome = max(outcome, text.outcome, key=("read", "skipped", "stops").index)
        reading = self._eye.reading(file)
        fitted = self._fit(*file.upright(reading))
        if isinstance(fitted, str):
            outcome, notes, fit = "skipped", (*notes, Note("crop", "error", fitted)), None
        else:
            fit, notes = fitted, (*notes, *_fit_notes(fitted))
        texts, cut, more = self._cut(text)
        return Seen(
            item=item,
            trainer=self._eye.name,
            outcome=outcome,
            path=path,
            size=file.size,
            orientation=file.orientation,
            reading=reading,
            fit=fit,
            texts=texts,
            cut=cut,
            differences=worst_first(notes + more),
        )

    def see_clip(self, item: Item, picture: Path, *, originals: bool) -> Seen:
        """An item that moves; ``picture`` is its first frame, upright."""
        clip, eye, settings = item.clip, self._eye, self._settings
        assert clip is not None
        if not eye.moves or (settings.family and settings.clips is None and not eye.reads_masks):
            what = "videos" if not eye.moves else f"clips for {settings.family}"
            other = "" if not eye.moves else " Choose a family of clips, such as wan, if they shall move."
            note = Note("clip", "error", f"{eye.title} reads no {what}: it is never trained.{other}")
            return self._unseen(item.name, picture, "skipped", (note,))
        found = eye.see_clip(clip, settings)
        words = [str(word) for word in item.provenance.get("transforms", ())] if originals else []
        notes = (*found.notes, *misread(words, eye.upright | (frozenset(_SETTLED) if eye.reads_masks else frozenset()),
                                        eye.title))  # fmt: skip
        text = eye.see_caption(CaptionFile(item.caption.encode() or eye.empty_export, f"{item.name}.mp4"), settings)
        texts, cut, more = self._cut(text)
        outcome = max(found.outcome, text.outcome, key=("read", "skipped", "stops").index)
        fitted = self._fit(item.width, item.height) if outcome == "read" else "not trained"
        if isinstance(fitted, str):
            outcome = max(outcome, "skipped", key=("read", "skipped", "stops").index)
            fit, notes = None, notes if found.outcome != "read" else (*notes, Note("crop", "error", fitted))
        else:
            fit, notes = fitted, (*notes, *_fit_notes(fitted))
        notes = worst_first((*notes, *text.notes, *more))
        size = (item.width, item.height)
        return Seen(
            item.name,
            eye.name,
            outcome,
            picture,
            size,
            1,
            MEANT if fit else None,
            fit,
            texts,
            cut,
            notes,
            found.windows,
        )

    def _unseen(self, item: str, path: Path, outcome: Outcome, notes: tuple[Note, ...]) -> Seen:
        return Seen(item, self._eye.name, outcome, path, (0, 0), 1, None, None, (), (), notes)

    def _cut(self, caption: SeenCaption) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Note, ...]]:
        if self._cutter is None:
            return caption.texts, ("",) * len(caption.texts), ()
        halves = [self._cutter.cut(text) for text in caption.texts]
        lost = tuple(rest for _, rest in halves)
        sentences = [f"The text encoder stops before '{_short(rest)}'." for rest in lost if rest.strip()]
        notes = tuple(Note("caption_cut", "warning", sentence) for sentence in sentences)
        return tuple(read for read, _ in halves), lost, notes


def _fit_notes(fit: Fit) -> Iterator[Note]:
    if fit.crop_loss > _NOTEWORTHY_CROP:
        severity: Severity = "error" if fit.crop_loss > _BAD_CROP else "warning"
        yield Note("crop", severity, f"{fit.crop_loss:.0%} of it is cut away to fit {_by(fit.target)}.")
    if fit.random:
        yield Note("random_crop", "info", "The place of the crop is drawn at random.")
    if fit.filter == "linear" and fit.scale < _ALIASING_SCALE:
        sentence = f"It is reduced to {fit.scale:.0%} without smoothing: fine detail turns into patterns."
        yield Note("aliasing", "warning", sentence)
    if fit.scale > _NOTEWORTHY_SCALE:
        yield Note("upscale", "warning", f"It is enlarged {fit.scale:.1f} times to fill {_by(fit.target)}.")


def _with_mask(seen: Seen, item: Item, store: DatasetStore) -> Seen:
    """What its mask leaves of a picture that would be trained; one that leaves nothing stops the run."""
    if seen.fit is None or item.mask is None:
        return seen
    path: Path | None = store.blob_path(item.mask)
    outcome = seen.outcome
    try:
        width, height = seen.fit.target
        cells = averaged(store.open_mask(item), seen.fit.box, width // _LATENT, height // _LATENT)
    except DatasetError as error:
        path, outcome, note = None, "stops", Note("mask_damaged", "error", error.message)
    else:
        if lets_nothing_through(cells):
            sentence = "Its mask lets nothing through of what is trained: no run begins with it."
            outcome, note = "stops", Note("mask_empty", "error", sentence)
        else:
            sentence = f"Its mask lets {cells.mean():.0%} of what is trained through; the rest is not learned."
            note = Note("mask", "info", sentence)
    return replace(seen, mask=path, outcome=outcome, differences=worst_first((*seen.differences, note)))


def _dropped_batches(seen: list[Seen], eye: TrainerEye, batch_size: int) -> list[Seen]:
    """Say of which buckets pictures are left out of every epoch, for trainers that drop batches not full."""
    if not eye.drops_short_batches or batch_size == 1:
        return seen
    counts: Counter[tuple[int, ...]] = Counter(_bucket(one) for one in seen if one.fit is not None)
    found: list[Seen] = []
    for one in seen:
        count = counts[_bucket(one)]
        left = count % batch_size
        if one.fit is None or not left:
            found.append(one)
            continue
        which = "none is trained" if count < batch_size else f"{left} of them sit out each epoch"
        sentence = (
            f"Its bucket {'x'.join(map(str, _bucket(one)))} has {count} pictures for batches of {batch_size}: {which}."
        )
        note = Note("short_batch", "error" if count < batch_size else "info", sentence)
        found.append(replace(one, differences=worst_first((*one.differences, note))))
    return found


def _bucket(seen: Seen) -> tuple[int, ...]:
    """Width and height of what is trained, and for clips how many frames."""
    if seen.fit is None:
        return ()
    return (*seen.fit.target, len(seen.frames[0])) if seen.frames else seen.fit.target


def _cutter(eye: TrainerEye, family: str, counter: TokenCutter | None) -> TokenCutter | None:
    if family in eye.reads_on:
        return None
    if counter is not None or not family:
        return counter
    from lorasmith.datasets.tokens import counter_for

    return counter_for(family)


def _items(version: DatasetVersion, names: Collection[str] | None) -> Sequence[Item]:
    if names is None:
        return version.items
    wanted = set(names)
    found = [item for item in version.items if item.name in wanted]
    if missing := wanted - {item.name for item in found}:
        raise DatasetError(f"{version.reference} has no '{sorted(missing)[0]}'.", "Names are listed by `show`.")
    return found


def _name_on_disk(item: Item, eye: TrainerEye, settings: EyeSettings, originals: bool) -> str:
    """The name before the trainer: as it came, or as an export writes it (PNG where the trainer reads no such file)."""
    if originals:
        return PurePath(str(item.provenance.get("source", "")) or item.name).name
    return item.name if eye.refuses(item.name, settings) is None else str(PurePath(item.name).with_suffix(".png"))


def _exported(item: Item, name: str) -> PictureFile:
    """An export is upright, sRGB, 8 bits and opaque, so that its header need not be read."""
    return PictureFile(PurePath(name).name, (item.width, item.height), 1, "RGB", "", 1, "", 0.0)


def _is_picture(name: str) -> bool:
    suffix = PurePath(name).suffix.lower()
    return suffix in (".heic", ".heif", ".jxl") or Image.registered_extensions().get(suffix) in Image.OPEN


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
