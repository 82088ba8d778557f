"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow without being wrong, and a failure must come back when it is run again.
settings.register_profile("lorasmith", deadline=None, derandomize=True)
settings.load_profile("lorasmith")
