"""Says what an adapter file is from its header alone: dialect, kind, family, ranks, with the evidence.

A family is named only when the names and the shapes of all layers fit one family and no other, or when several fit
and the file's own metadata name one of them. What stays open is said, with the choices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lorasmith.adapters.dialects.gathering import UPDATES, Gathered, Module, Shape, Sides, gather
from lorasmith.adapters.dialects.names import FLAT_PART, LayerGroup, Resolved, fitting, layout_of, resolved
from lorasmith.adapters.dialects.stated import stated_family
from lorasmith.adapters.dialects.stems import DENOISER, Dialect
from lorasmith.adapters.dialects.table import Layout

PROVED, NAMED, COUNTED, OPEN, NAMES_ONLY, UNKNOWN = 1.0, 0.95, 0.9, 0.5, 0.7, 0.0
"""How certain a family is: proved by shapes; named by metadata among those that fit; told by what else the file has,
or by how many of the layers; open between several; told by the names of layers whose sizes are those of no published
model; not known."""


@dataclass(frozen=True)
class AdapterKind:
    """What an adapter file is."""

    is_adapter: bool
    dialect: Dialect
    layout: Layout | None
    """Whose names of layers it uses."""
    kinds: Mapping[str, int]
    """Modules by kind: ``lora``, ``loha``, ``lokr``, ``oft``, ``glora``, ``full``, ``norm``, ``ia3``, ``set``."""
    dora: int
    """Modules that are weight-decomposed."""
    convolutions: int
    """Modules beside convolutions larger than 1 x 1 (LoCon)."""
    family: str
    variant: str
    candidates: tuple[str, ...]
    """Families that fit; one when ``family`` is told, several when it stays open."""
    confidence: float
    ranks: Mapping[int, int]
    parts: Mapping[str, int]
    embeddings: tuple[str, ...]
    alphas: int
    """Modules with an alpha."""
    evidence: tuple[str, ...]
    foreign: tuple[str, ...] = ()
    """Keys in another dialect than the rest."""
    incomplete: tuple[str, ...] = ()
    """Stems that lack pieces, or whose pieces do not fit each other."""
    leftover: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The main kind in one word, as people say it."""
        if not self.kinds:
            return ""
        main = max((k for k in self.kinds if k != "set"), key=lambda k: self.kinds[k], default="set")
        if main == "lora":
            return "dora" if self.dora else "locon" if self.convolutions else "lora"
        return main


def recognise_adapter(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> AdapterKind:
    """What a file with these tensors is. Never raises; ``is_adapter`` is False for anything else."""
    return recognise_gathered(gather(shapes), metadata, len(shapes))


def recognise_gathered(gathered: Gathered, metadata: Mapping[str, str], keys: int) -> AdapterKind:
    """The same for keys that are gathered already."""
    modules = gathered.modules
    traits = _all_traits(modules)
    updates = [module for module in modules.values() if module.kind in UPDATES and traits[module.stem.text].updates]
    strangers = len(gathered.leftover) + sum(len(m.pieces) for m in modules.values() if m.kind == "any")
    if not updates or strangers * 4 > keys or not all(traits[module.stem.text].plausible for module in updates):
        return _not_an_adapter(gathered)
    places = {module.stem.text: resolved(module.stem) for module in updates if module.stem.part.startswith(DENOISER)}
    dialects = _dialects(updates, places)
    dialect, layout = max(dialects, key=lambda pair: len(dialects[pair]))
    alike = [pair for pair in dialects if _compatible(pair[0], dialect)]
    foreign = [key for pair, found in dialects.items() if pair not in alike for m in found for key in m.pieces.values()]
    family, variant, candidates, confidence, evidence = _family(updates, places, traits, metadata)
    told = [traits[module.stem.text] for module in updates]
    ranks = Counter(trait.rank for trait in told if trait.rank)
    return AdapterKind(
        is_adapter=True,
        dialect=dialect,
        layout=layout,
        kinds=dict(Counter(module.kind for module in modules.values() if module.kind != "any").most_common()),
        dora=sum(trait.weighted for trait in told),
        convolutions=sum(_convolution(trait.layer) for trait in told),
        family=family,
        variant=variant,
        candidates=candidates,
        confidence=confidence,
        ranks=dict(sorted(ranks.items())),
        parts=dict(Counter(module.stem.part for module in updates)),
        embeddings=tuple(gathered.embeddings),
        alphas=sum(trait.alpha for trait in told),
        evidence=tuple(evidence),
        foreign=tuple(foreign),
        incomplete=tuple(
            stem for stem, module in modules.items() if module.kind != "any" and not traits[stem].complete
        ),
        leftover=(*gathered.leftover, *(k for m in modules.values() if m.kind == "any" for k in m.pieces.values())),
    )


@dataclass(frozen=True, slots=True)
class _Traits:
    """What follows from a module's kind and pieces: alike for the many modules of a file that are alike."""

    updates: bool
    plausible: bool
    complete: bool
    weighted: bool
    alpha: bool
    rank: int | None
    layer: Shape | None
    sides: Sides | None


def _all_traits(modules: Mapping[str, Module]) -> dict[str, _Traits]:
    """The traits of every module by its stem, worked out once for those that are alike."""
    known: dict[tuple[str, tuple[tuple[str, Shape], ...]], _Traits] = {}
    found: dict[str, _Traits] = {}
    for stem, module in modules.items():
        key = (module.kind, tuple(module.shapes.items()))
        trait = known.get(key)
        if trait is None:
            trait = known[key] = _Traits(
                _has_update(module),
                _plausible(module),
                module.complete,
                module.weighted,
                "alpha" in module.pieces,
                module.rank,
                module.layer,
                module.sides,
            )
        found[stem] = trait
    return found


def _has_update(module: Module) -> bool:
    """Whether there is more than a bias or a lone magnitude."""
    return any(
        not piece.endswith("_bias") and piece not in ("alpha", "dora_scale", "rescale") for piece in module.pieces
    )


def _plausible(module: Module) -> bool:
    """No layer of a base is called like four matrices of GLoRA by chance and is then complete."""
    return module.kind != "glora" or {"a1", "a2", "b1", "b2"} <= module.pieces.keys()


def _convolution(layer: Shape | None) -> bool:
    return layer is not None and len(layer) > 2 and any(side > 1 for side in layer[2:])


def _not_an_adapter(gathered: Gathered) -> AdapterKind:
    first = next((key for key in gathered.leftover), next(iter(gathered.modules), ""))
    seen = f"it has keys such as '{first}'" if first else "it has no tensors at all"
    return AdapterKind(False, "unknown", None, {}, 0, 0, "", "", (), UNKNOWN, {}, {}, (), 0, (seen,))


def _dialects(
    modules: Iterable[Module], places: Mapping[str, Resolved]
) -> dict[tuple[Dialect, Layout | None], list[Module]]:
    found: dict[tuple[Dialect, Layout | None], list[Module]] = {}
    layouts: dict[str, Layout | None] = {}
    for module in modules:
        place = places.get(module.stem.text)
        if place is not None and place.open not in layouts:
            layouts[place.open] = layout_of(place.open)
        layout = layouts[place.open] if place is not None else None
        found.setdefault((dialect_of(module, layout), layout), []).append(module)
    return found


def dialect_of(module: Module, layout: Layout | None) -> Dialect:  # noqa: PLR0911  one return a dialect
    """Whose way of writing a key is."""
    stem, beginning = module.stem, module.stem.beginning
    example = next(iter(module.pieces.values()))
    if ".processor." in stem.name and "_lora" in example:
        return "xlabs" if stem.name.startswith(("double_blocks", "single_blocks")) else "diffusers_old"
    if beginning in ("lora_unet_", "lora_unet__", "oft_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_"):
        return "kohya"
    if beginning in ("lora_transformer_", "lora_transformer_2_", "lora_prior_unet_"):
        return "onetrainer"
    if beginning == "lycoris_":
        return "simpletuner"
    if beginning in ("diffusion_model.", "model.diffusion_model.") or beginning.startswith("text_encoders."):
        return "comfyui"
    if beginning == "base_model.model.":
        return "fal_kontext" if layout == "original" else "peft"
    if beginning in ("clip_l.", "clip_g.", "t5."):
        return "omi"
    if beginning in ("transformer.", "unet.") and layout == "original":
        return (
            "omi"
            if ".lora_down." in example or ".lora_up." in example or FLAT_PART.search(stem.name)
            else "diffusion_pipe"
        )
    if beginning:
        old = any(sign in example for sign in (".lora.up.", ".lora.down.", ".lora_linear_layer."))
        return "diffusers_old" if old else "peft"
    if (layout == "original" and ".lora_A." in example) or (
        ".lora_B." in example and stem.name.startswith("double_blocks")
    ):
        return "bfl_control" if layout == "original" else "bare"
    return "bare" if layout else "unknown"


def _compatible(one: Dialect, other: Dialect) -> bool:
    """OneTrainer writes text encoders the way kohya does, diffusion-pipe has none of its own."""
    pairs = ({"kohya", "onetrainer"}, {"kohya", "simpletuner"}, {"peft", "diffusion_pipe"}, {"peft", "diffusers_old"})
    return one == other or {one, other} in pairs or "unknown" in (one, other)


_MANY = 32
"""Modules from which on their names tell a UNet, whatever sizes they seem to have."""
Told = tuple[str, str, tuple[str, ...], float, list[str]]


def _family(
    modules: Iterable[Module],
    places: Mapping[str, Resolved],
    traits: Mapping[str, _Traits],
    metadata: Mapping[str, str],
) -> Told:
    """Family, variant, candidates, certainty and evidence."""
    groups: dict[tuple[str, Shape | Sides | None], LayerGroup] = {}
    for module in modules:
        if (place := places.get(module.stem.text)) is not None:
            trait = traits[module.stem.text]
            LayerGroup.add(groups, place, (trait.layer or trait.sides) if module.kind != "norm" else None)
    stated, statements = stated_family(metadata)
    exact, by_name, known = fitting(groups.values())
    if not groups:
        return _text_only(stated, statements)
    evidence: list[str] = []
    fits = exact or by_name
    families = tuple(dict.fromkeys(model.family for model in fits))
    if not families:
        evidence.append(f"its layers are of no known family, for instance '{next(iter(groups.values())).example}'")
        return "", "", (), UNKNOWN, [*evidence, *statements]
    example = max((group for group in groups.values() if group.known), key=lambda group: group.count)
    told = example.shape if isinstance(example.shape, tuple) and exact else ()
    shape = f", {' x '.join(map(str, told))}" if told else ""
    evidence.append(
        f"{known} of {sum(g.count for g in groups.values())} modules have names of it, such as "
        f"'{example.example}'{shape}"
    )
    evidence += statements
    if len(families) == 1:
        variants = tuple(dict.fromkeys(model.variant for model in fits))
        certainty = PROVED if exact else NAMES_ONLY
        if not exact:
            evidence.append("its sizes are those of no published model")
        return families[0], variants[0] if len(variants) == 1 and exact else "", families, certainty, evidence
    if stated in families:
        evidence.append(f"names and sizes fit {', '.join(families)} alike; the metadata decide")
        return stated, "", families, NAMED, evidence
    told_apart = _of_two_unets(modules, places, families) if exact or len(places) > _MANY else None
    if told_apart is not None:
        return told_apart[0], "", families, COUNTED, [*evidence, told_apart[1]]
    evidence.append(f"names and sizes fit {', '.join(families)} alike")
    return "", "", families, OPEN, evidence


def _of_two_unets(
    modules: Iterable[Module], places: Mapping[str, Resolved], families: Sequence[str]
) -> tuple[str, str] | None:
    """Stable Diffusion or SDXL, by what only one of them has; and the reason. None when nothing tells."""
    if set(families) != {"sd", "sdxl"}:
        return None
    listed = list(modules)
    if any(module.stem.part == "text_encoder_2" for module in listed):
        return "sdxl", "it has a second text encoder, which Stable Diffusion has not"
    if any(module.stem.beginning == "lora_te_" for module in listed):
        return "sd", "its text encoder is called lora_te, as that of Stable Diffusion alone is"
    inside = [place.open.split("transformer_blocks_#")[0].count("#") for place in places.values()
              if "transformer_blocks_#" in place.open]  # fmt: skip
    numbers = [place.numbers for place in places.values() if "transformer_blocks_#" in place.open]
    whole = all(module.complete for module in listed)
    if whole and numbers and all(found[at] == 0 for found, at in zip(numbers, inside, strict=True)):
        return "sd", "it has the first transformer block of every attention alone; SDXL has two or more in each"
    return None


def _text_only(stated: str, statements: list[str]) -> Told:
    evidence = ["it holds text encoders only, which several families share", *statements]
    return (stated, "", (stated,), NAMED, evidence) if stated else ("", "", (), OPEN, evidence)
