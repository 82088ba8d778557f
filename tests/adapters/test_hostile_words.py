"""Metadata that somebody made to hurt: nested without end, numbers that are none, texts that take a regex for ever."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from lorasmith.adapters.output import metadata_after
from lorasmith.adapters.tools.averaging import average
from lorasmith.adapters.tools.baking import companions
from lorasmith.adapters.tools.describing import describe
from lorasmith.adapters.tools.leaks import leaks_of, without
from lorasmith.adapters.weights import _files
from lorasmith.errors import AdapterError
from lorasmith.generation.adapters import _alpha_from_metadata
from tests.adapters.files import save_lora

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_tag_frequency": DEEP},
        {"ss_tag_frequency": '{"a": {"ohwx": 3}}', "ss_dataset_dirs": '{"a":' * 100_000},
        {"ss_tag_frequency": '{"a": {"ohwx": 3}}', "ss_dataset_dirs": '{"a": {"img_count": 1e999}}'},
        {"ss_tag_frequency": '{"a": {"ohwx": 3}}', "ss_dataset_dirs": '{"a": {"img_count": "%s"}}' % ("9" * 5000)},
        {"ss_tag_frequency": '{"a": {"ohwx": 3}}', "ss_dataset_dirs": '{"a": {"img_count": true}}'},
        {"lorasmith.operations": DEEP, "ss_steps": "9" * 5000, "lora_adapter_metadata": DEEP},
    ],
)
def test_a_file_is_described_whatever_its_tables_are(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "a.safetensors"
    save_lora(path, metadata=metadata)
    found = describe(path)
    assert found.kind.family == "sdxl" and not found.likely_triggers


def test_a_history_that_is_none_begins_anew() -> None:
    for text in (DEEP, "{", "5", '{"a": 1}'):
        made = json.loads(metadata_after({"lorasmith.operations": text}, "scale", {})["lorasmith.operations"])
        assert [step["operation"] for step in made] == ["scale"]


def test_a_step_of_a_thousand_digits_is_no_step(tmp_path: Path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_lora(one, metadata={"ss_steps": "9" * 5000})
    save_lora(other, metadata={"ss_steps": "100"})
    with pytest.raises(AdapterError, match=r"one\.safetensors does not say its step"):
        average([one, other], tmp_path / "out.safetensors")


@pytest.mark.parametrize(("steps", "said"), [([-5, 100], "-5 is no step"), ([0, 100], "0 is no step")])
def test_a_step_that_is_none_is_named(tmp_path: Path, steps: list[int], said: str) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_lora(one)
    save_lora(other)
    with pytest.raises(AdapterError, match=said):
        average([one, other], tmp_path / "out.safetensors", steps=steps)
    with pytest.raises(AdapterError, match="2 files and 1 step"):
        average([one, other], tmp_path / "out.safetensors", steps=[100])


@pytest.mark.parametrize("said", [DEEP, "[]", '{"unet.alpha_pattern": 5}', '{"unet.lora_alpha": "8"}', "5"])
def test_an_alpha_that_is_none_is_the_rank(said: str) -> None:
    assert _alpha_from_metadata({"lora_adapter_metadata": said}, "unet.mid_block.x", 4) == 4


@pytest.mark.parametrize("text", ["x" * 200_000, "a." * 100_000, "x@" * 50_000, "x@" + "y" * 200_000, "@" * 200_000])
def test_long_words_do_not_take_the_square_of_their_length(text: str) -> None:
    """Ten times the letters take ten times the time, and not a hundred times."""

    def spent(length: int) -> float:
        begin = time.process_time()
        leaks_of({"ss_training_comment": text[:length]})
        without({"ss_resolution": text[:length]}, ("names", "paths", "secrets"))
        return time.process_time() - begin

    assert spent(100_000) < 40 * max(spent(10_000), 0.002)


def test_addresses_are_still_found_and_taken_away() -> None:
    text = "by Ann <ann.o-1+x@mail.example.org>, bob@b.de."
    found = [leak.excerpt for leak in leaks_of({"modelspec.description": text}) if leak.kind == "names"]
    assert found == ["ann.o-1+x@mail.example.org"]
    assert "@" not in without({"modelspec.description": text}, ("names",))["modelspec.description"]


@pytest.mark.parametrize("text", [DEEP, "{", "[]", '{"weight_map": 5}', '{"weight_map": {"a": 5}}', "\x80"])
def test_lists_of_a_bases_files_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AdapterError, match="cannot be read"):
        _files(tmp_path)


@pytest.mark.parametrize("text", [DEEP, "{", "[]", "\x80"])
def test_an_index_of_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AdapterError, match="cannot be read"):
        companions(tmp_path, [])
