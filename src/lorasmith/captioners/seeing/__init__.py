"""Models that see and write, by transformers: what their captioners have in common.

    folders.py   a model as a folder or repository: what it is, how large, which files are missing
    devices.py   where it works and in which numbers
    opening.py   opening it, and asking it
    drawing.py   words by chance, each picture by itself
    trimming.py  answers that were cut
    chat.py      models that are talked to: roles, system prompt, chat template

A captioner derives from ``SeeingCaptioner``: a contract of this room between ``Captioner`` and the plugin, because six
captioners differ in nothing but what they ask and how they read the answer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar

from pydantic import Field

from lorasmith.captioners import Answer, Captioner, Failure, Identity, Known, Need
from lorasmith.captioners.prompts import disarm
from lorasmith.captioners.seeing.devices import Precision, Quantization, bits_of, choose, refuse_what_is_missing
from lorasmith.captioners.seeing.drawing import seed_of
from lorasmith.captioners.seeing.folders import KnownModel, absent, locate
from lorasmith.captioners.seeing.opening import Opened, Said, Search, open_model
from lorasmith.captioners.seeing.trimming import end_whole
from lorasmith.config import Section
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

O = TypeVar("O", bound="SeeingOptions")  # noqa: E741
_CHANCE: Final = 0.7  # the temperature of a second try where the first takes the likeliest words
SPARE_SIDE: Final = 4
"""Times the side that a model looks at: pictures up to 4:1 lose nothing by being reduced ahead to that."""


class SeeingOptions(Section):
    """What all models that see and write have in common."""

    model: str = ""
    """A published model by name or repository (owner/name), or a folder that holds one."""
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 1024
    """The longest answer in tokens, 1 to 8192; one that reaches it is ended after its last whole sentence."""
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.7
    """How much chance is in the words, 0 to 5; 0 takes the likeliest, and only a second try is drawn then."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The share of likely words that chance draws from, above 0 to 1."""
    repetition_penalty: Annotated[float, Field(ge=0.5, le=3)] | None = None
    """Above 1 makes words that were said less likely, 0.5 to 3. Left out: the model's own."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Of chance: the same seed gives the same answers, another one others."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Pictures at a time, 1 to 256; fewer need less memory. Left out: found while working."""
    dtype: Precision = "auto"
    """The numbers of its weights: auto takes bfloat16 on a card, and float32 on the CPU where it fits."""
    quantization: Quantization = "none"
    """none, 8bit or 4bit: a half or a quarter of the memory, a little worse; for NVIDIA cards, with bitsandbytes."""


class SeeingCaptioner(Captioner):
    """A captioner that is a model of transformers."""

    varies = True
    kinds: ClassVar[frozenset[str]] = frozenset()
    """Architectures that it opens; empty opens all that see and write."""
    models: ClassVar[tuple[KnownModel, ...]] = ()
    mixes_prompts: ClassVar[bool] = False
    """Whether pictures with different prompts may be asked together."""

    class Options(SeeingOptions):
        """How it writes."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._chosen: Section | None = None

    @abstractmethod
    def prompt(self, known: Known) -> str:
        """What a picture is asked."""

    @abstractmethod
    def look(self, opened: Opened, images: Sequence[Image], prompts: Sequence[str]) -> Any:
        """Pictures and prompts as the model takes them; all prompts are the same unless ``mixes_prompts``."""

    def search(self) -> Search:
        """How the words of a first answer are found, without seeds."""
        own = self.options(SeeingOptions)
        return Search(
            own.max_new_tokens,
            repetition_penalty=own.repetition_penalty,
            temperature=own.temperature,
            top_p=own.top_p,
        )

    def disarmed(self, opened: Opened) -> Sequence[str]:
        """The model's signs that a prompt must not hold."""
        return list(opened.tokenizer.all_special_tokens)

    def read(self, opened: Opened, said: Said, image: Image) -> Answer | Failure:
        """The caption in an answer."""
        del opened, image
        return whole_answer(said, self.options(SeeingOptions).max_new_tokens)

    # What the job asks

    def aliases(self) -> Mapping[str, Mapping[str, Any]]:
        """The published models, by all their names."""
        return {name: {"model": known.repository} for known in self.models for name in known.names}

    def need(self, options: Section, *, home: Path) -> Need:
        """The repository to download, if the model is not on this machine.

        Raises:
            EnvironmentProblem: there is no such model, its folder cannot be used, or a package that it needs is
                missing: said here, so that nothing is downloaded in vain.
            ConfigError: no model is named.
        """
        model = self._named(options)
        own = options if isinstance(options, SeeingOptions) else SeeingOptions()
        refuse_what_is_missing(own.quantization)
        found = locate(model, home, self.models, self.kinds)
        if isinstance(found, Need):
            return found
        return Need(memory=found.memory(bits_of(own.dtype, own.quantization) or found.widest))

    def load(self, options: Section, *, device: str, home: Path | None = None) -> None:
        """Open the model; ``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

        Raises:
            EnvironmentProblem: a package, the model's files or the device are missing, or it cannot be opened.
            OutOfMemory: the model does not fit.
            ConfigError: the options are another captioner's, or name no model.
        """
        model = self._named(options)
        chosen = options if isinstance(options, SeeingOptions) else SeeingOptions()
        refuse_what_is_missing(chosen.quantization)
        found = locate(model, home, self.models, self.kinds)
        if isinstance(found, Need):
            raise absent(found, home)
        choice = choose(found, device, chosen.dtype, chosen.quantization)
        self._chosen, self._opened = chosen, open_model(found, choice)

    def identity(self) -> Identity:
        """The model by commit or hash, and all options that its answers depend on."""
        opened, own = self.opened(), self.options(SeeingOptions)
        settings = own.model_dump(mode="json", exclude={"model", "batch_size"})
        return Identity(
            opened.folder.name, opened.folder.revision, {**settings, "dtype": opened.choice.precision, **self.says()}
        )

    def says(self) -> Mapping[str, Any]:
        """Further settings for the identity: texts that names in the options stand for."""
        return {}

    def device(self) -> str:
        """The device, the numbers and the memory, in words."""
        return self.opened().choice.words

    def longest_side(self) -> int | None:
        """A few times as large as what the model looks at."""
        side = _side(self.opened().processor.image_processor)
        return SPARE_SIDE * side if side else None

    def caption(
        self, images: Sequence[Image], *, attempt: int = 0, known: Sequence[Known] = ()
    ) -> list[Answer | Failure]:
        """A caption of each picture.

        Raises:
            InputError: a picture cannot be looked at.
            OutOfMemory: too many at a time.
        """
        opened = self.opened()
        signs = self.disarmed(opened)
        prompts = [disarm(self.prompt(one), signs) for one in known or [Known()] * len(images)]
        groups: dict[str, list[int]] = defaultdict(list)
        for at, prompt in enumerate(prompts):
            groups["" if self.mixes_prompts else prompt].append(at)
        answers: dict[int, Answer | Failure] = {}
        for group in groups.values():
            some, asked = [images[at] for at in group], [prompts[at] for at in group]
            inputs = self.look(opened, some, asked)
            said = opened.ask(inputs, self._searched(some, asked, attempt))
            for at, one in zip(group, said, strict=True):
                answers[at] = self.read(opened, one, images[at])
        return [answers[at] for at in range(len(images))]

    # For those who derive

    def options(self, kind: type[O]) -> O:
        """The options it was loaded with."""
        if not isinstance(self._chosen, kind):
            raise RuntimeError("load() must be called first")
        return self._chosen

    def opened(self) -> Opened:
        """The model."""
        if self._opened is None:
            raise RuntimeError("load() must be called first")
        return self._opened

    def _searched(self, images: Sequence[Image], prompts: Sequence[str], attempt: int) -> Search:
        """The likeliest words where that is wanted and nothing was said yet; else drawn by chance, each by itself."""
        own, search = self.options(SeeingOptions), self.search()
        if attempt == 0 and (own.temperature == 0 or search.num_beams > 1):
            return search
        seeds = [
            seed_of(f"{image.size}".encode() + image.tobytes(), prompt, own.seed, attempt)
            for image, prompt in zip(images, prompts, strict=True)
        ]
        temperature = search.temperature or _CHANCE
        return Search(
            search.max_new_tokens,
            repetition_penalty=search.repetition_penalty,
            min_new_tokens=search.min_new_tokens,
            temperature=temperature,
            top_p=search.top_p,
            seeds=tuple(seeds),
        )

    def _named(self, options: Section) -> str:
        if not isinstance(options, self.Options):
            raise ConfigError(f"These are not the options of {self.name}.", f"Give the options that {self.name} lists.")
        if not options.model.strip():
            raise ConfigError(f"{self.name} has to know which model.", "Set 'model' to a repository or a folder.")
        return options.model


def whole_answer(said: Said, most: int) -> Answer | Failure:
    """An answer, ended where something is whole if it was cut, which is said."""
    _, end, text = said.text.rpartition("</think>")
    if "<think>" in text or (not end and said.text.startswith("<think>")):
        return Failure(f"The model was still thinking when it was cut at {most} tokens; take one that does not think.")
    text = text.strip()
    if not said.cut:
        return Answer(text)
    text, ends = end_whole(text)
    if not text:
        return Failure(f"The answer had no whole word when it was cut at {most} tokens; raise max_new_tokens.")
    where = {"sentence": "ends with its last whole sentence", "tag": "ends with its last whole tag"}
    note = f"The answer was cut at {most} tokens and {where.get(ends, 'stops in mid-sentence')}; raise max_new_tokens."
    return Answer(text, note=note)


def _side(image_processor: Any) -> int | None:
    """Pixels of the longer side that an image processor makes; None where it has no fixed one."""
    size = getattr(image_processor, "size", None) or {}
    if size.get("height") and size.get("width"):
        return int(max(size["height"], size["width"]))
    edge = size.get("longest_edge") or size.get("shortest_edge")
    return int(edge) if edge else None
