"""The base weights a user has: what they are, told from headers alone, and where their parts lie.

``open_base`` is the one door. It reads names, shapes and small configs, never weights, and never opens a pickle.
"""

from __future__ import annotations

from lorasmith.bases.detection import detect, family_of
from lorasmith.bases.header import Header
from lorasmith.bases.opening import open_base
from lorasmith.bases.reading import read_header
from lorasmith.bases.recognition import Recognition, recognise

__all__ = ["Header", "Recognition", "detect", "family_of", "open_base", "read_header", "recognise"]
