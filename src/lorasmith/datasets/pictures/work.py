"""An image tool over a whole dataset: what it would do, and doing it."""

from __future__ import annotations

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from PIL import Image

from lorasmith.datasets.as_came import moved_along
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.names import make_unique, safe_item_name
from lorasmith.datasets.pictures.contract import Frame, PictureTool, ToolError
from lorasmith.datasets.pictures.geometry import seen_through
from lorasmith.datasets.pictures.moving import clip_example, clips_after, refuse_clips
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError

Progress = Callable[[int, int, str], None]
Commit = Callable[[DatasetVersion, Sequence[Item], Operation], DatasetVersion]
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
_SAME_SHAPE: Final = 0.02  # of the logarithms of two aspect ratios: a pixel or two of rounding
_SHORT: Final = 60  # characters of a value that is told in words
_AHEAD: Final = 2 * _THREADS  # pictures decoded before the oldest is stored: bounds memory


@dataclass(frozen=True)
class ToolExample:
    """One picture before and after."""

    item: str
    before: Image.Image
    after: tuple[Image.Image, ...]
    masks: tuple[Image.Image | None, ...]
    bytes_before: int
    bytes_after: int | None
    """Bytes of the new file where the tool chose them; None where the pixels will be stored as PNG."""


@dataclass(frozen=True)
class ToolPreview:
    """What a tool would do, said before it does it."""

    scope: str
    description: str
    in_scope: int
    changed: int | None
    """How many pictures would change; None when only looking at each would tell."""
    examples: tuple[ToolExample, ...]
    refused: dict[str, str]
    """Of the examples: names and why they cannot be worked on."""


@dataclass(frozen=True)
class ToolOutcome:
    """What a tool did."""

    version: DatasetVersion
    changed: int
    refused: dict[str, str]
    """Pictures that stay as they were, and why."""


def preview_tool(
    version: DatasetVersion,
    store: DatasetStore,
    tool: PictureTool,
    names: Collection[str] | None = None,
    *,
    examples: int = 6,
) -> ToolPreview:
    """What the tool would do to all items or to those named, with a few pictures of it; nothing is stored."""
    scope = items_in(version, names)
    sizes = [tool.size_after(item.width, item.height) for item in scope]
    known = [size is not None and size != (item.width, item.height) for item, size in zip(scope, sizes, strict=True)]
    told = all(size is not None for size in sizes) and any(known)
    shown: list[ToolExample] = []
    refused: dict[str, str] = {}
    for item in scope:
        if len(shown) >= examples or len(shown) + len(refused) >= 4 * examples:
            break
        frame = frame_of(item, store)
        try:
            refuse_clips(frame.item, tool)
            if item.clip is not None and not tool.masks_only:
                refuse_references(frame, store, tool, tool.work(frame))
                if firsts := clip_example(frame, store, tool):
                    bytes_before = store.blob_path(item.clip.video).stat().st_size
                    nothing = (None,) * len(firsts)
                    shown.append(ToolExample(item.name, frame.image, firsts, nothing, bytes_before, None))
                continue
            after = tool.work(frame)
            refuse_references(frame, store, tool, after)
        except ToolError as reason:
            refused[item.name] = str(reason)
            continue
        if not (len(after) == 1 and after[0] is frame):
            shown.append(_example(frame, after, store))
    words = f"all {len(scope):,} pictures" if names is None else f"{len(scope):,} of {len(version.items):,} pictures"
    return ToolPreview(words, tool.describe(), len(scope), sum(known) if told else None, tuple(shown), refused)


def use_tool(
    version: DatasetVersion,
    store: DatasetStore,
    tool: PictureTool,
    names: Collection[str] | None = None,
    *,
    progress: Progress | None = None,
    commit: Commit | None = None,
) -> ToolOutcome:
    """Use the tool on all items or those named, and commit the result as one new version.

    Pictures the tool refuses stay as they are and are listed. When nothing changes, ``version`` itself comes back.
    ``progress`` is called with pictures done, pictures in all and a name; what it raises ends the work, and the old
    version stays the newest. ``commit`` takes (parent, items, operation) in place of the store's own.

    Raises:
        DatasetError: a name is unknown, or a stored picture is missing or damaged.
        OutOfDisk: it does not fit; nothing is changed.
    """
    scope = items_in(version, names)
    wanted = {item.name for item in scope}
    made: dict[str, Sequence[Item]] = {}
    refused: dict[str, str] = {}
    with closing(_work_all(scope, store, tool)) as outcomes:
        for done, (item, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, str):
                refused[item.name] = outcome
            elif outcome is not None:
                made[item.name] = outcome
            if progress is not None:
                progress(done, len(scope), item.name)
    if not made:
        return ToolOutcome(version, 0, refused)
    taken: set[str] = set()
    for item in version.items:  # those that stay keep their names; new ones give way
        if item.name not in made:
            make_unique(item.name, taken)
    items: list[Item] = []
    for item in version.items:
        if item.name in made:
            items.extend(replace(new, name=make_unique(new.name, taken)) for new in made[item.name])
        else:
            items.append(item)
    arguments: dict[str, Any] = tool.model_dump(mode="json") | {"in_words": in_words(tool)}
    if names is not None:
        arguments["items"] = sorted(wanted)
    if refused:
        arguments["refused"] = refused
    committed = (commit or store.commit)(version, items, Operation(name=tool.name, arguments=arguments))
    return ToolOutcome(committed, len(made), refused)


def in_words(tool: PictureTool) -> str:
    """A tool with the options that were chosen; those left alone are in the record of the operation only."""
    values = tool.model_dump(mode="json", include=tool.model_fields_set)
    told = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in values.items()}
    short = [f"{name}: {value}" for name, value in told.items() if value is not None and len(str(value)) <= _SHORT]
    name = tool.name.replace("_", " ")
    return f"{name} ({', '.join(short)})" if short else name


def rename_in_sequence(
    version: DatasetVersion,
    store: DatasetStore,
    *,
    digits: int = 4,
    start: int = 1,
    prefix: str = "",
    folders: bool = False,
    commit: Commit | None = None,
) -> DatasetVersion:
    """Name all pictures by number in their order (``0001.png``); each keeps its former name in its provenance.

    Args:
        version: whose pictures are named.
        store: where the new version goes.
        digits: how many digits a number has at least, 1 to 12.
        start: the first number.
        prefix: stands before every number.
        folders: keep the folder of each picture, and count in each folder anew.
        commit: takes (parent, items, operation) in place of the store's own.

    Raises:
        DatasetError: the names cannot be used.
    """
    if not 1 <= digits <= 12 or start < 0 or safe_item_name(prefix + "1") != prefix + "1" or "/" in prefix:
        message = f"'{prefix}' with {digits} digits from {start} gives no safe names."
        raise DatasetError(message, "Use letters, - and _.")
    counts: dict[str, int] = {}
    items: list[Item] = []
    for item in version.items:
        path = PurePosixPath(item.name)
        folder = f"{path.parent}/" if folders and str(path.parent) != "." else ""
        number = counts.get(folder, start)
        counts[folder] = number + 1
        name = f"{folder}{prefix}{number:0{digits}d}{path.suffix.lower()}"
        former = {"former_name": item.provenance.get("former_name", item.name)} if name != item.name else {}
        items.append(replace(item, name=name, provenance={**item.provenance, **former}))
    mapping = {old.name: new.name for old, new in zip(version.items, items, strict=True) if old.name != new.name}
    if not mapping:
        return version
    return (commit or store.commit)(version, items, Operation(name="rename_in_sequence", arguments={"names": mapping}))


def items_in(version: DatasetVersion, names: Collection[str] | None) -> list[Item]:
    """All items, or those named, in the version's order.

    Raises:
        DatasetError: a name is of no item.
    """
    if names is None:
        return list(version.items)
    wanted = set(names)
    found = [item for item in version.items if item.name in wanted]
    if len(found) < len(wanted):
        missing = sorted(wanted - {item.name for item in found})
        raise DatasetError(f"{version.reference} has no picture '{missing[0]}'.", "`lorasmith captions` lists them.")
    return found


def frame_of(item: Item, store: DatasetStore) -> Frame:
    """An item with its picture and mask decoded.

    Raises:
        DatasetError: a blob is missing or damaged.
    """
    mask = None
    if item.mask is not None:
        mask = store.open_image(replace(item, image=item.mask)).convert("L")
    return Frame(item, store.open_image(item), mask, store.blob_path(item.image), store.blob_path(item.original))


def _example(frame: Frame, after: Sequence[Frame], store: DatasetStore) -> ToolExample:
    sizes = [len(one.content) for one in after if one.content is not None]
    before = store.blob_path(frame.item.image).stat().st_size
    images, masks = tuple(one.image for one in after), tuple(one.mask for one in after)
    return ToolExample(frame.item.name, frame.image, images, masks, before, sum(sizes) if sizes else None)


def _work_all(
    items: Sequence[Item], store: DatasetStore, tool: PictureTool
) -> Generator[tuple[Item, Sequence[Item] | str | None], None, None]:
    """In order: each item with what takes its place, None when it stays, or why it is refused."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tool") as pool:
        waiting: deque[tuple[Item, Future[Sequence[Item] | str | None]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(_work_one, item, store, tool)))
                if len(waiting) > _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _work_one(item: Item, store: DatasetStore, tool: PictureTool) -> Sequence[Item] | str | None:
    frame = frame_of(item, store)
    try:
        refuse_clips(frame.item, tool)
        if item.clip is not None and not tool.masks_only:
            first = tool.work(frame)
            refuse_references(frame, store, tool, first)
            clips = clips_after(frame, store, tool)
            beside = _references_after(item, first[0], store, tool) if clips else ()
            return [moved_along(new, item.references, beside) for new in clips] if clips else None
        after = tool.work(frame)
        if len(after) == 1 and after[0] is frame:
            return None
        refuse_references(frame, store, tool, after)
        references = [_references_after(item, new, store, tool) for new in after]
    except ToolError as reason:
        return str(reason)
    stored = [_stored(new, store, keep_pixels=tool.masks_only) for new in after]
    return [moved_along(new, item.references, those) for new, those in zip(stored, references, strict=True)]


def refuse_references(frame: Frame, store: DatasetStore, tool: PictureTool, after: Sequence[Frame]) -> None:
    """A picture must not part from its references.

    Raises:
        ToolError: the tool would move what is in it, and could not move the same in them.
    """
    if not frame.item.references or tool.masks_only or tool.on_references == "leave":
        return
    if tool.on_references == "cut" and all(new.window is None for new in after):
        return
    if tool.on_references == "refuse":
        raise ToolError("has reference pictures, which would not fit it any more; use a tool that takes them along")
    sides = frame.image.width / frame.image.height
    for image in store.open_references(frame.item):
        if abs(math.log(image.width / image.height / sides)) > _SAME_SHAPE:
            sizes = (
                f"{frame.image.width} x {frame.image.height} pixels and its reference {image.width} x {image.height}"
            )
            raise ToolError(f"is {sizes}: the same cut would not be the same part of both")


def _references_after(item: Item, new: Frame, store: DatasetStore, tool: PictureTool) -> tuple[str, ...]:
    """The references of a picture, gone the same way as it: each at its own scale."""
    if not item.references or tool.masks_only or tool.on_references in ("leave", "refuse"):
        return item.references
    if tool.on_references == "cut" and new.window is None:
        return item.references
    gone = []
    for sha256, image in zip(item.references, store.open_references(item), strict=True):
        if new.window is not None and tool.on_references == "cut":
            scale = image.width / item.width, image.height / item.height
            size = max(1, round(new.image.width * scale[0])), max(1, round(new.image.height * scale[1]))
            gone.append(store.put_image(seen_through(image, new.window, size), "RGB"))
            continue
        frame = Frame(replace(item, image=sha256, references=()), image)
        (after,) = tool.work(frame)
        gone.append(sha256 if after is frame else store.put_image(after.image, "RGB"))
    return tuple(gone)


def _stored(frame: Frame, store: DatasetStore, *, keep_pixels: bool) -> Item:
    """The frame's pixels and mask in the store, and the item that names them."""
    item, path = frame.item, PurePosixPath(frame.item.name)
    stem = str(path.with_suffix(""))
    if frame.content is not None:
        image, name = put_bytes(store, frame.content), f"{stem}{frame.suffix}"
        if path.suffix.lower() in (frame.suffix, *((".jpeg",) if frame.suffix == ".jpg" else ())):
            name = item.name
    elif keep_pixels:
        image, name = item.image, item.name
    else:
        image, name = store.put_image(frame.image, "RGB"), item.name
    if frame.part:
        name = f"{stem}-{frame.part}{PurePosixPath(name).suffix}"
    return replace(
        item,
        name=name,
        image=image,
        width=frame.image.width,
        height=frame.image.height,
        mask=store.put_image(frame.mask, "L") if frame.mask is not None else None,
        provenance={**item.provenance, "tools": [*item.provenance.get("tools", ()), *frame.notes]},
    )


def put_bytes(store: DatasetStore, content: bytes) -> str:
    """Store the bytes of a file as ``DatasetStore.put_file`` does."""
    with tempfile.TemporaryDirectory(prefix="lorasmith-") as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        return store.put_file(path)
