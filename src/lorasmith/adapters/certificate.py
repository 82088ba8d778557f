"""The load certificate: proof that a LoRA file does in other programs what it did in training.

The file is loaded by real diffusers into a fresh base. The update of every layer, as peft then holds it, is compared
with the trained one (or, for other people's files, with the file's own matrices multiplied here). Every key must have
been used, the base's output must change, and every name must be one that ComfyUI and A1111 map. What fails is said in
sentences; a file that fails is not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from lorasmith.adapters.file import EXPERT, read_adapter
from lorasmith.adapters.module import LoraModule
from lorasmith.adapters.places import places_of, taken_apart
from lorasmith.adapters.reload import Subject, reload
from lorasmith.adapters.static_checks import ProgramCheck, check_against_base, check_file, check_names
from lorasmith.errors import AdapterError
from lorasmith.files import file_digest

if TYPE_CHECKING:
    from lorasmith.families import Base


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
    """Layers that the file changes."""
    modules_loaded: int = 0
    """Modules that diffusers gave an adapter."""
    keys_total: int = 0
    keys_consumed: int = 0
    compared_with: Literal["trained", "file"] = "file"
    largest_relative_difference: float | None = None
    """Over all modules: largest difference of an entry of ΔW over the largest entry; None when unknown or infinite."""
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
    versions: dict[str, str] = {}

    def to_json(self) -> str:
        return self.model_dump_json(indent=2)

    def sentences(self) -> list[str]:
        """The certificate in a few plain sentences, the verdict first."""
        verdict = "loads as it was meant to" if self.passed else "does NOT load as it should"
        about = f"base {self.base}, {self.modules} modules, {self.dtype}, {self.dialect} names"
        if not self.modules:
            about = f"base {self.base}"
        lines = [f"{self.file} {verdict} ({about})."]
        if self.largest_relative_difference is not None:
            against = "the trained update" if self.compared_with == "trained" else "the file's own matrices"
            lines.append(
                f"diffusers used {self.keys_consumed} of {self.keys_total} keys; the largest difference to {against} "
                f"is {self.largest_relative_difference:.1e} of a layer's largest entry ({self.tolerance:.0e} allowed)."
            )
        if self.output_change is not None:
            lines.append(f"At a fixed latent it changes the base's output by {self.output_change:.1%}.")
        for program, check in self.programs.items():
            if not check.applies:
                lines.append(f"{program} cannot run this base: {check.note}")
            elif check.modules == self.modules:
                lines.append(f"{program} reads it whole.{f' {check.note}' if check.note else ''}")
            else:
                lines.append(f"{program} maps {check.modules} of {self.modules} modules: {check.note}")
        return [*lines, *self.findings]

    def require(self) -> None:
        """Raise the first finding as an ``AdapterError`` unless the file passed."""
        if not self.passed:
            more = f" ({len(self.findings) - 1} more.)" if len(self.findings) > 1 else ""
            raise AdapterError(self.findings[0], f"The file is not finished; do not share it.{more}")


def certify(file: Path, base: Base, *, trained: Sequence[LoraModule] | None = None, device: str = "cpu") -> Certificate:
    """Load ``file`` into a fresh copy of ``base`` and prove, or refute, that nothing of it is lost.

    ``trained`` are the modules the file was written from; without them the file is judged by its own matrices.

    Raises:
        AdapterError: there is no such file. A damaged one gets a certificate that says so.
        BaseError: the base cannot be loaded.
    """
    import torch

    from lorasmith.bases import family_of

    if not file.is_file():
        raise AdapterError(f"There is no adapter at {file}.", "Check the path.")
    family = family_of(base)
    identity = {
        "file": file.name,
        "sha256": file_digest(file),
        "base": base.name,
        "family": base.detection.family,
        "compared_with": "file" if trained is None else "trained",
        "versions": _versions(),
    }
    try:
        adapter = read_adapter(file)
    except AdapterError as damage:
        return Certificate(passed=False, findings=(damage.message,), **identity)  # type: ignore[arg-type]
    findings = check_file(adapter)
    pipeline = family.pipeline(base, dtype=torch.float32, device=device)
    pipeline = family.alone(pipeline, adapter.metadata.get(EXPERT, ""))
    places = places_of(pipeline, family)
    adapter = taken_apart(adapter, places)
    findings += check_against_base(adapter, places, base.name)
    measured = reload(Subject(adapter, places, pipeline, family, base, trained))
    programs, skipped = check_names(adapter, places, pipeline, family)
    findings += [*measured.findings, *skipped]
    return Certificate(
        passed=not findings,
        dialect=adapter.dialect,
        dtype=adapter.dtype,
        modules=len(adapter.modules),
        modules_loaded=measured.modules_loaded,
        keys_total=adapter.keys,
        keys_consumed=measured.keys_consumed,
        largest_relative_difference=measured.largest_relative_difference,
        worst_module=measured.worst_module,
        tolerance=measured.tolerance,
        output_changed=measured.output_changed,
        output_change=measured.output_change,
        text_encoder_change=measured.text_encoder_change,
        programs=programs,
        findings=tuple(findings),
        **identity,  # type: ignore[arg-type]
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("diffusers", "peft", "transformers", "torch")}
