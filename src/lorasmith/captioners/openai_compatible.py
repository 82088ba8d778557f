"""Captions by any server that speaks the chat-completions protocol with pictures.

Local ones (vLLM, Ollama, LM Studio, the server of llama.cpp) under the names ``vllm``, ``ollama``, ``lm-studio`` and
``llama-cpp``, and hosted ones by their address. A key is kept with ``lorasmith secrets set openai:HOST``. Pictures go
to another machine only after you agreed to it, and to a private network only with ``allow_private``. Requests that
fail for a moment are repeated; answers are kept, so that the same command after a failure, or with a new budget, asks
only for what is missing.

With ``pairs`` each picture goes with its references in one request, in order, and what is asked is the edit that makes
the one of the others: an instruction, as models that edit are trained with.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from lorasmith.captioners import Answer, Captioner, Failure, Identity, Known, Need
from lorasmith.captioners.chat.address import read_address
from lorasmith.captioners.chat.server import Manners, Server
from lorasmith.captioners.prompts import OF_PAIRS, OF_PICTURES, fields_of, fill, template_of
from lorasmith.config import Section
from lorasmith.credentials import Credentials
from lorasmith.errors import ConfigError, EnvironmentProblem
from lorasmith.fetching import Clock

if TYPE_CHECKING:
    from PIL.Image import Image

_PLACES: Final = {
    "vllm": "http://127.0.0.1:8000/v1",
    "ollama": "http://127.0.0.1:11434/v1",
    "lm-studio": "http://127.0.0.1:1234/v1",
    "llama-cpp": "http://127.0.0.1:8080/v1",
    "openai": "https://api.openai.com/v1",
}
_OURS: Final = frozenset({"model", "messages", "stream", "n"})  # what the answer is read by
_OF_CLIPS: Final = (
    "These {} pictures are frames of one video clip, in order. Answer once for the whole clip, with what moves or "
    "changes in it. {}"
)
_OF_PAIR: Final = (
    "Two pictures come with this, in this order. Picture 1 is what was given. Picture 2 is the result, made from it. {}"
)
_OF_REFERENCES: Final = (
    "{0} pictures come with this, in this order. Pictures 1 to {1} are what was given. Picture {0} is the result, made "
    "from them. {2}"
)
_AHEAD: Final = 2  # batches hold this many times what is asked at once, so that one slow answer stops no other


class OpenAICompatible(Captioner):
    """Asks a server."""

    name = "openai_compatible"
    title = "Any server with the chat-completions protocol (vLLM, Ollama, LM Studio, llama.cpp, hosted)"
    varies = True
    advice = ""

    class Options(Section):
        """Whom to ask, and how."""

        base_url: str = ""
        """The server's address, such as ``http://127.0.0.1:8000/v1``; ``/v1`` is added where no path is given."""
        model: str = ""
        """The model's name on the server. Left out: the only one there is."""
        pairs: bool = False
        """Whether each picture is shown together with its references, they first, for what models that edit are
        trained with; a model that takes one picture a request refuses that. Pictures without references are listed."""
        prompt: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
        """What is asked: ``detailed``, ``portrait``, ``short``, ``tags``, ``from_tags`` or ``subject``, of pairs
        ``edit``, or a text of your own, in which {trigger_word}, {tags} and {filename} are filled for each picture.
        Left out: ``detailed``, and of pairs ``edit``."""
        system_prompt: Annotated[str, Field(max_length=4000)] = ""
        """What the model is told about itself before; empty for nothing."""
        trigger_word: Annotated[str, Field(max_length=200)] = ""
        """What {trigger_word} in the prompt stands for."""
        temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.7
        """How freely words are chosen, 0 to 2; ``null`` leaves it to the server."""
        top_p: Annotated[float, Field(gt=0, le=1)] | None = 0.9
        """Share of likely words to choose from, above 0 to 1; ``null`` leaves it to the server."""
        max_tokens: Annotated[int, Field(ge=1, le=65536)] | None = 1024
        """Most tokens of an answer, 1 to 65536, thinking included; ``null`` leaves it to the server."""
        limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
        """How the server calls that limit; newer OpenAI models want ``max_completion_tokens``."""
        seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
        """Sent to servers that can repeat an answer. Left out: not sent."""
        longest_side: Annotated[int, Field(ge=64, le=8192)] = 1024
        """Pixels of the longer side that pictures are reduced to, 64 to 8192; never enlarged."""
        jpeg_quality: Annotated[int, Field(ge=30, le=100)] = 90
        """Quality of the JPEG that is sent, 30 to 100."""
        detail: Literal["auto", "low", "high"] | None = None
        """How closely a hosted model looks, which changes its price. Left out: not sent."""
        frames: Annotated[int, Field(ge=1, le=32)] = 1
        """Of a clip, how many frames are sent, evenly spread from its first to its last, 1 to 32; a model that takes
        one picture at a time refuses more."""
        concurrency: Annotated[int, Field(ge=1, le=64)] = 4
        """Requests at the same time, 1 to 64."""
        retries: Annotated[int, Field(ge=0, le=20)] = 4
        """How often a request that failed for a moment is repeated, 0 to 20."""
        longest_wait: Annotated[float, Field(ge=0, le=3600)] = 120.0
        """Seconds that a server may ask to be left alone, 0 to 3600; asked for more, the job ends and says until
        when."""
        timeout: Annotated[float, Field(ge=1, le=3600)] = 300.0
        """Seconds for one answer, 1 to 3600."""
        budget: Annotated[int, Field(ge=1)] | None = None
        """Most requests of one run, repetitions included; the pictures beyond it are listed. Left out: no limit."""
        allow_private: bool = False
        """Whether the server may stand in a private network, where http is fine too."""
        extra_body: dict[str, Any] = {}
        """Further fields of the request, as the server's documentation names them."""

        @model_validator(mode="before")
        @classmethod
        def _no_key(cls, given: Any) -> Any:
            if isinstance(given, dict) and {"api_key", "key", "token", "authorization"} & {
                str(k).lower() for k in given
            }:
                raise ValueError("a key is no option; keep it with `lorasmith secrets set openai:HOST`")
            return given

        @field_validator("extra_body")
        @classmethod
        def _leave_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
            ours = sorted(_OURS & value.keys())
            if ours:
                raise ValueError(f"'{ours[0]}' is set here and cannot be replaced")
            return value

        @field_validator("prompt")
        @classmethod
        def _fillable(cls, value: str | None) -> str | None:
            fields_of(template_of(value or ""))
            return value

        @model_validator(mode="after")
        def _has_a_trigger_word(self) -> OpenAICompatible.Options:
            if "trigger_word" in fields_of(self.template) and not self.trigger_word.strip():
                raise ValueError("the prompt has {trigger_word}: set 'trigger_word' to what it stands for")
            return self

        @model_validator(mode="after")
        def _is_shown_what_it_is_asked_of(self) -> OpenAICompatible.Options:
            name = (self.prompt or "").strip()
            if name in OF_PAIRS and not self.pairs:
                raise ValueError(f"the prompt '{name}' is about a picture and its references: set 'pairs' to true too")
            return self

        @property
        def template(self) -> str:
            """What is asked, before it is filled."""
            return template_of(self.prompt or ("edit" if self.pairs else "detailed"))

        @property
        def batch_size(self) -> int:
            """Pictures that the job gives at a time."""
            return self.concurrency * _AHEAD

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._options: OpenAICompatible.Options | None = None
        self._server: Server | None = None
        self._place = ""
        self._over: EnvironmentProblem | None = None

    def aliases(self) -> Mapping[str, Mapping[str, Any]]:
        """Programs by the address at which they usually listen."""
        return {name: {"base_url": url} for name, url in _PLACES.items()}

    def need(self, options: Section, *, home: Path) -> Need:
        """Nothing but a server, and consent where it is another machine.

        Raises:
            ConfigError: no server is named, or one that must not be asked.
        """
        own = _own(options)
        address = read_address(own.base_url, allow_private=own.allow_private)
        place = "" if address.is_local else address.place
        return Need(sends_to=place, sends_references=bool(place) and own.pairs)

    def load(self, options: Section, *, device: str, home: Path | None = None) -> None:
        """Reach the server, and settle which model is asked.

        Raises:
            ConfigError: no server is named, or one that must not be asked; a device is named.
            EnvironmentProblem: it cannot be reached, refuses the key, or it is not clear which model is meant.
        """
        own = _own(options)
        if device not in ("auto", "cpu"):
            raise ConfigError(f"The server chooses what it works on, not '{device}'.", "Leave --device out.")
        address = read_address(own.base_url, allow_private=own.allow_private)
        manners = Manners(own.timeout, own.retries, own.concurrency, own.budget, own.longest_wait)
        server = Server(address, manners, Credentials(home) if home is not None else None, self._clock)
        server.choose_model(own.model)
        if self._server is not None:
            self._server.close()
        self._options, self._server, self._place, self._over = own, server, address.base, None

    def identity(self) -> Identity:
        """Model and server, and all that changes what it says."""
        own, server = self._ready()
        silent = {
            "base_url",
            "model",
            "concurrency",
            "retries",
            "longest_wait",
            "timeout",
            "budget",
            "allow_private",
            "frames",
            "pairs",
        }
        settings = own.model_dump(mode="json", exclude=silent)
        settings |= {"prompt": own.template, "server": self._place}
        settings |= {"pairs": [_OF_PAIR, _OF_REFERENCES]} if own.pairs else {}  # answers of pictures alone stay theirs
        return Identity(server.model, "", settings)

    def device(self) -> str:
        """The server."""
        return self._place

    def longest_side(self) -> int | None:
        """As the options say."""
        return self._ready()[0].longest_side

    def reads(self) -> frozenset[str]:
        """What the prompt asks for."""
        own = self._ready()[0]
        shown = {"references"} if own.pairs else {"frames"} if own.frames > 1 else set()
        return (fields_of(own.template) & OF_PICTURES) | shown

    def clip_frames(self) -> int:
        """As the options say; of a pair, the first alone."""
        own = self._ready()[0]
        return 1 if own.pairs else own.frames

    def caption(
        self, images: Sequence[Image], *, attempt: int = 0, known: Sequence[Known] = ()
    ) -> list[Answer | Failure]:
        """Ask about several pictures at the same time.

        Raises:
            EnvironmentProblem: no picture will get an answer as things are; what was answered before is kept.
        """
        own, server = self._ready()
        if self._over is not None:
            raise self._over

        def ask(image: Image, about: Known) -> Answer | Failure | EnvironmentProblem:
            pictures = [*about.references, image] if about.references else cut_into_frames(image, about.frames)
            asked = framed(prompt_for(own, about), len(pictures), pair=bool(about.references))
            body = request_body(own, server.model, pictures, asked, attempt)
            try:
                return server.complete(body, own.max_tokens, len(pictures))
            except EnvironmentProblem as problem:
                return problem

        with ThreadPoolExecutor(own.concurrency, thread_name_prefix="asking") as pool:
            said = list(pool.map(ask, images, known or [Known()] * len(images)))
        problem = next((one for one in said if isinstance(one, EnvironmentProblem)), None)
        if problem is not None and not any(isinstance(one, Answer) for one in said):
            raise problem
        self._over = problem  # what the others of this batch said is kept first; the next batch ends the job
        return [Failure(str(one)) if isinstance(one, EnvironmentProblem) else one for one in said]

    def _ready(self) -> tuple[OpenAICompatible.Options, Server]:
        if self._options is None or self._server is None:
            raise RuntimeError("load the captioner first")
        return self._options, self._server


def cut_into_frames(image: Image, count: int) -> list[Image]:
    """The frames that stand one below the other in a picture of a clip; the picture itself where it is one."""
    height = image.height // count
    return [image.crop((0, n * height, image.width, (n + 1) * height)) for n in range(count)] if count > 1 else [image]


def request_body(
    own: OpenAICompatible.Options, model: str, images: Sequence[Image], prompt: str, attempt: int
) -> dict[str, Any]:
    """One request as the protocol has it; pictures go as JPEG inside of it, in order."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
    for image in images:
        picture = {"url": f"data:image/jpeg;base64,{_jpeg(image, own.longest_side, own.jpeg_quality)}"}
        if own.detail is not None:
            picture["detail"] = own.detail
        parts.append({"type": "image_url", "image_url": picture})
    messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
    if own.system_prompt:
        messages.insert(0, {"role": "system", "content": own.system_prompt})
    body: dict[str, Any] = {"model": model, "messages": messages}
    given = {"temperature": own.temperature, "top_p": own.top_p, own.limit_field: own.max_tokens}
    body |= {key: value for key, value in given.items() if value is not None}
    if own.seed is not None:
        body["seed"] = own.seed + attempt
    return body | own.extra_body


def prompt_for(own: OpenAICompatible.Options, known: Known) -> str:
    """What is asked about one picture."""
    return fill(own.template, trigger_word=own.trigger_word, known=known)


def framed(prompt: str, count: int, *, pair: bool) -> str:
    """The prompt with how many pictures come with it, in which order, and what each is."""
    if count == 1:
        return prompt
    if not pair:
        return _OF_CLIPS.format(count, prompt)
    return _OF_PAIR.format(prompt) if count == 2 else _OF_REFERENCES.format(count, count - 1, prompt)


def _jpeg(image: Image, side: int, quality: int) -> str:
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    packed = io.BytesIO()
    image.convert("RGB").save(packed, "JPEG", quality=quality)
    return base64.b64encode(packed.getvalue()).decode("ascii")


def _own(options: Section) -> OpenAICompatible.Options:
    if not isinstance(options, OpenAICompatible.Options):
        raise ConfigError("These are not the options of openai_compatible.", "Give the options that it lists.")
    return options


plugin = OpenAICompatible()
