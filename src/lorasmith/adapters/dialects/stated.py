"""What an adapter's metadata say of its base: evidence, and what decides between families whose layers are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_FIELDS: Final = (
    "modelspec.architecture",
    "ss_base_model_version",
    "lorasmith.family",
    "ss_network_module",
    "ss_v2",
    "ss_sd_model_name",
)
# Read in this order, the exact word before the general one.
_WORDS: Final[tuple[tuple[str, str], ...]] = (
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("stable-diffusion-3", "sd3"),
    ("sd3", "sd3"),
    ("stable-diffusion-v", "sd"),
    ("sd_v1", "sd"),
    ("sd_v2", "sd"),
    ("chroma", "chroma"),
    ("flux.2", "flux2"),
    ("flux-2", "flux2"),
    ("flux2", "flux2"),
    ("flux.1", "flux"),
    ("flux-1", "flux"),
    ("flux1", "flux"),
    ("longcat", "longcat_image"),
    ("ovis", "ovis_image"),
    ("qwen-image-2.1", "qwen_image_21"),
    ("qwen_image_21", "qwen_image_21"),
    ("qwen-image", "qwen_image"),
    ("qwen_image", "qwen_image"),
    ("z-image", "z_image"),
    ("z_image", "z_image"),
    ("zimage", "z_image"),
    ("lumina", "lumina2"),
    ("krea-2", "krea2"),
    ("krea2", "krea2"),
    ("wan", "wan"),
    ("ltx-2", "ltx2"),
    ("ltx2", "ltx2"),
    ("ltxv", "ltx"),
    ("ltx-video", "ltx"),
    ("hunyuan-video", "hunyuan_video"),
    ("hunyuan_video", "hunyuan_video"),
    ("hunyuan-image", "hunyuan_image"),
    ("auraflow", "auraflow"),
    ("anima", "anima"),
    ("cosmos", "cosmos"),
    ("hidream", "hidream"),
    ("flux", "flux"),
)
_DECIDING: Final = ("lorasmith.family", "modelspec.architecture", "ss_base_model_version")


def stated_family(metadata: Mapping[str, str]) -> tuple[str, list[str]]:
    """The family that the metadata name (empty when they name none), and every statement as evidence.

    The name of a file somebody trained on is shown and never decides: people call files anything.
    """
    statements = [f"{name} is '{metadata[name][:80]}'" for name in _FIELDS if metadata.get(name)]
    for name in _DECIDING:
        text = metadata.get(name, "").lower()
        for word, family in _WORDS:
            if text and (text == family or text.startswith(word)):
                return family, statements
    return "", statements
