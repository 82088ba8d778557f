"""What every registered captioner keeps, this package's and those of others."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from lorasmith.captioners import Captioner, Identity, Need
from lorasmith.captioners.run import captioners, find_captioner, read_options
from lorasmith.config import Section
from lorasmith.errors import ConfigError, LorasmithError

PLUGINS = captioners()


@pytest.mark.parametrize("name", PLUGINS)
def test_it_says_what_it_is(name: str) -> None:
    plugin = PLUGINS[name]
    assert plugin.name == name and plugin.title and plugin.doing
    assert isinstance(plugin.varies, bool)
    assert issubclass(plugin.Options, Section)
    assert all(field.description for field in plugin.Options.model_fields.values())
    plugin.Options()  # every option has a default


@pytest.mark.parametrize("name", PLUGINS)
def test_its_methods_take_what_the_job_gives(name: str) -> None:
    for method in ("load", "caption", "need", "again", "identity", "longest_side", "batch_limit", "legend", "device"):
        own, contract = getattr(type(PLUGINS[name]), method), getattr(Captioner, method)
        assert list(inspect.signature(own).parameters) == list(inspect.signature(contract).parameters), method


@pytest.mark.parametrize("name", PLUGINS)
def test_it_tells_its_need_before_anything_is_loaded(name: str, tmp_path: Path) -> None:
    plugin = PLUGINS[name]
    try:
        need = plugin.need(plugin.Options(), home=tmp_path)
    except LorasmithError as refused:  # a server or a model that only the user can name
        assert refused.hint
        return
    assert isinstance(need, Need)
    if need.downloads:
        assert need.folder is not None and need.folder.is_relative_to(tmp_path)
        assert need.source and need.licence
        assert all(wanted.url.startswith("https://") and wanted.path for wanted in need.downloads)
    assert not any(tmp_path.iterdir())  # telling writes nothing


@pytest.mark.parametrize("name", PLUGINS)
def test_its_other_names_lead_to_it(name: str) -> None:
    plugin = PLUGINS[name]
    for alias, options in plugin.aliases().items():
        assert alias not in PLUGINS
        found, given = find_captioner(alias, {})
        assert found is plugin and given == dict(options)
        read_options(found, given)


@pytest.mark.parametrize("name", PLUGINS)
def test_it_refuses_the_options_of_others(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        PLUGINS[name].load(Section(), device="cpu", home=tmp_path)


def test_an_identity_is_all_that_an_answer_depends_on() -> None:
    one = Identity("model", "1", {"prompt": "a", "seed": 1})
    assert one.key == Identity("model", "1", {"seed": 1, "prompt": "a"}).key
    others = [Identity("model", "2", one.settings), Identity("other", "1", one.settings), Identity("model", "1", {})]
    assert len({one.key, *(other.key for other in others)}) == 4
