"""The LoRA files of a user and what can be done with them: ``Studio.toolbox``.

Every verb takes paths, or names in the library of this home, runs here and now without torch, tells a ``progress`` how
far it is, asks a ``cancelled`` between two modules, and writes a file whole or not at all. With ``dry_run`` it does all
but the writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorasmith.adapters.tools.averaging import Averaged
    from lorasmith.adapters.tools.baking import Baked
    from lorasmith.adapters.tools.comparing import Difference, Interference
    from lorasmith.adapters.tools.converting import Conversion
    from lorasmith.adapters.tools.describing import Description
    from lorasmith.adapters.tools.editing import Edited
    from lorasmith.adapters.tools.extracting import Extracted
    from lorasmith.adapters.tools.merging import Merged
    from lorasmith.adapters.tools.resizing import Resized
    from lorasmith.adapters.tools.scaling import Scaled
    from lorasmith.adapters.tools.using import Installed, Usage
    from lorasmith.adapters.weights import BaseWeights

Reference = Path | str
"""A path, or a name in the library."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Watch:
    """Who follows a tool, and may stop it."""

    progress: Progress | None = None
    cancelled: Callable[[], bool] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """As the tools take them."""
        return {"progress": self.progress, "cancelled": self.cancelled}


class Toolbox:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(self, home: Path, find: Callable[[str], Path] | None = None) -> None:
        """
        Args:
            home: whose library and bases names mean.
            find: tells the file of a path or name, if not the library alone; it may refuse.
        """
        self.home, self._find = home, find

    def path(self, reference: Reference) -> Path:
        """The file that a path or a name in the library means.

        Raises:
            AdapterError: there is none.
        """
        from lorasmith.generation.adapters import find_adapter

        return self._find(str(reference)) if self._find else find_adapter(str(reference), self.home)

    def weights(self, base: str, *, family: str = "") -> BaseWeights:
        """The weights of a base, by name or path; headers only are read now.

        Raises:
            AdapterError, BaseError: there is none, or it is no base.
        """
        from lorasmith.adapters.weights import open_weights
        from lorasmith.bases.opening import locate

        return open_weights(locate(base, self.home), family=family)

    def inspect(self, lora: Reference, *, deep: bool = False, base: str = "", watch: Watch = Watch()) -> Description:
        """What a file is and says; ``deep`` also measures its matrices, against ``base`` where one is named."""
        from lorasmith.adapters.tools.describing import describe

        weights = self.weights(base) if base else None
        return describe(self.path(lora), deep=deep or bool(base), base=weights, **watch.arguments)

    def diff(self, first: Reference, second: Reference, *, base: str = "", watch: Watch = Watch()) -> Difference:
        """What differs between two files, layer by layer, whatever their dialects."""
        from lorasmith.adapters.tools.comparing import diff

        return diff(self.path(first), self.path(second), base=self._base(base), **watch.arguments)

    def interfere(self, first: Reference, second: Reference, *, base: str = "", watch: Watch = Watch()) -> Interference:
        """How two LoRAs get on, and the weights to use them together."""
        from lorasmith.adapters.tools.comparing import interfere

        return interfere(self.path(first), self.path(second), base=self._base(base), **watch.arguments)

    def resize(
        self, lora: Reference, out: Path | None = None, *, base: str = "", watch: Watch = Watch(), **options: Any
    ) -> Resized:
        """A LoRA of lower rank; options as ``adapters.tools.resizing.resize`` takes them."""
        from lorasmith.adapters.tools.resizing import resize

        source = self.path(lora)
        target = out or beside(source, f"r{options.get('rank') or options.get('method', '')}")
        return resize(source, target, base=self._base(base), **watch.arguments, **options)

    def merge(
        self,
        loras: Sequence[tuple[Reference, float]],
        out: Path,
        *,
        by_block: Mapping[str, float] | None = None,
        base: str = "",
        watch: Watch = Watch(),
        **options: Any,
    ) -> Merged:
        """Several LoRAs as one, each with its weight; ``by_block`` weighs layers of the first one otherwise."""
        from lorasmith.adapters.tools.merging import Ingredient, merge

        found = [Ingredient(self.path(lora), weight) for lora, weight in loras]
        if by_block and found:
            found[0] = Ingredient(found[0].path, found[0].weight, by_block)
        return merge(found, out, base=self._base(base), **watch.arguments, **options)

    def convert(
        self, lora: Reference, out: Path | None = None, *, base: str = "", watch: Watch = Watch(), **options: Any
    ) -> Conversion:
        """The same update in another dialect, and any kind of update as a plain LoRA; pickles too."""
        from lorasmith.adapters.tools.converting import convert

        source = self.path(lora)
        target = out or beside(source, options.get("dialect", ""))
        return convert(source, target, base=self._base(base), **watch.arguments, **options)

    def scale(
        self, lora: Reference, factor: float, out: Path | None = None, *, watch: Watch = Watch(), **options: Any
    ) -> Scaled:
        """The same LoRA stronger or weaker."""
        from lorasmith.adapters.tools.scaling import scale

        source = self.path(lora)
        return scale(source, out or beside(source, f"x{factor:g}"), factor, **watch.arguments, **options)

    def average(
        self, checkpoints: Sequence[Reference], out: Path, *, watch: Watch = Watch(), **options: Any
    ) -> Averaged:
        """The average of checkpoints of one run, in the space of their updates."""
        from lorasmith.adapters.tools.averaging import average

        return average([self.path(one) for one in checkpoints], out, **watch.arguments, **options)

    def extract(self, base: str, tuned: str, out: Path, *, watch: Watch = Watch(), **options: Any) -> Extracted:
        """What a fine-tuned checkpoint changed, as a LoRA."""
        from lorasmith.adapters.tools.extracting import extract
        from lorasmith.bases.opening import locate

        return extract(locate(base, self.home), locate(tuned, self.home), out, **watch.arguments, **options)

    def bake(
        self, base: str, loras: Sequence[tuple[Reference, float]], out: Path, *, watch: Watch = Watch(), **options: Any
    ) -> Baked:
        """A base with LoRAs in it for good, as a new file."""
        from lorasmith.adapters.tools.baking import bake
        from lorasmith.adapters.tools.merging import Ingredient
        from lorasmith.bases.opening import locate

        found = [Ingredient(self.path(lora), weight) for lora, weight in loras]
        return bake(locate(base, self.home), found, out, **watch.arguments, **options)

    def edit(self, lora: Reference, out: Path | None = None, *, watch: Watch = Watch(), **options: Any) -> Edited:
        """Change what a file says of itself, in place or in a copy, and tell what it leaks."""
        from lorasmith.adapters.tools.editing import edit

        return edit(self.path(lora), out, **watch.arguments, **options)

    def use(
        self, loras: Iterable[tuple[Reference, float]], *, family: str = "", base: str = "", prompt: str = ""
    ) -> Usage:
        """Ready text for ComfyUI, A1111 and diffusers."""
        from lorasmith.adapters.tools.using import Chosen, use

        return use([Chosen(self.path(lora), weight) for lora, weight in loras], family=family, base=base, prompt=prompt)

    def install(self, lora: Reference, folder: Path, *, name: str = "", dry_run: bool = False) -> Installed:
        """Copy a LoRA into the folder of ComfyUI, A1111 or Forge."""
        from lorasmith.adapters.tools.using import install

        return install(self.path(lora), folder, name=name, dry_run=dry_run)

    def picture(self, description: Description) -> str:
        """The norms of all blocks as SVG, from a description made with ``deep``."""
        from lorasmith.adapters.tools.describing import picture

        return picture(description)

    def _base(self, base: str) -> BaseWeights | None:
        return self.weights(base) if base else None


def beside(source: Path, suffix: str) -> Path:
    """Where a result goes that nobody named: ``photos-r16.safetensors`` beside ``photos.safetensors``."""
    return source.with_name(f"{source.stem}{'-' if suffix else ''}{suffix}.safetensors")
