"""Processors of models that see: on Pillow, and without films, for which torchvision would be needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def without_films(known: Any) -> Any:
    """A processor's class as it is, except that it does not insist on a part for films."""

    class Still(known):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor" and argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    Still.__name__, Still.__module__ = known.__name__, known.__module__  # both are written into files
    return Still


def still_processor(folder: Path, known: Any) -> Any:
    """The processor that lies in a folder, for words and pictures; no code of the folder is run.

    Raises:
        ImportError, OSError, ValueError: what transformers says of a folder it cannot read.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    place: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **place)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil", **place),
        "tokenizer": tokenizer,
        "video_processor": None,
    }
    told, _ = known.get_processor_dict(folder, **place)
    own = {name: value for name, value in told.items() if name not in (*parts, "processor_class", "auto_map")}
    return without_films(known)(**parts, **{"chat_template": tokenizer.chat_template, **own})
