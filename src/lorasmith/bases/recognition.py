"""Says what a weights file or folder is, from its header alone: kind, family, variant, and what stays open.

Nothing is guessed. What the tensors prove is stated with the tensors that prove it; what they cannot tell becomes a
question. The name of a file may make an answer likely, and is then given as a suggestion with its reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lorasmith.bases.header import Header
from lorasmith.bases.not_bases import ADDITIONS, INSIDE, PARTS, Kind, Sign
from lorasmith.bases.parts import FoundPart, part_of
from lorasmith.bases.pipelines import ANSWERS, PIPELINES
from lorasmith.bases.quantised import length, quantisation
from lorasmith.bases.signatures import ASKS, DENOISERS, NDIM, Rule

PROVED = 1.0
"""Family and variant follow from names and shapes, and nothing stays open."""
OPEN = 0.9
"""The family is proved; a question about the variant stays open."""
THIN = 0.5
"""The names that mark the family are there, but far fewer tensors than any such base has."""
UNKNOWN = "of no known family"
ANSWER = "lorasmith.answer."
"""Begins the keys of metadata under which a user's answers stand; files never hold them."""
_FEW_TENSORS = 40
_STEPS = "step_distilled"
_ALLOWED = "allowed_inference_steps"  # Lightricks' own key; a base has none, or null
_NUMBER = re.compile(r"(?<=[._])\d+(?=[._])")

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "", "model.", "net.", "transformer.", "unet.")
"""What single files put before the names of their denoiser, the longest first where one holds another."""


@dataclass(frozen=True)
class Question:
    """What the tensors cannot tell, with the possible answers."""

    name: str
    text: str
    choices: tuple[str, ...]
    suggestion: str = ""
    because: str = ""


@dataclass(frozen=True)
class Recognition:
    """What a file or folder is, with the evidence."""

    kind: Kind
    family: str
    variant: str
    title: str
    evidence: tuple[str, ...]
    confidence: float
    questions: tuple[Question, ...] = ()
    quantisation: str = ""
    """``fp8``, ``nf4``, ``GGUF Q4_K`` ...; empty when the numbers are plain."""
    holds: tuple[str, ...] = ()
    """Parts of a base that are there: ``denoiser``, ``vae``, ``text_encoder``."""
    parameters: int = 0
    """Of the denoiser, or of all there is."""
    distilled: str = ""
    """What says that it is distilled to few steps; empty when nothing does."""

    @property
    def is_base(self) -> bool:
        """Whether it is a base or a base's denoiser, trainable here or not."""
        return self.kind in ("base", "denoiser")


def recognise(header: Header) -> Recognition:
    """What these weights are; ``kind`` is ``unknown`` when nothing known matches."""
    known: Recognition | None = header.worked_out.get("recognition")
    if known is None:
        known = header.worked_out["recognition"] = _recognised(header)
    return known


def _recognised(header: Header) -> Recognition:
    keys = list(header.shapes)
    if header.layout == "single_file" and (sign := _sign_of(ADDITIONS, keys)):
        return _other(header, *sign)
    body = _Body.of(header)
    found = _match(body)
    if header.layout == "folder":
        return _folder(header, body, found)
    if found is None:
        sign = _sign_of(PARTS, keys)
        part = part_of(header) if sign and sign[0].kind in ("vae", "text_encoder", "image_encoder") else None
        return _part(header, part) if part else _other(header, *sign) if sign else _unknown(header)
    return _base(header, body, found)


@dataclass(frozen=True)
class _Body:
    """The denoiser's tensors by their bare names, and how to read their true shapes."""

    header: Header
    prefix: str
    keys: frozenset[str]

    @classmethod
    def of(cls, header: Header) -> _Body:
        """The tensors under the prefix that a rule matches, else all of them."""
        tried = ("transformer/", "unet/", "prior/") if header.layout == "folder" else PREFIXES
        for prefix in tried:
            cut = len(prefix)
            if prefix and not any(key.startswith(prefix) for key in header.shapes):
                continue
            body = cls(header, prefix, frozenset(key[cut:] for key in header.shapes if key.startswith(prefix)))
            if body.keys and _match(body) is not None:
                return body
        return cls(header, "", frozenset(header.shapes))

    def has(self, wanted: str) -> bool:
        if wanted.endswith("*"):
            return any(key.startswith(wanted[:-1]) for key in self.keys)
        return wanted in self.keys or self.prefix + wanted in self.header.shapes or wanted in self.header.shapes

    def length(self, key: str, axis: int) -> int | None:
        """The true length of an axis; None when a packed number format hides it."""
        full = self.prefix + key
        if axis == NDIM:
            shape = self.header.shapes.get(full, ())
            return len(shape) if length(self.header, full, 0) is not None else None
        return length(self.header, full, axis)


@dataclass(frozen=True)
class _Match:
    rule: Rule
    alternatives: tuple[Rule, ...]  # of the same family, whose shapes a packed format hides


def _match(body: _Body) -> _Match | None:
    """The first rule that holds; rules before it that cannot be decided are its alternatives."""
    undecided: list[Rule] = []
    for rule in DENOISERS:
        if not all(body.has(key) for key in rule.has) or any(body.has(key) for key in rule.lacks):
            continue
        lengths = [(body.length(key, axis), size) for key, axis, size in rule.shapes]
        if any(found is not None and found != size for found, size in lengths):
            continue
        if any(found is None for found, _ in lengths):
            undecided.append(rule)
            continue
        return _Match(rule, tuple(other for other in undecided if other.family == rule.family))
    return _Match(undecided[0], tuple(undecided[1:])) if undecided else None


def _base(header: Header, body: _Body, found: _Match) -> Recognition:
    rule = found.rule
    inside = [part for part, pattern in INSIDE if any(pattern.match(key) for key in header.shapes)]
    holds = ("denoiser", *inside)
    evidence = [*_evidence(body, rule)]
    if body.prefix and header.layout == "single_file":
        evidence.append(f"its names begin with '{body.prefix}'")
    said = _answers(header, rule.asks)
    evidence += [f"{name}: {answer}, as its owner says" for name, answer in said.items()]
    steps = _few_steps(header) if _STEPS in rule.asks and _STEPS not in said else ""
    evidence += [steps] if steps else []
    asks = [name for name in rule.asks if name not in said and not (steps and name == _STEPS)]
    questions = list(_variant_question(found)) or list(_questions(header, asks))
    packed = quantisation(header)
    if packed:
        evidence.append(f"its numbers are {packed}")
    if inside and header.layout == "single_file":
        evidence.append(f"it holds {' and '.join(part.replace('_', ' ') for part in inside)} too")
    thin = len(body.keys) < _FEW_TENSORS
    if thin:
        evidence.append(f"it holds only {len(body.keys)} tensors")
    confidence = THIN if thin else OPEN if questions else PROVED
    return Recognition(
        kind="base" if set(inside) == {"vae", "text_encoder"} else "denoiser",
        family=rule.family,
        variant=_variant_of(rule, said) if not found.alternatives else "",
        title=rule.title,
        evidence=tuple(evidence),
        confidence=confidence,
        questions=tuple(questions),
        quantisation=packed,
        holds=holds,
        parameters=parameters(header, body.prefix),
        distilled=rule.distilled
        or steps
        or _distilled({name: (said[name], "its owner says so") for name in said}, questions),
    )


def _few_steps(header: Header) -> str:
    """What the configuration in a file of LTX says of the steps it was distilled to; empty when it says nothing."""
    try:
        told = json.loads(header.metadata.get("config", ""))
    except (ValueError, RecursionError):
        return ""
    steps = told.get(_ALLOWED) if isinstance(told, dict) else None
    return f"its configuration allows {len(steps)} steps only" if isinstance(steps, list) and steps else ""


def _distilled(answers: Mapping[str, tuple[str, str]], questions: Iterable[Question]) -> str:
    """What says that it is distilled: an answer with its reason, else a name that makes one likely."""
    likely = {q.name: (q.suggestion, q.because) for q in questions}
    found = (why for name, (answer, why) in {**likely, **answers}.items() if answer in _means_distilled(name))
    return next(found, "")


def _means_distilled(question: str) -> tuple[str, ...]:
    return ASKS[question].distilled if question in ASKS else ()


def _folder(header: Header, body: _Body, found: _Match | None) -> Recognition:
    """A folder in diffusers layout: the pipeline's name and the denoiser's tensors have to agree."""
    index = header.configs.get("model_index", {})
    pipeline = str(index.get("_class_name", ""))
    stated = PIPELINES.get(pipeline)
    says = f"model_index.json names {pipeline or 'no pipeline'}"
    if found is None:
        if stated is None:
            return _unknown(header, says)
        family, variant, title = stated
        thin = (says, "its tensors are none that are known of that family")
        return Recognition("base", family, variant, title, thin, THIN, parameters=parameters(header, ""))
    told = _base(header, body, found)
    if stated is not None and stated[0] != told.family:
        contradiction = (says, f"but its tensors are those of {told.title}", *told.evidence)
        return Recognition(
            "unknown", "", "", f"a folder that says {stated[2]} and holds {told.title}", contradiction, 0.0
        )
    answered = {**ANSWERS.get(pipeline, {}), **_config_answers(header, told.family)}
    open_questions = tuple(question for question in told.questions if question.name not in answered)
    variant, title = told.variant, told.title
    more_exact = stated is not None and told.variant.startswith(stated[1].partition("_")[0])
    if stated is not None and stated[1] and not more_exact:
        variant, title = stated[1], stated[2]
    evidence = (says, *told.evidence, *(f"{name}: {why}" for name, (_, why) in answered.items()))
    holds = tuple(sorted({key.partition("/")[0] for key in header.shapes}))
    confidence = told.confidence if told.confidence == THIN else OPEN if open_questions else PROVED
    settled = any(_means_distilled(name) for name in answered)
    distilled = _distilled(answered, ()) if settled else told.distilled
    return Recognition(
        "base", told.family, variant, title, evidence, confidence, open_questions, told.quantisation, holds,
        told.parameters, distilled,
    )  # fmt: skip


def _config_answers(header: Header, family: str) -> Mapping[str, tuple[str, str]]:
    """What the small configs of a folder answer: question, then answer and reason."""
    index, scheduler = header.configs.get("model_index", {}), header.configs.get("scheduler", {})
    answers: dict[str, tuple[str, str]] = {}
    prediction = scheduler.get("prediction_type")
    if family in ("sd", "sdxl") and prediction in ("epsilon", "v_prediction"):
        answers["prediction"] = (prediction, f"the scheduler's prediction_type is {prediction}")
    if any(key.startswith("transformer_2/") for key in header.shapes):
        for name in ("wan_expert", "wan_i2v_expert"):
            answers[name] = ("2.2", "the folder holds transformer and transformer_2, the two experts of Wan 2.2 A14B")
    if isinstance(distilled := index.get("is_distilled"), bool):
        answers["step_distilled"] = (
            "distilled" if distilled else "base",
            f"model_index.json says is_distilled: {str(distilled).lower()}",
        )
    return answers


def _answers(header: Header, names: Iterable[str]) -> dict[str, str]:
    """What was answered to these questions: ``bases.opening`` writes it into the metadata."""
    told = {name: header.metadata.get(f"{ANSWER}{name}", "") for name in names}
    return {name: answer for name, answer in told.items() if answer in ASKS[name].choices}


def _variant_of(rule: Rule, said: Mapping[str, str]) -> str:
    """The variant by the rule, or the one that an answer makes it."""
    found = (dict(ASKS[name].variants).get(answer) for name, answer in said.items())
    return next((variant for variant in found if variant is not None), rule.variant)


def _questions(header: Header, names: Iterable[str]) -> Iterable[Question]:
    stem = header.path.stem.lower()
    stated = header.metadata.get("modelspec.architecture", "").lower()
    for name in names:
        ask = ASKS[name]
        suggestion = because = ""
        for text, source in ((stated, "its metadata says"), (stem, "its file name holds")):
            hit = next(((word, answer) for word, answer in ask.words if _holds_word(text, word)), None)
            if hit is not None:
                suggestion, because = hit[1], f"{source} '{hit[0]}'"
                break
        yield Question(name, ask.text, ask.choices, suggestion, because)


def _holds_word(text: str, word: str) -> bool:
    """Whether a word stands in a name by itself: ``low`` in ``wan_low_noise``, not in ``flower``."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z])", text) is not None


def _variant_question(found: _Match) -> Iterable[Question]:
    if found.alternatives:
        choices = tuple(dict.fromkeys(rule.variant for rule in (found.rule, *found.alternatives)))
        if len(choices) > 1:
            yield Question("variant", "Which variant is it? Its packed numbers hide the shapes.", choices)


def _evidence(body: _Body, rule: Rule) -> Iterable[str]:
    """The names that prove the rule, and the sizes it was told by."""
    names = [key for key in rule.has if not any(key == tested for tested, _, _ in rule.shapes)]
    if names:
        yield "it has " + ", ".join(f"'{name}'" for name in names[:3])
    for key, axis, size in rule.shapes:
        if body.length(key, axis) == size:
            yield f"'{key}' has {size} axes" if axis == NDIM else f"'{key}' has a width of {size} (axis {axis})"
    if rule.lacks:
        yield "it has no " + ", no ".join(f"'{name}'" for name in rule.lacks)
    if rule.width and (found := body.length(*rule.width)) is not None:
        yield f"'{rule.width[0]}' has a width of {found} (axis {rule.width[1]})"


def _sign_of(signs: tuple[Sign, ...], keys: list[str]) -> tuple[Sign, str] | None:
    """The first sign that a key bears, with that key."""
    numberless = {_NUMBER.sub("0", key): key for key in keys}  # of a thousand equal layers one is looked at
    for sign in signs:
        if sign.largest and len(keys) > sign.largest:
            continue
        hit = next((key for bare, key in numberless.items() if sign.pattern.search(bare)), None)
        if hit is not None:
            return sign, hit
    return None


def _other(header: Header, sign: Sign, key: str) -> Recognition:
    count = parameters(header, "")
    return Recognition(
        sign.kind, "", "", sign.title, (f"it has '{key}'",), PROVED, quantisation=quantisation(header), parameters=count
    )


def _part(header: Header, found: FoundPart) -> Recognition:
    """An encoder or VAE that is known by name; which one is its variant."""
    packed = quantisation(header)
    evidence = (*found.evidence, *([f"its numbers are {packed}"] if packed else []))
    title = f"{found.kind.title}, not a base"
    return Recognition(
        found.kind.role, "", found.kind.name, title, evidence, PROVED, quantisation=packed,
        parameters=parameters(header, found.prefix),
    )  # fmt: skip


def _unknown(header: Header, *evidence: str) -> Recognition:
    keys = list(header.shapes)
    seen = f"it has keys such as '{keys[0]}'" if keys else "it has no tensors at all"
    return Recognition("unknown", "", "", UNKNOWN, (*evidence, seen), 0.0, parameters=parameters(header, ""))


def parameters(header: Header, prefix: str) -> int:
    """Numbers in all tensors under a prefix; those packed two to a byte are counted as two."""
    total = 0
    for key, shape in header.shapes.items():
        if key.startswith(prefix):
            packed = header.dtypes.get(key) == "U8" and len(shape) > 1
            total += math.prod(shape) * (2 if packed else 1)
    return total


def as_document(found: Recognition) -> dict[str, Any]:
    """A recognition as JSON values."""
    return {
        "kind": found.kind,
        "family": found.family,
        "variant": found.variant,
        "title": found.title,
        "evidence": list(found.evidence),
        "confidence": found.confidence,
        "quantisation": found.quantisation,
        "holds": list(found.holds),
        "parameters": found.parameters,
        "questions": [
            {
                "name": question.name,
                "text": question.text,
                "choices": list(question.choices),
                "suggestion": question.suggestion,
                "because": question.because,
            }
            for question in found.questions
        ],
    }
