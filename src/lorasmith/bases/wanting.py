"""From a link to what has to be fetched: files with addresses, sizes and hashes, and the licence, as the service tells.

``get_json`` asks the service: ``Fetcher.json`` in earnest, a table in tests. Nothing is downloaded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from lorasmith.bases.links import CivitaiLink, HubLink, WebLink, without_secrets
from lorasmith.bases.reading import INDEXES
from lorasmith.errors import BaseError

GetJson = Callable[[str, Mapping[str, str]], Any]
CIVITAI = "https://civitai.com"
HUB = "https://huggingface.co"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SMALL = (".json", ".txt", ".model", ".jinja")
_UNUSED_PARTS = ("safety_checker", "onnx", "openvino", "flax")


@dataclass(frozen=True)
class WantedFile:
    """One file: where from, where to, and what it has to be."""

    url: str
    path: str
    """Where it goes, relative and with slashes; a name alone for a single file."""
    size: int | None = None
    """Bytes; None when the service does not tell them, a rounded number is not told."""
    sha256: str = ""


@dataclass(frozen=True)
class Wanted:
    """What has to be fetched for a base, and what is known of it before."""

    name: str
    layout: Literal["single_file", "folder"]
    files: tuple[WantedFile, ...]
    service: str
    """Whose secret opens it: ``civitai``, ``huggingface``, or nothing."""
    page: str
    license: str = ""
    title: str = ""
    notes: tuple[str, ...] = ()
    """What the user should read before: early access, licence terms, a pickle."""
    about_bytes: int = 0

    @property
    def size(self) -> int | None:
        """All bytes; None when one file's are unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def resolve(
    link: CivitaiLink | HubLink | WebLink, get_json: GetJson, *, civitai: str = CIVITAI, hub: str = HUB
) -> Wanted:
    """What the link means today.

    Raises:
        BaseError: the service's answer holds nothing that could be a base.
        LorasmithError: whatever ``get_json`` raises: no such model, no right to see it, no network.
    """
    if isinstance(link, CivitaiLink):
        return _civitai(link, get_json, civitai)
    if isinstance(link, HubLink):
        return _hub(link, get_json, hub)
    name = PurePosixPath(re.sub(r"[?#].*", "", link.url)).name or "base"
    return Wanted(_stem(name), "single_file", (WantedFile(link.url, name),), "", without_secrets(link.url))


# Civitai


def _civitai(link: CivitaiLink, get_json: GetJson, host: str) -> Wanted:
    version, model = _version(link, get_json, host)
    files = [file for file in version.get("files") or () if isinstance(file, dict)]
    file = _choose_file(link, files, str(model.get("name", "")))
    number = int(version["id"])
    name = str(file.get("name") or f"{number}.safetensors")
    # Addresses of single files work where the version's own is gone.
    url = (
        f"{host}/api/download/models/{number}?fileId={file['id']}"
        if file.get("id")
        else str(file.get("downloadUrl", ""))
    )
    notes = []
    if version.get("earlyAccessEndsAt"):
        notes.append(f"It is in early access until {version['earlyAccessEndsAt']}.")
    if name.lower().endswith((".ckpt", ".pt", ".pth", ".bin")):
        notes.append("It is a pickle: it is not opened; `lorasmith bases convert` turns it into safetensors.")
    if str(model.get("type", "")).lower() not in ("", "checkpoint", "vae", "textencoder", "text encoder"):
        notes.append(f"Civitai says that it is of the type {model['type']}, not a base.")
    title = " ".join(str(part) for part in (model.get("name"), version.get("name")) if part)
    told = file.get("hashes")
    hashes: dict[str, Any] = told if isinstance(told, dict) else {}
    digest = str(hashes.get("SHA256", "")).lower()
    page_model = model.get("id") or version.get("modelId") or link.model
    return Wanted(
        name=_stem(name),
        layout="single_file",
        files=(
            WantedFile(
                url, PurePosixPath(name.replace("\\", "/")).name, None, digest if _SHA256.fullmatch(digest) else ""
            ),
        ),
        service="civitai",
        page=f"{host}/models/{page_model}?modelVersionId={number}",
        license=_civitai_terms(model),
        title=f"{title} ({version['baseModel']})" if version.get("baseModel") else title,
        notes=tuple(notes),
        about_bytes=int(float(file.get("sizeKB") or file.get("sizeKb") or 0) * 1024),
    )


def _version(link: CivitaiLink, get_json: GetJson, host: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The version meant and its model; without a number the newest one."""
    if link.version is not None:
        version = _table(get_json(f"{host}/api/v1/model-versions/{link.version}", {}), "Civitai")
        told = version.get("model")
        model: dict[str, Any] = told if isinstance(told, dict) else {}
        if link.model is not None and version.get("modelId") not in (None, link.model):
            raise BaseError(
                f"Version {link.version} on Civitai belongs to model {version['modelId']}, not to {link.model}.",
                "Copy the page's address again.",
            )
        return version, model
    model = _table(get_json(f"{host}/api/v1/models/{link.model}", {}), "Civitai")
    versions = [entry for entry in model.get("modelVersions") or () if isinstance(entry, dict) and "id" in entry]
    if not versions:
        raise BaseError(f"Model {link.model} on Civitai has no version to download.", "Open its page and look why.")
    return versions[0], model


def _choose_file(link: CivitaiLink, files: list[dict[str, Any]], model: str) -> dict[str, Any]:
    if link.file is not None:
        found = [file for file in files if file.get("id") == link.file]
        if not found:
            raise BaseError(f"There is no file {link.file} in that version of {model}.", "Copy the link again.")
        return found[0]
    wanted = {key: value.lower() for key, value in link.filters.items()}

    def fits(file: dict[str, Any]) -> bool:
        told = file.get("metadata")
        facts = {**(told if isinstance(told, dict) else {}), "type": file.get("type", "")}
        return all(str(facts.get(key) or "").lower() == value for key, value in wanted.items())

    fitting = [file for file in files if fits(file)] if wanted else files
    weights = [f for f in fitting if str(f.get("name", "")).lower().endswith((".safetensors", ".ckpt", ".pt", ".gguf"))]
    if not weights:
        raise BaseError(
            f"That version of {model or 'the model'} holds no weights that fit.", "Choose another file on its page."
        )
    safe = [f for f in weights if str(f["name"]).lower().endswith(".safetensors")] or weights
    return next((f for f in safe if f.get("primary")), safe[0])


def _civitai_terms(model: Mapping[str, Any]) -> str:
    """The permissions of a model on Civitai in words; empty when the answer has none."""
    commercial = model.get("allowCommercialUse")
    if commercial is None:
        return ""
    words = ", ".join(str(word) for word in commercial) if isinstance(commercial, list) else str(commercial)
    parts = [f"commercial use: {words or 'none'}"]
    for field, text in (("allowDerivatives", "derivatives"), ("allowNoCredit", "use without credit")):
        if field in model:
            parts.append(f"{text}: {'allowed' if model[field] else 'not allowed'}")
    return "Civitai terms; " + "; ".join(parts)


# Hugging Face


def _hub(link: HubLink, get_json: GetJson, host: str) -> Wanted:
    revision = quote(link.revision, safe="")
    answer = _table(
        get_json(f"{host}/api/models/{link.repository}/revision/{revision}", {"blobs": "true"}), "Hugging Face"
    )
    listed = [entry for entry in answer.get("siblings") or () if isinstance(entry, dict) and entry.get("rfilename")]
    files = {str(entry["rfilename"]): entry for entry in listed if _is_inside(str(entry["rfilename"]))}
    told = answer.get("cardData")
    card: dict[str, Any] = told if isinstance(told, dict) else {}
    licence = str(card.get("license_name") or card.get("license") or "")
    page = f"{host}/{link.repository}"
    notes = [f"It is gated: accept its terms at {page} and store a token first."] if answer.get("gated") else []
    commit = str(answer.get("sha") or link.revision)  # files of one moment, whatever happens meanwhile
    single = _single_file(link, files)
    if single:
        chosen, cut, name = [single], len(single) - len(PurePosixPath(single).name), _stem(single)
    else:
        folder = f"{link.path}/" if link.path else ""
        chosen, cut = _folder_files(files, folder, link.repository), len(folder)
        name = PurePosixPath(link.path).name or link.repository.partition("/")[2]
    wanted = tuple(
        WantedFile(
            f"{host}/{link.repository}/resolve/{quote(commit, safe='')}/{quote(path)}",
            path[cut:],
            _size(files[path]),
            _lfs_hash(files[path]),
        )
        for path in chosen
    )
    return Wanted(
        name, "single_file" if single else "folder", wanted, "huggingface", page, licence, link.repository,
        tuple(notes), sum(file.size or 0 for file in wanted),
    )  # fmt: skip


def _single_file(link: HubLink, files: Mapping[str, Any]) -> str:
    """The one file that is meant; empty when a whole folder is."""
    if link.path in files:
        return link.path
    folder = f"{link.path}/" if link.path else ""
    if any(f"{folder}{index}" in files for index in INDEXES):
        return ""
    inside = [path for path in files if path.startswith(folder)]
    if not inside:
        raise BaseError(
            f"There is no '{link.path}' in {link.repository}.", "Look at its files and copy a link from there."
        )
    weights = [path for path in inside if path.endswith(".safetensors")]
    if len(weights) == 1:
        return weights[0]
    if f"{folder}config.json" in files and weights:
        return ""  # one part, sharded: a VAE or a text encoder
    kinds = ", ".join(PurePosixPath(path).name for path in weights[:5]) or "none"
    raise BaseError(
        f"{link.repository} is no diffusers base; its .safetensors files are: {kinds}.",
        f"Name one, such as {HUB}/{link.repository}/blob/{link.revision}/{weights[0]}."
        if weights
        else "Choose another base.",
    )


def _folder_files(files: Mapping[str, Any], folder: str, repository: str) -> list[str]:
    """Configs, tokenizers and safetensors of the parts; of several number formats the plain one."""
    inside = [path for path in files if path.startswith(folder)]
    deep = [p for p in inside if not any(piece in _UNUSED_PARTS for piece in p[len(folder) :].split("/")[:-1])]
    whole = any(f"{folder}{index}" in files for index in INDEXES)
    weights = [p for p in deep if p.endswith(".safetensors") and (not whole or "/" in p[len(folder) :])]
    if not weights:
        raise BaseError(
            f"{repository} has no .safetensors weights.", "Choose another base; pickles are not opened here."
        )
    plain = set(weights)
    chosen = [
        p for p in weights if (bare := _without_variant(p)) == p or (bare not in plain and not _sharded(bare, plain))
    ]
    small = [
        p for p in deep if p.endswith(_SMALL) and not p.endswith(".index.json") and (not whole or _belongs(p, folder))
    ]
    index = [p for p in deep if p.endswith(".safetensors.index.json") and ".fp16" not in p]
    return sorted({*chosen, *small, *index})


def _belongs(path: str, folder: str) -> bool:
    """Whether a small file is of a part, or the index of parts itself."""
    rest = path[len(folder) :]
    return "/" in rest or rest in INDEXES


def _without_variant(path: str) -> str:
    return re.sub(r"\.(fp16|fp32|bf16|non_ema|ema)(?=(-\d+-of-\d+)?\.safetensors$)", "", path)


def _sharded(bare: str, plain: Iterable[str]) -> bool:
    """Whether the plain form of a variant is there in several pieces."""
    stem = bare.removesuffix(".safetensors")
    return any(path.startswith(f"{stem}-0") for path in plain)


def _size(entry: Mapping[str, Any]) -> int | None:
    size = entry.get("size")
    return size if isinstance(size, int) and size >= 0 else None


def _lfs_hash(entry: Mapping[str, Any]) -> str:
    told = entry.get("lfs")
    digest = str((told if isinstance(told, dict) else {}).get("sha256", "")).lower()
    return digest if _SHA256.fullmatch(digest) else ""


def _is_inside(path: str) -> bool:
    return (
        not path.startswith("/") and "\\" not in path and all(piece not in ("", ".", "..") for piece in path.split("/"))
    )


def _stem(name: str) -> str:
    name = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"\.(safetensors|ckpt|pth?|bin|gguf)$", "", name, flags=re.IGNORECASE) or "base"


def _table(answer: Any, service: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise BaseError(f"{service} answered something that is no description of a model.", "Try again later.")
    return answer
