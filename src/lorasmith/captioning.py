"""Captions by machines: what they need, their tags under other rules, several side by side. ``Studio.captions``.

A tagger's probabilities are kept when it has looked at a picture once. From then on thresholds, categories and rules
are changed without it, several taggers are brought together, and tags near their threshold are shown to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lorasmith.captioners import Need
from lorasmith.captioners.answers import Source, kept_of, sources
from lorasmith.captioners.beside import SideBySide, beside
from lorasmith.captioners.downloads import in_words
from lorasmith.captioners.journal import FILE, read_on
from lorasmith.captioners.pairs import PairCount, pair_count, refuse_unless_paired
from lorasmith.captioners.run import captioners, find_captioner, read_options, tell_need
from lorasmith.captioners.sending import notice_of
from lorasmith.captioners.tagging.merging import Merge, Merged, Voice, merge
from lorasmith.captioners.tagging.review import Unsure, obey, read_verdicts, write_verdicts
from lorasmith.captioners.tagging.rule import TagChooser, TagRule
from lorasmith.captioners.wd_tagger import labels_of
from lorasmith.config import Section
from lorasmith.datasets.captions.operations.other_captions import AppendCaptions
from lorasmith.datasets.captions.rewriting import CaptionContext, Corpus, WholeText
from lorasmith.datasets.captions.spelling import same_spelling
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.names import make_unique
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, LorasmithError
from lorasmith.fetching import Consents, Notice
from lorasmith.plugins import choose

if TYPE_CHECKING:
    from lorasmith.config import Section
    from lorasmith.events import Event
    from lorasmith.jobs import Job

Reference = str | DatasetVersion
Existing = Literal["replace", "keep", "append", "prepend"]
"""What becomes of captions that are there: replaced, kept (only the missing are filled), or what is new is put behind
or before them."""
Answering = Callable[[Mapping[str, Any], str, "Callable[[Event], None] | None"], dict[str, Any]]
"""Runs a caption job: payload, name and who hears its events; gives its output."""


@dataclass(frozen=True)
class Kept:
    """A tagger whose probabilities of some pictures are kept."""

    model: str
    revision: str
    pictures: int
    """Of the version that was asked about."""
    general_threshold: float = 0.35
    """The model's own."""
    character_threshold: float = 0.85
    categories: tuple[str, ...] = ()
    """Of its tags."""


class Captioning:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(self, home: Path, store: DatasetStore, answer: Answering) -> None:
        self._home, self._store, self._answer = home, store, answer

    def names(self) -> dict[str, str]:
        """All captioners by name, and their other names, each with its title."""
        known = captioners()
        named = {name: captioner.title for name, captioner in known.items()}
        return named | {alias: captioner.title for captioner in known.values() for alias in captioner.aliases()}

    def check(self, captioner: str, *, download: bool = False, **options: Any) -> None:
        """Refuse now what a caption job would refuse when it starts.

        Raises:
            ConfigError: no such captioner or option.
            ConsentNeeded: pictures would leave, and the user did not agree to that.
            EnvironmentProblem: the model is not here and downloading was not allowed.
        """
        check_options(captioner, options, download=download, home=self._home)

    def to_agree(self, need: Need) -> Notice | None:
        """What the user has not agreed to yet and has to, before pictures leave; ``Studio.sources.agree`` keeps it."""
        notice = notice_of(need.sends_to, references=need.sends_references) if need.sends_to else None
        return None if notice is None or Consents(self._home).given(notice) else notice

    def told(self, job: Job, start: int = 0) -> tuple[list[tuple[str, str]], int]:
        """Names and captions that a caption job has written down behind a byte, and the byte to go on from."""
        return read_on(job.folder.path / FILE, start)

    def told_by(self, jobs: Sequence[Job]) -> SideBySide:
        """Captions side by side of caption jobs that have succeeded, each under its captioner's name.

        Raises:
            ConfigError: there are none, or they looked at different versions.
            JobError: one has not succeeded.
        """
        records = [(job.record(), job.output()) for job in jobs]
        references = {str(record.payload.get("dataset")) for record, _ in records}
        if len(references) != 1:
            raise ConfigError("These jobs did not caption the same version.", "Compare captioners on one version.")
        taken: set[str] = set()
        named = {make_unique(str(record.payload["captioner"]), taken): output for record, output in records}
        return beside(references.pop(), self._store, named)

    def other_names(self) -> dict[str, tuple[str, ...]]:
        """The other names of every captioner, most of them models, by its own."""
        return {name: tuple(captioner.aliases()) for name, captioner in captioners().items()}

    def options_of(self, captioner: str) -> type[Section]:
        """What can be chosen for a captioner.

        Raises:
            ConfigError: no such captioner.
        """
        return type(find_captioner(captioner, {})[0]).Options

    def need(self, captioner: str = "wd_tagger", **options: Any) -> Need:
        """What a captioner would take before it starts: downloads with size, source and licence, memory.

        Raises:
            ConfigError: no such captioner or option.
            EnvironmentProblem: no such model.
        """
        found, given = find_captioner(captioner, options)
        return found.need(read_options(found, given), home=self._home)

    def pairs(self, version: Reference) -> PairCount:
        """How many pairs a version has, and how many pictures would be looked at with the option ``pairs``."""
        return pair_count(self._version(version).items)

    def needs(self, names: Iterable[str]) -> dict[str, Need]:
        """``need`` of many captioners without options; those that cannot be used here are left out."""
        known = captioners()
        found: dict[str, Need] = {}
        for name in names:
            try:
                captioner, given = find_captioner(name, {}, known)
                found[name] = captioner.need(read_options(captioner, given), home=self._home)
            except LorasmithError:  # the page about captioners says why
                continue
        return found

    # Tags without the model

    def taggers(self, version: Reference) -> list[Kept]:
        """Whose probabilities are kept for pictures of this version, the latest last."""
        images = [item.image for item in self._version(version).items]
        found = [(source, len(kept_of(source, images))) for source in self._sources()]
        return [_kept(source, count) for source, count in found if count]

    def preview_tags(
        self,
        version: Reference,
        rule: Mapping[str, Any] | None = None,
        *,
        taggers: Sequence[str] | Mapping[str, float] = (),
        merge: Merge = "mean",
    ) -> dict[str, str]:
        """Captions by name of picture under another rule; pictures that no tagger has seen are missing.

        Args:
            version: whose pictures.
            rule: fields of ``TagRule``: thresholds, categories, order, aliases ...
            taggers: names as ``taggers`` lists them, or names with weights; left out, the latest alone.
            merge: how several are brought together.

        Raises:
            ConfigError: the rule cannot be used, or no such tagger has looked at these pictures.
        """
        version = self._version(version)
        merged, items = self._merged(version, taggers, merge)
        chosen = _chooser(merged, rule).choose(merged.rows)
        verdicts = read_verdicts(self._home)
        return {
            item.name: ", ".join(obey(tags, verdicts[item.image]) if item.image in verdicts else tags)
            for item, tags in zip(items, chosen, strict=True)
        }

    def retag(
        self,
        version: Reference,
        rule: Mapping[str, Any] | None = None,
        *,
        taggers: Sequence[str] | Mapping[str, float] = (),
        merge: Merge = "mean",
        existing: Existing = "replace",
    ) -> DatasetVersion:
        """A new version with the captions of ``preview_tags``; a picture for which no tag is left keeps its caption.

        Raises:
            ConfigError: as ``preview_tags``.
            ConflictError: others changed the same captions meanwhile.
        """
        parent = self._version(version)
        captions = self.preview_tags(parent, rule, taggers=taggers, merge=merge)
        empty = sorted(name for name, caption in captions.items() if not caption)
        said = {"rule": dict(rule or {}), "taggers": _plain(taggers), "merge": merge, "existing": existing}
        items = lay_over(parent.items, captions, existing, "retag", said)
        return self._commit(version, parent, items, Operation(name="retag", arguments=said | {"without_tags": empty}))

    def unsure(
        self,
        version: Reference,
        rule: Mapping[str, Any] | None = None,
        *,
        within: float = 0.1,
        most: int | None = None,
        taggers: Sequence[str] | Mapping[str, float] = (),
        merge: Merge = "mean",
    ) -> list[Unsure]:
        """Tags nearer to their threshold than ``within``, the nearest first, without those that were decided."""
        version = self._version(version)
        merged, items = self._merged(version, taggers, merge)
        chooser, rows = _chooser(merged, rule), merged.rows
        thresholds = chooser.effective(rows)
        verdicts = read_verdicts(self._home)
        present = {item.name: {same_spelling(tag) for tag in item.caption.split(",")} for item in items}
        found: list[Unsure] = []
        for place in chooser.near(rows, within).tolist():
            item, index = items[int(rows.row[place])], int(rows.index[place])
            tag = chooser.name(index)
            key = same_spelling(tag)
            if key in verdicts.get(item.image, {}):
                continue
            probability, threshold = float(rows.value[place]), float(thresholds[place])
            here = key in present[item.name]
            found.append(Unsure(item.name, tag, merged.labels[index][1], probability, threshold, here))
            if most is not None and len(found) >= most:
                break
        return found

    def decide(self, version: Reference, verdicts: Mapping[tuple[str, str], bool]) -> DatasetVersion:
        """Accept or reject tags: a new version whose captions have the accepted and lack the rejected ones.

        Args:
            version: whose captions.
            verdicts: by name of picture and tag, whether the tag is there. Later retaggings obey them too.

        Raises:
            DatasetError: a picture is not there.
        """
        from lorasmith.datasets.captions import split_tags
        from lorasmith.datasets.captions.operations import operation_from

        parent = self._version(version)
        images = {item.name: item.image for item in parent.items}
        unknown = next((name for name, _ in verdicts if name not in images), None)
        if unknown is not None:
            raise DatasetError(f"There is no picture called '{unknown}' in {parent.reference}.", "Look at its items.")
        edited = {item.name: item.caption for item in parent.items}
        for (name, tag), accepted in verdicts.items():
            caption = edited[name]
            present = same_spelling(tag) in {same_spelling(one) for one in split_tags(caption)}
            if not accepted:
                edited[name] = operation_from("remove_tags", {"tags": [tag]}).apply(caption)
            elif not present:
                edited[name] = f"{caption}, {tag}" if caption.strip() else tag
        said = [[name, tag, accepted] for (name, tag), accepted in verdicts.items()]
        items = lay_over(parent.items, edited, "replace", "review", {})
        made = self._commit(version, parent, items, Operation(name="decide_tags", arguments={"verdicts": said}))
        write_verdicts(self._home, [(images[name], tag, accepted) for (name, tag), accepted in verdicts.items()])
        return made

    # Several captioners

    def side_by_side(
        self,
        version: Reference,
        captioner_options: Mapping[str, Mapping[str, Any]],
        *,
        download: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> SideBySide:
        """What several captioners say, one after the other; nothing is written.

        Args:
            version: whose pictures.
            captioner_options: options by name or alias of the captioner.
            download: whether models may be downloaded.
            on_event: hears everything their jobs say.
        """
        reference, version = version, self._version(version)
        outputs: dict[str, Mapping[str, Any]] = {}
        for name, options in captioner_options.items():
            found, checked = check_options(name, options, download=download, home=self._home, version=version)
            payload = {"dataset": version.reference, "captioner": found, "options": checked, "download": download}
            outputs[name] = self._answer(payload, version.dataset, on_event)
        return beside(reference, self._store, outputs)

    def combine(
        self,
        shown: SideBySide,
        how: Literal["join", "lines", "choose"] = "join",
        *,
        order: Sequence[str] = (),
        choices: Mapping[str, str] | None = None,
    ) -> DatasetVersion:
        """A new version from captions side by side.

        Args:
            shown: what they said.
            how: ``join`` puts them behind each other, tags that are there already left out; ``lines`` makes each a
                line of its own; ``choose`` takes one captioner's for each picture.
            order: of the captioners; left out, as they were asked.
            choices: for ``choose``, the captioner by name of picture; others take the first that said something.

        Raises:
            ConfigError: a captioner that was not asked.
        """
        names = list(order or shown.captions)
        for name in (*names, *(choices or {}).values()):
            choose({known: known for known in shown.captions}, name, "captioner side by side")
        made: dict[str, str] = {}
        for item in shown.version.items:
            said = [shown.captions[name][item.name] for name in names if item.name in shown.captions[name]]
            wanted = (choices or {}).get(item.name, "")
            if how == "choose":
                said = [shown.captions[wanted][item.name]] if item.name in shown.captions.get(wanted, {}) else said[:1]
            caption = ""
            for text in said:
                caption = _joined(item.name, caption, text, "append", as_line=how == "lines")
            if caption:
                made[item.name] = caption
        by = {"how": how, "captioners": [dict(shown.by[name]) for name in names]}
        items = lay_over(shown.version.items, made, "replace", " + ".join(names), by)
        operation = Operation(name="combine_captions", arguments={"how": how, "captioners": names})
        return self._commit(shown.reference, shown.version, items, operation)

    # Inside

    def _version(self, reference: Reference) -> DatasetVersion:
        return self._store.get(reference) if isinstance(reference, str) else reference

    def _sources(self) -> list[Source]:
        return [source for source in sources(self._home) if source.legend.get("kind") == "tags"]

    def _merged(
        self, version: DatasetVersion, taggers: Sequence[str] | Mapping[str, float], how: Merge
    ) -> tuple[Merged, list[Item]]:
        """The voices that were asked for as one, and the pictures that at least one of them has seen."""
        asked = dict(taggers) if isinstance(taggers, Mapping) else dict.fromkeys(_listed(taggers), 1.0)
        images = [item.image for item in version.items]
        known = [(source, kept) for source in self._sources() if (kept := kept_of(source, images))]
        latest = {source.identity.model: (source, kept) for source, kept in known}
        if not latest:
            raise ConfigError(
                f"No tagger has looked at the pictures of {version.reference}.",
                f"Run `lorasmith caption {version.dataset}` first.",
            )
        if not asked:
            asked = {known[-1][0].identity.model: 1.0}
        chosen = [(*choose(latest, name, "tagger with kept tags"), weight) for name, weight in asked.items()]
        items = [item for item in version.items if any(item.image in kept for _, kept, _ in chosen)]
        voices = [
            Voice(
                source.identity.model,
                labels_of(source.legend),
                [kept.get(item.image) for item in items],
                float(source.legend["general_threshold"]),
                float(source.legend["character_threshold"]),
                weight,
            )
            for source, kept, weight in chosen
        ]
        return merge(voices, how), items

    def _commit(
        self, reference: Reference, parent: DatasetVersion, items: Sequence[Item], operation: Operation
    ) -> DatasetVersion:
        if list(items) == list(parent.items):
            return parent
        pinned = isinstance(reference, str) and "@" in reference
        return self._store.commit(parent, items, operation, onto="parent" if pinned else "head")


def _kept(source: Source, count: int) -> Kept:
    categories = tuple(dict.fromkeys(category for _, category in labels_of(source.legend)))
    general, character = (float(source.legend[f"{one}_threshold"]) for one in ("general", "character"))
    return Kept(source.identity.model, source.identity.revision, count, general, character, categories)


def need_in_words(need: Need, home: Path) -> str:
    """What would be downloaded, from where, how large, under which licence, and the free disk; empty for nothing."""
    return in_words(need, home) if need.lacks else ""


def lay_over(
    items: Sequence[Item],
    captions: Mapping[str, str],
    existing: Existing,
    by: str,
    details: Mapping[str, Any],
    *,
    as_line: bool = False,
) -> list[Item]:
    """Items with new captions laid over, by name; an item whose caption does not change is the same object.

    Args:
        items: of a version.
        captions: new ones; empty ones change nothing.
        existing: what becomes of those that are there.
        by: who wrote them; becomes ``provenance["caption"]``.
        details: model, revision, settings, time; becomes ``provenance["captioner"]``, which counts as long as
            ``provenance["caption"]`` names the same writer.
        as_line: whether what is appended or prepended becomes a line of its own.
    """
    made = []
    for item in items:
        new = captions.get(item.name, "")
        if item.caption.strip() and existing != "replace":
            new = "" if existing == "keep" else _joined(item.name, item.caption, new, existing, as_line=as_line)
        if not new.strip() or new == item.caption:
            made.append(item)
            continue
        provenance = {**item.provenance, "caption": by}
        if details:
            provenance["captioner"] = dict(details)
        made.append(replace(item, caption=new, provenance=provenance))
    return made


def _joined(name: str, caption: str, other: str, how: Literal["append", "prepend"], *, as_line: bool) -> str:
    corpus = Corpus()
    edit = AppendCaptions(captions={name: other}, how=how, as_line=as_line).edit(corpus)
    if not isinstance(edit, WholeText):
        raise TypeError("captions are appended as a whole")
    return edit.change(caption, CaptionContext(name, 0, corpus))


def check_options(
    name: str, options: Mapping[str, Any], *, download: bool = False, home: Path, version: DatasetVersion | None = None
) -> tuple[str, dict[str, Any]]:
    """The captioner that a name or alias means and its options, checked before a worker is started.

    Raises:
        ConfigError: no such captioner, no such option, or an impossible value.
        DatasetError: pairs are wanted of a version in which no picture has a reference.
        EnvironmentProblem: there is no such model, or it is not here and ``download`` does not allow to fetch it.
    """
    captioner, given = find_captioner(name, options)
    section = read_options(captioner, given)
    if version is not None:
        refuse_unless_paired(section, version)
    tell_need(captioner, section, home, download=download)
    return captioner.name, section.model_dump(mode="json", exclude_unset=True)


def commit_captions(
    store: DatasetStore,
    parent: DatasetVersion,
    output: Mapping[str, Any],
    plan: Mapping[str, Any],
    arguments: dict[str, Any],
) -> DatasetVersion:
    """Make a version of what a caption job answered.

    Args:
        store: of the dataset.
        parent: whose pictures were captioned.
        output: of the job.
        plan: ``existing`` and ``as_line`` as in ``lay_over``; ``onto``.
        arguments: of the operation, with ``captioner`` and ``job``.

    Raises:
        DatasetError: it captioned nothing.
    """
    captions: Mapping[str, Any] = output["captions"]
    failures: dict[str, str] = dict(output.get("failures", {}))
    if not captions:
        first = next(iter(failures.values()), "it gave no answer")
        raise DatasetError(
            f"The captioner failed on all {len(parent.items)} pictures of {parent.reference}: {first}",
            f"See the job {arguments['job']}.",
        )
    existing: Existing = plan["existing"]
    by = {**output.get("by", {}), "job": arguments["job"]}
    said = {name: str(entry["caption"]) for name, entry in captions.items()}
    as_line = bool(plan.get("as_line"))
    items = lay_over(parent.items, said, existing, arguments["captioner"], by, as_line=as_line)
    operation = Operation(name="caption", arguments=arguments | {"existing": existing, "failures": failures})
    return store.commit(parent, items, operation, onto="parent" if plan.get("onto") == "parent" else "head")


def _chooser(merged: Merged, rule: Mapping[str, Any] | None) -> TagChooser:
    from pydantic import ValidationError

    try:
        checked = TagRule.model_validate(dict(rule or {}))
    except ValidationError as cause:
        problem = cause.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise ConfigError(
            f"The rule's '{where}' cannot be used: {problem['msg']}.", f"It has: {', '.join(TagRule.model_fields)}."
        ) from cause
    return TagChooser(merged.labels, checked, general=merged.general, character=merged.character)


def _listed(taggers: Sequence[str]) -> list[str]:
    return [taggers] if isinstance(taggers, str) else list(taggers)


def _plain(taggers: Sequence[str] | Mapping[str, float]) -> dict[str, float] | list[str]:
    return dict(taggers) if isinstance(taggers, Mapping) else _listed(taggers)
