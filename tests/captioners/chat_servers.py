"""Servers on this machine that speak the chat protocol as vLLM, Ollama, LM Studio, llama.cpp and OpenAI do.

They differ in what the programs differ in: paths, model lists, and above all how they word what goes wrong; their
words were taken from reports of users. What they see is the truth: a picture is decoded and its colour named, so a
caption proves that the picture arrived. Anybody can run one and caption against it:

    python -m tests.captioners.chat_servers ollama
    lorasmith caption DATASET --with openai_compatible --set base_url=http://127.0.0.1:PORT
"""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from PIL import Image

from tests.fetching.loopback import Loopback, Visit

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}
Say = Callable[["ChatServer", str, dict[str, Any]], tuple[int, Any, Mapping[str, str]]]
"""What becomes of one request about a picture: server, its colour, the request; status, document, headers."""


class ChatServer:
    """One program. ``trouble`` answers a request instead of the model, or with None lets the model answer."""

    kind = "vllm"
    models: tuple[str, ...] = ("Qwen/Qwen2.5-VL-7B-Instruct",)
    key: str | None = None
    sees = True

    def __init__(self, models: Iterable[str] | None = None, key: str | None = None, *, sees: bool = True) -> None:
        self.models = tuple(type(self).models if models is None else models)
        self.key, self.sees, self.gone = key, sees, False
        self.trouble: Callable[[str, dict[str, Any]], tuple[int, Any, Mapping[str, str]] | None] = lambda *_: None
        self.asked: list[dict[str, Any]] = []
        self.pictures: list[Image.Image] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self.loopback = Loopback()
        self.loopback.at("/v1/chat/completions", self._answer)
        self.loopback.at("/v1/models", self._list)

    @property
    def url(self) -> str:
        return self.loopback.url("/v1")

    @property
    def place(self) -> str:
        return self.loopback.place

    def __enter__(self) -> ChatServer:
        self.loopback.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.loopback.__exit__(kind, error, at)

    # How this program words things

    def listing(self) -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "owned_by": self.kind} for name in self.models],
        }

    def no_key(self) -> tuple[int, Any]:
        return 401, {"error": "Unauthorized"}

    def no_model(self, name: str) -> tuple[int, Any]:
        return 404, {
            "error": {
                "message": f"The model `{name}` does not exist.",
                "type": "NotFoundError",
                "param": None,
                "code": 404,
            }
        }

    def blind(self, name: str) -> tuple[int, Any]:
        message = f"{name} is not a multimodal model None"
        return 400, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}

    def completion(self, model: str, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": []}
        return said(message, model)

    # Behaviour

    def _list(self, visit: Visit) -> None:
        if self._refused(visit):
            return
        visit.say(200, json.dumps(self.listing()).encode())

    def _answer(self, visit: Visit) -> None:
        if self._refused(visit):
            return
        request = json.loads(visit.seen.body)
        with self._lock:
            self.asked.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            status, document, headers = self._outcome(request)
        finally:
            with self._lock:
                self.at_once -= 1
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        visit.say(status, body, headers)

    def _outcome(self, request: dict[str, Any]) -> tuple[int, Any, Mapping[str, str]]:
        if not self.knows(request["model"]):
            return (*self.no_model(request["model"]), {})
        if not self.sees:
            return (*self.blind(request["model"]), {})
        pictures = pictures_of(request)
        with self._lock:
            self.pictures.extend(pictures)
        colors = [color_of(picture) for picture in pictures]
        trouble = self.trouble(colors[0], request)
        if trouble is not None:
            return trouble
        return 200, self.completion(request["model"], self.sentence(colors, request)), {}

    def sentence(self, colors: list[str], request: Mapping[str, Any]) -> str:
        """What the model says: of a pair, which colours became which."""
        if len(colors) == 1:
            return f"A plain {colors[0]} picture."
        if "what was given" in text_of(request):
            return f"Turn {' and '.join(colors[:-1])} into {colors[-1]}."
        return f"A clip of {', then '.join(colors)}."

    def knows(self, model: str) -> bool:
        return model in self.models

    def _refused(self, visit: Visit) -> bool:
        if self.gone:  # the program was ended: connections break off
            visit.break_off()
            return True
        if self.key is None or visit.headers.get("Authorization") == f"Bearer {self.key}":
            return False
        status, document = self.no_key()
        visit.say(status, json.dumps(document).encode())
        return True


class Vllm(ChatServer):
    """vLLM: JSON errors of its own types; a model without eyes is refused as a bad request."""


class Ollama(ChatServer):
    """Ollama: models by tag, where ``llava`` is ``llava:latest``; a model without eyes ends in a server error."""

    kind = "ollama"
    models = ("qwen2.5vl:7b",)

    def knows(self, model: str) -> bool:
        return model in self.models or f"{model}:latest" in self.models

    def no_model(self, name: str) -> tuple[int, Any]:
        return 404, {"error": {"message": f'model "{name}" not found, try pulling it first', "type": "api_error"}}

    def blind(self, name: str) -> tuple[int, Any]:
        why = "this model is missing data required for image input"
        message = f"Failed to create new sequence: failed to process inputs: {why}"
        return 500, {"error": {"message": message, "type": "api_error", "param": None, "code": None}}


class LmStudio(ChatServer):
    """LM Studio: errors are often a bare text."""

    kind = "lm-studio"
    models = ("qwen2.5-vl-7b-instruct",)

    def no_model(self, name: str) -> tuple[int, Any]:
        message = "No models loaded. Please load a model in the developer page or use the 'lms load' command."
        return 404, {
            "error": {"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
        }

    def blind(self, name: str) -> tuple[int, Any]:
        return 400, {"error": "Model does not support images. Please use a model that does."}


class LlamaCpp(ChatServer):
    """The server of llama.cpp: it holds one model and answers to any name."""

    kind = "llama-cpp"
    models = ("/models/Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf",)

    def listing(self) -> dict[str, Any]:
        return {"models": [{"name": name} for name in self.models], **super().listing()}

    def knows(self, model: str) -> bool:
        return True

    def no_key(self) -> tuple[int, Any]:
        return 401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}

    def blind(self, name: str) -> tuple[int, Any]:
        message = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
        return 500, {"error": {"code": 500, "message": message, "type": "server_error"}}


class OpenAI(ChatServer):
    """OpenAI, and those who host for others."""

    kind = "openai"
    models = ("gpt-4.1-mini",)

    def no_key(self) -> tuple[int, Any]:
        message = "Incorrect API key provided: sk-wrong. You can find your API key in your account."
        return 401, {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
        }

    def no_model(self, name: str) -> tuple[int, Any]:
        message = f"The model `{name}` does not exist or you do not have access to it."
        return 404, {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": "model_not_found"}
        }

    def blind(self, name: str) -> tuple[int, Any]:
        message = "Invalid content type. image_url is only supported by certain models."
        where = "messages.[0].content.[1].type"
        return 400, {"error": {"message": message, "type": "invalid_request_error", "param": where, "code": None}}

    def completion(self, model: str, text: str) -> dict[str, Any]:
        return said({"role": "assistant", "content": text, "refusal": None, "annotations": []}, model)


PROGRAMS: dict[str, type[ChatServer]] = {kind.kind: kind for kind in (Vllm, Ollama, LmStudio, LlamaCpp, OpenAI)}


def said(message: dict[str, Any], model: str = "m", finish: str = "stop") -> dict[str, Any]:
    """A completion with one choice."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"prompt_tokens": 300, "completion_tokens": 12, "total_tokens": 312}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def text_of(request: Mapping[str, Any]) -> str:
    """What is asked."""
    return str(request["messages"][-1]["content"][0]["text"])


def pictures_of(request: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures that a request holds, decoded."""
    parts = request["messages"][-1]["content"]
    found = []
    for url in [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]:
        head, _, data = url.partition(",")
        assert head == "data:image/jpeg;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        picture.load()
        found.append(picture)
    return found


def color_of(picture: Image.Image) -> str:
    """The nearest of ``COLORS``."""
    mean = picture.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(mean, tuple)
    return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], mean, strict=True)))


def always(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Any:
    """The same trouble for every picture."""
    return lambda color, request: (status, document, headers or {})


def for_color(name: str, status: int, document: Any) -> Any:
    """Trouble for pictures of one colour."""
    return lambda color, request: (status, document, {}) if color == name else None


def main() -> None:
    """Run one until it is interrupted."""
    kind = PROGRAMS[sys.argv[1] if len(sys.argv) > 1 else "vllm"]
    with kind() as server:
        sys.stdout.write(f"{kind.kind} at {server.url}, model {server.models[0]}; Ctrl-C ends it\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
