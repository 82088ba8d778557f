"""Opens pictures ahead of whoever looks at them, each in a process that may die of it.

A file that crashes its decoder, or that keeps it busy for ever, costs one process, which is replaced; the picture is
named. Pictures come in the order in which they were asked for.

Run as a module, this is such a process.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, TypeVar

from PIL import Image

from lorasmith.captioners.children import Child, ChildDiedError, serve, write_frame

K = TypeVar("K")
MODULE: Final = "lorasmith.captioners.decoding"  # which is called __main__ in the process itself
_SECONDS: Final = 60.0  # for one picture
MOST_PROCESSES: Final = 4
"""That opening pictures ahead is worth."""
_AHEAD_BYTES: Final = 256 * 1024 * 1024
_UNKNOWN_PICTURE: Final = 12_000_000 * 3  # bytes, of a picture that comes as it is
_SHARP: Final = 2  # a JPEG is decoded at the smallest of its own sizes that has this many times the pixels wanted


class UnreadableError(Exception):
    """A picture that cannot be opened; the text says why."""


@dataclass(frozen=True)
class Picture:
    """RGB pixels, 8 bits each, row by row."""

    width: int
    height: int
    rgb: bytes

    def image(self) -> Image.Image:
        """The same for Pillow."""
        return Image.frombytes("RGB", (self.width, self.height), self.rgb)


class Decoders(Generic[K]):
    """Some processes that open pictures, kept busy ahead of the reader, in bounded memory."""

    def __init__(self, longest_side: int | None, *, processes: int = 1, module: str = MODULE) -> None:
        """
        Args:
            longest_side: pixels that pictures are reduced to; None leaves them as they are.
            processes: how many.
            module: what they run.
        """
        self._side, self._module = longest_side, module
        self._idle: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        for _ in range(processes):
            self._idle.put(None)  # started when it is first needed
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="decoder")
        each = longest_side * longest_side * 3 if longest_side is not None else _UNKNOWN_PICTURE
        self._ahead = max(processes, min(64, _AHEAD_BYTES // max(1, each)))

    def __enter__(self) -> Decoders[K]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            child = self._idle.get()
            if child is not None:
                child.close()

    def open_all(self, files: Iterable[tuple[K, Path]]) -> Iterator[tuple[K, Picture | UnreadableError]]:
        """Every picture under its key, in order, opened ahead while the reader works on earlier ones."""
        waiting: deque[tuple[K, Future[Picture | UnreadableError]]] = deque()
        coming = iter(files)
        try:
            while True:
                while len(waiting) < self._ahead and (following := next(coming, None)) is not None:
                    waiting.append((following[0], self._threads.submit(self._open, following[1])))
                if not waiting:
                    return
                key, future = waiting.popleft()
                yield key, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _open(self, path: Path) -> Picture | UnreadableError:
        """Twice at most: what ended the process once may have been somebody else's doing."""
        for first in (True, False):
            child = self._idle.get() or Child(self._module)
            try:
                answer, blobs = child.ask({"path": str(path), "side": self._side}, seconds=_SECONDS)
            except ChildDiedError as cause:
                self._idle.put(None)
                if not first:
                    return UnreadableError(f"Its decoder {cause}; the file is poisoned or far too large.")
                continue
            self._idle.put(child)
            if "error" in answer:
                return UnreadableError(str(answer["error"]))
            return Picture(int(answer["width"]), int(answer["height"]), blobs[0])
        raise AssertionError("unreachable")


def open_picture(path: Path, side: int | None) -> Image.Image:
    """A stored picture as RGB, its longer side at most ``side`` pixels (bicubic, as taggers were trained to see).

    Stored pictures are upright, sRGB and without alpha, so reducing while a JPEG is decoded is all there is to it.

    Raises:
        OSError, SyntaxError, ValueError: it is missing or damaged.
    """
    with Image.open(path) as image:
        if side is not None:
            image.draft("RGB", (side * _SHARP, side * _SHARP))
        image.load()
        return reduced(image.convert("RGB"), side)


def reduced(image: Image.Image, side: int | None) -> Image.Image:
    """A picture whose longer side has at most so many pixels; the same one where it has."""
    if side is None or max(image.size) <= side:
        return image
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def main() -> None:
    """Answer until nobody asks any more."""
    for (question, _), answers in serve():
        try:
            image = open_picture(Path(question["path"]), question["side"])
        except FileNotFoundError:
            write_frame(answers, {"error": "Its file is missing from the store; import its source again."})
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
            write_frame(answers, {"error": f"Its stored file is damaged: {cause}."})
        else:
            write_frame(answers, {"width": image.width, "height": image.height}, [image.tobytes()])


if __name__ == "__main__":
    main()
