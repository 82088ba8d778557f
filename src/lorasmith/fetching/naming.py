"""What a downloaded file is called, and how an address is shown: names come from strangers, addresses hold keys."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from lorasmith.credentials import HIDDEN, redact
from lorasmith.datasets.names import safe_item_name

_PARAMETER: Final = re.compile(r""";\s*([\w!#$&+.^`|~-]+\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)""", re.ASCII)
_PRIVATE: Final = re.compile(
    r"token|key|api_?key|access_token|auth|password|secret|sig|signature|policy|expires|key-pair-id|user_id|login"
    r"|(x-amz|x-goog)-.*|se|sp|sv|sr|awsaccesskeyid|verify|hash_sig|b-cc.*",
    re.IGNORECASE,
)
_LONGEST_HEADER: Final = 4000


def name_from_disposition(header: str | None) -> str | None:
    """The file name that ``Content-Disposition`` gives (RFC 6266, with RFC 5987 for what is not ASCII); None if none.

    ``filename*`` counts before ``filename``. Of a path only the last part counts. What comes back is safe to create.
    """
    if not header or len(header) > _LONGEST_HEADER:
        return None
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(f";{header.partition(';')[2]}"):
        found.setdefault(name.lower(), value.strip())
    for candidate in (_extended(found.get("filename*", "")), _quoted(found.get("filename", ""))):
        if candidate and (safe := safe_name(candidate)):
            return safe
    return None


def _extended(value: str) -> str:
    """``UTF-8''na%C3%AFve.zip``."""
    charset, quote, rest = value.strip('"').partition("'")
    if not quote or charset.lower() not in ("utf-8", "iso-8859-1"):
        return ""
    return unquote(rest.partition("'")[2], encoding=charset, errors="replace")


def _quoted(value: str) -> str:
    """A token or a quoted string; headers arrive as Latin-1, and many servers mean UTF-8 by it."""
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if "%" in value and not re.search(r"%(?![0-9A-Fa-f]{2})", value):  # not in the standard, and everywhere
        value = unquote(value)
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def name_from_url(url: str) -> str | None:
    """The last part of an address's path, safe to create; None when it has none."""
    last = urlsplit(url).path.rpartition("/")[2]
    return safe_name(unquote(last)) if last else None


def safe_name(name: str) -> str | None:
    """One file name without folders that every system can store; None when nothing is left."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    safe = safe_item_name(last).replace("/", "_").lstrip(".")
    return safe if safe.strip("_. ") else None


def shown(url: str) -> str:
    """An address as it may be written down: without keys, tokens and signatures, without what stands before an @."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no address at all, and it is shown in the sentence that says so
        return redact(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(k, HIDDEN if _PRIVATE.fullmatch(k) else v) for k, v in pairs], safe="*:/,", doseq=False)
    place = parts.netloc.rpartition("@")[2]
    return redact(urlunsplit((parts.scheme, place, parts.path, query if pairs else parts.query, "")))


def key_of(url: str) -> str:
    """A short name for the address itself, the same for every token and signature it is asked with."""
    return hashlib.sha256(shown(url).encode()).hexdigest()[:16]
