"""The captioner for servers, against servers that behave like the five programs and like the bad days of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.captioners import Answer, Failure, Known
from lorasmith.captioners.openai_compatible import OpenAICompatible
from lorasmith.captioners.prompts import PROMPTS
from lorasmith.captioners.run import find_captioner, read_options, tell_need
from lorasmith.captioners.sending import notice_of
from lorasmith.credentials import Credentials
from lorasmith.errors import ConfigError, ConsentNeeded, EnvironmentProblem
from lorasmith.fetching import Consents
from tests.captioners.chat_servers import (
    COLORS,
    PROGRAMS,
    ChatServer,
    LlamaCpp,
    LmStudio,
    Ollama,
    OpenAI,
    Vllm,
    always,
    for_color,
    said,
)
from tests.fetching.loopback import FakeTime, redirects, says

KEY = "sk-lorasmith-test-0123456789"


def picture(color: str = "red", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, COLORS[color])


def loaded(
    server: ChatServer, home: Path | None = None, time: FakeTime | None = None, **options: Any
) -> OpenAICompatible:
    captioner = OpenAICompatible((time or FakeTime()).clock())
    own = OpenAICompatible.Options.model_validate({"base_url": server.url, **options})
    captioner.load(own, device="auto", home=home)
    return captioner


def one(captioner: OpenAICompatible, color: str = "red") -> Answer | Failure:
    (outcome,) = captioner.caption([picture(color)])
    return outcome


@pytest.mark.parametrize("kind", PROGRAMS)
def test_every_program_gives_captions(kind: str) -> None:
    with PROGRAMS[kind]() as server:
        captioner = loaded(server)
        answers = captioner.caption([picture(color) for color in COLORS])
        assert answers == [Answer(f"A plain {color} picture.") for color in COLORS]
        assert captioner.identity().model == server.models[0]
        assert captioner.device() == server.url


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_model_without_eyes_is_named_at_the_first_picture(kind: str) -> None:
    with PROGRAMS[kind](sees=False) as server:
        captioner = loaded(server)
        with pytest.raises(EnvironmentProblem, match="does not take pictures") as caught:
            one(captioner)
        assert server.models[0] in caught.value.message and "--mmproj" in caught.value.hint
        assert len(server.asked) == 1  # asking again would not help


@pytest.mark.parametrize("kind", [Vllm, Ollama, LmStudio, OpenAI])
def test_a_model_that_is_not_there_is_named_with_those_that_are(kind: type[ChatServer]) -> None:
    with kind() as server:
        captioner = loaded(server, model="llavva")
        with pytest.raises(EnvironmentProblem, match="has no model 'llavva' ready") as caught:
            one(captioner)
        assert f"It has: {server.models[0]}." in caught.value.message
        assert "ollama pull llavva" in caught.value.hint and "--set model=" in caught.value.hint


def test_the_model_is_asked_for_where_it_is_clear() -> None:
    with Ollama(["llava:latest"]) as server:
        assert loaded(server).identity().model == "llava:latest"
        assert one(loaded(server, model="llava")) == Answer("A plain red picture.")
    with Ollama(["llava:latest", "qwen2.5vl:7b"]) as server, pytest.raises(EnvironmentProblem) as caught:
        loaded(server)
    assert "llava:latest, qwen2.5vl:7b" in caught.value.message and "--set model=llava:latest" in caught.value.hint
    with Ollama([]) as server, pytest.raises(EnvironmentProblem, match="has no model"):
        loaded(server)
    with Vllm() as server:
        server.loopback.at("/v1/models", says(404, "404 page not found"))
        with pytest.raises(EnvironmentProblem, match="does not say which models") as caught:
            loaded(server)
        assert "--set model=NAME" in caught.value.hint
        assert one(loaded(server, model=server.models[0])) == Answer("A plain red picture.")


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    with Vllm() as server:
        gone = server.url
    time = FakeTime()
    captioner = OpenAICompatible(time.clock())
    with pytest.raises(EnvironmentProblem, match="no connection") as caught:
        captioner.load(OpenAICompatible.Options(base_url=gone, model="m"), device="auto", home=None)
    assert "Is the server running?" in caught.value.hint and not time.waits


def test_the_request_is_what_the_options_say() -> None:
    with Vllm() as server:
        captioner = loaded(
            server, prompt="portrait", system_prompt="Be brief.", temperature=None, top_p=0.5, max_tokens=60,
            limit_field="max_completion_tokens", seed=7, detail="low", longest_side=64, jpeg_quality=100,
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        )  # fmt: skip
        captioner.caption([picture("blue", (640, 320))], attempt=2)
        request = server.asked[0]
        system, user = request.pop("messages")
        assert request == {
            "model": server.models[0], "top_p": 0.5, "max_completion_tokens": 60, "seed": 9,
            "chat_template_kwargs": {"enable_thinking": False},
        }  # fmt: skip
        assert system == {"role": "system", "content": "Be brief."}
        text, shown = user["content"]
        assert text == {"type": "text", "text": PROMPTS["portrait"]} and shown["image_url"]["detail"] == "low"
        assert server.pictures[0].size == (64, 32)
        assert captioner.longest_side() == 64
        loaded(server).caption([picture()])
        assert server.asked[1]["temperature"] == 0.7 and server.asked[1]["top_p"] == 0.9
        assert server.asked[1]["max_tokens"] == 1024 and "seed" not in server.asked[1]
        assert server.asked[1]["messages"][0]["content"][0]["text"] == PROMPTS["detailed"]


def test_an_identity_holds_what_changes_an_answer_and_nothing_else() -> None:
    with Vllm() as server:
        key = loaded(server).identity().key
        assert loaded(server, concurrency=1, retries=0, budget=9, timeout=9).identity().key == key
        different = [{"prompt": "portrait"}, {"temperature": 0.1}, {"longest_side": 512}, {"extra_body": {"top_k": 5}}]
        assert len({key, *(loaded(server, **options).identity().key for options in different)}) == 5
        assert loaded(server, prompt=PROMPTS["detailed"]).identity().key == key


def test_a_prompt_is_filled_for_each_picture() -> None:
    with Vllm() as server:
        captioner = loaded(server, prompt="{trigger_word}, {tags}, {filename}: {{why}}?", trigger_word="ohwx")
        assert captioner.reads() == {"tags", "filename"} and loaded(server).reads() == frozenset()
        captioner.caption([picture(), picture()], known=[Known("a", "1girl, solo"), Known("b")])
        asked = sorted(request["messages"][0]["content"][0]["text"] for request in server.asked)
        assert asked == ["ohwx, , b: {why}?", "ohwx, 1girl, solo, a: {why}?"]


# --- what is no caption --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        ("<think>red? yes</think>\n\nA red picture.", "A red picture."),
        ("It is red, I think.\n</think>\nA red picture.", "A red picture."),
        ("<think>a</think>A <b>red</b> picture.<|im_end|>", "A <b>red</b> picture."),
        ("<think>a</think><answer>A red picture.</answer>", "A red picture."),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A red "}, {"text": "one."}], "A red one."),
        ("  1girl, :3, <3, i think  ", "1girl, :3, <3, i think"),
    ],
)  # fmt: skip
def test_thinking_is_taken_out(content: Any, caption: str) -> None:
    with Vllm() as server:
        server.trouble = always(200, said({"role": "assistant", "content": content, "reasoning_content": "hm"}))
        assert one(loaded(server)) == Answer(caption)


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": None, "refusal": "I cannot describe real people."}, "stop", "refuses: “I cannot describe"),
        ({"content": ""}, "content_filter", "filter took the answer away"),
        ({"content": "A red pic"}, "length", "cut off after 1024 tokens: “A red pic”"),
        ({"content": "<think>well, red"}, "length", "still thinking when 1024 tokens"),
        ({"content": "", "reasoning_content": "well"}, "length", "still thinking"),
        ({"content": "", "reasoning_content": "It is red."}, "stop", "thoughts and no answer"),
        ({"content": None}, "stop", "said nothing"),
        ({"content": []}, "stop", "said nothing"),
        ({"content": "<think>red"}, "stop", "thoughts and no answer"),
        ({"content": "Generation failed: missing 'pixel_values'"}, "error", "failed while it answered"),
    ],
)
def test_what_is_no_caption_is_a_failure(message: dict[str, Any], finish: str, reason: str) -> None:
    with Vllm() as server:
        server.trouble = always(200, said({"role": "assistant", **message}, finish=finish))
        outcome = one(loaded(server))
        assert isinstance(outcome, Failure) and reason in outcome.reason
        assert outcome.reason.endswith(".") or outcome.reason.endswith(").")


@pytest.mark.parametrize(
    "body", [b"<html><title>Router login</title></html>", b"", b"[1, 2]", b'{"choices": []}', b"{"]
)
def test_an_answer_of_another_kind_of_server_ends_the_run(body: bytes) -> None:
    with Vllm() as server:
        server.trouble = always(200, body)
        with pytest.raises(EnvironmentProblem, match="no chat completion") as caught:
            one(loaded(server))
        assert "base_url" in caught.value.hint


# --- refusals ------------------------------------------------------------------------------------------------

PICTURE_TROUBLE = [
    (413, b"<html><head><title>413 Request Entity Too Large</title></head></html>", "too large", "jpeg_quality"),
    (400, {"error": {"message": "Invalid image: exceeds 20 MB"}}, "too large", "longest_side"),
    (400, {"error": {"message": "Your input image may contain content that is not allowed by our safety system.",
                     "code": "content_policy_violation"}}, "does not want to look", "local model"),
    (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}, "does not want", "local"),
    (403, {"error": {"message": "Input was flagged by moderation", "code": 403}}, "does not want", "local"),
    (400, {"error": {"message": "This model's maximum context length is 4096 tokens."}}, "context", "max-model-len"),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size"}}, "context", "-c"),
    (400, {"error": "illegal base64 data at input byte 5"}, "cannot read the picture", "JPEG"),
    (500, {"error": {"code": 500, "message": "Failed to load image or audio file"}}, "cannot read", "JPEG"),
    (409, {"error": {"message": "Busy with something odd"}}, "refuses the request (409): “Busy", "log"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "words", "hint"), PICTURE_TROUBLE)
def test_one_bad_picture_is_one_failure(status: int, body: Any, words: str, hint: str) -> None:
    with Vllm() as server:
        server.trouble = for_color("red", status, body)
        captioner = loaded(server)
        bad, good = captioner.caption([picture("red"), picture("blue")])
        assert good == Answer("A plain blue picture.")
        assert isinstance(bad, Failure) and words in bad.reason and hint in bad.reason
        assert one(captioner, "green") == Answer("A plain green picture.")


RUN_TROUBLE = [
    (401, {"error": "Unauthorized"}, "wants a key", "lorasmith secrets set openai:127.0.0.1"),
    (403, {"error": {"message": "Country not supported"}}, "wants a key: “Country", "secrets set"),
    (400, {"error": {"message": "API key not valid.", "code": 400}}, "wants a key", "secrets set"),
    (402, {"error": {"message": "Payment required"}}, "nothing left", "Add credit"),
    (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, "nothing", "Add"),
    (400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                     "'max_completion_tokens' instead.", "code": "unsupported_parameter"}},
     "does not take one of the settings", "limit_field=max_completion_tokens"),
    (400, {"error": {"message": "Unsupported value: 'temperature' not 0.7"}}, "settings", "temperature=null"),
    (422, {"detail": [{"msg": "Extra inputs are not permitted", "type": "extra_forbidden"}]}, "settings", "extra_body"),
    (404, b"404 page not found", "has no chat completions at", "/v1"),
    (405, {"detail": "Method Not Allowed"}, "has no chat completions at", "/v1"),
    (404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, "take pictures", "sees"),
    (200, {"error": "Model does not support images. Please use a model that does."}, "does not take pictures", "sees"),
    (200, {"error": {"message": "Unauthorized", "code": 401}}, "wants a key", "secrets set"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "words", "hint"), RUN_TROUBLE)
def test_what_no_picture_will_survive_ends_the_run(status: int, body: Any, words: str, hint: str) -> None:
    with Vllm() as server:
        server.trouble = always(status, body)
        time = FakeTime()
        captioner = loaded(server, time=time, concurrency=1)
        with pytest.raises(EnvironmentProblem) as caught:
            one(captioner)
        assert words in caught.value.message and hint in caught.value.hint
        assert len(server.asked) == 1 and not time.waits


def test_answers_of_the_same_batch_are_kept_before_the_run_ends() -> None:
    with Vllm() as server:
        server.trouble = for_color("red", 402, {})
        captioner = loaded(server)
        good, bad = captioner.caption([picture("blue"), picture("red")])
        assert good == Answer("A plain blue picture.") and isinstance(bad, Failure) and "nothing left" in bad.reason
        with pytest.raises(EnvironmentProblem, match="nothing left"):
            one(captioner, "green")
        assert len(server.asked) == 2


# --- moments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_what_passes_is_asked_again(status: int) -> None:
    with Vllm() as server:
        time = FakeTime()
        server.trouble = lambda *_: (status, {"error": "busy"}, {}) if len(server.asked) < 3 else None
        assert one(loaded(server, time=time)) == Answer("A plain red picture.")
        assert len(server.asked) == 3 and time.waited == pytest.approx(0.75 + 1.5, abs=0.01)


def test_a_server_says_how_long_to_wait() -> None:
    with Vllm() as server:
        time = FakeTime()
        server.trouble = lambda *_: (429, {}, {"Retry-After": "17"}) if len(server.asked) < 2 else None
        assert one(loaded(server, time=time)) == Answer("A plain red picture.")
        assert 17 <= time.waited < 19
        time = FakeTime()
        server.asked.clear()
        server.trouble = always(429, {"error": "slow down"}, {"Retry-After": "7200"})
        with pytest.raises(EnvironmentProblem, match="left alone for 7200 seconds") as caught:
            one(loaded(server, time=time))
        assert "after" in caught.value.hint and not time.waits and len(server.asked) == 1


def test_a_server_that_always_fails_is_not_asked_about_ten_thousand_pictures() -> None:
    with Vllm() as server:
        server.trouble = always(500, {"error": {"message": "CUDA out of memory"}})
        captioner = loaded(server, retries=1, concurrency=1)
        for _ in range(4):
            outcome = one(captioner)
            assert isinstance(outcome, Failure) and "CUDA out of memory" in outcome.reason and "log" in outcome.reason
        with pytest.raises(EnvironmentProblem, match="CUDA out of memory"):
            one(captioner)
        assert len(server.asked) == 10


def test_pictures_that_it_does_not_want_are_not_the_servers_fault() -> None:
    with Vllm() as server:
        server.trouble = always(400, {"error": {"message": "blocked", "code": "content_policy_violation"}})
        captioner = loaded(server)
        for _ in range(3):
            assert all(isinstance(said, Failure) for said in captioner.caption([picture()] * 4))
        server.trouble = always(413, b"")
        assert all(isinstance(said, Failure) for said in captioner.caption([picture()] * 6))


def test_a_server_that_goes_away_ends_the_run() -> None:
    with Vllm() as server:
        captioner = loaded(server, retries=2)
        assert one(captioner) == Answer("A plain red picture.")
        server.gone = True
        with pytest.raises(EnvironmentProblem, match="gave no answer") as caught:
            one(captioner)
    assert "start it" in caught.value.hint and "kept" in caught.value.hint


def test_a_picture_that_takes_too_long_is_one_failure() -> None:
    import threading

    with Vllm() as server:
        over = threading.Event()

        def stall(color: str, request: dict[str, Any]) -> None:
            if color == "red":
                over.wait(20)

        server.trouble = stall  # type: ignore[assignment]
        captioner = loaded(server, retries=0, timeout=4)  # within which the other one is answered
        bad, good = captioner.caption([picture("red"), picture("blue")])
        over.set()
        assert good == Answer("A plain blue picture.")
        assert isinstance(bad, Failure) and "gave no answer" in bad.reason


def test_pictures_are_not_passed_on_to_another_place() -> None:
    with Vllm() as server, Vllm() as other:
        captioner = loaded(server, retries=3)
        target = other.loopback.url("/v1/chat/completions")
        server.loopback.at("/v1/chat/completions", redirects(target))
        with pytest.raises(EnvironmentProblem, match="wants to pass what was sent on to") as caught:
            one(captioner)
        assert "Use that address" in caught.value.hint and not other.loopback.seen


def test_the_budget_is_a_hard_stop() -> None:
    with Vllm() as server:
        server.trouble = lambda color, _: (500, {}, {}) if len(server.asked) == 1 else None
        captioner = loaded(server, budget=3, concurrency=1)
        said_of = captioner.caption([picture(color) for color in ("red", "blue", "green", "white")])
        assert [isinstance(outcome, Answer) for outcome in said_of] == [True, True, False, False]
        assert "budget of 3 requests is used up" in str(said_of[2]) and "same command again" in str(said_of[2])
        assert len(server.asked) == 3


def test_several_are_asked_at_the_same_time_and_no_more() -> None:
    import threading

    with Vllm() as server:
        gathered = threading.Barrier(3, timeout=60)

        def wait(color: str, request: dict[str, Any]) -> None:
            gathered.wait()  # passes only when three requests are there at once

        server.trouble = wait  # type: ignore[assignment]
        captioner = loaded(server, concurrency=3)
        assert captioner._options is not None and captioner._options.batch_size == 6
        answers = captioner.caption([picture("blue")] * 6)
        assert answers == [Answer("A plain blue picture.")] * 6 and server.most_at_once == 3


# --- keys, places, consent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OpenAI, LlamaCpp, LmStudio])
def test_the_key_comes_from_the_secret_store(kind: type[ChatServer], tmp_path: Path) -> None:
    with kind(key=KEY) as server:
        with pytest.raises(EnvironmentProblem, match="wants a key") as caught:
            loaded(server, tmp_path)
        assert f"lorasmith secrets set openai:{server.place}" in caught.value.hint
        Credentials(tmp_path).set(f"openai:{server.place}", "sk-not-the-right-one-987654")
        with pytest.raises(EnvironmentProblem, match="refuses the key") as caught:
            loaded(server, tmp_path)
        Credentials(tmp_path).set(f"openai:{server.place}", KEY)
        captioner = loaded(server, tmp_path)
        assert one(captioner) == Answer("A plain red picture.")
        assert KEY not in str(captioner.identity()) and KEY not in repr(vars(captioner))
        Credentials(tmp_path).forget(f"openai:{server.place}")
        Credentials(tmp_path).set("openai:127.0.0.1", KEY)
        assert one(loaded(server, tmp_path)) == Answer("A plain red picture.")


@pytest.mark.parametrize(
    ("text", "base", "sends_to"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", ""),
        ("http://localhost:11434/", "http://localhost:11434/v1", ""),
        ("localhost:1234", "http://localhost:1234/v1", ""),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1", ""),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1", "api.openai.com"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1", "openrouter.ai"),
        ("https://API.Example.com:8443", "https://api.example.com:8443/v1", "api.example.com:8443"),
    ],
)
def test_addresses_as_people_write_them(text: str, base: str, sends_to: str, tmp_path: Path) -> None:
    from lorasmith.captioners.chat.address import read_address

    assert read_address(text).base == base
    assert OpenAICompatible().need(OpenAICompatible.Options(base_url=text), home=tmp_path).sends_to == sends_to


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("", "No server is named", "--set base_url="),
        ("ftp://example.com", "not ftp", "https://api.example.com/v1"),
        ("http://", "names no server", "http://127.0.0.1:8000/v1"),
        ("http://api.example.com/v1", "over http", "https://"),
        ("http://0.0.0.0:8000", "where a server listens", "http://127.0.0.1:8000"),
        ("http://192.168.1.5:8000", "private network", "allow_private=true"),
        ("https://10.0.0.5/v1", "private network", "allow_private=true"),
        ("http://169.254.169.254/v1", "link-local", "Check"),
        ("https://user:pass1234@example.com/v1", "login or a question mark", "secrets set openai:example.com"),
        (f"https://example.com/v1?key={KEY}", "login or a question mark", "secrets set openai:example.com"),
        ("http://127.0.0.1:port/v1", "cannot be read", "http://127.0.0.1:8000/v1"),
    ],
)
def test_addresses_that_cannot_be_used(text: str, words: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAICompatible().need(OpenAICompatible.Options(base_url=text), home=tmp_path)
    assert words in caught.value.message and hint in caught.value.hint
    assert KEY not in str(caught.value) and "pass1234" not in str(caught.value)


def test_a_private_address_has_to_be_allowed_and_the_clouds_own_never_is(tmp_path: Path) -> None:
    options = OpenAICompatible.Options(base_url="http://192.168.1.5:8000", allow_private=True)
    assert OpenAICompatible().need(options, home=tmp_path).sends_to == "192.168.1.5:8000"
    with pytest.raises(ConfigError, match="link-local"):
        OpenAICompatible().need(
            OpenAICompatible.Options(base_url="http://169.254.169.254/v1", allow_private=True), home=tmp_path
        )
    from lorasmith.captioners.chat.address import read_address
    from lorasmith.errors import AddressRefused

    address = read_address("http://nas.example:8000", allow_private=True)
    import ipaddress

    address.refuse_far(ipaddress.ip_address("192.168.1.9"))
    for far in ("93.184.216.34", "169.254.169.254", "2606:4700::1"):
        with pytest.raises(AddressRefused):
            address.refuse_far(ipaddress.ip_address(far))
    with pytest.raises(AddressRefused, match="private network"):
        read_address("https://nas.example").refuse_far(ipaddress.ip_address("192.168.1.9"))


def test_pictures_leave_only_after_consent(tmp_path: Path) -> None:
    captioner, given = find_captioner("openai", {"model": "gpt-4.1-mini"})
    options = read_options(captioner, given)
    with pytest.raises(ConsentNeeded, match=r"leave this machine for api\.openai\.com") as caught:
        tell_need(captioner, options, tmp_path, download=False)
    assert caught.value.notice == "send-to:api.openai.com" and "--accept send-to:api.openai.com" in caught.value.hint
    Consents(tmp_path).give(notice_of("api.openai.com"))
    assert tell_need(captioner, options, tmp_path, download=False).sends_to == "api.openai.com"
    captioner, given = find_captioner("ollama", {})
    assert tell_need(captioner, read_options(captioner, given), tmp_path / "other", download=False).sends_to == ""


def test_options_that_cannot_be_used() -> None:
    captioner, _ = find_captioner("openai_compatible", {})
    for options, words in (
        ({"extra_body": {"messages": []}}, "'messages' is set here"),
        ({"prompt": "{colour}"}, "no field {colour}"),
        ({"prompt": "subject"}, "set 'trigger_word'"),
        ({"prompt": ""}, "prompt"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_token": 5}, "no option 'max_token'"),
        ({"budget": 0}, "budget"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_options(captioner, options)
        assert words in caught.value.message and caught.value.hint
    with Vllm() as server, pytest.raises(ConfigError, match="not 'cuda'"):
        OpenAICompatible().load(OpenAICompatible.Options(base_url=server.url), device="cuda")
