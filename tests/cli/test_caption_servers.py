"""``lorasmith caption`` with a server, from the ZIP to the three files, and with everything one can get wrong."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.captioners.sending import notice_of
from lorasmith.cli import run
from lorasmith.credentials import Credentials
from lorasmith.fetching import Consents
from tests.captioners.chat_servers import (
    COLORS,
    ChatServer,
    Ollama,
    OpenAI,
    Vllm,
    always,
    color_of,
    for_color,
    pictures_of,
)
from tests.cli.desk import Desk

PHOTOS = {"red": "Holiday/rot 1.jpg", "green": "Holiday/grün.png", "blue": "Holiday/青.webp"}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the photos of a ZIP."""
    root = tmp_path_factory.mktemp("holiday")
    with zipfile.ZipFile(root / "Holiday.zip", "w") as packed:
        for color, name in PHOTOS.items():
            picture = io.BytesIO()
            Image.new("RGB", (96, 64), COLORS[color]).save(picture, Image.registered_extensions()[Path(name).suffix])
            packed.writestr(name, picture.getvalue())
    assert run(["import", str(root / "Holiday.zip"), "--home", str(root / "home"), "--json"]) == 0
    return root / "home"


@pytest.fixture
def desk(imported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Desk:
    shutil.copytree(imported, tmp_path / "home")
    return Desk(tmp_path / "home", capfd)


@pytest.fixture
def server() -> Iterator[Vllm]:
    with Vllm() as made:
        yield made


def asking(server: ChatServer, *arguments: str) -> list[str]:
    return ["caption", "Holiday", "--with", "openai_compatible", "--set", f"base_url={server.url}", *arguments]


def test_from_the_zip_to_three_files_and_back(desk: Desk, server: Vllm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = desk.ask(*asking(server, "--bundle", str(out), "--trigger-word", "ohwx"))
    assert (answer["captioned"], answer["failures"]) == (3, {})
    assert sorted(Path(path).name for path in answer["bundle"]) == [
        "Holiday_captions.json", "Holiday_captions.txt", "Holiday_processed_images.zip",
    ]  # fmt: skip
    told = json.loads((out / "Holiday_captions.json").read_text(encoding="utf-8"))["captions"]
    with zipfile.ZipFile(out / "Holiday_processed_images.zip") as packed:
        pictures = {name: Image.open(io.BytesIO(packed.read(name))) for name in packed.namelist()}
        for picture in pictures.values():
            picture.load()
    assert list(pictures) == list(told) == ["0001.png", "0002.png", "0003.png"]
    assert all(picture.format == "PNG" for picture in pictures.values())
    names = {color_of(pictures[number]): entry["original_filename"] for number, entry in told.items()}
    assert {color: Path(name).stem for color, name in names.items()} == {"red": "rot 1", "green": "grün", "blue": "青"}
    text = (out / "Holiday_captions.txt").read_text(encoding="utf-8")
    for number, entry in told.items():
        assert entry["caption"] == f"ohwx, A plain {color_of(pictures[number])} picture."
        assert f"({number}):\n{entry['caption']}\n" in text

    desk.ask("import", str(out), "--name", "again")
    again = desk.ask("captions", "again")["captions"]
    assert sorted(again.values()) == sorted(entry["caption"] for entry in told.values())

    assert len(server.asked) == 3
    desk.ask(*asking(server, "--bundle", str(out)))  # answers are kept, and the files are its own
    assert len(server.asked) == 3


def test_pairs_are_shown_together_and_counted(desk: Desk, server: Vllm, tmp_path: Path) -> None:
    error = desk.ask(*asking(server, "--pairs"), code=3)["error"]
    assert error["message"] == "No picture of Holiday@1 has a reference, so there is no edit to describe."
    error = desk.ask("caption", "Holiday", "--pairs", code=2)["error"]
    assert "wd_tagger looks at one picture at a time" in error["message"] and "vllm" in error["hint"]
    (tmp_path / "before").mkdir()
    Image.new("RGB", (30, 30), COLORS["white"]).save(tmp_path / "before" / "grün.png")
    desk.ask("dataset", "references", "Holiday", str(tmp_path / "before"))
    code, out, err = desk.say(*asking(server, "--pairs", "--mode", "fill"))
    assert code == 0 and "1 caption written, 2 failed" in out and "1 pair: 1 request with 2 pictures." in err, (
        out,
        err,
    )
    assert "Turn white into green." in desk.ask("captions", "Holiday")["captions"].values()
    assert [len(pictures_of(request)) for request in server.asked] == [2]


def test_files_of_others_are_not_touched_and_the_captions_are_not_lost(
    desk: Desk, server: Vllm, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Holiday_captions.txt").write_text("mine", encoding="utf-8")
    error = desk.ask(*asking(server, "--bundle", str(tmp_path / "out")), code=3)["error"]
    assert "The captions are in Holiday@2" in error["message"] and "dataset export Holiday@2" in error["hint"]
    assert (tmp_path / "out" / "Holiday_captions.txt").read_text(encoding="utf-8") == "mine"
    assert desk.ask("captions", "Holiday")["captioned"] == 3


def test_who_spoke_is_in_the_provenance(desk: Desk, server: Vllm) -> None:
    desk.ask(*asking(server, "--set", "prompt=portrait"))
    from lorasmith.studio import Studio

    by = Studio(desk.home).dataset("Holiday").items[0].provenance["captioner"]
    assert by["model"] == server.models[0] and by["device"] == server.url
    assert by["settings"]["prompt"] == "portrait" and by["settings"]["temperature"] == 0.7


def test_the_key_is_in_nothing_that_was_said_or_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-canary-0123456789abcdefghij"
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    with OpenAI(key=key) as server:
        Credentials(desk.home).set(f"openai:{server.place}", key)
        said = ["".join(map(str, desk.say(*asking(server), "--json-events")))]
        assert "3 captions written" in said[0]
        server.trouble = always(401, {"error": {"message": f"Incorrect API key provided: {key}."}})
        said.append("".join(map(str, desk.say(*asking(server), "--fresh", "--debug"))))
        assert "refuses the key" in said[1]
        assert all(seen.headers["authorization"] == f"Bearer {key}" for seen in server.loopback.seen)
    assert not any(key in text for text in said)
    written = [path for path in desk.home.rglob("*") if path.is_file() and path.name != "secrets.json"]
    assert len(written) > 10 and not [path for path in written if key.encode() in path.read_bytes()]


def test_a_budget_lists_the_rest_and_the_same_command_goes_on(desk: Desk, server: Vllm) -> None:
    arguments = asking(server, "--set", "budget=2", "--set", "concurrency=1")
    answer = desk.ask(*arguments)
    (reason,) = answer["failures"].values()
    assert answer["captioned"] == 2 and "budget of 2 requests" in reason and "same command" in reason
    answer = desk.ask(*arguments)
    assert (answer["captioned"], answer["failures"], len(server.asked)) == (3, {}, 3)


def test_one_bad_picture_is_one_listed_failure(desk: Desk, server: Vllm) -> None:
    server.trouble = for_color("green", 413, b"")
    code, out, _ = desk.say(*asking(server))
    assert code == 0 and "2 captions written, 1 failed." in out
    assert "too large" in out and "longest_side" in out


def test_an_excuse_and_a_loop_are_asked_again_and_never_written(desk: Desk, server: Vllm) -> None:
    texts = {"red": "I'm sorry, I can't help with that.", "green": "a cat and " * 60, "blue": "A blue picture."}
    server.trouble = lambda color, request: (200, server.completion("m", texts[color]), {})
    answer = desk.ask(*asking(server))
    assert answer["captioned"] == 1 and len(answer["failures"]) == 2 and len(server.asked) == 5
    assert "excuse" in str(answer["failures"]) and "repeats itself" in str(answer["failures"])


@pytest.mark.parametrize(
    ("settings", "code", "words", "hint"),
    [
        (["base_url=http://192.168.0.9:8000"], 2, "private network", "allow_private=true"),
        (["base_url=http://example.com/v1"], 2, "over http", "https://"),
        (["base_url="], 2, "No server is named", "ollama"),
        (["temperature=hot"], 2, "'temperature'", "Change it"),
        (["temprature=0.5"], 2, "no option 'temprature'", "Did you mean 'temperature'?"),
        (["prompt={colour}"], 2, "no field {colour}", "Change it"),
        (["prompt=subject"], 2, "set 'trigger_word'", "Change it"),
        (["api_key=sk-0123456789abcdef01234567"], 2, "a key is no option", "secrets set openai:HOST|Change it"),
        (["extra_body={nonsense"], 2, "not JSON", "A list is written"),
        (['extra_body={"stream": true}'], 2, "'stream' is set here", "Change it"),
        (["model=llavva"], 6, "no model 'llavva' ready", "--set model="),
        (["retries=many"], 2, "'retries'", "Change it"),
        (["base_url=http://127.0.0.1:1/v1"], 6, "gave no answer|not one that serves", "base_url|Check"),
    ],
)
def test_what_one_can_get_wrong(
    desk: Desk, server: Vllm, settings: list[str], code: int, words: str, hint: str
) -> None:
    arguments = asking(server) if settings[0].partition("=")[0] != "base_url" else asking(server)[:4]
    got, out, err = desk.say(*arguments, *(word for setting in settings for word in ("--set", setting)))
    assert (got, out) == (code, ""), err
    assert any(word in err for word in words.split("|")) and any(word in err for word in hint.split("|")), err
    assert "Traceback" not in err and not server.pictures


def test_a_prompt_may_begin_with_a_brace(desk: Desk, server: Vllm) -> None:
    prompt = "{trigger_word} and {filename}, [really]?"
    desk.ask(*asking(server, "--set", f"prompt={prompt}", "--set", "trigger_word=ohwx"))
    asked = {request["messages"][0]["content"][0]["text"] for request in server.asked}
    assert asked == {f"ohwx and {name}, [really]?" for name in ("rot 1", "grün", "青")}


def test_the_captioners_are_listed(desk: Desk) -> None:
    listed = {entry["name"]: entry for entry in desk.ask("caption", "--list")["captioners"]}
    assert "ollama" in listed["openai_compatible"]["other_names"] and "wd-vit-v3" in listed["wd_tagger"]["other_names"]
    _, out, _ = desk.say("caption", "--list")
    assert "openai_compatible: Any server" in out and max(map(len, out.splitlines())) <= 110
    error = desk.refused("caption", "Holiday", "--with", "gpt-4")
    assert "`lorasmith caption --list`" in error["hint"] and len(error["hint"]) < 250
    assert "Did you mean 'wd-vit-v3'?" in desk.refused("caption", "Holiday", "--with", "wd-vitv3")["hint"]
    assert "no tags" in desk.refused("caption", "Holiday", "--with", "ollama", "--threshold", "0.3")["message"]


def test_a_failed_run_says_what_it_was_and_not_what_it_was_not(desk: Desk, server: Vllm) -> None:
    server.sees = False
    code, _, err = desk.say(*asking(server))
    assert code != 0 and "Captioning failed: The model" in err and "does not take pictures" in err
    assert "batch_size" not in err and "2-3 GB" not in err  # advice for models on this machine
    with Ollama(["a", "b"]) as several:
        code, _, err = desk.say(*asking(several))
    assert code != 0 and "several models: a, b" in err and "--set model=a" in err


def test_an_answer_that_no_program_knows(desk: Desk, server: Vllm) -> None:
    server.trouble = always(418, {"error": "teapot"})
    code, _, err = desk.say(*asking(server))
    assert code != 0 and "refuses the request (418): “teapot”" in err and "log" in err
    server.trouble = always(413, b"")
    code, _, err = desk.say(*asking(server))
    assert code == 3 and "None of the 3 pictures" in err and "longest_side" in err


def test_consent_is_given_once_listed_and_withdrawn(desk: Desk) -> None:
    arguments = ["caption", "Holiday", "--with", "openai", "--set", "model=gpt-x"]
    error = desk.ask(*arguments, code=2)["error"]
    assert error["type"] == "ConsentNeeded" and "--accept send-to:api.openai.com" in error["hint"]
    assert desk.ask(*arguments, "--accept", "send-to:api.openai.co", code=2)["error"]["type"] == "ConsentNeeded"
    assert desk.ask("consents")["consents"] == []
    assert "agreed to nothing" in desk.say("consents")[1]

    Consents(desk.home).give(notice_of("api.openai.com"))
    assert [entry["notice"] for entry in desk.ask("consents", "list")["consents"]] == ["send-to:api.openai.com"]
    assert "Did you mean" in desk.ask("consents", "withdraw", "send-to:api.openai.co", code=3)["error"]["hint"]
    assert desk.ask("consents", "withdraw", "send-to:api.openai.com")["withdrawn"]
    assert desk.ask(*arguments, code=2)["error"]["type"] == "ConsentNeeded"


def test_accept_stands_before_or_after_the_command_and_is_kept(desk: Desk) -> None:
    wrong = ["caption", "nobody", "--with", "openai", "--set", "model=gpt-x"]
    assert desk.ask(*wrong, "--accept", "send-to:api.openai.com", code=3)["error"]["type"] == "DatasetError"
    assert desk.ask("consents")["consents"] == []  # what was not asked for is not kept
    arguments = ["caption", "Holiday", "--with", "openai", "--set", "model=gpt-x", "--set", "temperature=9"]
    assert "temperature" in desk.ask("--accept", "send-to:api.openai.com", *arguments, code=2)["error"]["message"]
