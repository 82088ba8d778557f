"""What model servers say when they refuse, as sentences with the next thing to do.

One protocol, but every program words its errors in its own way, and uses statuses as it likes: a model without eyes is
a 400 at OpenAI and vLLM, and a 500 at llama.cpp and Ollama. So the words count first and the status after them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from lorasmith.fetching import Reply
from lorasmith.fetching.hosts import retry_after
from lorasmith.fetching.sniffing import said_by

Reach = Literal["picture", "run", "later"]
"""What a refusal is about: this picture alone, every picture, or only this moment."""

_READ: Final = 64_000  # bytes of a refusal that are looked at
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


@dataclass(frozen=True)
class Trouble:
    """Why there is no answer."""

    reach: Reach
    message: str
    hint: str
    wait: float | None = None
    """Seconds the server asked for."""
    suspicious: bool = False
    """Whether it is the server's fault when it comes again and again."""

    @property
    def sentence(self) -> str:
        """Message and hint, for a list of failures."""
        return f"{self.message} {self.hint}"


@dataclass(frozen=True)
class Asked:
    """Whom, and for what."""

    place: str
    base: str
    model: str
    service: str
    """The secret's name."""
    with_key: bool
    models: Callable[[], Sequence[str]] = field(default=lambda: ())
    """The models there are; asked only where it helps."""
    pictures: int = 1
    """In the request."""


@dataclass(frozen=True)
class _Rule:
    """The first rule that matches says what it is."""

    explain: Callable[[Asked, str], Trouble]
    words: str = ""
    statuses: frozenset[int] = frozenset()

    def matches(self, status: int, text: str) -> bool:
        if self.statuses and status not in self.statuses:
            return False
        return not self.words or re.search(self.words, text) is not None


def explain(reply: Reply, asked: Asked) -> Trouble:
    """What an answer that is no caption means."""
    status = _status(reply)
    text = reply.body[:_READ].decode("utf-8", "replace").lower()
    said = said_by(reply.body[:_READ])
    quoted = f": “{said}”" if said else ""
    for rule in _RULES:
        if rule.matches(status, text):
            return rule.explain(asked, quoted)
    if status in _LATER:
        return _busy(status, quoted, asked, retry_after(reply.headers.get("retry-after")))
    return Trouble(
        "picture",
        f"{asked.place} refuses the request ({status}){quoted}.",
        "Look into the server's own log.",
        suspicious=True,
    )


def no_json(asked: Asked, reply: Reply) -> Trouble:
    """An answer of some other kind of server."""
    said = said_by(reply.body[:_READ])
    quoted = f": “{said}”" if said else ""
    return Trouble(
        "run",
        f"{asked.place} answered with something that is no chat completion{quoted}.",
        f"Check base_url; {asked.base} must be where the server's own documentation says /v1 is.",
    )


def _status(reply: Reply) -> int:
    """The status; some servers answer 200 and put the real one into the error."""
    if reply.status != 200:
        return reply.status
    try:
        code = json.loads(reply.body)["error"]["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 400
    return code if isinstance(code, int) and 400 <= code < 600 else 400


# --- sentences -----------------------------------------------------------------------------------------------


def _blind(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "run",
        f"The model {asked.model} on {asked.place} does not take pictures{quoted}.",
        "Name one that sees, such as a Qwen-VL, Gemma 3 or LLaVA; llama.cpp also needs the model's projector "
        "(--mmproj), Ollama one that lists 'vision' in `ollama show`.",
    )


def _too_many(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "picture",
        f"The model {asked.model} on {asked.place} does not take {asked.pictures} pictures in one request{quoted}.",
        'Allow them there (vLLM: --limit-mm-per-prompt \'{"image": '
        f"{asked.pictures}}}'), name a model that takes several, or ask without pairs and with frames=1.",
        suspicious=True,
    )


def _unknown_model(asked: Asked, quoted: str) -> Trouble:
    known = asked.models()
    there = f" It has: {', '.join(known[:20])}." if known else ""
    return Trouble(
        "run",
        f"{asked.place} has no model {asked.model!r} ready{quoted}.{there}",
        f"Name one of its models with --set model=NAME, or load it there first (Ollama: `ollama pull {asked.model}`; "
        "LM Studio: load it in the app).",
    )


def _key(asked: Asked, quoted: str) -> Trouble:
    command = f"lorasmith secrets set {asked.service}"
    if asked.with_key:
        return Trouble(
            "run",
            f"{asked.place} refuses the key that is kept for it{quoted}.",
            f"Make a new one there, or check what it may do, then run `{command}`.",
        )
    return Trouble("run", f"{asked.place} wants a key{quoted}.", f"Run `{command}`, then try again.")


def _quota(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "run",
        f"The account at {asked.place} has nothing left{quoted}.",
        "Add credit or raise its limit there, then run the same command: what was answered is kept.",
    )


def _parameter(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "run",
        f"The model {asked.model} on {asked.place} does not take one of the settings{quoted}.",
        "Leave it out with --set temperature=null or --set top_p=null; for max_completion_tokens say "
        "--set limit_field=max_completion_tokens; or take it out of extra_body.",
    )


def _policy(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "picture", f"{asked.place} does not want to look at this picture{quoted}.", "Caption it with a local model."
    )


def _context(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "picture",
        f"{_pictures(asked, 'Picture')} and prompt are more than the model's context holds{quoted}.",
        "Make longest_side or max_tokens smaller, or give the server more context (vLLM: --max-model-len; llama.cpp: "
        "-c; Ollama: num_ctx).",
    )


def _too_large(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "picture",
        f"The picture is too large for {asked.place}{quoted}."
        if asked.pictures == 1
        else f"The {asked.pictures} pictures of the request are too large together for {asked.place}{quoted}.",
        "Make longest_side or jpeg_quality smaller.",
    )


def _unreadable(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "picture",
        f"{asked.place} cannot read the picture{'s' if asked.pictures > 1 else ''}{quoted}.",
        "If every picture fails so, the server cannot open JPEG.",
    )


def _pictures(asked: Asked, word: str) -> str:
    return word if asked.pictures == 1 else f"{asked.pictures} {word.lower()}s"


def _no_path(asked: Asked, quoted: str) -> Trouble:
    return Trouble(
        "run",
        f"{asked.place} has no chat completions at {asked.base}{quoted}.",
        "Check base_url: for most servers it ends in /v1.",
    )


def _busy(status: int, quoted: str, asked: Asked, wait: float | None) -> Trouble:
    if status == 429:
        return Trouble(
            "later",
            f"{asked.place} is asked too often (429){quoted}.",
            "Run the same command later, or with --set concurrency=1; what was answered is kept.",
            wait,
            suspicious=True,
        )
    return Trouble(
        "later",
        f"{asked.place} has a problem of its own ({status}){quoted}.",
        "Look into its log; the same command goes on, and what was answered is kept.",
        wait,
        suspicious=True,
    )


_CLIENT: Final = frozenset({400, 403, 404, 415, 422, 500, 501})
_RULES: Final = (
    _Rule(
        _blind,
        r"does(n't| not) support (image|vision|multimodal|multi-modal)|image input is not supported"
        r"|support image input|image_url is only supported|unsupported content part type.{0,6}image_url"
        r"|missing data required for image input|not a (multimodal|vision)|at most 0 image|0 image\(s\)"
        r"|not compiled for multimodal|unknown variant .?image_url|images? (is|are) not supported|mmproj",
        _CLIENT,
    ),
    _Rule(
        _too_many,
        r"at most [1-9]\d* image|single image per message|only (support|accept)s? (one|1|a single) image"
        r"|too many images|passed \d+ image items|limit-mm-per-prompt",
        _CLIENT,
    ),
    _Rule(
        _parameter,
        r"max_completion_tokens|unsupported[ _](parameter|value)|unrecognized request argument"
        r"|unknown (parameter|field)|extra inputs are not permitted|extra_forbidden",
        frozenset({400, 422}),
    ),
    _Rule(_quota, r"insufficient[_ ](quota|credit|balance|fund)|exceeded your current quota|billing_hard_limit"),
    _Rule(_quota, "", frozenset({402})),
    _Rule(
        _policy,
        r"content[_ ](policy|filter|management)|moderation|flagged|safety system|responsibleai",
        frozenset({400, 403, 422, 451}),
    ),
    _Rule(_key, r"api[ _]?key (is )?(not valid|invalid)|invalid[_ ]api[_ ]?key|incorrect api key", frozenset({400})),
    _Rule(_key, "", frozenset({401, 403})),
    _Rule(
        _context,
        r"context[ _](length|size|window)|maximum context|available context|prompt is too long|too many tokens"
        r"|longer than the maximum model length",
        frozenset({400, 413, 422, 500}),
    ),
    _Rule(_too_large, "", frozenset({413})),
    _Rule(_too_large, r"image.{0,60}(too large|exceeds)|too large.{0,20}image", frozenset({400, 422})),
    _Rule(
        _unknown_model,
        r"model.{0,120}(not found|not exist|not loaded|not available|is not a valid)|no models? (is |are )?loaded"
        r"|invalid model|model_not_found|unknown model|failed to load model|try pulling",
        frozenset({400, 404, 422, 500, 503}),
    ),
    _Rule(
        _unreadable,
        r"(invalid|cannot identify|could not (process|decode|load)|failed to (decode|load|process|parse)"
        r"|unable to (decode|process|load)).{0,40}(image|base64|bitmap)|illegal base64",
        frozenset({400, 415, 422, 500}),
    ),
    _Rule(_no_path, "", frozenset({404, 405, 501})),
)
