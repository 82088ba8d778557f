"""What a server refuses, as the error that it was there: the same class, sentence and hint."""

from __future__ import annotations

import httpx2

from lorasmith import errors
from lorasmith.errors import ConflictError, EnvironmentProblem, LorasmithError


class TextConflict(ConflictError):
    """Somebody else wrote the same caption; ``etag`` sent as the one that is known writes over it."""

    def __init__(self, message: str, hint: str, mine: str, theirs: str, etag: str) -> None:
        super().__init__(message, hint)
        self.mine, self.theirs, self.etag = mine, theirs, etag


def error_of(answer: httpx2.Response) -> LorasmithError:
    """The error that the server's was, of the same class."""
    try:
        told = answer.json()
        sentence, hint, kind = str(told["error"]), str(told.get("hint", "")), str(told.get("kind", ""))
    except (ValueError, KeyError, TypeError):
        return EnvironmentProblem(
            f"The server answered {answer.status_code}, and not as lorasmith does.", "Check the address."
        )
    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, LorasmithError)):
        known = errors.ConfigError if answer.status_code < 500 else LorasmithError
    if known is errors.ConsentNeeded:
        words = (str(told.get(word, "")) for word in ("notice", "title", "text"))
        return errors.ConsentNeeded(sentence, hint, *words)
    if known is ConflictError and "theirs" in told:
        return TextConflict(sentence, hint, str(told["mine"]), str(told["theirs"]), str(told["etag"]))
    made = known(sentence, hint)
    if isinstance(made, errors.FetchError):
        made.status = told.get("status")
    return made
