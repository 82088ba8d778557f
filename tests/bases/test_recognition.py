"""Every family in every layout, prefix and number format is told from its header; whatever is no base is named."""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorasmith.bases.detection import detect
from lorasmith.bases.gguf import read_gguf_header
from lorasmith.bases.header import Header
from lorasmith.bases.pipelines import PIPELINES
from lorasmith.bases.recognition import OPEN, PROVED, THIN, Recognition, as_document, recognise
from lorasmith.bases.signatures import ASKS, DENOISERS
from lorasmith.errors import BaseError
from tests.bases import corpus


def wrong(case: corpus.Case, found: Recognition) -> str:
    """What was said wrongly; empty when nothing was. A variant may be asked for, never mistaken."""
    asks = {question.name for question in found.questions}
    if found.family != case.family or not found.is_base:
        return f"{found.kind} {found.family or found.title}"
    if "variant" in asks:
        (question,) = (question for question in found.questions if question.name == "variant")
        hidden = case.quantisation == "nf4" and case.variant in question.choices and found.variant == ""
        return "" if hidden else "asks for the variant"
    if found.variant != case.variant:
        return f"variant {found.variant}"
    if asks != case.asks:
        return f"asks {sorted(asks)} and not {sorted(case.asks)}"
    return "" if found.quantisation == case.quantisation else f"quantisation {found.quantisation}"


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_family_in_every_layout() -> None:
    confusion: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    families: set[str] = set()
    count = 0
    for case in corpus.cases():
        count += 1
        found = recognise(case.header)
        families.add(case.family)
        if said := wrong(case, found):
            confusion[case.family, said] += 1
            examples.setdefault((case.family, said), case.name)
        else:
            assert found.evidence and found.confidence == (OPEN if found.questions else PROVED)
    table = "\n".join(f"{n:5}  {row[0]}: {row[1]}  (first: {examples[row]})" for row, n in confusion.items())
    assert not confusion, f"of {count}:\n{table}"
    assert count > 600 and len(families) > 25


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_is_no_base_is_named() -> None:
    mistaken = []
    for name, kind, header in corpus.negatives():
        found = recognise(header)
        if found.kind != kind:
            mistaken.append(f"{name} is a {kind}, said: {found.kind} ({found.title}; {found.evidence})")
        assert not found.is_base and not found.family
    assert not mistaken, "\n".join(mistaken)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("rules", list(corpus.CONVERTERS))
def test_the_original_names_are_those_that_diffusers_converts(rules: str) -> None:
    """The corpus is real: diffusers turns each original table into exactly the names and shapes of its class."""
    from diffusers.loaders import single_file_utils

    model = next(model for model in corpus.MODELS if model.rules == rules)
    shapes = corpus.build(model)
    prefix = "model.diffusion_model." if rules == "unet" else ""
    original = {prefix + key: shape for key, shape in corpus.in_original_names(model, shapes).items()}
    tensors = {key: torch.empty(shape, device="meta") for key, shape in original.items()}
    config = {"class_embed_type": None, **model.config, "layers_per_block": 2}
    convert = getattr(single_file_utils, corpus.CONVERTERS[rules])
    converted = convert(tensors, config=config) if rules in ("unet", "minimax_h3") else convert(tensors)
    assert {key: tuple(tensor.shape) for key, tensor in converted.items() if tensor is not None} == shapes


def test_every_rule_can_be_met_and_every_question_is_asked() -> None:
    """No rule is hidden behind an earlier one of another variant that asks for less of the same."""
    for position, rule in enumerate(DENOISERS):
        for earlier in DENOISERS[:position]:
            hides = set(earlier.has) <= set(rule.has) and set(earlier.shapes) <= set(rule.shapes)
            same = (earlier.family, earlier.variant) == (rule.family, rule.variant)
            assert same or not hides or set(earlier.lacks) - set(rule.lacks), f"{earlier.title} hides {rule.title}"
    assert {name for rule in DENOISERS for name in rule.asks} == set(ASKS)
    families = {rule.family for rule in DENOISERS}
    assert {family for family, _, _ in PIPELINES.values()} <= families


@pytest.mark.parametrize("plugin", ["sd"])
def test_the_table_and_the_family_agree(plugin: str) -> None:
    """A family's own ``detect`` and the table never contradict each other, over all families' headers."""
    from lorasmith.bases.detection import registered_families

    family = registered_families()[plugin]
    for model in corpus.MODELS:
        if model.model_class != "UNet2DConditionModel":
            continue
        shapes = {
            f"model.diffusion_model.{k}": v for k, v in corpus.in_original_names(model, corpus.build(model)).items()
        }
        header = Header(Path("x.safetensors"), "single_file", shapes, dict.fromkeys(shapes, "F16"))
        try:
            found = family.detect(header)
        except BaseError:
            assert model.variant not in ("sd1", "sd2")
            continue
        assert (found is not None) == (model.family == plugin), model.name
        assert found is None or found.variant == model.variant


def flux_dev() -> Header:
    model = next(model for model in corpus.MODELS if model.name == "flux dev")
    shapes = corpus.in_original_names(model, corpus.build(model))
    return Header(Path("some.safetensors"), "single_file", shapes, dict.fromkeys(shapes, "BF16"))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("flux1-kontext-dev", "kontext"), ("flux1-krea-dev_v2", "krea-dev"), ("developer", ""), ("my merge", "")],
)
def test_a_file_name_suggests_and_never_decides(name: str, suggestion: str) -> None:
    found = recognise(replace(flux_dev(), path=Path(f"{name}.safetensors")))
    (question,) = found.questions
    assert (found.variant, question.suggestion) == ("dev_or_kontext", suggestion)
    assert ("its file name holds" in question.because) == bool(suggestion)
    assert as_document(found)["questions"][0]["choices"] == ["dev", "kontext", "krea-dev"]


def test_a_folder_that_contradicts_itself_is_no_base() -> None:
    shapes = {f"transformer/{key}": shape for key, shape in corpus.build(corpus.MODELS[15]).items()}
    header = Header(Path("x"), "folder", shapes, {}, {}, {"model_index": {"_class_name": "WanPipeline"}})
    found = recognise(header)
    assert found.kind == "unknown" and "says Wan and holds FLUX.1" in found.title


def test_wan_with_two_experts_is_told_from_the_folder() -> None:
    model = next(model for model in corpus.MODELS if model.name == "wan t2v 14b")
    shapes = {f"{part}/{k}": v for part in ("transformer", "transformer_2") for k, v in corpus.build(model).items()}
    found = recognise(Header(Path("x"), "folder", shapes, {}, {}, {"model_index": {"_class_name": "WanPipeline"}}))
    assert not found.questions and any("two experts" in reason for reason in found.evidence)


def test_few_tensors_are_thin_evidence() -> None:
    shapes = {"head.modulation": (1, 2, 1536), "patch_embedding.weight": (1536, 16, 1, 2, 2)}
    found = recognise(Header(Path("x.safetensors"), "single_file", shapes))
    assert (found.family, found.confidence) == ("wan", THIN)
    assert any("only 2 tensors" in reason for reason in found.evidence)


def gguf(path: Path, shapes: dict[str, tuple[int, ...]], *, text: bytes = b"flux") -> Path:
    """A GGUF file whose data is a hole: four-axis limit, axes innermost first, true shapes of bent tensors beside."""

    def string(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    entries = [string(b"general.architecture") + struct.pack("<I", 8) + string(text)]
    entries.append(string(b"tokens") + struct.pack("<IIQ", 9, 8, 3) + string(b"a") + string(b"bb") + string(b""))
    tensors, end = [], 0
    for key, shape in shapes.items():
        stored = shape
        if len(shape) > 4:
            stored = (shape[0], shape[1], 1, shape[2] * shape[3] * shape[4])
            name = b"comfy.gguf.orig_shape." + key.encode()
            entries.append(string(name) + struct.pack("<IIQ5i", 9, 5, 5, *shape))
        axes = struct.pack(f"<I{len(stored)}Q", len(stored), *reversed(stored))
        packs = len(shape) == 2 and shape[1] % 256 == 0
        tensors.append(string(key.encode()) + axes + struct.pack("<IQ", 12 if packs else 0, end))
        count = math.prod(shape)
        end += -(-(count // 256 * 144 if packs else 4 * count) // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + b"".join(tensors)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(-(-len(head) // 32) * 32 + end)
    return path


def test_gguf_headers_are_read(tmp_path: Path) -> None:
    model = next(model for model in corpus.MODELS if model.name == "wan 2.1 i2v")
    shapes = corpus.in_original_names(model, corpus.build(model))
    header = read_gguf_header(gguf(tmp_path / "wan.gguf", shapes))
    assert header.shapes == shapes
    found = recognise(header)
    assert (found.family, found.variant, found.quantisation) == ("wan", "i2v_14b_2.1", "GGUF Q4_K")
    assert detect(header).family == "wan_i2v"
    strange = replace(header, dtypes={**header.dtypes, next(iter(shapes)): "type 99"})
    with pytest.raises(BaseError, match=r"Wan 2\.1 I2V 14B, packed for inference \(GGUF type 99\)"):
        detect(strange)


@pytest.mark.parametrize("inside", [True, False])
def test_scaled_fp8_is_read_of_files_and_refused_of_folders(inside: bool) -> None:
    """The scales are multiplied in when a file is loaded; a folder goes to diffusers, which would leave them out."""
    model = corpus.MODELS[0]
    shapes = corpus.in_original_names(model, corpus.build(model))
    more = {"first_stage_model.decoder.conv_in.weight": (4, 4), "cond_stage_model.transformer.text_model.x": (4, 4)}
    named = {f"model.diffusion_model.{key}": shape for key, shape in shapes.items()} | (more if inside else {})
    header = Header(Path("x.safetensors"), "single_file", named, dict.fromkeys(named, "F16"))
    assert detect(corpus.packed_as(header, "fp8, scaled")).variant == "sd1"
    whole = next(case.header for case in corpus.cases() if case.name == "sd1, folder")
    folder = corpus.packed_as(whole, "fp8, scaled")
    with pytest.raises(BaseError, match="packed for inference"):
        detect(folder)


@pytest.mark.parametrize("kind", ["base", "denoiser"])
@pytest.mark.parametrize("form", ["convrot_w4a4", "int8 without a scale"])
def test_packed_weights_are_refused_before_they_are_taken_for_numbers(form: str, kind: str) -> None:
    model = corpus.MODELS[0]
    shapes = corpus.in_original_names(model, corpus.build(model))
    inside = {"first_stage_model.decoder.conv_in.weight": (4, 4), "cond_stage_model.transformer.text_model.x": (4, 4)}
    named = {f"model.diffusion_model.{key}": shape for key, shape in shapes.items()} | (
        inside if kind == "base" else {}
    )
    header = Header(Path("x.safetensors"), "single_file", named, dict.fromkeys(named, "F16"))
    assert detect(header).variant == "sd1"
    with pytest.raises(BaseError, match="packed for inference") as caught:
        detect(replace(header, dtypes={**header.dtypes, next(iter(named)): form}))
    assert form in caught.value.message and "bf16, fp16, fp8 or int8, or as GGUF" in caught.value.hint


def test_no_gguf_header_is_believed(tmp_path: Path) -> None:
    """Cut at every byte, and with every byte turned: read or refused in a sentence, and never slow."""
    content = gguf(tmp_path / "a.gguf", {"blk.0.weight": (4, 4), "b": (2, 1, 1, 2, 2)}).read_bytes()
    file = tmp_path / "b.gguf"
    for cut in range(len(content)):
        file.write_bytes(content[:cut])
        with pytest.raises(BaseError):
            read_gguf_header(file)
    for position in range(4, len(content)):
        for value in (0x00, 0xFF):
            file.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            try:
                read_gguf_header(file)
            except BaseError as refusal:
                assert refusal.hint
