"""``lorasmith caption`` with models that see and write, as a newcomer types it, with the real worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.captioners.tiny_models import write_tiny
from tests.cli.test_caption_command import say


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeing")
    source = folder / "pictures"
    source.mkdir()
    for n, color in enumerate(("red", "blue", "lime", "white")):
        Image.new("RGB", (64 - 8 * n, 48), color).save(source / f"{n}.png")
    for kind in ("llava", "florence2"):
        write_tiny(folder / kind, kind)
    assert say(folder, "import", str(source), "--name", "set")[0] == 0
    return folder


def test_options_of_a_model_are_set_as_any_other(home: Path) -> None:
    settings = {
        "model": home / "llava", "caption_length": 60, "extra": "lighting,camera_angle", "max_new_tokens": 12,
        "seed": 3,
    }  # fmt: skip
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, out, err = say(home, "caption", "set@1", "--with", "joycaption", *given)
    assert code == 0 and out.startswith("set@2: ")
    assert "llava works on cpu as float32" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["florence2", "--set", "task=region_proposal"], 2, ["only marks places", "another task"]),
        (["florence2", "--set", "model=LLAVA"], 6, ["of the kind 'llava'", "vision_language"]),
        (["joycaption", "--set", "prompt=call it {trigger_word}"], 2, ["set 'trigger_word'"]),
        (["blip-large"], 6, ["about 1.88 GB", "BSD-3-Clause", "--download"]),
        (["vision_language"], 2, ["which model", "repository or a folder"]),
        (["florence-2-bas"], 2, ["Did you mean 'florence-2-base'?"]),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    home: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    given = [word.replace("LLAVA", str(home / "llava")) for word in arguments]
    got, _, err = say(home, "caption", "set@1", "--with", *given)
    assert got == code
    for word in words:
        assert word in err
