"""What people copy from their browsers means what they think it means; what services answer becomes a list of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lorasmith.bases.links import CivitaiLink, HubLink, Link, LocalPath, WebLink, parse_link, without_secrets
from lorasmith.bases.wanting import resolve
from lorasmith.errors import BaseError

SHA = "a" * 64

GOOD: list[tuple[str, Link]] = [
    ("https://civitai.com/models/101055?modelVersionId=128078", CivitaiLink(101055, 128078)),
    ("https://civitai.com/models/101055/sd-xl?modelVersionId=128078#x", CivitaiLink(101055, 128078)),
    ("civitai.com/models/101055", CivitaiLink(101055)),
    ("https://www.civitai.red/models/101055/a-b", CivitaiLink(101055)),
    ("https://civitai.green/models/5?modelVersionId=6", CivitaiLink(5, 6)),
    ("https://civitai.com/api/download/models/128078", CivitaiLink(None, 128078)),
    (
        "https://civitai.com/api/download/models/128078?type=Model&format=SafeTensor&size=full&fp=fp16&token=SECRET",
        CivitaiLink(None, 128078, None, {"type": "Model", "format": "SafeTensor", "size": "full", "fp": "fp16"}),
    ),
    ("https://civitai.red/api/download/models/128078?fileId=99", CivitaiLink(None, 128078, 99)),
    ("https://civitai.com/api/v1/model-versions/128078", CivitaiLink(None, 128078)),
    ("https://civitai.com/model-versions/128078", CivitaiLink(None, 128078)),
    ("urn:air:sdxl:checkpoint:civitai:101055@128078", CivitaiLink(101055, 128078)),
    ("urn:air:sdxl:checkpoint:civitai:101055@128078.safetensors", CivitaiLink(101055, 128078)),
    ("URN:AIR:sd1:vae:civitai:101055", CivitaiLink(101055)),
    ("urn:air:flux1:model:huggingface:black-forest-labs/FLUX.1-dev@main", HubLink("black-forest-labs/FLUX.1-dev")),
    ("https://huggingface.co/stabilityai/sdxl-vae", HubLink("stabilityai/sdxl-vae")),
    ("huggingface.co/stabilityai/sdxl-vae/", HubLink("stabilityai/sdxl-vae")),
    ("https://hf.co/a/b", HubLink("a/b")),
    ("https://huggingface.co/a/b/tree/main", HubLink("a/b")),
    ("https://huggingface.co/a/b/tree/fp16/vae", HubLink("a/b", "fp16", "vae")),
    ("https://huggingface.co/a/b/blob/main/x%20y.safetensors", HubLink("a/b", "main", "x y.safetensors")),
    ("https://huggingface.co/a/b/resolve/main/v/x.sft?download=true", HubLink("a/b", "main", "v/x.sft")),
    ("https://huggingface.co/a/b/blob/refs%2Fpr%2F1/x.safetensors", HubLink("a/b", "refs/pr/1", "x.safetensors")),
    ("https://huggingface.co/a/b/discussions/4", HubLink("a/b")),
    ("https://huggingface.co/api/models/a/b", HubLink("a/b")),
    ("hf://a/b", HubLink("a/b")),
    ("hf://a/b@v2/vae/x.safetensors", HubLink("a/b", "v2", "vae/x.safetensors")),
    ("hf://models/a/b", HubLink("a/b")),
    ("stabilityai/stable-diffusion-xl-base-1.0", HubLink("stabilityai/stable-diffusion-xl-base-1.0")),
    ("https://example.org/x.safetensors", WebLink("https://example.org/x.safetensors")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "link"), GOOD, ids=[text for text, _ in GOOD])
def test_links_mean_what_they_say(text: str, link: Link) -> None:
    assert parse_link(text) == link
    assert parse_link(f'  "{text}"\n') == link
    assert "SECRET" not in repr(parse_link(text))


BAD = (
    "",
    "  ",
    "cat",
    "/nowhere/x.safetensors",
    "./a/b",
    "a/b.safetensors",
    "a/b/c",
    "C:\\models\\x",
    "ftp://a/b",
    "file:///etc/passwd",
    "https://",
    "https://civitai.com/",
    "https://civitai.com/user/someone",
    "https://civitai.com/images/5",
    "https://civitai.com/models/abc",
    "https://civitai.com/models/5?modelVersionId=x",
    "https://huggingface.co/",
    "https://huggingface.co/someone",
    "https://huggingface.co/datasets/a/b",
    "https://huggingface.co/spaces/a/b",
    "https://huggingface.co/a/b/settings",
    "https://huggingface.co/a/b/blob/main/../../x",
    "hf://a",
    "hf://datasets/a/b",
    "hf://a/b/../x",
    "urn:air:sdxl",
    "urn:air:sdxl:checkpoint:elsewhere:5",
    "urn:air:sdxl:checkpoint:civitai:x",
)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_link_is_refused_with_a_way_on(text: str) -> None:
    with pytest.raises(BaseError) as caught:
        parse_link(text)
    assert caught.value.hint


def test_a_path_that_is_here_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_link("org/name") == LocalPath(tmp_path / "org" / "name")


def test_secrets_are_taken_out_of_addresses() -> None:
    told = without_secrets("https://user:pw@h.org/x?token=A&type=Model&api_key=B#f")
    assert told == "https://h.org/x?type=Model"
    with pytest.raises(BaseError) as caught:
        parse_link("https://civitai.com/user/x?token=SECRET")
    assert "SECRET" not in str(caught.value)


def asked(answers: Mapping[str, Any]) -> Callable[[str, Mapping[str, str]], Any]:
    """A service that knows these addresses and no others."""
    return lambda url, params: answers[url]


VERSION = {
    "id": 7,
    "modelId": 5,
    "name": "v1.0",
    "baseModel": "SDXL 1.0",
    "earlyAccessEndsAt": "2026-12-01",
    "model": {"name": "Dream", "type": "Checkpoint", "allowCommercialUse": ["Image"], "allowDerivatives": False},
    "files": [
        {"id": 1, "name": "dream.ckpt", "sizeKB": 10, "type": "Model", "metadata": {"format": "PickleTensor"}},
        {
            "id": 2, "name": "dream fp16.safetensors", "sizeKB": 2048.5, "type": "Model", "primary": True,
            "metadata": {"format": "SafeTensor", "fp": "fp16"}, "hashes": {"SHA256": SHA.upper()},
        },
        {"id": 3, "name": "dream32.safetensors", "type": "Model", "metadata": {"format": "SafeTensor", "fp": "fp32"}},
        {"id": 4, "name": "train.zip", "type": "Training Data"},
    ],
}  # fmt: skip
V7 = {"https://civitai.com/api/v1/model-versions/7": VERSION}


def test_a_version_on_civitai() -> None:
    wanted = resolve(CivitaiLink(5, 7), asked(V7))
    (file,) = wanted.files
    assert file.url == "https://civitai.com/api/download/models/7?fileId=2"
    assert (file.path, file.sha256, wanted.name) == ("dream fp16.safetensors", SHA, "dream fp16")
    assert wanted.page == "https://civitai.com/models/5?modelVersionId=7"
    assert wanted.about_bytes == 2048.5 * 1024 and wanted.size is None
    assert "commercial use: Image" in wanted.license and "derivatives: not allowed" in wanted.license
    assert wanted.title == "Dream v1.0 (SDXL 1.0)" and any("early access" in note for note in wanted.notes)


def test_a_file_is_chosen_by_the_link() -> None:
    assert resolve(CivitaiLink(None, 7, None, {"fp": "fp32"}), asked(V7)).name == "dream32"
    by_number = resolve(CivitaiLink(None, 7, 1), asked(V7))
    assert by_number.name == "dream" and any("pickle" in note for note in by_number.notes)
    with pytest.raises(BaseError, match="no file 99"):
        resolve(CivitaiLink(None, 7, 99), asked(V7))
    with pytest.raises(BaseError, match="no weights that fit"):
        resolve(CivitaiLink(None, 7, None, {"fp": "bf16"}), asked(V7))
    with pytest.raises(BaseError, match="belongs to model 5, not to 6"):
        resolve(CivitaiLink(6, 7), asked(V7))


def test_a_model_on_civitai_means_its_newest_version() -> None:
    model = {"id": 5, "name": "Dream", "type": "LORA", "modelVersions": [{**VERSION, "model": None}, {"id": 3}]}
    wanted = resolve(CivitaiLink(5), asked({"https://civitai.com/api/v1/models/5": model}))
    assert wanted.page.endswith("modelVersionId=7") and any("LORA" in note for note in wanted.notes)
    with pytest.raises(BaseError, match="has no version"):
        resolve(CivitaiLink(5), asked({"https://civitai.com/api/v1/models/5": {"modelVersions": []}}))


def hub(*files: str, **more: Any) -> Callable[[str, Mapping[str, str]], Any]:
    listed = [
        {"rfilename": name, "size": 10, "lfs": {"sha256": SHA} if name.endswith("rs") else None} for name in files
    ]
    return asked({"https://huggingface.co/api/models/a/b/revision/main": {"sha": "c0ffee", "siblings": listed, **more}})


FOLDER = (
    "model_index.json", "README.md", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt", "scheduler/scheduler_config.json",
    "tokenizer/vocab.json", "tokenizer/merges.txt", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "text_encoder/model-00001-of-00002.safetensors", "text_encoder/model-00002-of-00002.safetensors",
    "text_encoder/model.safetensors.index.json", "text_encoder/model.fp16-00001-of-00002.safetensors",
    "text_encoder/model.safetensors.index.fp16.json", "safety_checker/model.safetensors", "../evil.json",
)  # fmt: skip


def test_what_looks_at_first_frames_comes_too() -> None:
    files = ("model_index.json", "image_encoder/config.json", "image_encoder/model.safetensors",
             "image_processor/preprocessor_config.json", "feature_extractor/preprocessor_config.json",
             "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors")  # fmt: skip
    assert {file.path for file in resolve(HubLink("a/b"), hub(*files)).files} == set(files)


def test_a_repository_becomes_the_files_of_its_parts() -> None:
    wanted = resolve(HubLink("a/b"), hub(*FOLDER, cardData={"license": "openrail"}, gated="auto"))
    assert [file.path for file in wanted.files if file.path.endswith(".safetensors")] == [
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    small = {file.path for file in wanted.files if not file.path.endswith(".safetensors")}
    assert {"model_index.json", "tokenizer/merges.txt", "text_encoder/model.safetensors.index.json"} <= small
    assert not any("evil" in file.path or file.path.startswith("safety") for file in wanted.files)
    assert (wanted.layout, wanted.name, wanted.license, wanted.service) == ("folder", "b", "openrail", "huggingface")
    assert wanted.size == 10 * len(wanted.files) and any("gated" in note for note in wanted.notes)
    assert wanted.files[0].url.startswith("https://huggingface.co/a/b/resolve/c0ffee/")


def test_files_and_folders_of_a_repository() -> None:
    single = resolve(HubLink("a/b", "main", "v1-5-pruned.safetensors"), hub(*FOLDER))
    assert (single.layout, single.name, single.files[0].sha256) == ("single_file", "v1-5-pruned", SHA)
    vae = resolve(HubLink("a/b", "main", "vae"), hub(*FOLDER))
    assert vae.files[0].path == "diffusion_pytorch_model.fp16.safetensors"
    alone = resolve(HubLink("a/b"), hub("README.md", "only.safetensors"))
    assert (alone.name, alone.files[0].path) == ("only", "only.safetensors")
    with pytest.raises(BaseError, match=r"files are: x\.safetensors, y\.safetensors") as caught:
        resolve(HubLink("a/b"), hub("x.safetensors", "y.safetensors"))
    assert "https://huggingface.co/a/b/blob/main/x.safetensors" in caught.value.hint
    with pytest.raises(BaseError, match=r"no \.safetensors weights"):
        resolve(HubLink("a/b"), hub("model_index.json", "unet/diffusion_pytorch_model.bin"))
    with pytest.raises(BaseError, match="There is no 'nothing'"):
        resolve(HubLink("a/b", "main", "nothing"), hub(*FOLDER))


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"id": 7, "files": "x"}, {"id": 7, "files": [None, {}]}])
def test_strange_answers_are_refused(answer: Any) -> None:
    with pytest.raises((BaseError, KeyError)) as caught:
        resolve(CivitaiLink(None, 7), lambda url, params: answer)
    assert isinstance(caught.value, BaseError)


def test_an_address_of_a_file() -> None:
    wanted = resolve(WebLink("https://h.org/a/x.safetensors?token=A"), asked({}))
    assert (wanted.name, wanted.page) == ("x", "https://h.org/a/x.safetensors")
