"""What every registered plugin of every room must keep, whoever wrote it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from lorasmith import captioners, families, plugins, sources, trainers
from lorasmith.captioners import Captioner
from lorasmith.config import Section, TargetPreset, choices, known_keys, layer, resolve
from lorasmith.credentials import WANTED
from lorasmith.datasets import eyes, layouts
from lorasmith.datasets.captions.operations import OPERATIONS
from lorasmith.datasets.captions.operations.contract import CaptionOperation
from lorasmith.datasets.checks.trainers import trainer_facts
from lorasmith.datasets.eyes import CaptionFile, EyeSettings, TrainerEye
from lorasmith.datasets.layouts import Layout
from lorasmith.datasets.pictures import TOOLS, PictureTool
from lorasmith.datasets.tokens import counter_for
from lorasmith.families import Family, lacking
from lorasmith.sources import Source
from lorasmith.trainers import Trainer

ROOMS: tuple[tuple[ModuleType, type[Any]], ...] = (
    (families, Family),
    (captioners, Captioner),
    (sources, Source),
    (trainers, Trainer),
    (layouts, Layout),
    (eyes, TrainerEye),
)
ALL = [(kind, plugin) for room, kind in ROOMS for plugin in plugins.discover(room, kind).values()]
HEAVY = ("torch", "diffusers", "transformers", "onnxruntime", "pyarrow", "httpx2", "huggingface_hub")


def of(kind: type[Any]) -> list[Any]:
    return [pytest.param(plugin, id=plugin.name) for owner, plugin in ALL if owner is kind]


every_plugin = pytest.mark.parametrize(
    ("kind", "plugin"), [pytest.param(k, p, id=f"{k.__name__}-{p.name}") for k, p in ALL]
)


def test_no_room_is_empty() -> None:
    assert {kind for kind, _ in ALL} == {Family, Captioner, Source, Trainer, Layout, TrainerEye}


def test_finding_every_plugin_loads_no_model_library() -> None:
    code = (
        "import sys\nfrom lorasmith import captioners, families, plugins, sources, trainers\n"
        "from lorasmith.datasets import eyes, layouts\n"
        "from lorasmith.datasets.captions import operations\nfrom lorasmith.datasets import pictures\n"
        "assert operations.OPERATIONS and pictures.TOOLS\n"
        "for room, kind in ((families, families.Family), (captioners, captioners.Captioner), "
        "(sources, sources.Source), (trainers, trainers.Trainer), (layouts, layouts.Layout), "
        "(eyes, eyes.TrainerEye)):\n"
        "    assert plugins.discover(room, kind)\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@every_plugin
def test_it_says_who_it_is(kind: type[Any], plugin: Any) -> None:
    assert plugin.name.isidentifier() and plugin.name == plugin.name.lower()
    assert type(plugin).__module__.rpartition(".")[2] == plugin.name or type(plugin).__module__.endswith(".native")
    assert plugin.title.strip() == plugin.title != ""
    assert type(plugin).__doc__ != kind.__doc__ and (type(plugin).__doc__ or "").strip()
    assert (sys.modules[type(plugin).__module__].__doc__ or "").strip()


@every_plugin
def test_it_keeps_the_signatures_of_its_contract(kind: type[Any], plugin: Any) -> None:
    assert not type(plugin).__abstractmethods__
    for name, wanted in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_"):
            continue
        theirs = inspect.signature(getattr(type(plugin), name))
        assert list(theirs.parameters) == list(inspect.signature(wanted).parameters), name


@pytest.mark.parametrize("family", of(Family))
def test_the_facts_of_a_family(family: Family) -> None:
    assert family.objectives
    assert family.pretrained and all(base.name and base.repository and base.license for base in family.pretrained)
    assert family.bucket_multiple % 8 == 0 and family.default_resolution % family.bucket_multiple == 0
    assert family.latent_scale(family.default_resolution) > 0
    assert family.max_prompt_tokens > 2
    assert counter_for(family.name).limit > 2, "captions are counted as its text encoder would"
    assert set(family.target_presets) == set(choices(TargetPreset))
    assert all(family.target_presets.values())
    assert bool(family.text_encoder_targets) == ("adapter.text_encoder" not in lacking(family))
    assert set(lacking(family)) <= set(known_keys())
    assert all(0 < checkpointed < plain for plain, checkpointed in family.predicted_memory.values())
    resolve(layer(family.defaults), {"base": "b", "dataset": "d"})  # every default is a known, possible value


@pytest.mark.parametrize("family", of(Family))
def test_a_family_names_layers_apart(family: Family) -> None:
    modules = ("a.0.to_q", "a.0.to_k", "a.1.to_q")
    stems = {family.key_names(family.denoiser_part, module) for module in modules}
    assert len(stems) == len(modules)


@pytest.mark.parametrize("captioner", of(Captioner))
def test_the_options_of_a_captioner(captioner: Captioner) -> None:
    options = type(captioner).Options
    assert issubclass(options, Section)
    options()  # usable as it is
    assert all(info.description for info in options.model_fields.values())


@pytest.mark.parametrize("source", of(Source))
def test_the_facts_of_a_source(source: Source) -> None:
    options = type(source).Options
    assert issubclass(options, Section)
    options()  # usable as it is
    assert all(info.description for info in options.model_fields.values())
    assert source.examples and all(example.strip() == example != "" for example in source.examples)
    assert set(source.services) <= set(WANTED)
    assert all(seconds > 0 and host == host.lower() and "/" not in host for host, seconds in source.pace.items())


@pytest.mark.parametrize("source", of(Source))
@pytest.mark.parametrize("location", ["", " ", "\0", "1girl solo", "x" * 5000, "https://", "ftp://example.org/a.zip"])
def test_a_source_takes_nothing_that_is_not_surely_its_own(source: Source, location: str) -> None:
    assert source.accepts(location) is False


@pytest.mark.parametrize("trainer", of(Trainer))
def test_a_trainer_knows_what_it_honours(trainer: Trainer) -> None:
    assert trainer.honours() and trainer.honours() <= set(known_keys())
    assert any(trainer.supports(family) for family in plugins.discover(families, Family).values())  # type: ignore[type-abstract]


@pytest.mark.parametrize("eye", of(TrainerEye))
def test_an_eye_states_its_facts_and_keeps_to_them(eye: TrainerEye) -> None:
    assert eye.commit.strip() and eye.facts and all(fact.rule.endswith(".") and fact.source for fact in eye.facts)
    settings = EyeSettings()
    seen = eye.see_caption(CaptionFile(b"a cat", "a.png"), settings)
    assert (seen.outcome, seen.texts, seen.notes) == ("read", ("a cat",), ())
    assert eye.refuses("a.png", settings) is None and eye.refuses("a.txt", settings) is not None
    fit = eye.fitter(settings)(640, 480)
    assert not isinstance(fit, str) and min(fit.target) % eye.step(settings) == 0
    assert trainer_facts(eye.name).title == eye.title  # what checks know of it


@pytest.mark.parametrize("name", [*OPERATIONS, *TOOLS])
def test_operations_and_image_tools_describe_themselves(name: str) -> None:
    kind: type[CaptionOperation] | type[PictureTool] = OPERATIONS.get(name) or TOOLS[name]
    assert kind.name == name and name.isidentifier() and name == name.lower()
    assert (kind.__doc__ or "").strip() and (sys.modules[kind.__module__].__doc__ or "").strip()
    assert not inspect.isabstract(kind)
    assert all(info.description for info in kind.model_fields.values())
    with pytest.raises(ValueError, match="nowhere"):
        kind.model_validate({"nowhere": 1})


def test_no_name_means_two_things() -> None:
    assert not OPERATIONS.keys() & TOOLS.keys()
