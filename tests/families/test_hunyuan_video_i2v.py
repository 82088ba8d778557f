"""HunyuanVideo from a picture beyond the contract: its two forms, told apart and painted with, and what LLaVA sees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from lorasmith.adapters.certificate import certify
from lorasmith.adapters.file import write_adapter
from lorasmith.bases import open_base
from lorasmith.bases.detection import registered_families
from lorasmith.bases.opening import CONFIGS
from lorasmith.config import resolve
from lorasmith.errors import BaseError, ConfigError
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.recipe import refuse_idle
from lorasmith.trainers.native import plugin as native
from lorasmith.training.loop import train
from tests.families.steps import load, picture_of, run_of
from tests.families.tiny import RECORDS
from tests.training.runs import Said

Tiny = Callable[[str], Path]
NAME, BESIDE = "hunyuan_video_i2v", "hunyuan_video_i2v 33"


def test_the_picture_is_read_with_the_prompt_in_as_many_tokens_as_the_form_wants(tiny: Tiny) -> None:
    for name, tokens in ((NAME, 576 // 4), (BESIDE, 576 // 2)):
        _, family, model = load(tiny(name))
        prompts, pictures = ["zib, a star", "zib, a star by a circle"], [[picture_of(1)], [picture_of(2)]]
        with torch.no_grad():
            both = family.encode_instructions(model, prompts, pictures).tensors
            other = family.encode_instructions(model, prompts[:1], [[picture_of(3)]]).tensors
        lengths = both["encoder_attention_mask"].sum(dim=1).tolist()
        words = model.tokenizers["tokenizer"]
        assert lengths == [tokens + len(words(prompt, add_special_tokens=False).input_ids) + 1 for prompt in prompts]
        seen, read = both["encoder_hidden_states"][0, :tokens], both["encoder_hidden_states"][0, tokens : lengths[0]]
        assert not torch.allclose(seen, other["encoder_hidden_states"][0, :tokens], atol=1e-3)
        assert not torch.allclose(read, other["encoder_hidden_states"][0, tokens:], atol=1e-4), "words after a picture"
        torch.testing.assert_close(both["pooled_projections"][:1], other["pooled_projections"])
        with pytest.raises(NotImplementedError, match="together with the first frame"):
            family.encode_prompts(model, prompts)


@pytest.mark.parametrize("name", [NAME])  # diffusers' reader of its files has a width written into it
def test_the_form_with_33_channels_is_trained_and_paints_as_many_frames_as_are_asked_for(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    """All of a clip is learned. Its pipeline throws four frames away."""
    base = open_base(str(tiny(BESIDE)))
    family = registered_families()[name]
    run = run_of(tmp_path, tiny(BESIDE), **{"max_train_steps": 2, "train_batch_size": 1})
    assert run.batches.load(run.sampler.next_batch()).mask is None
    assert train(run, Said(), Control) == "succeeded"
    modules, _ = run.lora.export()
    (tmp_path / "adapters").mkdir()
    write_adapter(tmp_path / "adapters" / "it.safetensors", modules, family=family, dtype="fp32", metadata={})
    certificate = certify(tmp_path / "adapters" / "it.safetensors", base, trained=modules)
    assert certificate.passed, certificate.findings
    assert base.detection.variant == "i2v_33ch" and open_base(str(tiny(NAME))).detection.variant == "i2v"
    picture_of(1).save(tmp_path / "first.png")
    request = GenerateRequest(
        base=str(base.path), prompts=("zib <lora:it:1>",), steps=1, width=64, height=64, frames=9, precision="fp32",
        device="cpu", threads=1, first_frame=str(tmp_path / "first.png"),
    )  # fmt: skip
    made = paint(request, base, family, home=tmp_path, out=tmp_path, emit=Said(), control=Control)
    with Image.open(tmp_path / made["images"][0]["clip"]) as clip:
        assert clip.n_frames == 9  # type: ignore[attr-defined]
    own = {"base": "b", "dataset": "d", "objective": {"guidance": 2.0}}
    with pytest.raises(ConfigError, match="no guidance built in"):
        refuse_idle(native, family, own, resolve({}, own), family.lacks_of(base))
    assert not family.lacks_of(open_base(str(tiny(NAME))))


def test_a_config_at_odds_with_its_tensors_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    for number, (name, kind) in enumerate(((NAME, "latent_concat"), (BESIDE, None))):
        folder = shutil.copytree(tiny(name), tmp_path / f"odd {number}")
        path = folder / "transformer" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"image_condition_type": kind}))
        with pytest.raises(BaseError, match=f"image_condition_type is {json.dumps(kind)}; with its tensors"):
            open_base(str(folder))


@pytest.mark.parametrize("variant", ["i2v", "i2v_33ch"])
def test_the_shipped_configs_are_those_of_the_published_model(variant: str) -> None:
    import diffusers

    class_name, config = RECORDS[NAME].full[variant]
    with torch.device("meta"):
        published = getattr(diffusers, class_name)(**config).config
    shipped = json.loads((CONFIGS / NAME / variant / "transformer" / "config.json").read_text())
    told = {key: value for key, value in published.items() if not key.startswith("_")}
    assert shipped == {"_class_name": class_name, **json.loads(json.dumps(told))}
    index = json.loads((CONFIGS / NAME / variant / "model_index.json").read_text())
    assert index["_class_name"] == RECORDS[NAME].pipeline


def test_a_denoiser_alone_is_what_the_folder_beside_it_says(tiny: Tiny, tmp_path: Path) -> None:
    """With 16 channels its tensors are those of the base that begins with text."""
    for name in (NAME, BESIDE):
        single = tmp_path / f"{name}.safetensors"
        folder = shutil.copytree(tiny(name), tmp_path / name)
        next((folder / "transformer").glob("*.safetensors")).rename(single)
        base, family, model = load(single)
        assert (base.layout, family.name) == ("single_file", NAME)
        assert family.keeps_beginning(model) == (name == NAME)
