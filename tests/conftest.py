"""Settings of every test."""

from __future__ import annotations

import signal

from hypothesis import settings

# A busy machine is slow without being wrong, and a failure must come back when it is run again.
settings.register_profile("lorasmith", deadline=None, derandomize=True)
settings.load_profile("lorasmith")

# A shell lets what it starts in the background ignore Ctrl-C, and children of this process inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
