"""The load certificate: proof that a LoRA file does in other programs what it did in training.

The file is loaded by real diffusers into a fresh base. The update of every layer, as peft then holds it, is compared
with the trained one (or, for other people's files, with the file's own matrices multiplied here). Every key must have
been used, the base's output must change, and every name must be one that ComfyUI and A1111 map. What fails is said in
sentences; a file that fails is not finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from lorasmith.adapters.file import AdapterFile, data_hash, read_adapter
from lorasmith.adapters.module import LoraModule
from lorasmith.adapters.places import Places, parts_of, places_of, plain_name, text_layer_count
from lorasmith.adapters.ui_keys import Place, a1111_map, comfyui_stems, unmapped
from lorasmith.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor

    from lorasmith.families import Base, Family

TOLERANCES = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 2e-2}
"""Largest difference allowed, over the layer's largest entry: what rounding to the format can do to a product."""
_NAME = "certificate"


class ProgramCheck(BaseModel):
    """Whether one program maps every module of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modules: int
    """Modules it maps to the right layer."""
    applies: bool = True
    """False when the program cannot run this base at all, so that the names do not matter there."""
    note: str = ""


class Certificate(BaseModel):
    """The result, for people (``sentences``) and for the record (``to_json``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    passed: bool
    file: str
    sha256: str
    base: str
    family: str
    dialect: str = "unknown"
    dtype: str = ""
    modules: int = 0
    """Modules in the file."""
    modules_loaded: int = 0
    """Modules that diffusers gave an adapter."""
    keys_total: int = 0
    keys_consumed: int = 0
    compared_with: Literal["trained", "file"] = "file"
    largest_relative_difference: float | None = None
    """Over all modules: largest difference of an entry of ΔW over the largest entry. None when it was not reached."""
    worst_module: str = ""
    tolerance: float = 0.0
    output_changed: bool = False
    output_change: float | None = None
    """Length of the change of the denoiser's output over the output's, at one fixed latent."""
    text_encoder_change: float | None = None
    """The same for the text encoder's output, when the file holds modules for it."""
    programs: dict[str, ProgramCheck] = {}
    findings: tuple[str, ...] = ()
    """Why it failed, one sentence each."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and fails nothing."""
    versions: dict[str, str] = {}

    def to_json(self) -> str:
        return self.model_dump_json(indent=2)

    def sentences(self) -> list[str]:
        """The certificate in a few plain sentences, the verdict first."""
        verdict = "loads as it was meant to" if self.passed else "does NOT load as it should"
        lines = [f"{self.file} {verdict} (base {self.base}, {self.modules} modules, {self.dtype}, {self.dialect} names)."]
        if self.largest_relative_difference is not None:
            against = "the trained update" if self.compared_with == "trained" else "the file's own matrices"
            lines.append(
                f"diffusers used {self.keys_consumed} of {self.keys_total} keys; against {against} the largest difference is "
                f"{self.largest_relative_difference:.1e} of a layer's largest entry ({self.tolerance:.0e} is allowed)."
            )
        if self.output_change is not None:
            lines.append(f"At a fixed latent it changes the base's output by {self.output_change:.1%}.")
        for program, check in self.programs.items():
            lines.append(f"{program} maps {check.modules} of {self.modules} modules. {check.note}".strip())
        return [*lines, *self.findings, *self.notes]

    def require(self) -> None:
        """Raise the first finding as an ``AdapterError`` unless the file passed."""
        if not self.passed:
            more = f" ({len(self.findings) - 1} more.)" if len(self.findings) > 1 else ""
            raise AdapterError(self.findings[0], f"The file is not finished; do not share it.{more}")


def certify(
    file: Path, base: Base, *, trained: Sequence[LoraModule] | None = None, device: str = "cpu"
) -> Certificate:
    """Load ``file`` into a fresh copy of ``base`` and prove, or refute, that nothing of it is lost.

    ``trained`` are the modules the file was written from; without them the file is judged by its own matrices.

    Raises:
        AdapterError: there is no such file. A damaged one gets a certificate that says so.
        BaseError: the base cannot be loaded.
    """
    from lorasmith.bases import family_of

    if not file.is_file():
        raise AdapterError(f"There is no adapter at {file}.", "Check the path.")
    family = family_of(base)
    identity = {
        "file": file.name,
        "sha256": _sha256(file),
        "base": base.name,
        "family": base.detection.family,
        "compared_with": "file" if trained is None else "trained",
        "versions": _versions(),
    }
    try:
        adapter = read_adapter(file)
    except AdapterError as damage:
        return Certificate(passed=False, findings=(damage.message,), **identity)  # type: ignore[arg-type]
    findings = _judge_file(adapter)
    pipeline = family.pipeline(base, dtype=_fp32(), device=device)
    places = places_of(pipeline, family)
    findings += _judge_against_base(adapter, places, base)
    programs, skipped = _judge_names(adapter, places, pipeline)
    measured, broken = _judge_loading(adapter, places, pipeline, family, base, trained)
    findings += broken + skipped
    notes = [f"The base itself was not tried in {name}: {p.note}" for name, p in programs.items() if not p.applies]
    return Certificate(
        passed=not findings,
        dialect=adapter.dialect,
        dtype=adapter.dtype,
        modules=len(adapter.modules),
        keys_total=adapter.keys,
        tolerance=TOLERANCES.get(adapter.dtype, max(TOLERANCES.values())),
        programs=programs,
        findings=tuple(findings),
        notes=tuple(notes),
        **identity,  # type: ignore[arg-type]
        **measured,
    )


def _fp32() -> Any:
    import torch

    return torch.float32


def _judge_file(adapter: AdapterFile) -> list[str]:
    """What is wrong with the file in itself."""
    found: list[str] = []
    if adapter.dialect == "lycoris":
        found.append("The file is a LyCORIS adapter (LoHa, LoKr or the like), which diffusers cannot load into this base.")
    elif adapter.leftover:
        found.append(f"{len(adapter.leftover)} keys belong to no complete pair of matrices, for instance {adapter.leftover[0]}.")
    for stem, module in adapter.modules.items():
        if module.up.shape[1:2] != module.down.shape[:1]:
            found.append(
                f"{stem} does not fit together: up {tuple(module.up.shape)} and down {tuple(module.down.shape)} "
                "have different ranks."
            )
        if not bool(module.up.isfinite().all() and module.down.isfinite().all()):
            found.append(f"{stem} holds NaN or infinite values.")
    without = [stem for stem, module in adapter.modules.items() if module.alpha is None]
    if without and len(without) < len(adapter.modules):
        found.append(
            f"{len(without)} of {len(adapter.modules)} modules have no alpha, {without[0]} first: programs scale them differently."
        )
    if any(module.dora_scale is not None for module in adapter.modules.values()):
        found.append(
            "The file is weight-decomposed (DoRA): ComfyUI reads dora_scale, diffusers drops it, so pictures will differ there."
        )
    stated = adapter.metadata.get("sshs_model_hash", "")
    if stated and stated.removeprefix("0x") != data_hash(adapter.path):
        found.append("The weights are not the ones the file was written with: their hash differs from sshs_model_hash.")
    return found


def _judge_against_base(adapter: AdapterFile, places: Places, base: Base) -> list[str]:
    """Modules that name nothing in the base, or a layer of another shape."""
    found: list[str] = []
    unknown = [stem for stem in adapter.modules if places.find(stem) is None]
    if unknown:
        wrong = adapter.dialect in ("transformer", "onetrainer")
        why = f"The names are in the '{adapter.dialect}' dialect, of other model families: " if wrong else ""
        found.append(f"{why}{len(unknown)} of {len(adapter.modules)} modules name nothing in {base.name}, {unknown[0]} first.")
    misfits: list[str] = []
    for stem, module in adapter.modules.items():
        place = places.find(stem)
        if place is None or module.up.ndim not in (2, 4) or module.down.ndim not in (2, 4):
            continue
        wanted, has = places.shapes[place], (module.up.shape[0], *module.down.shape[1:])
        if _squeezed(has) != _squeezed(wanted):
            swapped = (module.down.shape[0], *module.up.shape[1:]) == (wanted[1], wanted[0])
            turned = module.up.shape[:2] == module.up.shape[1::-1] or module.up.shape[1] == wanted[0]
            hint = ": the matrices are transposed" if swapped or turned else ""
            misfits.append(f"{stem} updates {has} but the layer in {base.name} is {wanted}{hint}")
    if misfits:
        found.append(f"{len(misfits)} modules have another shape than the base, made for a base of other width? First: {misfits[0]}.")
    return found


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A 1x1 convolution and a linear layer hold the same numbers."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def _judge_names(adapter: AdapterFile, places: Places, pipeline: Any) -> tuple[dict[str, ProgramCheck], list[str]]:
    """What ComfyUI and A1111 make of the names, by our statement of their key maps."""
    parts = parts_of(pipeline)
    if "unet" not in parts:
        return {}, [f"No key maps are known here for {type(pipeline).__name__}; the names could not be checked."]
    config, layers = parts["unet"].config, text_layer_count(parts)
    comfyui, a1111 = comfyui_stems(config, layers), a1111_map(config, layers)
    checks: dict[str, ProgramCheck] = {}
    found: list[str] = []
    known = {stem: place for stem in adapter.modules if (place := places.find(stem)) is not None}
    for program, find, applies in (("ComfyUI", comfyui.get, True), ("A1111", a1111.place, a1111.applies)):
        lost = unmapped(adapter.modules, known, find) if applies else []
        count = len(adapter.modules) - len(lost) if applies else 0
        note = "" if applies else "it only builds UNets of four levels with two layers each."
        checks[program] = ProgramCheck(modules=count, applies=applies, note=note)
        if lost:
            reads = " diffusers reads that spelling." if adapter.dialect in ("peft", "diffusers") else ""
            found.append(f"{program} would skip {len(lost)} of {len(adapter.modules)} modules silently, {lost[0]} first.{reads}")
    return checks, found


def _judge_loading(
    adapter: AdapterFile, places: Places, pipeline: Any, family: Family, base: Base, trained: Sequence[LoraModule] | None
) -> tuple[dict[str, Any], list[str]]:
    """Load with diffusers, then count, compare and run. Returns the certificate's measured fields and the findings."""
    before = _outputs(pipeline, family, base)
    try:
        pipeline.load_lora_weights(str(adapter.path.parent), weight_name=adapter.path.name, adapter_name=_NAME)
    except (ValueError, KeyError, RuntimeError, TypeError, IndexError, AttributeError) as cause:
        reason = " ".join(str(cause).split())[:240]
        return {}, [f"diffusers refuses the file: {type(cause).__name__}: {reason}"]
    layers = _adapted_layers(pipeline)
    loaded = {stem: place for stem in adapter.modules if (place := places.find(stem)) in layers and place is not None}
    found: list[str] = []
    silent = [stem for stem in adapter.modules if stem not in loaded]
    if silent:
        found.append(f"diffusers loaded {len(layers)} modules of {len(adapter.modules)}; it ignored {silent[0]} without an error.")
    extra = set(layers) - set(loaded.values())
    if extra:
        found.append(f"diffusers gave {len(extra)} layers an adapter that the file does not have, {min(extra)[1]} first.")
    consumed = sum(2 + (adapter.modules[stem].alpha is not None) for stem in loaded)
    difference, worst, differing = _compare(adapter, loaded, layers, family, trained)
    found += differing
    after = _outputs(pipeline, family, base)
    changes = {part: _change(before[part], after[part]) for part in before}
    found += _judge_outputs(changes, {place[0] for place in loaded.values()})
    text_change = changes["text_encoder"] if any(place[0] != "unet" for place in loaded.values()) else None
    measured = {
        "modules_loaded": len(layers),
        "keys_consumed": consumed,
        "largest_relative_difference": difference,
        "worst_module": worst,
        "output_change": changes["denoiser"],
        "text_encoder_change": text_change,
        "output_changed": any(change > 0 for change in (changes["denoiser"], text_change or 0.0)),
    }
    return measured, found


def _adapted_layers(pipeline: Any) -> dict[Place, Any]:
    """Every layer that carries the loaded adapter, as peft's own object."""
    from peft.tuners.lora import LoraLayer

    return {
        (part, plain_name(part, name)): layer
        for part, component in parts_of(pipeline).items()
        for name, layer in component.named_modules()
        if isinstance(layer, LoraLayer) and _NAME in layer.lora_A
    }


def _compare(
    adapter: AdapterFile,
    loaded: dict[str, Place],
    layers: dict[Place, Any],
    family: Family,
    trained: Sequence[LoraModule] | None,
) -> tuple[float | None, str, list[str]]:
    """Largest relative difference between what peft applies and what it should, the module, and the findings."""
    found: list[str] = []
    tolerance = TOLERANCES.get(adapter.dtype, max(TOLERANCES.values()))
    by_place = {(m.part, plain_name(m.part, m.module)): m for m in trained or ()}
    if trained is not None:
        lost = [place for place in by_place if place not in layers]
        if lost:
            found.append(f"{len(lost)} of {len(by_place)} trained modules are not in what was loaded, {lost[0][1]} first.")
    largest, worst = 0.0, ""
    failing: list[tuple[float, str]] = []
    for stem, place in loaded.items():
        stored, own = adapter.modules[stem], by_place.get(place)
        if trained is not None and own is None:
            found.append(f"{stem} is in the file but was not trained.")
            continue
        try:
            wanted = stored.delta() if own is None else own.delta()
        except ValueError:  # already a finding of the file itself
            continue
        difference = relative_difference(layers[place].get_delta_weight(_NAME), wanted)
        if not difference <= tolerance:  # also true of NaN
            failing.append((difference, stem))
        if not difference <= largest:
            largest, worst = difference, stem
    if failing:
        against = "the trained update" if trained is not None else "alpha/rank · up @ down of the file"
        found.append(
            f"{len(failing)} modules do not apply {against}: {failing[0][1]} differs by {failing[0][0]:.2g} of its largest "
            f"entry, {tolerance:.0e} is allowed for {adapter.dtype}."
        )
    return (largest if loaded else None), worst, found


def relative_difference(actual: Tensor, wanted: Tensor) -> float:
    """Largest difference of an entry over the largest entry of ``wanted``; infinite when only ``wanted`` is zero."""
    if actual.numel() != wanted.numel():
        return float("inf")
    gap = float((actual.float().cpu().reshape(-1) - wanted.float().cpu().reshape(-1)).abs().max())
    size = float(wanted.abs().max())
    if size == 0:
        return 0.0 if gap == 0 else float("inf")
    return gap / size


def _outputs(pipeline: Any, family: Family, base: Base) -> dict[str, Tensor]:
    """The denoiser's and the text encoder's output at one fixed latent, time and prompt.

    The denoiser is conditioned on a fixed random text, so that its change is its own adapter's.
    """
    import torch

    from lorasmith.families import Conditioning, Model

    parts = parts_of(pipeline)
    encoders = {name: part for name, part in parts.items() if name.startswith("text_encoder")}
    denoiser = next(part for name, part in parts.items() if name not in encoders)
    tokenizers = {name: part for name, part in pipeline.components.items() if name.startswith("tokenizer")}
    model = Model(base, denoiser, encoders, tokenizers, pipeline.vae, pipeline.scheduler, "epsilon")
    generator = torch.Generator().manual_seed(0)
    side = family.latent_scale(2 * family.bucket_multiple)
    latent = torch.randn(1, int(denoiser.config.in_channels), side, side, generator=generator)
    with torch.no_grad():
        states = family.encode_prompts(model, ["a picture of a red star"])
        fixed = {name: torch.randn(t.shape, generator=generator).to(t) for name, t in states.tensors.items()}
        time = torch.full((1,), 0.5, device=denoiser.device)
        output = family.denoise(model, latent.to(denoiser.device), time, Conditioning(fixed))
    return {"denoiser": output.cpu(), "text_encoder": torch.cat([t.float().cpu().flatten() for t in states.tensors.values()])}


def _change(before: Tensor, after: Tensor) -> float:
    """Length of the difference over the length of ``before``."""
    return float((after - before).norm() / before.norm().clamp_min(1e-12))


def _judge_outputs(changes: dict[str, float], parts: set[str]) -> list[str]:
    found: list[str] = []
    if any(change != change for change in changes.values()):  # NaN is the one number unequal to itself
        return ["With the adapter the base's output is not finite."]
    if any(not part.startswith("text_encoder") for part in parts) and changes["denoiser"] == 0:
        found.append("The adapter does not change the denoiser's output at all: its update is zero.")
    if any(part.startswith("text_encoder") for part in parts) and changes["text_encoder"] == 0:
        found.append("The adapter does not change the text encoder's output at all: its update is zero.")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("diffusers", "peft", "transformers", "torch")}
