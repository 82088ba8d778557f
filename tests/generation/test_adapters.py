from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lorasmith.errors import AdapterError
from lorasmith.families.sd import plugin as family
from lorasmith.generation.adapters import find_adapter, load_adapters, short_name, use_adapters

Build = Callable[..., tuple[dict[str, Any], dict[str, Any]]]


def paint(pipe: Any) -> Any:
    generator = torch.Generator().manual_seed(3)
    return pipe("a red star", num_inference_steps=2, generator=generator, output_type="np").images


def merged(pipe: Any, updates: dict[str, Any], weight: float) -> Any:
    """The pipeline with the updates added to its weights by hand: what loading must amount to."""
    with torch.no_grad():
        for path, update in updates.items():
            part, _, name = path.partition(".")
            getattr(pipe, part).get_submodule(name).weight += weight * update
    return pipe


def test_loaded_adapters_count_exactly_as_their_numbers_say(
    plain_pipe: Callable[[], Any], lora_tensors: Build, home: Path
) -> None:
    first, first_updates = lora_tensors(1)
    second, second_updates = lora_tensors(2, rank=2, alpha=3.0, text_encoder=False)
    save_file(first, home / "adapters" / "first.safetensors")
    save_file(second, home / "zweiter ö.safetensors")
    pipe = plain_pipe()
    other = str(home / "zweiter ö.safetensors")
    loaded = load_adapters(pipe, family, ["first", other], home)
    assert [adapter.modules for adapter in loaded.values()] == [len(first) // 3, len(second) // 3]
    bare = paint(plain_pipe())
    assert (paint(pipe) == bare).all()  # loaded, and not yet used

    use_adapters(pipe, loaded, [("first", 0.5), (other, -1.0)])
    truth = paint(merged(merged(plain_pipe(), first_updates, 0.5), second_updates, -1.0))
    assert abs(paint(pipe) - truth).max() < 1e-3
    assert abs(truth - bare).max() > 0.02

    use_adapters(pipe, loaded, [(other, 1.0)])
    assert abs(paint(pipe) - paint(merged(plain_pipe(), second_updates, 1.0))).max() < 1e-3
    use_adapters(pipe, loaded, [])
    assert (paint(pipe) == bare).all()


def test_a_file_in_peft_form_brings_its_alpha_in_its_metadata(
    plain_pipe: Callable[[], Any], lora_tensors: Build, home: Path
) -> None:
    tensors, _ = lora_tensors(1, text_encoder=False)
    pipe = plain_pipe()
    peft: dict[str, Any] = {}
    updates: dict[str, Any] = {}
    for name, _module in pipe.unet.named_modules():
        stem = "lora_unet_" + name.replace(".", "_")
        if name.endswith("to_q") and f"{stem}.alpha" in tensors:
            down, up = tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"]
            peft |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
            updates[f"unet.{name}"] = 6.0 / 4 * up @ down
    facts = {"unet.r": 4, "unet.lora_alpha": 6, "unet.target_modules": ["to_q"]}
    save_file(peft, home / "peft.safetensors", {"lora_adapter_metadata": json.dumps(facts)})
    path = str(home / "peft.safetensors")
    loaded = load_adapters(pipe, family, [path], home)
    use_adapters(pipe, loaded, [(path, 1.0)])
    assert abs(paint(pipe) - paint(merged(plain_pipe(), updates, 1.0))).max() < 1e-3


def _renamed(tensors: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {key.replace(old, new): value for key, value in tensors.items()}


def _transposed(tensors: dict[str, Any], _: str = "") -> dict[str, Any]:
    key = next(key for key in tensors if key.endswith("to_q.lora_up.weight"))
    return tensors | {key: tensors[key].T.contiguous()}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("foreign block", lambda t: _renamed(t, "lora_unet_mid_block", "lora_unet_other_block"), "other_block"),
        ("another dialect", lambda t: _renamed(t, "lora_unet_", "diffusion_model_"), "diffusion_model"),
        ("transposed", _transposed, "do not fit each other"),
        ("only half", lambda t: {k: v for k, v in t.items() if not k.endswith("fc1.lora_up.weight")}, "other half"),
        ("a stray alpha", lambda t: t | {"lora_unet_x.alpha": torch.tensor(1.0)}, "lora_unet_x"),
        ("dora", lambda t: t | {"lora_unet_x.dora_scale": torch.ones(3)}, "DoRA"),
        ("loha", lambda t: {"lora_unet_x.hada_w1_a": torch.ones(3, 3)}, "hada_w1_a"),
        ("not finite", lambda t: {k: v / 0 if "fc1.lora_up" in k else v for k, v in t.items()}, "not finite"),
        ("nothing", lambda t: {"weight": torch.ones(1)}, "weight"),
        (
            "another base",
            lambda t: {k: torch.nn.functional.pad(v, (0, 8)) if "to_q.lora_down" in k else v for k, v in t.items()},
            "does not fit this base",
        ),
    ],
)
def test_what_does_not_load_whole_is_an_error_that_names_it(
    plain_pipe: Callable[[], Any],
    lora_tensors: Build,
    home: Path,
    name: str,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    words: str,
) -> None:
    path = home / "adapters" / f"{name}.safetensors"
    save_file(change(lora_tensors(1)[0]), path)
    with pytest.raises(AdapterError, match=words) as caught:
        load_adapters(plain_pipe(), family, [name], home)
    assert path.name in caught.value.message
    assert caught.value.hint


def test_a_missing_or_damaged_file_is_one_sentence(plain_pipe: Callable[[], Any], home: Path) -> None:
    (home / "adapters" / "there.safetensors").write_bytes(b"no")
    with pytest.raises(AdapterError, match=r"no adapter 'gone'.*There are: there"):
        find_adapter("gone", home)
    with pytest.raises(AdapterError, match="cannot be read"):
        load_adapters(plain_pipe(), family, ["there"], home)


def test_names_are_looked_up_in_the_home_and_paths_taken_as_they_are(tmp_path: Path, home: Path) -> None:
    inside, outside = home / "adapters" / "zib.v2.safetensors", tmp_path / "zib.v2.safetensors"
    for path in (inside, outside):
        path.write_bytes(b"")
    assert find_adapter("zib.v2", home) == inside
    assert find_adapter("zib.v2.safetensors", home) == inside
    assert find_adapter(str(outside), home) == outside
    assert short_name(Path("a <b>:c,d.safetensors")) == "a_b_c_d"
