from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lorasmith.bases import open_base
from lorasmith.errors import BaseError, CheckpointError
from lorasmith.families import Model
from lorasmith.families.sd import StableDiffusion
from lorasmith.families.sd import plugin as sd
from lorasmith.training.lora import Average, Lora, attach
from tests.training.home import quick_config


def loaded(tiny_base: Path, **changes: object) -> tuple[Model, Lora]:
    model = sd.load(open_base(str(tiny_base)), parts=("denoiser", "text_encoders"), dtype=torch.float32, device="cpu")
    return model, attach(model, sd, quick_config(tiny_base, **{"adapter.dropout": 0.0, **changes}))


def said(model: Model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn((1, 4, 8, 8), generator=generator)
    with torch.no_grad():
        return sd.denoise(model, noisy, torch.tensor([0.5]), sd.encode_prompts(model, ["a red star"]))


def shaken(lora: Lora) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in lora.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("preset", ["attention", "attention_ff", "all_linear", "all_linear_conv"])
def test_presets_grow(tiny_base: Path, preset: str) -> None:
    _, lora = loaded(tiny_base, **{"adapter.targets": preset})
    modules = {m.module for m in lora.export()[0]}
    suffixes = {"attention": "to_q", "attention_ff": "ff.net.2", "all_linear": "proj_in", "all_linear_conv": "conv1"}
    present = [name for name, suffix in suffixes.items() if any(m.endswith(suffix) for m in modules)]
    assert present == list(suffixes)[: list(suffixes).index(preset) + 1]
    assert all(p.dtype == torch.float32 for p in lora.parameters.values())


@pytest.mark.parametrize("options", [{}, {"adapter.use_rslora": True}, {"adapter.alpha": 1.0}])
def test_a_fresh_adapter_does_nothing_and_an_exported_one_is_the_whole_change(
    tiny_base: Path, options: dict[str, object]
) -> None:
    plain = sd.load(open_base(str(tiny_base)), parts=("denoiser", "text_encoders"), dtype=torch.float32, device="cpu")
    before = said(plain)
    model, lora = loaded(tiny_base, **{"adapter.text_encoder": True, "adapter.rank": 4, **options})
    torch.testing.assert_close(said(model), before, rtol=0, atol=0)
    shaken(lora)
    after = said(model)
    assert not torch.allclose(after, before, atol=1e-4)
    parts = {"unet": plain.denoiser, "text_encoder": plain.text_encoders["text_encoder"]}
    with torch.no_grad():
        for module in lora.export()[0]:
            parts[module.part].get_submodule(module.module).weight.add_(module.delta())
    torch.testing.assert_close(said(plain), after, rtol=1e-3, atol=1e-5)


def test_dora_is_exported_as_the_plain_lora_that_does_the_same(tiny_base: Path) -> None:
    plain = sd.load(open_base(str(tiny_base)), parts=("denoiser", "text_encoders"), dtype=torch.float32, device="cpu")
    model, lora = loaded(tiny_base, **{"adapter.use_dora": True, "adapter.rank": 16, "adapter.targets": "attention"})
    shaken(lora)
    modules, share = lora.export()
    assert share == pytest.approx(1.0, abs=1e-4)  # four times this rank is every direction the layers have
    assert all(module.dora_scale is None for module in modules)
    with torch.no_grad():
        for module in modules:
            plain.denoiser.get_submodule(module.module).weight.add_(module.delta())
    torch.testing.assert_close(said(plain), said(model), rtol=1e-3, atol=1e-4)


def test_a_thin_dora_says_what_it_could_not_keep(tiny_base: Path) -> None:
    _, lora = loaded(tiny_base, **{"adapter.use_dora": True, "adapter.rank": 2, "adapter.targets": "all_linear_conv"})
    shaken(lora)
    modules, share = lora.export()
    again, _ = lora.export()
    assert 0.1 < share < 1.0
    assert {module.rank for module in modules} == {8}
    assert all(torch.equal(a.up, b.up) and torch.equal(a.down, b.down) for a, b in zip(modules, again, strict=True))


def test_the_seed_and_the_layer_decide_how_it_begins(tiny_base: Path) -> None:
    small = loaded(tiny_base, **{"adapter.targets": "attention"})[1].state()
    large = loaded(tiny_base, **{"adapter.targets": "all_linear"})[1].state()
    other = loaded(tiny_base, **{"adapter.targets": "attention", "seed": 8})[1].state()
    downs = [name for name in small if ".lora_A." in name]
    assert all(torch.equal(small[name], large[name]) for name in small)
    assert not any(torch.equal(small[name], other[name]) for name in downs)
    assert len({small[name].sum().item() for name in downs}) == len(downs)


def test_a_base_without_such_layers_is_refused(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StableDiffusion, "target_presets", {"all_linear_conv": ("img_mlp",)})
    with pytest.raises(BaseError, match="has no layer named img_mlp"):
        loaded(tiny_base)


def test_weights_of_another_adapter_are_refused(tiny_base: Path) -> None:
    _, lora = loaded(tiny_base)
    state = lora.state()
    state.popitem()
    with pytest.raises(CheckpointError, match="another adapter"):
        lora.load(state)


def test_the_average_by_hand(tiny_base: Path) -> None:
    _, lora = loaded(tiny_base, **{"adapter.targets": "attention"})
    average = Average(lora, 0.5)
    name = next(iter(lora.parameters))
    expected = lora.parameters[name].detach().clone()
    for updates in range(12):
        shaken(lora)
        average.update()
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * lora.parameters[name].detach()
    torch.testing.assert_close(average.values[name], expected)
    trained = lora.state()
    with average.in_place():
        torch.testing.assert_close(lora.state()[name], expected)
    assert torch.equal(lora.state()[name], trained[name])
