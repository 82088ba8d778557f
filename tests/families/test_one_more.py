"""Adding a family takes one file: everything that speaks of families asks it, and nothing else has to know of it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorasmith import families
from lorasmith.bases.detection import detect, registered_families
from lorasmith.bases.families_page import page
from lorasmith.bases.header import Header
from lorasmith.bases.trainable import facts_of
from lorasmith.config import resolve
from lorasmith.datasets.tokens import counter_for
from lorasmith.errors import ConfigError
from lorasmith.families import lacking
from lorasmith.recipe import refuse_idle
from lorasmith.trainers.native import plugin as native

SOURCE = '''
"""A toy."""
from types import MappingProxyType
from lorasmith.families import Detection, Pretrained
from lorasmith.families.chroma import Chroma

class Toy(Chroma):
    """A toy."""
    name = "toy"
    title = "Toy"
    pretrained = (Pretrained("Toy 1", "a/toy", "MIT"),)
    pipelines = frozenset(("ToyPipeline",))
    max_prompt_tokens = 33
    billions = MappingProxyType({"1": 0.25})
    predicted_memory = MappingProxyType({"64 px": (9.0, 7.0)})

    def detect(self, header):
        if "toy.weight" not in header.shapes:
            return None
        return Detection("toy", "1", "Toy", ("it has 'toy.weight'",))

plugin = Toy()
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "toy.py").write_text(SOURCE)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield
    sys.modules.pop("lorasmith.families.toy", None)
    if hasattr(families, "toy"):
        delattr(families, "toy")


def test_one_file_is_a_family(toy: None) -> None:
    family = registered_families()["toy"]
    header = Header(Path("toy.safetensors"), "single_file", {"toy.weight": (4, 4)}, {"toy.weight": "BF16"})
    assert detect(header).family == "toy"
    counter = counter_for("toy")
    assert (counter.limit, counter.exact) == (33, False) and "Toy" in counter.name
    assert facts_of(family).memory["64 px"] == {8: "checkpointing", 12: "plain", 16: "plain", 24: "plain",
                                                48: "plain", 80: "plain"}  # fmt: skip
    text = page()
    assert "| `toy` | Toy |" in text and "| Toy 1 | `toy` | a/toy | MIT |" in text and "| Toy, 64 px | ckpt |" in text
    assert "objective.min_snr_gamma" in lacking(family)
    own = {"base": "b", "dataset": "d", "objective": {"guidance": 2.0}}
    with pytest.raises(ConfigError, match="Toy does not have it"):
        refuse_idle(native, family, own, resolve({}, own))


def test_what_is_no_family_has_no_counter() -> None:
    with pytest.raises(ConfigError, match="No tokenizer is known for the family 'toy'"):
        counter_for("toy")


def test_nothing_that_runs_a_family_names_one() -> None:
    """Facts of files and of other programs lie in tables (`bases`, `adapters`, `datasets/eyes`); what trains, paints,
    judges and shows asks the family. The sandbox is of the first one."""
    names = "|".join(set(registered_families()) - {"sd"})
    said = re.compile(rf"""["']({names})["']""")
    root = Path(families.__file__).parents[1]
    rooms = ("training", "trainers", "generation", "evaluation", "web", "cli", "notebook", "curation", "jobs", "queue")
    files = [*root.glob("*.py"), *(path for room in rooms for path in (root / room).rglob("*.py"))]
    assert len(files) > 100
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if said.search(line)
    ]
    assert not found
