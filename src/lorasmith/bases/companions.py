"""For a file that holds a denoiser and nothing else: the folder base whose text encoders, VAE and tokenizers it uses.

Many files share them: quantised forms, fine-tunes, larger and smaller models of one family. A folder fits when its
own denoiser is fed by the same encoders and makes the same latents, which the configs of both say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.bases.detection import detect
from lorasmith.bases.reading import read_configs, read_header
from lorasmith.bases.registry import BaseRegistry
from lorasmith.errors import BaseError

if TYPE_CHECKING:
    from lorasmith.families import Detection, Family

SEAMS: Final = (
    "in_channels", "cross_attention_dim", "joint_attention_dim", "pooled_projection_dim", "caption_channels",
    "cap_feat_dim", "text_dim", "text_embed_dim", "text_hidden_dim", "num_text_layers", "patch_size",
)  # fmt: skip
"""Keys of a denoiser's config that its text encoders and its VAE have to agree with."""


def companion(detection: Detection, configs: Path, family: Family, home: Path | None) -> Path:
    """The registered folder base whose other parts fit a denoiser of these configs; one of its own variant first.

    Raises:
        BaseError: none fits; the hint is the command that brings one.
    """
    wanted = read_configs(configs)[family.denoiser_part]
    fitting: list[tuple[bool, str, Path]] = []
    others: list[str] = []
    for record in BaseRegistry(home) if home is not None else ():
        path = Path(record.path)
        if not path.is_dir() or not record.present() or not _of(path, family):
            continue
        has = read_configs(path)
        if fits(wanted, has.get(family.denoiser_part, {})) and not _second(has, family.denoiser_part):
            fitting.append((record.variant != detection.variant, record.name, path))
        else:
            others.append(record.name)
    if fitting:
        return min(fitting)[2]
    published = next((base.repository for base in family.pretrained), "")
    files = ""
    if family.made_of(detection.variant):
        files = " Or put it together from files, as ComfyUI has them: `lorasmith bases assemble`."
    there = f" ({' and '.join(others)} has others)" if others else ""
    raise BaseError(
        f"This file holds the denoiser of {detection.title} alone, and no folder base here has the text encoders, VAE "
        f"and tokenizers that belong to it{there}.",
        f"Run `lorasmith bases add {published}`, or add such a folder that you have: `lorasmith bases add FOLDER`."
        f"{files}",
    )


def fits(wanted: dict[str, Any], has: dict[str, Any]) -> bool:
    """Whether two denoisers take the same text and the same latents."""
    shared = [key for key in SEAMS if key in wanted and key in has]
    return bool(shared) and all(wanted[key] == has[key] for key in shared)


def _of(path: Path, family: Family) -> bool:
    """Whether a folder is a base of this family; several families may share the name under which a base is listed."""
    try:
        return detect(read_header(path)).family == family.name
    except BaseError:
        return False


def _second(configs: dict[str, dict[str, Any]], part: str) -> bool:
    """Whether a folder has two denoisers, of which a single file would be one."""
    return f"{part}_2" in configs
