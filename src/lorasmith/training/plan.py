"""What a run will do, known exactly before it starts and without torch.

``train --dry-run`` prints it, the disk check trusts it, and the trainer follows it: there is no second
computation that could disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

from lorasmith.bases.header import Header
from lorasmith.config import TrainConfig
from lorasmith.datasets.buckets import (
    Arrangement,
    Bucket,
    Frames,
    LeftOut,
    Placed,
    arrange,
    divide,
    side_multiple,
    too_short,
)
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.families import Base, Family
from lorasmith.training.masks import counting
from lorasmith.training.references import refuse_unpaired, takes
from lorasmith.training.sampler import CAPTION_VARIANTS, Sampler
from lorasmith.training.windows import frames_of

_FLOAT_BYTES: Final = 4
_REFERENCE_SIDE: Final = 1024  # what the pipelines of families that edit bring a picture to
_FILE_BYTES: Final = 4096  # header and the block a small file occupies
_LATENT_CHANNELS: Final = 16  # the most any family has: an upper bound
_TEXT_WIDTH: Final = 2048  # likewise, where the base's own config does not say
_SEEN_TOKENS: Final = 576  # of a first frame that is read with the prompt, and how wide language models that see are
_SEEING_WIDTH: Final = 4096
# Numbers per rank of a full-size UNet and text encoder (the most of SD 1.x and 2.x, counted on their configs), for
# bases whose header does not name the layers as diffusers does.
_RANK_NUMBERS: Final = MappingProxyType(
    {"attention": 210_000, "attention_ff": 390_000, "all_linear": 490_000, "all_linear_conv": 1_070_000}
)
_TEXT_RANK_NUMBERS: Final = 430_000
DORA_RANK_FACTOR: Final = 4
"""DoRA is exported as a plain LoRA of this many times the rank that was trained."""
_EXPORT_BYTES: Final = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class DiskNeed:
    """Bytes a run writes at most."""

    cache: int
    checkpoints: int
    samples: int
    adapter: int

    @property
    def total(self) -> int:
        return self.cache + self.checkpoints + self.samples + self.adapter


@dataclass(frozen=True)
class Plan:
    """A run before it runs. Sizes in pixels, disk in bytes."""

    resolution: int
    buckets: tuple[Bucket, ...]
    validation: tuple[Placed, ...]
    """The pictures held out for the validation loss."""
    left_out: tuple[LeftOut, ...]
    steps: int
    batch_size: int
    accumulation: int
    exposures: int
    """Pictures shown in all."""
    epochs: float
    """Passes over all pictures and repeats; a batch that spans two passes belongs to both."""
    exposures_per_image: dict[str, int]
    """By name; a clip of several windows once for each, as ``Placed.key``."""
    disk: DiskNeed

    @property
    def pictures(self) -> int:
        """Pictures that are trained on."""
        return sum(len(bucket.placed) for bucket in self.buckets)

    @property
    def frames(self) -> int:
        """Of the longest clip that is trained on; 1 where there are pictures alone."""
        return max(bucket.frames for bucket in self.buckets)

    @property
    def frames_shown(self) -> int:
        """Frames shown in the whole run; as many as exposures where there are pictures alone."""
        frames = {placed.key: placed.frames for bucket in self.buckets for placed in bucket.placed}
        return sum(frames[key] * count for key, count in self.exposures_per_image.items())

    @property
    def least_exposures(self) -> int:
        return min(self.exposures_per_image.values())

    @property
    def most_exposures(self) -> int:
        return max(self.exposures_per_image.values())

    @property
    def crop_loss(self) -> dict[str, float]:
        """Share of each picture's area that is cut away, 0 to below 1."""
        return {placed.key: placed.crop_loss for bucket in self.buckets for placed in bucket.placed}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, the derived figures too."""
        return asdict(self) | {
            "pictures": self.pictures,
            "frames": self.frames,
            "frames_shown": self.frames_shown,
            "least_exposures": self.least_exposures,
            "most_exposures": self.most_exposures,
            "disk_total": self.disk.total,
        }


def refuse_uneven(resolution: int, buckets: bool, family: Family) -> None:
    """Refuse a resolution at which sides would have lengths that the family cannot work on."""
    step = side_multiple(resolution, family.bucket_multiple) if buckets else resolution
    if step % family.least_multiple or resolution % family.least_multiple:  # the square is always a bucket
        coarse = 4 * family.least_multiple
        raise ConfigError(
            f"{family.title} works on sides that are multiples of {family.least_multiple} pixels, and at a resolution "
            f"of {resolution} there would be others.",
            f"Set data.resolution to {max(1, resolution // coarse) * coarse} or another multiple of {coarse}.",
        )


def plan(config: TrainConfig, version: DatasetVersion, family: Family, base: Base | None = None) -> Plan:
    """What training ``config`` on ``version`` will do. With ``base`` the disk figures count its real layers.

    Raises:
        DatasetError: no picture is left to train on, or no clip that is long enough; there are regularisation pictures
            and no weight for them; or the family edits pictures and some have no reference, or too many.
        ConfigError: at so small a resolution sides would have lengths that the family cannot work on.
    """
    resolution = config.data.resolution or family.default_resolution
    training, held_out = divide(version.items, config.data.validation_fraction, str(config.seed))
    refuse_unweighed(version, config)
    refuse_unpaired(version, family)
    refuse_uneven(resolution, config.data.buckets, family)
    frames = frames_of(config, family)
    _refuse_stills(training, version, family, frames)

    def in_buckets(items: Any) -> Arrangement:
        return arrange(
            items,
            resolution=resolution,
            bucket_multiple=family.bucket_multiple,
            buckets=config.data.buckets,
            upscale=config.data.upscale,
            frames=frames,
        )

    arrangement, aside = in_buckets(training), in_buckets(held_out)
    left_out = arrangement.left_out + aside.left_out
    subjects = {item.name for item in training if item.role == "train"}
    if not any(placed.item in subjects for bucket in arrangement.buckets for placed in bucket.placed):
        besides = f", {len(training) - len(subjects)} for regularisation" if len(training) > len(subjects) else ""
        raise DatasetError(
            f"No picture of {version.reference} can be trained on at {resolution} pixels "
            f"({len(left_out)} of {len(version.items)} are too small, {len(held_out)} held out{besides}).",
            "Lower data.resolution, allow data.upscale, or add pictures.",
        )
    sampler = sampler_of(config, arrangement.buckets)
    sampler.skip(config.max_train_steps * config.gradient_accumulation_steps)
    validation = tuple(placed for bucket in aside.buckets for placed in bucket.placed)
    return Plan(
        resolution=resolution,
        buckets=arrangement.buckets,
        validation=validation,
        left_out=left_out,
        steps=config.max_train_steps,
        batch_size=config.train_batch_size,
        accumulation=config.gradient_accumulation_steps,
        exposures=config.exposures,
        epochs=sampler.epoch,
        exposures_per_image=sampler.exposures(),
        disk=_disk_need(config, family, arrangement, validation, counting(version.items, config), version.items, base),
    )


def _refuse_stills(training: Sequence[Item], version: DatasetVersion, family: Family, frames: Frames | None) -> None:
    """A family that learns how clips go on needs one that does."""
    if frames is not None and training and all(too_short(item, frames) for item in training):
        raise DatasetError(
            f"{family.title} learns how clips go on from their first frame, and nothing of {version.reference} that is "
            f"trained has {frames.least} frames at {frames.fps:g} a second.",
            "Add clips, or choose a base that learns pictures: `lorasmith families` names them.",
        )


def refuse_unweighed(version: DatasetVersion, config: TrainConfig) -> None:
    """Pictures of a class must not be learned as if they were of the subject, so their weight is never guessed.

    Raises:
        DatasetError: the version has regularisation pictures, and the config has no weight for them.
    """
    names = [item.name for item in version.items if item.role == "regularisation"]
    if names and config.data.prior_loss_weight is None:
        raise DatasetError(
            f"{version.reference} has {len(names)} regularisation pictures ('{names[0]}' ...), and "
            "data.prior_loss_weight, the weight of their loss, is not set.",
            "Set data.prior_loss_weight to 1, or give these pictures another role.",
        )


def sampler_of(config: TrainConfig, buckets: tuple[Bucket, ...]) -> Sampler:
    """The sampler that a config and its buckets give, at its beginning."""
    return Sampler(
        [[placed.key for placed in bucket.placed for _ in range(placed.repeats)] for bucket in buckets],
        batch_size=config.train_batch_size,
        window=config.train_batch_size * config.gradient_accumulation_steps,
        seed=config.seed,
        repeats=config.data.repeats,
        flip=config.data.flip,
        shuffle=config.data.shuffle_captions,
        caption_dropout=config.data.caption_dropout,
    )


def adapter_parameters(config: TrainConfig, family: Family, header: Header | None) -> int:
    """Numbers in the adapter: exact when the header names layers as diffusers does, else an upper bound."""
    rank = config.adapter.rank
    targets = family.target_presets[config.adapter.targets]
    wanted: list[tuple[str, tuple[str, ...]]] = [(f"{family.denoiser_part}/", targets)]
    if config.adapter.text_encoder:
        wanted += [(f"{part}/", family.text_encoder_targets) for part in family.text_encoder_parts]
    count = 0
    for name, shape in (header.shapes if header else {}).items():
        module = name.removesuffix(".weight")
        for prefix, targets in wanted:
            if name.startswith(prefix) and name != module and module.endswith(tuple(f".{t}" for t in targets)):
                kernel = shape[2] * shape[3] if len(shape) == 4 else 1
                count += rank * (shape[0] + shape[1] * kernel)
    text = _TEXT_RANK_NUMBERS if config.adapter.text_encoder else 0
    return count or rank * (_RANK_NUMBERS[config.adapter.targets] + text)


def _disk_need(
    config: TrainConfig,
    family: Family,
    arrangement: Arrangement,
    validation: tuple[Placed, ...],
    masked: Sequence[Item],
    items: Sequence[Item],
    base: Base | None,
) -> DiskNeed:
    header = base.header if base else None
    resolution = config.data.resolution or family.default_resolution
    placed = [p for bucket in arrangement.buckets for p in bucket.placed] + list(validation)
    mirrored = 2 if config.data.flip else 1
    names = {item.name for item in masked}

    def entry(p: Placed, channels: int) -> int:
        area = family.latent_scale(p.width) * family.latent_scale(p.height)
        if channels > 1:
            area *= (p.frames - 1) // (family.frame_step or 1) + 1
        return channels * area * _FLOAT_BYTES + _FILE_BYTES

    latents = sum(entry(p, _LATENT_CHANNELS) for p in placed)
    masks = sum(entry(p, 1) for p in placed if p.item in names)
    wordings = len(placed) * (CAPTION_VARIANTS if config.data.shuffle_captions else 1) + len(config.sample.prompts) + 1
    width = int(header.configs.get("unet", {}).get("cross_attention_dim", _TEXT_WIDTH)) if header else _TEXT_WIDTH
    tokens = family.max_prompt_tokens
    if family.prompts_see_beginning:  # the empty prompt too is read with each of them
        wordings, tokens, width = wordings + len(placed), tokens + _SEEN_TOKENS, max(width, _SEEING_WIDTH)
    wordings *= mirrored if family.prompts_see_references or family.prompts_see_beginning else 1
    prompts = wordings * (tokens * width * _FLOAT_BYTES + _FILE_BYTES)
    side = config.data.reference_resolution or _REFERENCE_SIDE
    one = family.latent_scale(side) ** 2 * _LATENT_CHANNELS * _FLOAT_BYTES * 5 // 4 + _FILE_BYTES
    beside = len({sha256 for item in items for sha256 in item.references}) * one if takes(family) else 0
    parameters = adapter_parameters(config, family, header)
    trained = parameters + (parameters // config.adapter.rank if config.adapter.use_dora else 0)  # with magnitudes
    exported = parameters * (DORA_RANK_FACTOR if config.adapter.use_dora else 1)
    copies = 4 if config.ema_decay else 3  # weights, two moments, average
    longest = config.sample.frames or max((p.frames for p in placed), default=1)
    previews = len(config.sample.prompts) * (1 + (config.max_train_steps // (config.sample.every_steps or 10**9)) + 1)
    return DiskNeed(
        cache=(latents + beside) * mirrored + masks + (0 if config.adapter.text_encoder else prompts),
        checkpoints=(config.checkpoint.keep + 1) * (trained * copies * _FLOAT_BYTES + 16 * _FILE_BYTES),
        # a clip's first frame lies beside it
        samples=previews * (resolution * resolution * 3 * (longest + 1 if longest > 1 else 1) + _FILE_BYTES),
        adapter=exported * _EXPORT_BYTES[config.export.dtype] + 64 * _FILE_BYTES,
    )
