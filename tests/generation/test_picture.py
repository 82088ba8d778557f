from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lorasmith.errors import InputError
from lorasmith.generation.picture import (
    PictureFacts,
    facts_of,
    parse_a1111,
    read_picture,
    save_picture,
    to_a1111,
)

_CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>")
_PROSE = st.text(alphabet=_CHARACTERS, max_size=60).map(str.strip)
_LINES = st.lists(_PROSE.filter(lambda s: s and not s.startswith("Negative prompt")), max_size=3).map("\n".join)
_NAME = st.text(alphabet="abcdef_-猫é.", min_size=1, max_size=12)
_WEIGHT = st.integers(-400, 400).map(lambda n: n / 100)
_HASH = st.text(alphabet="0123456789abcdef", min_size=12, max_size=12)
_ADAPTERS = st.lists(st.tuples(_NAME, _WEIGHT, _HASH), max_size=3, unique_by=lambda use: use[0]).map(tuple)
_FACTS = st.builds(
    PictureFacts,
    prompt=_LINES,
    negative_prompt=_LINES,
    seed=st.integers(0, 2**63 - 1),
    steps=st.integers(1, 1000),
    guidance_scale=st.integers(0, 500).map(lambda n: n / 10),
    scheduler=st.sampled_from(["DDIM", "DPM++ 2M", "Euler a"]),
    width=st.integers(8, 1024).map(lambda n: n * 8),
    height=st.integers(8, 1024).map(lambda n: n * 8),
    base=st.text(alphabet=_CHARACTERS, min_size=1, max_size=20).map(str.strip),
    base_hash=_HASH.map(lambda text: text[:10]),
    adapters=_ADAPTERS,
    version=st.just("1.2.3"),
)


@given(_FACTS)
def test_a1111_text_is_read_back(facts: PictureFacts) -> None:
    assert facts_of(parse_a1111(to_a1111(facts)), "x.png") == facts


@settings(max_examples=25)
@given(_FACTS, st.booleans())
def test_the_file_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, facts: PictureFacts, odd: bool
) -> None:
    path = tmp_path_factory.mktemp("pictures") / ("猫 1.png" if odd else "a.png")
    hostile = facts.model_copy(update={"prompt": facts.prompt + "\nNegative prompt: x\nSteps: 1, Sampler: y, Seed: 2"})
    save_picture(Image.new("RGB", (8, 8)), path, hostile)
    assert read_picture(path) == hostile
    with Image.open(path) as image:
        assert image.info["parameters"] == to_a1111(hostile)


def test_other_programs_text_is_understood() -> None:
    text = (
        "a photo of (zib:1.2), <lora:zib style:0.7>\n"
        "Negative prompt: blurry, text\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 12, Size: 512x768, "
        'Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Lora hashes: "zib style: 0123456789ab", '
        'Note: "a \\"quoted\\", thing", Version: v1.10.1'
    )
    parsed = parse_a1111(text)
    assert parsed.settings["Schedule type"] == "Karras"
    assert parsed.settings["Note"] == 'a "quoted", thing'
    facts = facts_of(parsed, "x.png")
    assert (facts.prompt, facts.negative_prompt) == ("a photo of (zib:1.2)", "blurry, text")
    assert facts.adapters == (("zib style", 0.7, "0123456789ab"),)
    assert (facts.width, facts.height, facts.seed) == (512, 768, 12)


def test_a_picture_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(InputError, match="does not say"):
        read_picture(tmp_path / "plain.png")
    (tmp_path / "no.png").write_bytes(b"text")
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(tmp_path / "no.png")
    info = PngInfo()
    info.add_text("parameters", "only a prompt")
    Image.new("RGB", (8, 8)).save(tmp_path / "half.png", pnginfo=info)
    with pytest.raises(InputError, match="incomplete"):
        read_picture(tmp_path / "half.png")
