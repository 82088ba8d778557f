"""One studio with three pictures, for every fault."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasmith.studio import Studio


@pytest.fixture(scope="session")
def libraries() -> None:
    """Loaded once here and not in every fork."""
    if not hasattr(os, "fork"):
        pytest.skip("faults are put into a fork")
    import diffusers
    import peft

    from lorasmith.adapters import certificate
    from lorasmith.training import assembly, loop, precompute

    assert all((diffusers.StableDiffusionPipeline, peft.LoraConfig, certificate, assembly, loop, precompute))


@pytest.fixture
def studio(tmp_path: Path, libraries: None, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    made = Studio(tmp_path / "home")
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("zib")
    made.import_dataset(folder, name="dots")
    return made
