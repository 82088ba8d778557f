"""The system's keyring: where secrets lie encrypted, on machines that have one."""

from __future__ import annotations

import logging
from typing import Any, Final

from lorasmith.errors import EnvironmentProblem

_KEYRING_SERVICE: Final = "lorasmith"


class Keyring:
    """The system's keyring, when the extra ``keyring`` is installed and a real one answers."""

    def __init__(self, backend: Any, error: type[Exception]) -> None:
        self._backend, self._error = backend, error

    @classmethod
    def usable(cls) -> Keyring | None:
        """A keyring that keeps secrets encrypted; None on servers, in containers and without the extra."""
        try:
            import keyring
            import keyring.errors
        except ImportError:
            return None
        backend = keyring.get_keyring()
        # Below 1 are the ones that refuse, forget, or write plain text.
        return cls(backend, keyring.errors.KeyringError) if backend.priority >= 1 else None

    @classmethod
    def opened(cls) -> Keyring:
        """The keyring that holds a secret already.

        Raises:
            EnvironmentProblem: it is not there any more.
        """
        found = cls.usable()
        if found is None:
            raise EnvironmentProblem(
                "The secret lies in the system's keyring, and none answers here.",
                "Install lorasmith[keyring] and unlock the keyring, or set the environment variable of the service.",
            )
        return found

    def get(self, account: str) -> str | None:
        try:
            value = self._backend.get_password(_KEYRING_SERVICE, account)
        except self._error as cause:
            raise self._closed(cause) from cause
        return None if value is None else str(value)

    def set(self, account: str, value: str) -> bool:
        """Whether it was kept: a locked keyring is no reason to lose what the user has just typed."""
        try:
            self._backend.set_password(_KEYRING_SERVICE, account, value)
        except self._error as error:
            logging.getLogger(__name__).warning("the keyring refused (%s); a file is used", type(error).__name__)
            return False
        return True

    def delete(self, account: str) -> None:
        try:
            self._backend.delete_password(_KEYRING_SERVICE, account)
        except self._error as cause:
            raise self._closed(cause) from cause

    @staticmethod
    def _closed(cause: Exception) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"The system's keyring does not answer: {type(cause).__name__}.",
            "Unlock it, or set the environment variable of the service.",
        )
