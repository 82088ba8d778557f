"""What lies behind an item of a dataset: its picture, the frames of its clip, its references, its mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image

from lorasmith.datasets.blobs import Blobs
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import DatasetError


class Contents:
    """Bytes by their SHA-256, and pictures out of them. ``DatasetStore`` adds the versions that name them."""

    def __init__(self, home: Path) -> None:
        self.home = Path(home)  # nothing below may point back here: what was put is kept as long as this object lives
        self._blobs = Blobs(self.home)

    def put_image(self, image: Image.Image, mode: Literal["RGB", "L"] = "RGB") -> str:
        """Store a picture as PNG and give its SHA-256; masks are ``L``. Name it in a ``commit`` of this same store
        object: until then garbage collection keeps it for as long as this object lives.

        Raises:
            DatasetError: the picture has transparency or other pixels that ``mode`` cannot hold without loss.
            OutOfDisk: it does not fit.
        """
        with disk_errors(self.home):
            return self._blobs.put_image(image, mode)

    def put_file(self, path: Path) -> str:
        """Store the bytes of a file and give their SHA-256; as for ``put_image``, until the next ``commit``.

        Raises:
            InputError: it cannot be read, or changes while it is.
            OutOfDisk: it does not fit.
        """
        with disk_errors(self.home):
            return self._blobs.put_file(Path(path))

    def holds(self, sha256: str) -> bool:
        """Whether the blob is in the store."""
        return self.blob_path(sha256).is_file()

    def blob_path(self, sha256: str) -> Path:
        """Where the bytes with this SHA-256 (64 hexadecimal digits) lie."""
        return self._blobs.path(sha256)

    def open_image(self, item: Item) -> Image.Image:
        """The picture of an item, RGB, loaded.

        Raises:
            DatasetError: its blob is missing or damaged.
        """
        return self._opened(item.image, "RGB", f"picture of '{item.name}'", "Import its source again.")

    def open_frames(self, item: Item, numbers: Sequence[int]) -> Iterator[Image.Image]:
        """These frames of an item that is a clip, RGB; ``numbers`` count from its first frame and never go back.

        Raises:
            DatasetError: it is a picture, or its video is missing or damaged.
            EnvironmentProblem: there is no ffmpeg, and it takes one.
        """
        from lorasmith.datasets.clips.reading import frames_of
        from lorasmith.datasets.clips.words import how_to_read

        if item.clip is None:
            raise DatasetError(f"'{item.name}' is a picture and no clip.", "Open it as a picture.")
        path = self.blob_path(item.clip.video)
        if not path.is_file():
            raise DatasetError(f"The video of '{item.name}' is missing from the store.", "Import its source again.")
        yield from frames_of(path, item.clip, numbers, *how_to_read(item))

    def open_references(self, item: Item) -> tuple[Image.Image, ...]:
        """The reference pictures of an item in order, RGB, loaded; none when it has none.

        Raises:
            DatasetError: one of their blobs is missing or damaged.
        """
        return tuple(self.open_reference(sha256) for sha256 in item.references)

    def open_reference(self, sha256: str) -> Image.Image:
        """A reference picture by its hash, RGB, loaded.

        Raises:
            DatasetError: its blob is missing or damaged.
        """
        nameless = Item(name=f"reference {sha256[:12]}", image=sha256, original=sha256, width=1, height=1)
        return self.open_image(nameless)

    def open_mask(self, item: Item) -> Image.Image:
        """The mask of an item that has one, L (white counts, black does not), loaded.

        Raises:
            DatasetError: it has none, or its blob is missing, damaged, or of another size than the picture.
        """
        if item.mask is None:
            raise DatasetError(f"'{item.name}' has no mask.", "Make one with an image tool such as mask_rectangle.")
        again = "Make it again, or take it away with the tool remove_mask."
        mask = self._opened(item.mask, "L", f"mask of '{item.name}'", again)
        if mask.size != (item.width, item.height):
            raise DatasetError(
                f"'{item.name}' is {item.width} x {item.height} pixels and its mask {mask.width} x {mask.height}.",
                "Make the mask again, or take it away with the tool remove_mask.",
            )
        return mask

    def _opened(self, sha256: str, mode: Literal["RGB", "L"], what: str, hint: str) -> Image.Image:
        try:
            with Image.open(self.blob_path(sha256)) as image:
                image.load()
                return image.convert(mode)
        except FileNotFoundError as cause:
            raise DatasetError(f"The {what} is missing from the store.", hint) from cause
        except (OSError, SyntaxError, ValueError) as cause:
            raise DatasetError(f"The stored {what} is damaged: {cause}.", hint) from cause
