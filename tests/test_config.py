"""The config tree: every way in gives the same config, and whatever cannot be meant is refused in words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lorasmith import config
from lorasmith.config import ALIASES, TrainConfig, known_keys, layer, read_config_file, resolve
from lorasmith.errors import ConfigError

NEEDED = {"base": "sandbox", "dataset": "mascot"}

word = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
trees = st.fixed_dictionaries(
    {"base": word, "dataset": word},
    optional={
        "max_train_steps": st.integers(100, 10_000),
        "trigger_word": word,
        "seed": st.integers(0, 2**63 - 1),
        "mixed_precision": st.sampled_from(["fp32", "bf16"]),
        "ema_decay": st.floats(0.5, 0.999),
        "adapter": st.fixed_dictionaries(
            {},
            optional={
                "rank": st.integers(1, 1024),
                "alpha": st.none() | st.floats(0.1, 4096),
                "targets": st.sampled_from(["attention", "attention_ff", "all_linear", "all_linear_conv"]),
                "use_dora": st.booleans(),
            },
        ),
        "data": st.fixed_dictionaries({}, optional={"resolution": st.integers(8, 512).map(lambda n: 8 * n)}),
        "optimizer": st.fixed_dictionaries(
            {}, optional={"learning_rate": st.floats(1e-9, 10), "lr_warmup_steps": st.integers(0, 99)}
        ),
        "sample": st.fixed_dictionaries({}, optional={"prompts": st.lists(word, max_size=3)}),
    },
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=15,
)
keys = st.sampled_from([*known_keys(), *ALIASES, "adapter", "data", "nonsense"])


def dotted(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def toml(tree: dict[str, Any], section: str = "") -> str:
    """TOML of a tree; JSON's strings, numbers and lists are TOML's too, and null is an option left out."""
    lines = [f"[{section}]"] if section else []
    lines += [
        f"{key} = {json.dumps(value, ensure_ascii=False).replace(chr(127), chr(92) + 'u007f')}"
        for key, value in tree.items()
        if not isinstance(value, dict) and value is not None
    ]
    return "\n".join([*lines, *(toml(value, key) for key, value in tree.items() if isinstance(value, dict))]) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property, which write over each other's files."""
    return tmp_path_factory.mktemp("config")


@given(trees)
def test_every_way_in_gives_the_same_config(folder: Path, tree: dict[str, Any]) -> None:
    meant = TrainConfig.model_validate(tree)
    (folder / "a.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    (folder / "a.toml").write_text(toml(tree), encoding="utf-8")
    (folder / "a.json").write_text(json.dumps(tree), encoding="utf-8")
    for way in (tree, dotted(tree), *(read_config_file(folder / name) for name in ("a.yaml", "a.toml", "a.json"))):
        assert resolve(way) == meant
    assert resolve(json.loads(meant.model_dump_json())) == meant


@given(trees, trees)
def test_later_trees_lie_on_top(below: dict[str, Any], above: dict[str, Any]) -> None:
    both = dotted(layer(below, above))
    assert both == {**dotted(below), **dotted(above)}


@given(st.dictionaries(keys, anything, max_size=5))
def test_a_tree_gives_a_config_or_one_readable_refusal(tree: dict[str, Any]) -> None:
    try:
        resolve(NEEDED, tree)
    except ConfigError as error:
        assert error.message.strip().endswith(".")
        assert error.hint
        assert len(error.message) < 2000


@given(st.text(max_size=200) | anything.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_is_a_mapping_or_a_refusal(folder: Path, text: str) -> None:
    for suffix in (".yaml", ".toml"):
        path = folder / f"c{suffix}"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            assert isinstance(read_config_file(path), dict)
        except ConfigError as error:
            assert path.name in error.message


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("max_train_step", "max_train_steps"),
        ("adapter.rnak", "adapter.rank"),
        ("optimizer.learning_rat", "optimizer.learning_rate"),
        ("netwrk_dim", "network_dim"),
        ("min_snr_gama", "min_snr_gamma"),
        ("adapter.learning_rate", "learning_rate"),
        ("batch_size", "train_batch_size"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"There is no option '{key}'") as caught:
        resolve(NEEDED, {key: 1})
    assert nearest in caught.value.hint


@given(st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=15))
def test_no_unknown_key_passes(key: str) -> None:
    if key not in TrainConfig.model_fields and key not in ALIASES:
        with pytest.raises(ConfigError, match="There is no option"):
            resolve(NEEDED, {key: 1})


def test_a_key_unlike_all_others_gets_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(NEEDED, {"zzzzqqqq": 1})
    assert caught.value.hint == "Run `lorasmith train --options` for the list."


def test_every_alias_points_at_an_option() -> None:
    assert set(ALIASES.values()) <= known_keys().keys()
    assert not set(ALIASES) & set(TrainConfig.model_fields)


def test_kohyas_names_are_understood() -> None:
    kohya = {
        "network_dim": 8,
        "network_alpha": 4,
        "unet_lr": 3e-4,
        "optimizer_type": "adamw",
        "num_repeats": 10,
        "flip_aug": True,
        "shuffle_caption": True,
        "keep_tokens": 2,
        "caption_dropout_rate": 0.1,
        "resolution": 768,
        "enable_bucket": False,
        "min_snr_gamma": 5,
    }
    read = resolve(NEEDED, kohya)
    assert (read.adapter.rank, read.adapter.alpha, read.optimizer.learning_rate) == (8, 4, 3e-4)
    assert (read.data.repeats, read.data.flip, read.data.shuffle_captions, read.data.keep_tokens) == (10, True, True, 2)
    assert (read.data.caption_dropout, read.data.resolution, read.data.buckets) == (0.1, 768, False)
    assert read.objective.min_snr_gamma == 5


def test_one_option_under_two_names() -> None:
    assert resolve(NEEDED, {"network_dim": 8, "adapter": {"rank": 8}}).adapter.rank == 8
    with pytest.raises(ConfigError, match=r"adapter\.rank is given twice, as 8 and 16"):
        resolve(NEEDED, {"network_dim": 8, "adapter.rank": 16})


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"optimizer.lr_warmup_steps": 50, "max_train_steps": 50}, "lr_warmup_steps .50. must be below"),
        ({"optimizer.name": "adafactor", "optimizer.beta1": 0.5}, "beta1 is set, but .* adafactor does not use it"),
        ({"optimizer.name": "lion", "optimizer.eps": 1e-6}, "eps is set, but .* lion does not use it"),
        (
            {
                "optimizer.name": "prodigy",
                "optimizer.learning_rate": 1,
                "adapter.text_encoder": True,
                "optimizer.text_encoder_learning_rate": 0.5,
            },
            "text_encoder_learning_rate is set, but .* prodigy does not use it",
        ),
        ({"optimizer.name": "prodigy", "learning_rate": 1e-4}, "set optimizer.learning_rate to 1"),
        ({"text_encoder_lr": 1e-5}, "adapter.text_encoder is false"),
        ({"mixed_precision": "fp16", "device": "cpu"}, "fp16 needs CUDA"),
        ({"optimizer.name": "adamw_8bit", "device": "mps"}, "adamw_8bit needs CUDA"),
        ({"sample.prompts": ["a [trigger] cat"]}, "trigger_word is empty"),
    ],
)
def test_values_at_odds_are_refused(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve(NEEDED, tree)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"adapter.rank": 0}, r"adapter\.rank should be greater than or equal to 1 \(it is 0\)\."),
        ({"data.resolution": 513}, r"data\.resolution should be a multiple of 8"),
        ({"adapter.targets": "everything"}, r"adapter\.targets should be 'attention'"),
        ({"optimizer.learning_rate": float("nan")}, r"optimizer\.learning_rate"),
        ({"adapter": 5}, r"adapter should be a valid dictionary"),
        ({"adapter": 5, "optimizer": {}, "output_name": "a/b"}, r"1 more after it"),
        ({"output_name": "../../etc"}, "usable as a file name"),
        ({"output_name": "name. "}, "usable as a file name"),
        ({"output_name": "con.fused"}, "keeps this one for a device"),
        ({"output_name": "猫" * 67}, "at most 200 bytes as a file name and takes 201"),
        ({"sample.prompts": "a cat"}, "should be a list"),
        ({"adapter": {"rank": {"deep": 1}}, "adapter.rank": 3}, "'adapter.rank' is a section"),
        ({"adapter.rank": 3, "adapter": {"rank": {"deep": 1}}}, "'rank' is a single value"),
    ],
)
def test_impossible_values_are_refused_by_name(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(NEEDED, tree)
    assert re.search(sentence, str(caught.value)), str(caught.value)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigError, match="'dataset' is needed and missing"):
        resolve({"base": "sandbox"})


def test_a_config_never_changes() -> None:
    fixed = resolve(NEEDED)
    with pytest.raises(ValidationError):
        fixed.seed = 3


def test_every_option_is_described() -> None:
    for key, section in known_keys().items():
        description = section.model_fields[key.rpartition(".")[2]].description
        assert description and description.rstrip().endswith("."), key


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.yaml", "base: &x sandbox\ndataset: *x\n", "aliases"),
        ("a.yaml", "base: !!python/name:os.system x\n", "tags"),
        ("a.yaml", "base: !!timestamp nonsense\n", "tags"),
        ("a.yaml", "seed: 1\nseed: 2\n", "'seed' is given twice"),
        ("a.yaml", "adapter: {rank: 1, rank: 2}\n", "'rank' is given twice"),
        ("a.toml", "seed = 1\nseed = 2\n", "cannot be read"),
        ("a.json", '{"seed": 1, "seed": 2}', "given twice"),
        ("a.yaml", "output_name: 2024-13-45\n", "cannot be read"),
        ("a.yaml", "seed: " + "9" * 5000, "cannot be read"),
        ("a.yaml", "[" * 5000, "nested deeper|cannot be read"),
        ("a.yaml", "- base\n- dataset\n", "does not hold keys and values"),
        ("a.yaml", "", "does not hold keys and values"),
        ("a.txt", "base: sandbox\n", "neither .yaml, .toml nor .json"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence):
        read_config_file(tmp_path / name)


def test_a_file_beyond_the_cap_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("base: sandbox\n# " + "x" * 1_000_000)
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        read_config_file(path)
    with pytest.raises(ConfigError, match="no config file"):
        read_config_file(tmp_path / "missing.yaml")


def test_bytes_that_are_no_text_are_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"base: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"c\.yaml is not text in UTF-8"):
        read_config_file(path)
    path.write_bytes("base: 猫\n".encode("utf-8-sig"))
    assert read_config_file(path) == {"base": "猫"}


@pytest.mark.parametrize(("written", "meant"), [("1e-4", 1e-4), ("2E3", 2e3), ("0.5", 0.5), ("-1e+2", -1e2)])
def test_numbers_in_yaml_are_numbers(tmp_path: Path, written: str, meant: float) -> None:
    (tmp_path / "n.yaml").write_text(f"value: {written}\n")
    assert read_config_file(tmp_path / "n.yaml") == {"value": meant}


def test_choices_are_the_words_of_a_field() -> None:
    assert config.choices(config.AdapterConfig.model_fields["targets"].annotation)[0] == "attention"
    assert config.choices(int) == ()
