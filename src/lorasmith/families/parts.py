"""Loads the parts of a base through its diffusers pipeline, and no more of them than are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.bases.detection import family_named
from lorasmith.bases.parts import Component, kinds_of, part_of, parts_inside
from lorasmith.bases.reading import has_vocabulary, read_header, weight_variant
from lorasmith.bases.recognition import recognise
from lorasmith.bases.vocabularies import clip_words
from lorasmith.errors import BaseError
from lorasmith.families.modular import is_modular, load_modular
from lorasmith.families.one_denoiser import named_for_diffusers, refuse_holes, tensors_of
from lorasmith.families.part_files import load_part
from lorasmith.families.processors import still_processor

if TYPE_CHECKING:
    from lorasmith.families import Base

WHOLE: Final = ("denoiser", "text_encoders", "vae")
_DENOISERS: Final = ("unet", "transformer")
_TEXT: Final = ("text_", "tokenizer", "connectors")  # connectors stand between a text encoder and a denoiser
_DECODERS: Final = ("vae", "audio_vae", "vocoder")
_PRIVATE: Final = (
    "safety_checker",
    "feature_extractor",
    "image_encoder",
    "image_processor",
    "processor",
    "prompt_enhancer",
    "duration_head",
)


def role_of(component: str) -> str:
    """Which part a pipeline's component belongs to: ``denoiser``, ``text_encoders``, ``vae``, ``""`` for settings."""
    if component.startswith(_DENOISERS):
        return "denoiser"
    if component.startswith(_TEXT) or "tokenizer" in component:
        return "text_encoders"
    return "vae" if component in _DECODERS else ""


def load_pipeline(base: Base, kind: Any, *, parts: Sequence[str], dtype: Any, picture_parts: Sequence[str] = ()) -> Any:
    """The pipeline with the components of ``parts``; the others are None. On the CPU.

    Args:
        base: whose pipeline.
        kind: its class.
        parts: of ``WHOLE``.
        dtype: torch's, of the weights.
        picture_parts: components that belong to the VAE, for they look at pictures too; those without weights also to
            text encoders, which may look at them as well.

    Raises:
        BaseError: a single file lacks a part, and no folder beside it has it.
    """
    folder = base.path if base.layout == "folder" else base.config_folder
    if folder is None:
        raise BaseError(f"No configs are known for {base.path.name}.", "Open it with lorasmith.bases.open_base.")
    components = _components(base.header.configs["model_index"])
    given: dict[str, Any] = {
        name: None
        for name in components
        if (
            _looks_for(components[name]).isdisjoint(parts)
            if name in picture_parts
            else role_of(name) not in ("", *parts) or _private(name)
        )
    }
    if base.layout == "single_file":
        if is_plain_whole(base):  # everything is in it but the tokenizers
            return _whole_file(base, kind, components, parts, dtype)
        given |= _from_single_file(base, components, parts, dtype, picture_parts)
        given |= _own_scheduler(base)
    readers = _readers(folder, components) if "text_encoders" in parts else {}
    given |= _processors(folder, components) | dict.fromkeys(readers)
    variants = {
        weight_variant(folder / n) for n in components if n not in given and any((folder / n).glob("*.safetensors"))
    }
    variant = next((v for v in variants if v), None)
    if is_modular(kind):
        pipe = load_modular(kind, folder, components, given, dtype, variant)
    else:
        pipe = kind.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, variant=variant, **given
        )
    if readers:
        pipe.register_modules(**readers)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def is_plain_whole(base: Base) -> bool:
    """Whether a file holds all parts of a base, unpacked, so that diffusers takes it as it is."""
    found = recognise(base.header)
    return base.layout == "single_file" and found.kind == "base" and not found.quantisation and not base.parts


def _readers(folder: Path, components: Mapping[str, str]) -> dict[str, Any]:
    """Of processors that stand where a tokenizer does, the tokenizer: nobody shows them pictures here, for which some
    of them would need torchvision."""
    from transformers import AutoTokenizer

    names = [n for n, kind in components.items() if n.startswith("tokenizer") and kind.endswith("Processor")]
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = AutoTokenizer.from_pretrained(folder / name, local_files_only=True, trust_remote_code=False)
        except (ImportError, OSError, ValueError) as cause:
            raise _unreadable(folder, name, cause) from cause
    return found


def _unreadable(folder: Path, name: str, cause: Exception) -> BaseError:
    reason = " ".join(str(cause).split())[:200]
    return BaseError(f"The {name} of {folder} cannot be opened: {reason}.", f"Get the folder {name} of the base again.")


def _processors(folder: Path, components: Mapping[str, str]) -> dict[str, Any]:
    """Processors of models that could also look at films: without what they would need for those."""
    import transformers

    found: dict[str, Any] = {}
    for name, class_name in components.items():
        if name.startswith("tokenizer") or not class_name.endswith("Processor"):
            continue
        known = getattr(transformers, class_name, None)
        if "video_processor" in getattr(known, "get_attributes", list)():
            try:
                found[name] = still_processor(folder / name, known)
            except (ImportError, OSError, ValueError) as cause:
                raise _unreadable(folder, name, cause) from cause
    return found


def _whole_file(base: Base, kind: Any, components: Mapping[str, str], parts: Sequence[str], dtype: Any) -> Any:
    """The pipeline of a file that holds denoiser, VAE and text encoders; parts not asked for are dropped."""
    tokenizers = {name: clip_tokenizer(base, name) for name in components if name.startswith("tokenizer")}
    pipe = kind.from_single_file(
        str(base.path), config=str(base.config_folder), local_files_only=True, dtype=dtype, **tokenizers
    )
    unwanted = {name: None for name in components if role_of(name) not in ("", *parts)}
    pipe.register_modules(**unwanted)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _components(index: Mapping[str, Any]) -> dict[str, str]:
    """The components that ``model_index.json`` names, with their classes; absent ones are left out."""
    return {n: str(e[1]) for n, e in index.items() if isinstance(e, list) and len(e) == 2 and e[1] is not None}


def _looks_for(class_name: str) -> set[str]:
    """The parts that a component which looks at pictures is loaded with."""
    return {"vae", "text_encoders"} if "Processor" in class_name else {"vae"}


def _private(name: str) -> bool:
    return name in _PRIVATE


def _from_single_file(
    base: Base, components: Mapping[str, str], parts: Sequence[str], dtype: Any, picture_parts: Sequence[str]
) -> dict[str, Any]:
    """Components that files hold; what the folder of its configs holds stays for ``from_pretrained``."""
    folder = base.config_folder or base.path.with_suffix("")
    made_of = _made_of(base)
    files = {**_inside(base, made_of), **base.parts}
    loaded: dict[str, Any] = {}
    for name, class_name in components.items():
        role = "vae" if name in picture_parts and name in files else role_of(name)
        if role not in parts:
            continue
        if "tokenizer" in name:
            if not has_vocabulary(folder / name):
                loaded[name] = _words(base, name, folder)
        elif role == "denoiser":
            loaded[name] = _denoiser(base, name, class_name, folder, dtype)
        elif name in files:
            loaded[name] = load_part(files[name], made_of[name].kind, class_name, folder / name, dtype)
        elif not any((folder / name).glob("*.safetensors")):
            raise BaseError(
                f"{base.path.name} holds no {name}.",
                f"Put the folders of the same base that the file lacks into {base.path.with_suffix('')}.",
            )
    return loaded


def _made_of(base: Base) -> Mapping[str, Component]:
    """What such a base is made of, by its family and the parts that are there."""
    there = [part_of(read_header(path)) for path in base.parts.values()]
    having = kinds_of(parts_inside(base.header).values(), there)
    return family_named(base.detection.family).made_with(base.detection.variant, having)


def _inside(base: Base, made_of: Mapping[str, Component]) -> dict[str, Path]:
    """The components that lie in the same file as the denoiser."""
    found = {part.kind.name for part in parts_inside(base.header).values()}
    return {name: base.path for name, part in made_of.items() if part.kind in found}


def _words(base: Base, name: str, folder: Path) -> Any:
    made_of = family_named(base.detection.family).made_of(base.detection.variant)
    if name in made_of and made_of[name].class_name == "CLIPTokenizer":
        return clip_tokenizer(base, name)
    raise BaseError(
        f"{base.path.name} holds no {name}, and there is none in {folder}.",
        f"Put {name} of the same base into {base.path.with_suffix('') / name}.",
    )


def _denoiser(base: Base, name: str, class_name: str, folder: Path, dtype: Any) -> Any:
    import diffusers

    kind, configs = getattr(diffusers, class_name), base.denoiser_configs or folder
    path = base.parts.get(name, base.path)  # of two experts, the second lies in a file of its own
    source = named_for_diffusers(tensors_of(path, dtype))
    made = kind.from_single_file(source, config=str(configs), subfolder=name, local_files_only=True, dtype=dtype)
    refuse_holes(path, made, class_name)
    return made


def _own_scheduler(base: Base) -> dict[str, Any]:
    """The noise schedule of a single denoiser, where it is not that of the folder its other parts come from."""
    import diffusers

    own = base.denoiser_configs
    if own is None or not (own / "scheduler").is_dir():
        return {}
    kind = getattr(diffusers, base.header.configs["scheduler"]["_class_name"])
    return {"scheduler": kind.from_pretrained(own, subfolder="scheduler", local_files_only=True)}


def clip_tokenizer(base: Base, name: str = "tokenizer") -> Any:
    """The CLIP tokenizer of a single file: beside its configs, beside the file, or the one that is shipped.

    The settings (token limit, padding) are those of the configs, whosever the vocabulary is.

    Raises:
        BaseError: its text encoder knows another number of words, and none lie beside it.
    """
    from transformers import CLIPTokenizer

    beside = base.path.with_suffix("") / name
    configured = (base.config_folder or beside.parent) / name
    path = configured / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = {name: settings[name] for name in ("model_max_length", "pad_token") if name in settings}
    for folder in (configured, beside):
        if has_vocabulary(folder):  # transformers makes an empty tokenizer of a folder without one
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True, **kept)
    vocab, merges = clip_words()
    tables = {s[0] for key, s in base.header.shapes.items() if key.endswith("token_embedding.weight") and len(s) == 2}
    if tables - {len(vocab)}:
        raise BaseError(
            f"The text encoder of {base.path.name} knows {min(tables):,} words, CLIP's has {len(vocab):,}.",
            f"Put vocab.json and merges.txt of its own tokenizer into {beside}.",
        )
    return CLIPTokenizer(vocab=vocab, merges=merges, **kept)
