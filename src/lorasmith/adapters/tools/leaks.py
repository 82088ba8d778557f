"""What a file tells of its maker without meaning to: paths, user names, captions, addresses, keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Private = Literal["paths", "names", "captions", "secrets"]
KINDS: Final[tuple[Private, ...]] = ("paths", "names", "captions", "secrets")

_PATH: Final = re.compile(
    r"(?:[A-Za-z]:[\\/]|\\\\\w|~/|/(?:home|Users|mnt|media|root|workspace|content|data|tmp|opt|var|srv)/)[^\"'\n,;|<>]*"
)
_USER: Final = re.compile(r"(?:[A-Za-z]:[\\/]+Users[\\/]+|/(?:home|Users)/)([^\\/\"'\n,;]+)")
# Begins where a word begins, as long as a name may be (RFC 5321): else a long word takes the square of its length.
_MAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]+")
_SECRET: Final = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|r8_[A-Za-z0-9]{20,})\b"
)
_CAPTIONS: Final = ("ss_tag_frequency", "lorasmith.captions", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets")
_NAMES: Final = ("ss_session_id", "ss_training_comment", "ss_wandb_run_name", "ss_log_prefix", "modelspec.author")


@dataclass(frozen=True)
class Leak:
    """One thing that a file tells."""

    key: str
    kind: Private
    excerpt: str


def leaks_of(metadata: Mapping[str, str]) -> tuple[Leak, ...]:
    """All of them, by key."""
    found: list[Leak] = []
    for key, value in metadata.items():
        if key.startswith("modelspec.thumbnail"):
            continue
        found += _in_value(key, value)
    return tuple(found)


def _in_value(key: str, value: str) -> Iterable[Leak]:
    if key in _CAPTIONS and value not in ("", "{}", "None"):
        yield Leak(key, "captions", value[:60])
    if key in _NAMES and value not in ("", "None"):
        yield Leak(key, "names", value[:60])
    for pattern, kind in ((_SECRET, "secrets"), (_PATH, "paths"), (_USER, "names"), (_MAIL, "names")):
        hit = pattern.search(value)
        if hit is not None:
            shown = hit[0][:4] + "..." if kind == "secrets" else (hit[1] if pattern is _USER else hit[0])[:60]
            yield Leak(key, kind, shown)  # type: ignore[arg-type]


def without(metadata: Mapping[str, str], kinds: Iterable[Private]) -> dict[str, str]:
    """The metadata without what is private: entries of captions and names go, paths shrink to the last piece."""
    wanted = set(kinds)
    kept: dict[str, str] = {}
    for key, value in metadata.items():
        if ("captions" in wanted and key in _CAPTIONS) or ("names" in wanted and key in _NAMES):
            continue
        text = value
        if not key.startswith("modelspec.thumbnail"):
            if wanted & {"paths", "names"}:
                text = _PATH.sub(lambda hit: re.split(r"[\\/]+", hit[0].rstrip("\\/ "))[-1], text)
            if "names" in wanted:
                text = _MAIL.sub("", text)
            if "secrets" in wanted:
                text = _SECRET.sub("", text)
        kept[key] = text
    return kept
