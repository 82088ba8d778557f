"""The generate job: pictures from a base and adapters, in batches, one seed each.

A picture depends on its prompt, seed, adapters and the settings, and not on which others it is painted with: its
noise comes from a generator of its own, on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.bases.quantised import said_of_size
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError, JobError, OutOfMemory
from lorasmith.events import Emit, Notice, Phase, Progress
from lorasmith.families.instructions import unread
from lorasmith.files import file_digest
from lorasmith.generation.adapters import LoadedAdapter, load_adapters, use_adapters
from lorasmith.generation.clips import clips_of, write_clip
from lorasmith.generation.fitting import refuse_misfits
from lorasmith.generation.grid import Cell, arrange, draw_grid
from lorasmith.generation.picture import PictureFacts, save_picture
from lorasmith.generation.request import (
    GenerateRequest,
    PlannedPicture,
    plan_pictures,
    reference_path,
    resolve_request,
)
from lorasmith.generation.schedulers import scheduler_for, scheduler_title
from lorasmith.hardware import idle_cores

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.families import Base, Family
    from lorasmith.jobfolder import Control, JobFolder

_PICTURES = "images"


class _Interrupted(Exception):
    """Raised out of a batch when the job is wanted to pause or stop."""


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """Paint what ``job.json`` asks for.

    Returns:
        ``images``: a list of ``path`` (relative to the job folder), ``prompt``, ``negative_prompt``, ``seed``,
        ``adapters`` ([name, weight] pairs), ``width``, ``height``; ``seconds``; ``grid`` (path, rows, columns) or
        None; ``complete`` is false when it was stopped before the end.

    Raises:
        ConfigError, BaseError, AdapterError: the request cannot be met.
        OutOfMemory: the hint names a smaller batch or size.
        JobError: the base paints non-finite numbers.
    """
    from lorasmith.bases import family_of, open_base

    request = resolve_request(folder.record().payload)
    emit(Phase("loading"))
    base = open_base(request.base, home=folder.home)
    return paint(request, base, family_of(base), home=folder.home, out=folder.path, emit=emit, control=control)


def paint(
    request: GenerateRequest,
    base: Base,
    family: Family,
    *,
    home: Path,
    out: Path,
    emit: Emit,
    control: Callable[[], Control],
) -> dict[str, Any]:
    """``run`` with the base already opened; pictures go to ``out / images``."""
    import torch

    started = time.monotonic()
    scale = family.painting_guidance(base) if request.guidance_scale is None else request.guidance_scale
    plan = plan_pictures(request)
    device, dtype = _placement(request)
    torch.set_num_threads(request.threads or idle_cores())
    refuse_misfits(request, base, family)
    pictures = [_open_reference(reference_path(reference, home)) for reference in request.references]
    clips = clips_of(request, base, family, home)
    words = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    packed = said_of_size(base.header, base.name, words[dtype])
    if packed is not None:
        emit(packed)
    pipe = family.pipeline(base, dtype=dtype, device=device)
    if request.first_frame and family.may_begin_with_picture:
        pipe = family.begun_pipeline(pipe)
        pipe.set_progress_bar_config(disable=True)
    if request.guidance_rescale and "guidance_rescale" not in inspect.signature(type(pipe).__call__).parameters:
        raise ConfigError(f"{family.title} has no guidance_rescale.", "Leave it out.")
    pipe.scheduler = scheduler_for(request.scheduler, pipe.scheduler)
    references = list(dict.fromkeys(reference for picture in plan for reference, _ in picture.adapters))
    adapters = load_adapters(pipe, family, references, home)
    _warn_of_cut_prompts(pipe, base, family, plan, request.negative_prompt, emit)
    (out / _PICTURES).mkdir(parents=True, exist_ok=True)

    emit(Phase("generating"))
    fps = request.fps or family.default_fps
    painter = _Painter(
        request,
        family,
        scale,
        pipe,
        adapters,
        clips,
        _Clock(len(plan), request.steps, emit, control),
        family.reference_arguments(pictures, request.width, request.height) if pictures else {},
    )
    rate = fps if request.frames > 1 else None
    facts = _FactsWriter(request, scale, base, pipe, adapters, str(dtype).removeprefix("torch."), home, rate)
    made: dict[int, dict[str, Any]] = {}
    complete = True
    try:
        alone = family.paints_one_by_one or bool(request.first_frame)  # pipelines disagree on pictures for several
        for batch in _batches(plan, 1 if alone else request.batch_size):
            for picture, image in zip(batch, painter.paint(batch), strict=True):
                path = f"{_PICTURES}/{picture.index:05d}.png"
                told = facts.of(picture, image[0])
                moving = write_clip(out, path, image, fps, told, emit) if len(image) > 1 else {}
                save_picture(image[0], out / path, told)
                made[picture.index] = facts.answer(picture, image[0], path) | moving
    except _Interrupted:
        complete = False
    grid = _write_grid(plan, made, out) if request.grid is not None and made else None
    return {
        "images": [made[index] for index in sorted(made)],
        "seconds": round(time.monotonic() - started, 3),
        "grid": grid,
        "complete": complete,
    }


def _batches(plan: Sequence[PlannedPicture], size: int) -> Iterator[list[PlannedPicture]]:
    """Pictures that share their adapters, at most ``size`` at once; every set of adapters is set up once."""
    groups: dict[tuple[tuple[str, float], ...], list[PlannedPicture]] = {}
    for picture in plan:
        groups.setdefault(picture.adapters, []).append(picture)
    for pictures in groups.values():
        for start in range(0, len(pictures), size):
            yield pictures[start : start + size]


@dataclass
class _Painter:
    """One pipeline call per batch."""

    request: GenerateRequest
    family: Family
    scale: float
    pipe: Any
    adapters: dict[str, LoadedAdapter]
    clips: Mapping[str, Any]
    """What the pipeline is called with for clips."""
    clock: _Clock
    edited: Mapping[str, Any] = field(default_factory=dict)
    """What the pipeline is told of the pictures it edits."""

    def paint(self, batch: Sequence[PlannedPicture]) -> list[list[Image]]:
        """The frames of each; of a picture, one."""
        import numpy as np
        import torch
        from PIL import Image as Images

        request = self.request
        use_adapters(self.pipe, self.adapters, batch[0].adapters)
        self.clock.begin(len(batch))
        try:
            with torch.inference_mode():
                guided = self.family.sampling_arguments(self.pipe, [request.negative_prompt] * len(batch), self.scale)
                if request.guidance_rescale:
                    guided["guidance_rescale"] = request.guidance_rescale
                pixels = self.pipe(
                    prompt=[picture.prompt for picture in batch],
                    num_inference_steps=request.steps,
                    **guided,
                    **{"width": request.width, "height": request.height, **self.clips},
                    generator=[torch.Generator("cpu").manual_seed(picture.seed) for picture in batch],
                    output_type="np",
                    callback_on_step_end=self.clock.step,
                    **self.edited,
                )[0]  # (B, H, W, 3) in 0..1, of clips (B, F, H, W, 3)
        except (torch.OutOfMemoryError, MemoryError) as cause:
            smaller = f"batch_size {len(batch) // 2}" if len(batch) > 1 else "a smaller width and height"
            raise OutOfMemory(f"{len(batch)} pictures at once do not fit in memory.", f"Try {smaller}.") from cause
        pixels = np.asarray(pixels)
        pixels = pixels.reshape(len(batch), -1, *pixels.shape[-3:])
        if not np.isfinite(pixels).all():
            raise JobError(
                f"The base painted numbers that are not finite (seed {batch[0].seed} or near it).",
                "Try precision fp32; if it stays, the base or an adapter is damaged.",
            )
        self.clock.end(len(batch))
        return [[Images.fromarray((frame * 255).round().astype(np.uint8)) for frame in clip] for clip in pixels]


@dataclass
class _Clock:
    """Counts denoising steps, tells progress twice a second at most, and asks whether to go on after each step."""

    total: int  # pictures
    steps: int
    emit: Emit
    control: Callable[[], Control]
    done: int = 0
    _batch: int = 0
    _started: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def begin(self, batch: int) -> None:
        self._batch = batch
        self._ask()

    def step(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self._ask()
        now = time.monotonic()
        if now - self._told >= 0.5:
            self._told = now
            self._tell(self.done + self._batch * (step + 1) / (self.steps + 1))  # the VAE takes about a step
        return tensors

    def end(self, batch: int) -> None:
        self.done += batch
        self._tell(float(self.done))

    def _ask(self) -> None:
        if self.control().wanted != "run":
            raise _Interrupted

    def _tell(self, pictures: float) -> None:
        elapsed = time.monotonic() - self._started
        speed = pictures / elapsed if elapsed > 0 and pictures > 0 else None
        left = (self.total - pictures) / speed if speed else None
        self.emit(Progress(self.done, self.total, unit="images", per_second=speed, seconds_left=left))


class _FactsWriter:
    """What the picture files and the result say of each picture."""

    def __init__(
        self,
        request: GenerateRequest,
        scale: float,
        base: Base,
        pipe: Any,
        adapters: Mapping[str, LoadedAdapter],
        precision: str,
        home: Path,
        fps: float | None,
    ) -> None:
        self._home, self._fps, self._scale = home, fps, scale
        self._request, self._base, self._adapters = request, base, adapters
        self._precision = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[precision]
        self._scheduler = scheduler_title(request.scheduler, pipe.scheduler)
        self._base_hash = _base_hash(base)

    def of(self, picture: PlannedPicture, image: Image) -> PictureFacts:
        used = [(self._adapters[reference], weight) for reference, weight in picture.adapters]
        return PictureFacts(
            prompt=picture.prompt,
            negative_prompt=self._request.negative_prompt,
            seed=picture.seed,
            steps=self._request.steps,
            guidance_scale=self._scale,
            guidance_rescale=self._request.guidance_rescale,
            scheduler=self._scheduler,
            width=image.width,
            height=image.height,
            base=self._base.name,
            base_hash=self._base_hash,
            adapters=tuple((adapter.name, weight, adapter.digest) for adapter, weight in used),
            precision=self._precision,
            references=tuple(map(self._named, self._request.references)),
            frames=self._request.frames,
            fps=self._fps,
            first_frame=self._named(self._request.first_frame) if self._request.first_frame else None,
        )

    def _named(self, reference: str) -> tuple[str, str]:
        return Path(reference).name, file_digest(reference_path(reference, self._home))

    def answer(self, picture: PlannedPicture, image: Image, path: str) -> dict[str, Any]:
        return {
            "path": path,
            "prompt": picture.prompt,
            "negative_prompt": self._request.negative_prompt,
            "seed": picture.seed,
            "adapters": [[self._adapters[reference].name, weight] for reference, weight in picture.adapters],
            "width": image.width,
            "height": image.height,
        }


def _open_reference(path: Path) -> Image:
    from PIL import Image as Images
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with Images.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if "A" in upright.getbands() or "transparency" in upright.info:
                flat = Images.new("RGBA", upright.size, "white")
                return Images.alpha_composite(flat, upright.convert("RGBA")).convert("RGB")
            return upright.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Images.DecompressionBombError) as cause:
        raise InputError(f"The reference {path} cannot be read as a picture.", "Check the path.") from cause


def _write_grid(plan: Sequence[PlannedPicture], made: Mapping[int, dict[str, Any]], out: Path) -> dict[str, Any]:
    from PIL import Image as Images

    grid = arrange([Cell(p.row, p.column, str(made[p.index]["path"])) for p in plan if p.index in made])
    pictures = {cell.path: Images.open(out / cell.path).convert("RGB") for cell in grid.cells.values()}
    draw_grid(grid, pictures).save(out / "grid.png")
    return {"path": "grid.png", "rows": list(grid.rows), "columns": list(grid.columns)}


def _placement(request: GenerateRequest) -> tuple[str, Any]:
    """(device, dtype) for the request on this machine."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = request.device if request.device != "auto" else next(d for d in ("cuda", "mps", "cpu") if there[d])
    if not there[device]:
        raise EnvironmentProblem(f"This machine has no usable {device} device.", "Leave device at auto.")
    if request.precision == "auto":
        if device != "cuda":
            return device, torch.float32
        return device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if request.precision == "fp16" and device != "cuda":
        raise EnvironmentProblem(f"fp16 needs CUDA, and this runs on {device}.", "Choose bf16 or fp32.")
    return device, {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[request.precision]


def _base_hash(base: Base) -> str:
    """SHA-256 of the file that is the base, or of its denoiser's weights when it is a folder."""
    if base.layout == "single_file":
        return file_digest(base.path)
    weights = sorted(path for part in ("unet", "transformer") for path in (base.path / part).glob("*.safetensors"))
    return file_digest(weights[0]) if weights else ""


def _warn_of_cut_prompts(
    pipe: Any, base: Base, family: Family, plan: Sequence[PlannedPicture], negative_prompt: str, emit: Emit
) -> None:
    """A prompt longer than the text encoder reads is painted from its beginning only: say so, once for each."""
    prompts = [*(picture.prompt for picture in plan), negative_prompt]
    for prompt, (length, beyond) in unread(family, base, pipe, pipe.components, prompts).items():
        emit(Notice(f"The prompt '{prompt[:60]}…' has {length} tokens; the last {beyond} are not read.", "Shorten it."))
