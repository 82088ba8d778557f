"""The toolbox of LoRA files on the command line: every verb does its work, says it, and refuses in one sentence."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lorasmith.cli.app import run
from lorasmith.cli.lora import lora as lora_group
from tests.adapters.files import FLUX, noise, save_lora


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    path = tmp_path / "ohwx é.safetensors"
    save_lora(path, metadata={"modelspec.trigger_phrase": "ohwx", "ss_steps": "100"})
    return path


def call(tmp_path: Path, *words: object) -> int:
    return run(["--home", str(tmp_path / "home"), "lora", *map(str, words)])


def test_every_verb_works_and_says_what_it_did(tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.safetensors"
    save_lora(other, seed=9, metadata={"ss_steps": "200"})
    out = [tmp_path / f"out{n}.safetensors" for n in range(6)]
    for words, said in (
        (("inspect", lora), "trigger: ohwx"),
        (("inspect", lora, "--deep", "--picture", tmp_path / "p.svg"), "AutoV2"),
        (("diff", lora, other), "cosine"),
        (("interfere", lora, other), "suggested weights"),
        (("resize", lora, "--rank", 2, "--out", out[0], "--block", "mid_block=1"), "is kept"),
        (("merge", f"{lora}:0.5", other, "--out", out[1]), "nothing is lost"),
        (("convert", lora, "--dialect", "comfyui", "--only-for", "comfyui", "--out", out[2]), "exact"),
        (("scale", lora, "0.5", "--out", out[3]), "through their alpha"),
        (("average", lora, other, "--out", out[4]), "weight"),
        (("edit", lora, "--title", "Ohwx", "--set", "a=b", "--strip", "paths"), "changed"),
        (("use", f"{lora}:0.9", "--workflow", tmp_path / "w.json"), "<lora:ohwx é:0.9>"),
    ):
        assert call(tmp_path, *words) == 0, words
        assert said in capsys.readouterr().out, words
    assert all(path.is_file() for path in out[:5])
    assert "<svg" in (tmp_path / "p.svg").read_text("utf-8") and json.loads((tmp_path / "w.json").read_text("utf-8"))


def test_a_base_is_baked_and_taken_apart_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned, again, flux = (tmp_path / f"{name}.safetensors" for name in ("base", "tuned", "again", "flux"))
    save_lora(flux, "flux")
    tensors = {f"{name}.weight": noise(shape, n, 1.0) for n, (name, shape) in enumerate(FLUX.items())}
    save_file(tensors, base)
    assert call(tmp_path, "bake", base, f"{flux}:0.5", "--family", "flux", "--out", tuned) == 0
    assert call(tmp_path, "extract", base, tuned, "--family", "flux", "--rank", 4, "--out", again) == 0
    said = capsys.readouterr().out
    assert "100.0% of the difference" in said and "no difference in the" in said
    changed = load_file(tuned) | {"transformer_blocks.0.attn.to_q.bias": noise((48,), 3)}
    save_file(changed, tuned)
    save_file(tensors | {"transformer_blocks.0.attn.to_q.bias": noise((48,), 2)}, base)
    words = ("extract", base, tuned, "--family", "flux", "--rank", 4, "--out", again, "--overwrite")
    assert call(tmp_path, *words) == 0
    said = capsys.readouterr().out
    assert "1 of 1 other tensors differ (1 bias), 0 of them kept" in said and "left out: denoiser" in said
    assert call(tmp_path, *words, "--keep-rest") == 5 and "--only-for comfyui" in capsys.readouterr().err


def test_a_dry_run_writes_nothing_and_json_is_one_document(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.iterdir())
    assert run(["--home", str(tmp_path), "--json", "lora", "resize", str(lora), "--rank", "2", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ranks_after"] == {"2": 5} and told["sha256"] == ""
    assert set(tmp_path.iterdir()) == before


def test_refusals_are_one_sentence_with_the_exit_code(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nonsense = tmp_path / "no.safetensors"
    save_file({"weight": np.zeros((3, 3), np.float32)}, nonsense)
    for words, code in (
        (("inspect", nonsense), 5),
        (("inspect", "nobody"), 5),
        (("resize", lora), 5),
        (("resize", lora, "--rank", 2, "--block", "mid"), 2),
        (("merge", f"{lora}:much", "--out", tmp_path / "x.safetensors"), 2),
        (("average", lora, lora, "--steps", "a,b", "--out", tmp_path / "x.safetensors"), 2),
        (("convert", lora, "--dialect", "klingon"), 5),
        (("edit", lora, "--set", "nothing"), 2),
        (("use", lora, "--copy-to", tmp_path), 5),
    ):
        assert call(tmp_path, *words) == code, words
        said = capsys.readouterr().err
        assert said.startswith("Error: ") and len(said.splitlines()) <= 2, said
    assert not (tmp_path / "x.safetensors").exists()


def test_calculate_says_a_run_in_all_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home"), "calculate"]
    asked = ["--pictures", "24", "--repeats", "10", "--batch-size", "2", "--regularisation", "5"]
    assert run([*home, *asked, "--exposures", "80", "--seconds-per-step", "2"]) == 0
    said = capsys.readouterr().out
    for words in (
        "1,160 steps = 8 epochs",
        "shown 80 times",
        "38 min 40 s",
        "as you say",
        "notebooks  960",
        "kohya      1,920",
    ):
        assert words in said, words
    assert run([*home, *asked, "--epochs", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1160
    for wrong, said in ((["--epochs", "1", "--steps", "2"], "epochs and as steps"), (["--pictures", "0"], "pictures")):
        assert run([*home, "--pictures", "9", *wrong]) == 2
        assert said in capsys.readouterr().err
    assert run([*home, "dogs"]) == 3


def test_inspect_has_one_home(tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "inspect", lora) == 0
    below = capsys.readouterr().out
    assert run(["--home", str(tmp_path / "home"), "inspect", str(lora)]) == 0
    assert set(below.splitlines()) <= set(capsys.readouterr().out.splitlines())


def test_a_file_is_described_in_the_words_of_the_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain_, dead, dora = (tmp_path / f"{name}.safetensors" for name in ("plain", "dead", "dora"))
    save_lora(plain_, rank=4, alpha=3.0, metadata={"ss_network_args": "{" * 5000})
    save_lora(dead, alpha=0.0)
    save_lora(dora)
    tensors = load_file(dora)
    stems = {key.partition(".")[0] for key in tensors}
    save_file({**tensors, **{f"{stem}.dora_scale": noise((4, 1), 1) for stem in stems}}, dora)

    assert call(tmp_path, "inspect", plain_) == 0
    out = capsys.readouterr().out
    assert "rank 4 (5), alpha 3 (5)" in out and max(map(len, out.splitlines())) < 400
    picture = tmp_path / "blocks.svg"
    assert call(tmp_path, "inspect", plain_, "--picture", picture) == 0
    out = capsys.readouterr().out
    assert f"{picture} written" in out and "of base" not in out
    data = sha256(plain_.read_bytes()[8 + int.from_bytes(plain_.read_bytes()[:8], "little") :]).hexdigest()
    assert f"sshs_model_hash {data}" in out and f"A1111 writes {data[:12]}" in out
    assert call(tmp_path, "inspect", dead, "--deep") == 0
    out = capsys.readouterr().out
    assert "alpha 0 (5)" in out and "5 modules change nothing" in out
    assert call(tmp_path, "inspect", dora, "--deep") == 0
    out = capsys.readouterr().out
    assert "effective rank" not in out and "need their base" in out  # no table without rows

    tensors = load_file(plain_)
    first = next(key for key in tensors if key.endswith("lora_down.weight"))
    tensors[first].flat[0] = np.nan
    save_file(tensors, plain_)
    assert call(tmp_path, "inspect", plain_, "--deep") == 0
    assert "1 module holds NaN" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resize", "--rank", "2", "--value", "0.9"), "--value is for"),
        (("merge", "--density", "0.3"), "--density is for"),
        (("merge", "--seed", "3"), "--seed is for"),
        (("merge", "--method", "ties", "--rank", "2", "--seed", "3"), "--seed is for"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out.safetensors"
    assert call(tmp_path, words[0], lora, *words[1:], "--out", out) == 2
    assert said in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("weight", ["1e40", "-1e9", "inf"])
def test_a_weight_beyond_all_measure_is_refused_for_what_it_is(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str], weight: str
) -> None:
    other, out, base = (tmp_path / f"{name}.safetensors" for name in ("other", "out", "base"))
    save_lora(other, seed=4)
    save_file({"a": noise((2, 2), 1)}, base)
    for words in (
        ("merge", f"{lora}:{weight}", other, "--out", out),
        ("merge", lora, other, "--block", f"mid_block={weight}", "--out", out),
        ("bake", base, f"{lora}:{weight}", "--family", "sdxl", "--out", out),
        ("scale", lora, "--out", out, "--", weight),
        ("scale", lora, "2", "--block", f"mid_block={weight}", "--out", out),
    ):
        assert call(tmp_path, *words) in (2, 5), words
        err = capsys.readouterr().err
        assert "weight" in err or "factor" in err, words
        assert "cancel" not in err and "damaged" not in err and "Warning" not in err and not out.exists(), words


def test_a_file_called_like_an_option_is_told_how_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_lora(tmp_path / "--out.safetensors")
    assert call(tmp_path, "inspect", "--out.safetensors") == 2
    assert "Write ./--out.safetensors" in capsys.readouterr().err
    assert call(tmp_path, "inspect", "./--out.safetensors") == 0


def test_a_rank_larger_than_its_layer_and_a_file_that_does_nothing_are_told(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, dead = tmp_path / "wide.safetensors", tmp_path / "dead.safetensors"
    save_lora(wide, rank=66)
    save_lora(dead, alpha=0.0)
    assert call(tmp_path, "inspect", wide) == 0
    out = capsys.readouterr().out
    assert "5 modules have ranks larger than the layer itself" in out
    assert (
        call(tmp_path, "resize", wide, "--method", "sv_fro", "--value", "1", "--out", tmp_path / "w.safetensors") == 0
    )
    assert "100.0% of the change is kept" in capsys.readouterr().out
    assert call(tmp_path, "inspect", tmp_path / "w.safetensors") == 0
    assert "larger than the layer" not in capsys.readouterr().out
    for one, other in ((lora, dead), (dead, lora)):
        assert call(tmp_path, "interfere", one, other) == 5
        assert "dead.safetensors changes nothing" in capsys.readouterr().err


def test_files_of_different_widths_are_told_by_their_sizes(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"
    save_lora(other, layers={"mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj": (160, 80)})
    assert call(tmp_path, "merge", lora, other, "--out", tmp_path / "out.safetensors") == 5
    assert "has another shape in each file: 128 x 64 and 160 x 80." in capsys.readouterr().err


def test_a_pickle_is_described_as_the_file_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    old, made = tmp_path / "old.pt", tmp_path / "made.safetensors"
    save_lora(made)
    torch.save({key: torch.from_numpy(array.copy()) for key, array in load_file(made).items()}, old)
    assert call(tmp_path, "inspect", old, "--deep", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    digest = sha256(old.read_bytes()).hexdigest()
    assert (found["file"], found["size"]) == ("old.pt", old.stat().st_size)
    assert found["hashes"]["sha256"] == digest and found["hashes"]["autov2"] == digest[:10].upper()
    assert call(tmp_path, "inspect", old, "--deep") == 0
    out = capsys.readouterr().out
    assert out.startswith("old.pt: ") and "sshs_model_hash" not in out and digest in out


def test_what_is_lost_by_a_merge_is_told(tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, out = tmp_path / "other.safetensors", tmp_path / "out.safetensors"
    save_lora(other, seed=9, metadata={"ss_steps": "200"})
    assert call(tmp_path, "merge", lora, other, "--rank", 3, "--out", out, "--dry-run", "--json") == 0
    share = json.loads(capsys.readouterr().out)["kept"]
    assert 0.3 < share < 0.95
    assert call(tmp_path, "merge", lora, other, "--rank", 3, "--out", out) == 0
    assert f"{share:.1%} of the sum is kept" in capsys.readouterr().out
    for words in (("--method", "ties"), ("--method", "dare", "--seed", 3)):
        assert call(tmp_path, "merge", lora, other, "--rank", 8, *words, "--out", out, "--overwrite") == 0
        said = capsys.readouterr().out
        assert "with the plain sum" in said and "as strong" in said
    assert call(tmp_path, "average", lora, other, "--out", out, "--overwrite") == 0
    assert "of the average is kept" in capsys.readouterr().out


def test_a_folder_that_is_there_is_not_baked_over(
    tmp_path: Path, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = tmp_path / "base", tmp_path / "there"
    (base / "unet").mkdir(parents=True)
    out.mkdir()
    assert call(tmp_path, "bake", base, lora, "--family", "sdxl", "--out", out) == 5
    assert "there exists already" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("resize", "--rank", "2"), ("convert",), ("merge", "--rank", "2"), ("merge",)])
def test_numbers_that_fp16_would_make_zero_of_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    small, out = tmp_path / "small.safetensors", tmp_path / "out.safetensors"
    save_lora(small)
    weak = {key: array if "alpha" in key else array * np.float32(1e-12) for key, array in load_file(small).items()}
    save_file(weak, small, metadata={"lorasmith.family": "sdxl"})
    assert call(tmp_path, words[0], small, *words[1:], "--dtype", "fp16", "--out", out) == 5
    assert "too small for fp16" in capsys.readouterr().err and not out.exists()
    assert call(tmp_path, words[0], small, *words[1:], "--dtype", "bf16", "--out", out) == 0


def test_every_verb_shows_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    for name in lora_group.commands:
        assert run(["lora", name, "--help"]) == 0
        assert f"lorasmith lora {name} " in capsys.readouterr().out.partition("Options:")[0].partition("\n\n")[2], name
