"""What a family says of noise levels, guidance and prompts, held to published numbers and to its own pipeline."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lorasmith.bases import family_of, open_base
from lorasmith.bases.detection import registered_families
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import BaseError, ConfigError
from lorasmith.events import Notice
from lorasmith.families import TimeSampling
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.recipe import prepare
from lorasmith.training.cache import Cache, encoders_of
from lorasmith.training.objective import shifted
from lorasmith.training.plan import plan
from lorasmith.training.precompute import precompute
from lorasmith.training.setting import Setting
from tests.families.steps import PLAIN, Heard, encoded, load, noise_of, picture_of, with_small_references
from tests.families.tiny import RECORDS
from tests.families.variants import EVERY
from tests.training.home import make_dataset, quick_config
from tests.training.runs import Said

Tiny = Callable[[str], Path]
PROMPT = "zib, a large red star"
SCALE = 3.0

FLOW = [name for name, record in EVERY.items() if registered_families()[record.family].objectives == {"flow"}]
PAIRS = [name for name, record in RECORDS.items() if record.shift_of_pair is not None]


@pytest.mark.parametrize("name", [*RECORDS, "flux schnell"])
def test_bases_are_painted_with_what_their_makers_use(tiny: Tiny, name: str) -> None:
    family, record = registered_families()[EVERY[name].family], EVERY[name]
    base = open_base(str(tiny(name)))
    assert family.painting_guidance(base) == record.painted_with
    # previews in training too, where the family says so
    sample = family.defaults_for(base).get("sample", {})
    assert sample.get("guidance_scale", record.painted_with) == record.painted_with


def _scheduled(base: Path) -> tuple[Any, Any]:
    """The family and what is loaded of a base when no part of it is asked for: its schedule."""
    opened = open_base(str(base))
    family = family_of(opened)
    return family, family.load(opened, parts=(), dtype=torch.float32, device="cpu")


def _with_schedule(base: Path, copy: Path, **changes: Any) -> Path:
    """The base with another noise schedule beside the same weights; without ``_class_name`` its own is changed."""
    shutil.copytree(base, copy)
    path = copy / "scheduler" / "scheduler_config.json"
    own = {} if "_class_name" in changes else json.loads(path.read_text())
    path.write_text(json.dumps(own | changes))
    return copy


@pytest.mark.parametrize("name", FLOW)
def test_noise_levels_are_those_its_makers_use(tiny: Tiny, name: str) -> None:
    record = EVERY[name]
    family, model = _scheduled(tiny(name))
    assert len(record.shifts) > 1
    if not model.experts and name not in ("flux2 dev", "wan_i2v 2.2"):
        shift = family.shift_for(model)
        for (width, height, frames), wanted in record.shifts.items():
            assert shift(width, height, frames) == pytest.approx(wanted, rel=0.01), (width, height, frames)
            assert shift(height, width, frames) == pytest.approx(wanted, rel=0.01)
    density = "uniform" if record.uniform else "logit_normal"
    assert family.time_sampling == TimeSampling(density, 0.0, 1.0)


@pytest.mark.parametrize("name", FLOW)
def test_a_base_with_another_schedule_is_trained_by_that(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """Not the family's but the base's: only where makers train otherwise than their schedules say it does not count."""
    record = EVERY[name]
    kind = "flow_shift" if record.family == "wan_ti2v" else "shift"
    fixed = {"use_dynamic_shifting": False, "shift": 2.5, "flow_shift": 2.5}
    family, model = _scheduled(_with_schedule(tiny(name), tmp_path / name, **fixed))
    (place, own), *_ = record.shifts.items()
    found = family.shift_for(model)(*place)
    assert model.scheduler.config[kind] == 2.5
    assert found == (pytest.approx(own, rel=0.01) if record.own_shift else 2.5)


_EULER = "FlowMatchEulerDiscreteScheduler"


@pytest.mark.parametrize(
    ("name", "published", "shifts"),
    [
        # by the scheduler_config.json that lies with each
        ("flux", {"shift": 1.0}, {(512, 512): 1.0, (1024, 1024): 1.0}),  # a merge of dev that took schnell's
        ("z_image", {"shift": 6.0}, {(512, 512): 6.0, (1024, 1024): 6.0}),  # the base and not Turbo
        ("hunyuan_video_15", {"shift": 9.0}, {(832, 480): 9.0, (1280, 720): 9.0}),  # 720p, at any size
        ("hunyuan_video_15_i2v", {"shift": 7.0}, {(1280, 720): 7.0}),
        # few steps, merged in: one shift for all sizes, said as a line without a slope
        (
            "qwen_image",
            {"use_dynamic_shifting": True, "base_shift": math.log(3), "max_shift": math.log(3), "shift": 1.0},
            {(512, 512): 3.0, (1328, 1328): 3.0},
        ),
        (
            "lumina2",
            {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "time_shift_type": "linear"},
            {(256, 256): 0.5, (1024, 1024): 1.15},
        ),
    ],
)  # fmt: skip
def test_variants_with_the_same_tensors_differ_by_their_schedule(
    tiny: Tiny, tmp_path: Path, name: str, published: dict[str, Any], shifts: dict[tuple[int, int], float]
) -> None:
    family, model = _scheduled(_with_schedule(tiny(name), tmp_path / "base", _class_name=_EULER, **published))
    found = {size: family.shift_for(model)(*size, 1) for size in shifts}
    assert found == pytest.approx(shifts)


@pytest.mark.parametrize(
    "damaged",
    [
        {"shift": 0.0},
        {"shift": -3.0},
        {"use_dynamic_shifting": True, "base_shift": None},
        {"use_dynamic_shifting": True, "max_image_seq_len": 256},
    ],
    ids=str,
)
def test_a_schedule_that_says_no_shift_is_refused(tiny: Tiny, tmp_path: Path, damaged: dict[str, Any]) -> None:
    family, model = _scheduled(_with_schedule(tiny("sd3"), tmp_path / "odd", _class_name=_EULER, **damaged))
    with pytest.raises(BaseError, match="The noise schedule of odd ") as refused:
        family.shift_for(model)
    assert "objective.timestep_shift" in str(refused.value.hint)


def _distilled(base: Path, copy: Path) -> Path:
    shutil.copytree(base, copy)
    path = copy / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"is_distilled": True}))
    return copy


def test_a_turbo_is_shifted_and_previewed_as_it_was_made(tiny: Tiny, tmp_path: Path) -> None:
    """Krea 2 Turbo: alike at all sizes, in eight steps that compare nothing; Raw by size, with the family's own."""
    family, model = _scheduled(_distilled(tiny("krea2"), tmp_path / "krea2"))
    shift = family.shift_for(model)
    assert shift(512, 512, 1) == shift(1280, 1280, 1) == pytest.approx(math.exp(1.15))
    assert family.painting_guidance(model.base) == 1.0
    assert family.defaults_for(model.base)["sample"] == {"guidance_scale": 1.0, "steps": 8}
    assert "steps" not in family.defaults_for(open_base(str(tiny("krea2"))))["sample"]


def test_a_distilled_klein_compares_nothing(tiny: Tiny, tmp_path: Path) -> None:
    family, model = _scheduled(_distilled(tiny("flux2"), tmp_path / "flux2"))
    assert model.extras["pipeline"].config.is_distilled
    model.denoiser = type("Denoiser", (), {"config": type("Config", (), {"guidance_embeds": False})})()
    assert family.guidance(model) == "none"
    model.extras["pipeline"].register_to_config(is_distilled=False)
    assert family.guidance(model) == "classifier_free"


def test_two_experts_are_painted_with_what_their_makers_use(tiny: Tiny) -> None:
    base = open_base(str(tiny("wan_i2v 2.2")))
    assert family_of(base).painting_guidance(base) == 3.5


@pytest.mark.parametrize("name", PAIRS)
def test_the_shift_of_a_pair_is_its_makers(name: str) -> None:
    family: Any = registered_families()[name]
    both, one = (type("Model", (), {"experts": experts})() for experts in ({"transformer_2": object()}, {}))
    assert family.shift_for(both)(832, 480, 81) == RECORDS[name].shift_of_pair
    assert family.shift_for(one)(832, 480, 81) == 3.0


@pytest.mark.parametrize("name", list(EVERY))
def test_guidance_is_as_it_is_said(tiny: Tiny, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called as the family has it called, the pipeline compares two prompts, or tells its denoiser a number, or does
    neither; with a scale of 1 it never compares. What a preview makes of it is what the pipeline paints."""
    record = EVERY[name]
    with_small_references(monkeypatch)
    base, family, model = load(tiny(name))
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    part = getattr(pipe, family.denoiser_part)
    flow = model.objective == "flow"
    times: dict[str, Any] = {"sigmas": [0.6]} if flow and record.sigmas else {"num_inference_steps": 1}
    frames = {"num_frames": record.length} if family.frame_step else {}
    pictures = [picture_of(n, 96, 64) for n in range(record.references)] if family.reference_pictures[1] else []
    begin = family.reference_arguments(pictures, 64, 64) if pictures else {}
    begin |= {"image": picture_of(9)} if record.begins else {}
    if flow:
        pipe.scheduler.register_to_config(shift_terminal=None)  # which moves the one level of one step to the last
    rows: list[int] = []
    for scale in (1.0, SCALE):
        theirs = Heard.on(part)
        arguments = family.sampling_arguments(pipe, [""], scale)
        against = list(arguments.get("negative_prompt", [""]))  # some pipelines write into the list they are given
        seed = torch.Generator().manual_seed(3)
        size = {"width": 64, "height": 64, "generator": seed, "output_type": "latent" if record.begins else "pt"}
        painted = pipe(prompt=[PROMPT], **size, **times, **frames, **begin, **arguments)[0]
        rows.append(sum(_rows(call) for call in theirs.calls))
    kind = family.guidance(model)
    assert rows == [record.asked, record.asked * (2 if kind == "classifier_free" else 1)]
    if flow and record.sigmas and not record.own_shift:  # the levels of training are moved as those of painting
        moved = shifted(0.6, family.shift_for(model)(64, 64, record.length))
        assert float(pipe.scheduler.sigmas[0]) == pytest.approx(moved, abs=1e-5)
    told = [call["guidance"] for call in theirs.calls if "guidance" in call]
    assert bool(told) == (kind == "embedded")
    if not (record.compares and flow) or pictures or record.begins:
        return
    prompts = [*against, PROMPT] if kind == "classifier_free" else [PROMPT]
    conditioning = encoded(family, model, prompts, 64, SCALE, record.length)
    noisy = noise_of(record, family, model, 3)
    level = pipe.scheduler.sigmas[0].expand(len(prompts))
    with torch.no_grad():
        rows_of_noise = noisy.expand(len(prompts), *noisy.shape[1:])
        without, prompted = family.denoise(model, rows_of_noise, level, conditioning)[[0, -1]].split(1)
        guided = without + SCALE * (prompted - without) if len(prompts) > 1 else prompted
        pixels = family.decode_latents(model, noisy - level[0] * guided)
    painted = painted.movedim(-4, -3) if family.frame_step else painted
    painted = painted.reshape(-1, *painted.shape[-len(pixels.shape[1:]) :])[:, :3]
    torch.testing.assert_close((pixels / 2 + 0.5).clamp(0, 1), painted.float(), atol=2e-3, rtol=1e-3)


def _rows(call: dict[str, Any]) -> int:
    """How many rows a denoiser was asked for in one call."""
    first = next(call[name] for name in ("hidden_states", "sample", "x") if name in call)
    return len(first)


@pytest.mark.parametrize("name", list(EVERY))
def test_the_limit_of_prompts_is_where_reading_ends(tiny: Tiny, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last token that counts changes what is learned, the one after it does not."""
    _, family, model = load(tiny(name))
    pipe = model.extras.get("pipeline")
    limit = family.tokens_read(model.base, pipe)
    named = {**model.tokenizers, "tokenizer": model.tokenizers.get("tokenizer")}
    tokenizer = named.get(family.longest_reader) or pipe.processor.tokenizer  # type: ignore[union-attr]
    _cut_where_instructions_end(pipe, tokenizer, monkeypatch)
    read = min(limit or family.max_prompt_tokens, tokenizer.model_max_length)
    whole = "b" * (read + 10 - len(tokenizer("b" * 10).input_ids))
    assert len(tokenizer(whole).input_ids) == read
    pictures = [[picture_of(0)]] if family.reference_pictures[0] else []
    told: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for end, prompt in {"b": whole, "c": whole[:-1] + "c", "bc": whole + "c", "bd": whole + "d"}.items():
            told[end] = encoded(family, model, [prompt], 64, 1.0, references=pictures).tensors

    def alike(one: str, other: str) -> bool:
        ours, theirs = told[one], told[other]
        return all(ours[key].shape == theirs[key].shape and torch.equal(ours[key], theirs[key]) for key in ours)

    assert not alike("b", "c"), "the last token within the limit is read"
    assert alike("bc", "bd") is (limit is not None), "the first beyond it is not, unless nothing is cut"


def _cut_where_instructions_end(pipe: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipelines that cut their instructions away by number know how many tokens they are to published tokenizers; here
    they are told how many they are to the tiny one."""
    from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video as hunyuan

    if hasattr(pipe, "system_message"):
        turns = [{"role": "system", "content": pipe.system_message}, {"role": "user", "content": "{}"}]
        before = tokenizer.apply_chat_template(turns, tokenize=False).partition("{}")[0]
        pipe.prompt_template_encode_start_idx = len(tokenizer(before).input_ids)
    elif hasattr(pipe, "prompt_template_encode_start_idx"):
        before = getattr(pipe, "prompt_template_encode_prefix", None) or pipe.prompt_template_encode.partition("{}")[0]
        pipe.prompt_template_encode_start_idx = len(tokenizer(before).input_ids)
    elif type(pipe).__name__ == "HunyuanVideoPipeline":
        before = hunyuan.DEFAULT_PROMPT_TEMPLATE["template"].partition("{}")[0]
        count = len(tokenizer(before, add_special_tokens=False).input_ids)
        monkeypatch.setitem(hunyuan.DEFAULT_PROMPT_TEMPLATE, "crop_start", count)


@pytest.mark.parametrize(
    ("name", "letters", "cut"),
    [("flux", 300, 0), ("flux schnell", 300, 1), ("flux", 600, 1), ("sd", 100, 1), ("sd", 60, 0)],
)
def test_a_caption_that_is_not_read_to_its_end_is_said_to_be(
    tiny: Tiny, tmp_path: Path, name: str, letters: int, cut: int
) -> None:
    """Counted by the text encoder that reads the most: CLIP's 77 tokens are no limit where T5 reads 512."""
    base = open_base(str(tiny(name)))
    family = family_of(base)
    version = make_dataset(tmp_path)
    items = [replace(item, caption="b" * letters if n == 0 else item.caption) for n, item in enumerate(version.items)]
    version = DatasetStore(tmp_path).commit(version, items, Operation(name="test"))
    config = quick_config(base.path, **{**PLAIN, "data.resolution": 64})
    cpu = torch.device("cpu")
    setting = Setting(config, plan(config, version, family, base), version, DatasetStore(tmp_path), family, base, cpu)
    said = Said()
    assert precompute(Cache(tmp_path / "cache", *encoders_of(base)), setting, emit=said, control=Control)
    told = [event.message for event in said.events if isinstance(event, Notice) and "longer than" in event.message]
    assert len(told) == cut
    assert all(message.startswith("1 of ") and "bbb" in message for message in told)
    request = GenerateRequest(
        base=str(base.path), prompts=("b" * letters,), steps=1, width=64, height=64, device="cpu", threads=1
    )
    painted = Said()
    paint(request, base, family, home=tmp_path, out=tmp_path, emit=painted, control=Control)
    assert sum("are not read" in str(getattr(event, "message", "")) for event in painted.events) == cut


def test_sides_that_a_family_cannot_divide_are_refused_before_there_is_a_job(tiny: Tiny, tmp_path: Path) -> None:
    for name, resolution in (("ltx", 72), ("qwen_image_21", 80), ("flux", 72)):
        version = make_dataset(tmp_path / name)
        with pytest.raises(ConfigError, match="works on sides that are multiples of"):
            prepare(version, {"base": str(tiny(name)), "data.resolution": resolution}, home=tmp_path / name)


def test_guidance_means_nothing_to_a_base_that_is_told_none(tiny: Tiny) -> None:
    """Of one family: dev is told a number, schnell and klein are not."""
    for name, told in (("flux", True), ("flux schnell", False), ("flux2", False), ("flux2 dev", True)):
        base = open_base(str(tiny(name)))
        assert ("objective.guidance" not in family_of(base).lacks_of(base)) is told, name
