"""A tiny world, a tiny base and a tiny tagger, all real, so that every path runs anywhere in a minute."""

from __future__ import annotations

from pathlib import Path

from lorasmith.errors import BaseError


def sandbox_weights() -> Path:
    """The folder with the shipped weights: ``base/`` in diffusers layout, ``tagger/`` in WD layout.

    Raises:
        BaseError: this installation came without them.
    """
    folder = Path(__file__).parent / "weights"
    if not folder.is_dir():
        raise BaseError("This installation came without the sandbox's weights.", "Reinstall lorasmith.")
    return folder
