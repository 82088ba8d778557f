"""What variants of a family change in its defaults, and that FLUX.2 dev goes the whole way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lorasmith.bases import family_of, open_base
from tests.families import test_families as contract

Tiny = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "gamma"),
    [("sd", 5.0), ("sd 2.1", 5.0), ("sd ends in noise", None), ("sdxl v", 5.0), ("sdxl v, ends in noise", None)],
)
def test_min_snr_is_left_out_where_a_schedule_ends_in_noise(tiny: Tiny, name: str, gamma: float | None) -> None:
    base = open_base(str(tiny(name)))
    assert family_of(base).defaults_for(base)["objective"]["min_snr_gamma"] == gamma


def test_flux2_dev_is_trained_exported_and_painted_with(tiny: Tiny, tmp_path: Path) -> None:
    """Its published folder names a processor that looks at pictures, for which torchvision would be needed."""
    assert "PixtralProcessor" in (tiny("flux2 dev") / "model_index.json").read_text()
    contract.test_training_export_certificate_and_a_picture(lambda name: tiny("flux2 dev"), "flux2", tmp_path)
