"""An HTTP status as a sentence with the next thing to do."""

from __future__ import annotations

from typing import Final

from lorasmith.errors import FetchError
from lorasmith.fetching.addresses import Address

_SENTENCES: Final = {
    400: "does not understand the request",
    401: "wants to know who you are",
    402: "wants to be paid",
    403: "does not give this out",
    404: "has nothing at this address",
    405: "does not answer this kind of request",
    406: "does not have it in this form",
    410: "has removed this",
    413: "says that the request is too large",
    414: "says that the address is too long",
    416: "does not have the part that was asked for",
    422: "cannot work with the request",
    451: "may not give this out here, for legal reasons",
}
_HINTS: Final = {
    402: "Open its page to see what it costs.",
    403: "Open the link in a browser: it may need a login, a payment, or your consent to a licence.",
    404: "Check the link; the file may have been moved or withdrawn.",
    410: "Check the link; the file may have been moved or withdrawn.",
    451: "Look for another source.",
}


def refusal(status: int, answered: Address, asked: Address, service: str, with_secret: bool, said: str) -> FetchError:
    """The error for an answer that is final.

    Args:
        status: HTTP status.
        answered: who refused, after redirects.
        asked: who was asked first.
        service: whose secret would help; empty when none is known.
        with_secret: whether a secret went along.
        said: the answer's own words.
    """
    what = _SENTENCES.get(status, "refuses" if 400 <= status < 500 else "answers in a way nobody expected")
    quoted = f" “{said}”" if said else ""
    way = "" if answered.origin == asked.origin else f" (where {asked.place} leads)"
    return FetchError(f"{answered.place}{way} {what} ({status}).{quoted}", _hint(status, service, with_secret), status)


def _hint(status: int, service: str, with_secret: bool) -> str:
    if status == 401 or (status == 403 and service and not with_secret):
        return _login(service, with_secret)
    if (status, service) == (404, "huggingface"):
        hidden = "" if with_secret else ", or set your token if it is private: `lorasmith secrets set huggingface`"
        return f"Check the spelling{hidden}."
    if (status, service) == (403, "huggingface"):
        return "Open its page, accept the licence there, and check that your token may read it."
    return _HINTS.get(status, "Check the link in a browser.")


def _login(service: str, with_secret: bool) -> str:
    if not service:
        return "Download it in a browser where you are logged in, and give the file."
    if with_secret:
        return f"Your secret for {service} was refused; make a new one, then `lorasmith secrets set {service}`."
    return f"Run `lorasmith secrets set {service}`, then try again."
