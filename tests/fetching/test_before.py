"""What is told and asked before anything is fetched, and what files and names turn out to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorasmith.errors import ConsentNeeded, EnvironmentProblem, InputError, OutOfDisk
from lorasmith.fetching import Consents, DownloadPlan, Fetcher, Notice, Offer, kind_of
from lorasmith.fetching.sniffing import suffix_for, why_incomplete
from tests.fetching.loopback import LOCAL, safetensors

FILES = "https://huggingface.co/a/resolve/main"
MODEL = Offer("wd-vit-tagger-v3, model.onnx", f"{FILES}/model.onnx", 378_000_000, "apache-2.0")
TAGS = Offer("wd-vit-tagger-v3, selected_tags.csv", f"{FILES}/selected_tags.csv")


def test_a_plan_says_what_from_where_how_large_under_which_licence(tmp_path: Path) -> None:
    plan = DownloadPlan((MODEL, TAGS), tmp_path, free=5_000_000_000)
    assert plan.lines() == [
        "wd-vit-tagger-v3, model.onnx: 0.38 GB from huggingface.co, licence apache-2.0",
        "wd-vit-tagger-v3, selected_tags.csv: size unknown from huggingface.co, licence not stated",
        f"In all 0.38 GB and 1 of unknown size, into {tmp_path} (5.00 GB free).",
    ]
    assert (plan.size, plan.missing, plan.unknown, plan.fits, plan.complete) == (
        378_000_000,
        378_000_000,
        1,
        True,
        False,
    )
    plan.require_room()
    assert json.loads(json.dumps(plan.to_dict()))["offers"][0]["licence"] == "apache-2.0"


def test_a_plan_that_does_not_fit(tmp_path: Path) -> None:
    plan = DownloadPlan((MODEL,), tmp_path, free=400_000_000)
    assert not plan.fits and plan.lines()[-1].endswith("(0.40 GB free; that does not fit).")
    with pytest.raises(OutOfDisk, match=r"0\.38 GB are to be downloaded and 0\.40 GB are free") as caught:
        plan.require_room()
    assert "0.50 GB are kept in reserve" in caught.value.hint


def test_what_is_here_is_not_counted(tmp_path: Path) -> None:
    here = Offer("model", MODEL.url, 1000, present=1000)
    plan = DownloadPlan((here,), tmp_path, free=0)
    assert plan.complete and plan.fits and "here already" in plan.lines()[0]
    found = DownloadPlan.of([here], tmp_path / "not" / "made yet")
    assert found.free > 0 and not (tmp_path / "not").exists()


TERMS = Notice("gelbooru-terms", "Terms of Gelbooru", "Respect them, and the artists.")


def test_consent_is_given_once(tmp_path: Path) -> None:
    consents = Consents(tmp_path / "home")
    with pytest.raises(ConsentNeeded, match="Respect them") as caught:
        consents.require(TERMS)
    assert (caught.value.notice, caught.value.exit_code) == ("gelbooru-terms", 2)
    assert "--accept gelbooru-terms" in caught.value.hint
    consents.give(TERMS)
    Consents(tmp_path / "home").require(TERMS)
    assert list(consents.all()) == ["gelbooru-terms"]
    with pytest.raises(ConsentNeeded):  # other words, another consent
        consents.require(Notice(TERMS.id, TERMS.title, "Respect them. We sell your data."))
    assert consents.withdraw(TERMS.id) and not consents.withdraw(TERMS.id)
    assert not consents.given(TERMS)


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_a_damaged_list_of_consents(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "consents.json").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        Consents(tmp_path).given(TERMS)


@pytest.mark.parametrize(
    ("beginning", "kind", "suffix"),
    [
        (safetensors(10), "safetensors", ".safetensors"),
        (b"PK\x03\x04", "zip", ".zip"),
        (b"\xff\xd8\xff\xe0", "image", ".jpg"),
        (b"RIFF\0\0\0\0WEBP", "image", ".webp"),
        (b"GGUF\3\0\0\0", "gguf", ".gguf"),
        (b'\xef\xbb\xbf {"a": 1}', "json", ".json"),
        (b"  \n<!doctype HTML><p>", "html", ".html"),
        (b"<!-- hi --><html>", "html", ".html"),
        (b"<svg xmlns=''>", "text", ".txt"),
        (b"7z\xbc\xaf\x27\x1c", "7z", ".7z"),
        (bytes(300), "unknown", ""),
        (b"\x08\0\0\0\0\0\0\0[1, 2]", "unknown", ""),
        (b"", "empty", ""),
    ],
)
def test_kinds(beginning: bytes, kind: str, suffix: str) -> None:
    assert (kind_of(beginning), suffix_for(beginning)) == (kind, suffix)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (safetensors(100), None),
        (safetensors(100)[:-1], "announces"),
        (safetensors(100) + b"x", "announces"),
        (b"\xff\0\0\0\0\0\0\0{", "within its header"),
        (b"\2\0\0\0\0\0\0\0[]", "cannot be read"),
        (b'\x08\0\0\0\0\0\0\0{"a": 1}', "cannot be read"),
        (b"\x04\0\0\0\0\0\0\0{{{{", "cannot be read"),
        (b"", "within its header"),
    ],
)
def test_the_end_of_a_model(tmp_path: Path, content: bytes, why: str | None) -> None:
    path = tmp_path / "m"
    path.write_bytes(content)
    found = why_incomplete(path, "safetensors")
    assert (why is None and found is None) or (why is not None and found is not None and why in found)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with Fetcher(LOCAL) as fetcher, pytest.raises(EnvironmentProblem, match="cannot be made") as caught:
        fetcher.download("https://a.example/x", tmp_path / "f")
    assert "another folder" in caught.value.hint
