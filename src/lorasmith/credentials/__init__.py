"""Secrets: API tokens of the sites and servers a user works with.

    Secret         a value that never shows itself: not in a message, a log, a pickle, a JSON document
    Credentials    where secrets are kept: the system's keyring, else a file that only its owner can read
    redact         takes every known secret out of a text, for whatever is about to be shown or written

Environment variables count before what was stored, and are never written to. A secret is handed to the one place that
needs its value by ``Secret.reveal``; search for that word to see them all.
"""

from lorasmith.credentials.secret import (
    ENVIRONMENT,
    HIDDEN,
    WANTED,
    Secret,
    mentioned,
    redact,
    refuse_to_write,
)
from lorasmith.credentials.store import Credentials, Stored
from lorasmith.credentials.writing import RedactingFormatter, RedactingStream

__all__ = [
    "ENVIRONMENT",
    "HIDDEN",
    "WANTED",
    "Credentials",
    "RedactingFormatter",
    "RedactingStream",
    "Secret",
    "Stored",
    "mentioned",
    "redact",
    "refuse_to_write",
]
