"""Every family that can be put together from files, with tiny parts in their published names: what is assembled is the
folder, tensor by tensor, and a step on it is the step on the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasmith.bases import open_base, parts, recognition
from lorasmith.bases import opening as opening_room
from lorasmith.bases.detection import registered_families
from lorasmith.bases.opening import CONFIGS
from lorasmith.bases.parts import TITLES, PartKind
from lorasmith.bases.signatures import Rule
from lorasmith.bases.vocabularies import VOCABULARIES, write
from lorasmith.errors import BaseError
from lorasmith.shelf import Shelf
from tests.bases.single_files import original_tensors
from tests.families import release_names as named
from tests.families import steps
from tests.families.conftest import _with_width
from tests.families.tiny import (
    RECORDS,
    Record,
    build_hunyuan_video,
    build_krea2,
    build_wan_i2v,
    build_wan_ti2v,
    make,
    small_clip,
    small_vision,
)

State = dict[str, torch.Tensor]
_DENOISERS = ("transformer", "transformer_2")


@dataclass(frozen=True)
class Case:
    """A family with the names of its files; ``parts`` says how each component is named in its own."""

    record: Record
    variant: str
    rules: str
    parts: Mapping[str, Callable[[State], State]]
    words: tuple[str, ...] = ("tokenizer",)
    asks: tuple[str, ...] = ()
    index: Mapping[str, Any] = field(default_factory=dict)
    """What ``model_index.json`` has to say beside its parts."""
    inside: tuple[str, ...] = ()
    """Components that lie in the file of the denoiser."""
    having: tuple[str, ...] = ()
    """Kinds of parts that decide about others."""
    reader: tuple[str, int, int] | None = None
    """Class whose converter in diffusers has the published width written into it, that width, and the tiny one's."""


def _with_vae(build: Callable[[Path], Any], **changes: Any) -> Callable[[Path], Any]:
    """Two layers a level, which the released names of Wan's VAE count with."""

    def made(folder: Path) -> Any:
        pipe = build(folder)
        config = {key: value for key, value in pipe.vae.config.items() if not key.startswith("_")}
        pipe.register_modules(vae=type(pipe.vae)(**{**config, **changes}))
        return pipe

    return made


def _pair(folder: Path) -> Any:
    pipe = build_wan_i2v(folder, sees=False)
    pipe.register_modules(transformer_2=build_wan_i2v(folder, sees=False).transformer)
    pipe.register_to_config(boundary_ratio=0.9)
    return pipe


def _real_clip_words(folder: Path) -> Any:
    """HunyuanVideo whose second encoder knows CLIP's words, which come with lorasmith."""
    from transformers import CLIPTokenizer

    pipe = build_hunyuan_video(folder)
    write(VOCABULARIES["clip"], None, folder / "clip words")
    words = CLIPTokenizer.from_pretrained(folder / "clip words")
    pipe.register_modules(text_encoder_2=small_clip("CLIPTextModel", 32, words), tokenizer_2=words)
    return pipe


def _pads_right(base: Path) -> None:
    """As its published tokenizer does, which the class does not."""
    path = base / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "right"}))


def _krea2(folder: Path) -> Any:
    """With as many layers of words as the published one has, of which the pipeline takes twelve."""
    pipe = build_krea2(folder)
    denoiser = {key: value for key, value in pipe.transformer.config.items() if not key.startswith("_")}
    pipe.register_modules(
        text_encoder=small_vision(pipe.tokenizer, layers=36),
        transformer=type(pipe.transformer)(**{**denoiser, "num_text_layers": 12}),
    )
    pipe.register_to_config(text_encoder_select_layers=None)
    return pipe


_WAN: dict[str, Callable[[State], State]] = {"text_encoder": named.t5, "vae": partial(named.wan_vae, residual=False)}
CASES: dict[str, Case] = {
    "wan_ti2v": Case(
        replace(RECORDS["wan_ti2v"], build=_with_vae(build_wan_ti2v, num_res_blocks=2)), "ti2v_5b", "wan",
        {**_WAN, "vae": partial(named.wan_vae, residual=True)}, index={"expand_timesteps": True},
    ),
    "wan_i2v 2.1": Case(
        replace(RECORDS["wan_i2v"], build=_with_vae(build_wan_i2v, num_res_blocks=2)), "i2v_14b_2.1", "wan",
        {**_WAN, "image_encoder": named.clip_vision},
    ),
    "wan_i2v 2.2": Case(
        replace(RECORDS["wan_i2v"], build=_with_vae(_pair, num_res_blocks=2)), "i2v_14b_2.2", "wan", _WAN,
        asks=("wan_i2v_expert",), index={"boundary_ratio": 0.9},
    ),
    "ltx": Case(
        RECORDS["ltx"], "2b", "ltx", {"text_encoder": named.t5, "vae": named.ltx_vae}, inside=("vae",),
        having=("vae_ltx_0.9.0",), index={"_class_name": "LTXPipeline"},
    ),
    "hunyuan_video": Case(
        replace(RECORDS["hunyuan_video"], build=_real_clip_words, finish=_pads_right), "1", "hunyuan_video",
        {"text_encoder": named.language, "text_encoder_2": named.clip, "vae": named.hunyuan_vae},
        reader=("HunyuanVideoTransformer3DModel", 3072, 32),
    ),
    "krea2": Case(
        replace(RECORDS["krea2"], build=_with_vae(_krea2, num_res_blocks=2)), "2", "krea2",
        {"text_encoder": named.language_with_eyes, "vae": partial(named.wan_vae, residual=False)},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Files:
    """One tiny base, as a folder and as files with what describes them."""

    case: Case
    folder: Path
    denoiser: Path
    given: tuple[Path, ...]
    configs: Path
    kinds: tuple[PartKind, ...]
    rule: Rule


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    made: dict[str, Files] = {}

    def of(name: str) -> Files:
        if name not in made:
            made[name] = _write(CASES[name], tmp_path_factory.mktemp("löse Teile 部品"))
        return made[name]

    return of


def _write(case: Case, root: Path) -> Files:
    folder = make(case.record, root / "whole")
    family = registered_families()[case.record.family]
    places = {name: root / f"{name} 部品.safetensors" for name in case.parts}
    denoisers = {"transformer": root / "high noise.safetensors", "transformer_2": root / "low noise.safetensors"}
    states: dict[str, State] = {}
    for name in case.parts:
        states[name] = case.parts[name](_read(folder / name))
        if name not in case.inside:
            save_file({key: t.contiguous().clone() for key, t in states[name].items()}, places[name])
    there = {name: path for name, path in denoisers.items() if (folder / name).is_dir()}
    for name, path in there.items():
        states[name] = original_tensors(case.rules, _read(folder / name))
        held = {f"{one}.{key}": tensor.clone() for one in case.inside for key, tensor in states[one].items()}
        start = "model.diffusion_model." if held else ""
        save_file({f"{start}{key}": tensor for key, tensor in states[name].items()} | held, path)
    for word in case.words:
        shutil.copytree(folder / word, root / f"{word} words")
    made_of = family.made_with(case.variant, case.having)
    kinds = []
    for name, state in states.items():
        if name in _DENOISERS:
            continue
        others = {key for other, one in states.items() if other != name for key in one}
        key = next(key for key, tensor in state.items() if key not in others and tensor.ndim > 1)
        kind = made_of[name].kind
        role: parts.Role = "text_encoder"
        if name in ("vae", "image_encoder"):
            role = "vae" if name == "vae" else "image_encoder"
        kinds.append(PartKind(kind, role, TITLES[kind], (key,), (key, 0, state[key].shape[0]), file=f"{kind}.file"))
    inside = {key for name, one in states.items() if name not in _DENOISERS for key in one}
    mark = next(key for key in states["transformer"] if key not in inside)
    recognised = family.recognised_as or family.name
    rule = Rule(recognised, case.variant, family.title, (mark,), asks=case.asks)
    given = (
        *(path for name, path in places.items() if name not in case.inside),
        *list(there.values())[1:],
        *(root / f"{word} words" for word in case.words),
    )
    _describe(case, folder, root / "configs")
    return Files(case, folder, there["transformer"], given, root / "configs", tuple(kinds), rule)


def _describe(case: Case, folder: Path, configs: Path) -> None:
    """The tiny sizes in place of the published ones, schedules as they are shipped."""
    index = json.loads((folder / "model_index.json").read_text())
    shipped = configs / case.record.family / case.variant
    (shipped / "transformer").mkdir(parents=True)
    shutil.copy(folder / "transformer" / "config.json", shipped / "transformer")
    stated = {"_class_name": index["_class_name"], "transformer": index["transformer"]}
    (shipped / "model_index.json").write_text(json.dumps(stated))
    (configs / "parts").mkdir()
    for name, part in registered_families()[case.record.family].made_with(case.variant, case.having).items():
        target = configs / "parts" / f"{part.config or part.kind}.json"
        if part.kind.startswith("schedule"):
            shutil.copy(CONFIGS / "parts" / target.name, target)
        elif part.kind.startswith("pictures"):
            shutil.copy(folder / name / "preprocessor_config.json", target)
        elif part.kind in TITLES:
            shutil.copy(folder / name / "config.json", target)


def _read(folder: Path) -> State:
    found: State = load_file(next(folder.glob("*.safetensors")))
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "mein Heim 家"


def _told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are told by the widths of the tiny ones; all else is as for the published."""
    monkeypatch.setattr(parts, "PARTS", files.kinds)
    monkeypatch.setattr(recognition, "DENOISERS", (files.rule,))
    monkeypatch.setattr(opening_room, "CONFIGS", files.configs)
    if files.case.reader is not None:
        from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

        name, published, tiny = files.case.reader
        theirs = SINGLE_FILE_LOADABLE_CLASSES[name]["checkpoint_mapping_fn"]
        code, places = _with_width(theirs.__code__, published, tiny)
        assert places, f"{published} stands nowhere in the converter of {name}"
        mine = FunctionType(code, theirs.__globals__, theirs.__name__)
        monkeypatch.setitem(SINGLE_FILE_LOADABLE_CLASSES[name], "checkpoint_mapping_fn", mine)


@pytest.mark.parametrize("name", CASES)
def test_a_base_of_files_is_its_folder_and_trains_as_it_does(
    name: str, files: Callable[[str], Files], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = files(name)
    theirs = steps.load(made.folder)[2]
    _told(made, monkeypatch)
    shelf = Shelf(home)
    added = shelf.assemble(str(made.denoiser), made.given, name="mine")
    assert added.base.present()
    base = open_base("mine", home=home)
    index = base.header.configs["model_index"]
    assert made.case.index.items() <= index.items()
    family = registered_families()[made.case.record.family]
    mine = family.load(base, parts=steps.ALL, dtype=torch.float32, device="cpu")
    pairs = {"denoiser": (mine.denoiser, theirs.denoiser), "vae": (mine.vae, theirs.vae)}
    pairs |= {key: (module, theirs.text_encoders[key]) for key, module in mine.text_encoders.items()}
    pairs |= {key: (module, theirs.experts[key]) for key, module in mine.experts.items()}
    eye = theirs.extras["pipeline"].components.get("image_encoder")
    if eye is not None:
        pairs["image_encoder"] = (mine.extras["pipeline"].image_encoder, eye)
    assert mine.experts.keys() == theirs.experts.keys() and mine.text_encoders.keys() == theirs.text_encoders.keys()
    for part, (ours, other) in pairs.items():
        state = other.state_dict()
        assert ours.state_dict().keys() == state.keys(), part
        for key, tensor in ours.state_dict().items():
            assert torch.equal(tensor, state[key]), (part, key)

    ours, others = _step(made.case.record, family, mine), _step(made.case.record, family, theirs)
    assert ours.keys() == others.keys() and all(tensor.any() for tensor in ours.values())
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor, others[key], rtol=1e-4, atol=1e-5, msg=key)


def _step(record: Record, family: Any, model: Any) -> State:
    """What a step of training makes of one clip and prompt: latents, prediction, gradient of a layer."""
    _, pixels = steps.beginning(record)
    told = pixels if family.begins_with_picture else None
    with torch.no_grad():
        latents = family.encode_images(model, pixels if family.frame_step else pixels[:, :, 0])
    conditioning = steps.encoded(family, model, ["zib, a red star"], record.side, 1.0, record.length, told)
    found = {"latents": latents, **conditioning.tensors}
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(2))
    for time in (0.95, 0.3):  # of a pair, each expert once
        noisy = (1 - time) * latents + time * noise
        denoiser = _asked(model, time)
        layer = next(value for key, value in denoiser.named_parameters() if "to_q" in key).requires_grad_(True)
        prediction = family.denoise(model, noisy, torch.tensor([time]), conditioning)
        torch.autograd.backward((prediction - (noise - latents)).square().mean(), inputs=[layer])
        assert layer.grad is not None
        found |= {f"prediction {time}": prediction.detach(), f"gradient {time}": layer.grad.clone()}
        layer.grad = None
    return found


def _asked(model: Any, time: float) -> Any:
    second = next(iter(model.experts.values()), None)
    boundary = model.extras["pipeline"].config.get("boundary_ratio") or 0.0
    return model.denoiser if second is None or time >= boundary else second


@pytest.mark.parametrize("name", CASES)
def test_each_file_that_is_not_named_is_missed_by_its_name(
    name: str, files: Callable[[str], Files], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = files(name)
    _told(made, monkeypatch)
    shelf = Shelf(home)
    for path in made.given:
        with pytest.raises(BaseError, match="still lacks") as refusal:
            shelf.assemble(str(made.denoiser), [one for one in made.given if one != path])
        assert refusal.value.hint.startswith("Name each")
    assert not shelf.list() and not list(home.rglob("*.parts"))


def _renamed(files: Files, folder: Path, first: str, second: str) -> tuple[Path, Path]:
    folder.mkdir()
    low = next(path for path in files.given if path.name.startswith("low"))
    return Path(shutil.copy(files.denoiser, folder / first)), Path(shutil.copy(low, folder / second))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("wan low.safetensors", "wan high.safetensors", "wan low.safetensors is the low-noise expert"),
        ("a.safetensors", "a high.safetensors", "a high.safetensors is the high-noise expert"),
    ],
)
def test_experts_that_stand_in_each_others_place_are_refused(
    first: str, second: str, said: str, files: Callable[[str], Files], home: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    made = files("wan_i2v 2.2")
    _told(made, monkeypatch)
    one, other = _renamed(made, tmp_path / "swapped", first, second)
    rest = [path for path in made.given if not path.name.startswith("low")]
    shelf = Shelf(home)
    with pytest.raises(BaseError, match=said) as refusal:
        shelf.assemble(str(one), [*rest, other])
    assert "by --with" in refusal.value.hint and not shelf.list()


def test_files_whose_names_say_nothing_are_a_pair_in_the_order_they_are_named(
    files: Callable[[str], Files], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = files("wan_i2v 2.2")
    _told(made, monkeypatch)
    one, other = _renamed(made, tmp_path / "mute", "a.safetensors", "b.safetensors")
    rest = [path for path in made.given if not path.name.startswith("low")]
    shelf = Shelf(home)
    needs = {need.component: need for need in shelf.parts(str(one), [*rest, other]).needs}
    assert (needs["transformer_2"].path, needs["transformer_2"].note) == (other, "as you say")
    with pytest.raises(BaseError, match=r"a\.safetensors is named twice"):
        shelf.assemble(str(one), [*rest, one])
    link = tmp_path / "link.safetensors"
    link.symlink_to(one)
    with pytest.raises(BaseError, match="is named twice"):
        shelf.assemble(str(one), [*rest, link])
    shelf.add(str(other), name="mine")
    shelf.answer("mine", "wan_i2v_expert", "2.2-high-noise")
    with pytest.raises(BaseError, match=r"b\.safetensors is the high-noise expert \(its owner says so\)"):
        shelf.assemble(str(one), [*rest, other])


def test_an_expert_that_is_cut_short_is_refused_and_nothing_is_written(
    files: Callable[[str], Files], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = files("wan_i2v 2.2")
    _told(made, monkeypatch)
    one, other = _renamed(made, tmp_path / "cut", "a.safetensors", "b.safetensors")
    other.write_bytes(other.read_bytes()[:-40])
    rest = [path for path in made.given if not path.name.startswith("low")]
    with pytest.raises(BaseError, match="cut short"):
        Shelf(home).assemble(str(one), [*rest, other])
    assert not home.exists() or not list(home.rglob("*.*"))
