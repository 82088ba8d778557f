"""Pictures from elsewhere: ``Studio.sources``. A source is looked at, then brought, then imported as anything else is.

home/  fetched/<source>-<key>/   what is on its way from one place; gone when it has been imported
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from pydantic import ValidationError

from lorasmith.credentials import Credentials, redact
from lorasmith.datasets.names import safe_dataset_name
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import ConfigError, InputError, JobError, Stopped
from lorasmith.events import Notice as Said
from lorasmith.events import Phase, Progress
from lorasmith.fetching import Cancel, Consents, Fetcher, Limits, Notice, Transfer, shown
from lorasmith.files import write_json
from lorasmith.plugins import choose
from lorasmith.sources import Errand, Listing, Source, choose_source, sources

if TYPE_CHECKING:
    from lorasmith.config import Section
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.events import Emit
    from lorasmith.jobfolder import Control, JobFolder

Making = Callable[[Limits], Fetcher]
Watch = Callable[[int, int, str], None]
_SENTENCES: Final = 20
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")


@dataclass(frozen=True)
class SourceFacts:
    """What there is to know of a source before it is used."""

    name: str
    title: str
    examples: tuple[str, ...]
    commands: tuple[str, ...]
    """The examples as they are typed."""
    services: tuple[str, ...]
    """Whose secrets it can use: ``lorasmith secrets set ...``."""
    options: type[Section]
    about: str
    """A sentence or two."""


@dataclass(frozen=True)
class Unfinished:
    """A fetch that was interrupted."""

    id: str
    source: str
    location: str
    """Without secrets."""
    size: int
    """Bytes that are here."""
    begun: float
    """Seconds since 1970."""


class Gathering:
    """The verbs. Cheap to make; nothing is asked or written until a verb is called."""

    def __init__(
        self, home: Path, store: DatasetStore, *, limits: Limits | None = None, fetcher: Making | None = None
    ) -> None:
        """
        Args:
            home: what is on its way lies in ``fetched``; secrets and consents are the home's.
            store: what is imported into.
            limits: caps and manners, if not the usual ones; the pace of every source is added.
            fetcher: what brings files, from its limits, if not ``Fetcher`` with the secrets of this home.
        """
        self._home, self._store = home, store
        self._limits = limits or Limits()
        self._credentials = Credentials(home)
        self._making = fetcher or (lambda limits: Fetcher(limits, self._credentials))

    def allowing(self, hosts: Collection[str]) -> Gathering:
        """The same, which may also ask these servers, on whatever network they are.

        Args:
            hosts: ``name`` or ``name:port``.

        Raises:
            ConfigError: one is no name of a server.
        """
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ConfigError(f"'{redact(host)}' is not the name of a server.", "Write it as NAME or NAME:PORT.")
        allowed = self._limits.allow_hosts | {host.lower() for host in hosts}
        return Gathering(
            self._home, self._store, limits=replace(self._limits, allow_hosts=allowed), fetcher=self._making
        )

    def names(self) -> dict[str, str]:
        """All sources by name, each with its title."""
        return {name: source.title for name, source in sources().items()}

    def about(self, source: str) -> SourceFacts:
        """What a source is, takes and can use.

        Raises:
            ConfigError: no such source.
        """
        found = choose(sources(), source, "source")
        words = " ".join((type(found).__doc__ or "").replace("``", "").split())
        commands = tuple(found.command(example) for example in found.examples)
        return SourceFacts(
            found.name, found.title, found.examples, commands, found.services, type(found).Options, words
        )

    def source_of(self, location: str) -> str | None:
        """The source that a location is surely meant for; None when none knows it, or it has to be named."""
        found = choose_source(location)
        return found.name if found is not None else None

    def secrets(self, source: str) -> dict[str, bool]:
        """The services whose secrets a source can use, and whether there is one; no secret is read.

        Raises:
            ConfigError: no such source.
        """
        known = {stored.service for stored in self._credentials.services()}
        return {service: service in known for service in choose(sources(), source, "source").services}

    def checked(self, location: str, source: str | None = None, **options: Any) -> dict[str, Any]:
        """What a later ``fetch`` is asked, as JSON values; what it would refuse at once is refused now.

        Raises:
            ConfigError: no such source or option, or it has to be named.
            ConsentNeeded: the user has to agree to something first.
        """
        found, section = self._chosen(location, source, options)
        self._require_consent(found, location, section)
        asked = section.model_dump(mode="json", exclude_unset=True)
        return {"location": location, "source": found.name, "options": asked}

    def notices(self, location: str, source: str | None = None, **options: Any) -> tuple[Notice, ...]:
        """What the user has not agreed to yet and has to, before ``look``.

        Raises:
            ConfigError: no such source or option.
        """
        found, section = self._chosen(location, source, options)
        consents = Consents(self._home)
        return tuple(notice for notice in found.notices(location, section) if not consents.given(notice))

    def agree(self, notice: Notice) -> None:
        """Write down that the user has agreed."""
        Consents(self._home).give(notice)

    def look(
        self, location: str, source: str | None = None, *, cancel: Cancel | None = None, **options: Any
    ) -> Listing:
        """What would be brought: files, sizes, licence. Nothing but metadata is fetched, and nothing is imported.

        Args:
            location: an address, a path, an id or a search, as the source takes it.
            source: its name; left out, the source that the location is surely meant for.
            cancel: set, or true when called: stops.
            options: the source's own.

        Raises:
            ConfigError: no such source or option, or it has to be named.
            ConsentNeeded: the user has to agree to something first.
            InputError: a location that means nothing, or nothing there.
            FetchError: the place refuses or cannot be reached.
        """
        found, section = self._chosen(location, source, options)
        self._require_consent(found, location, section)
        with self._errand(found, location, section, cancel=cancel) as errand:
            return found.look(location, section, errand)

    def fetch(
        self,
        location: str,
        source: str | None = None,
        *,
        name: str | None = None,
        into: str | None = None,
        importing: Mapping[str, Any] | None = None,
        listing: Listing | None = None,
        progress: Watch | None = None,
        transfer: Callable[[Transfer], None] | None = None,
        cancel: Cancel | None = None,
        **options: Any,
    ) -> DatasetVersion:
        """Bring pictures and import them; where each is from goes into its provenance, what did not come into the
        ledger. An interrupted fetch goes on when it is asked for again with the same location and options.

        Args:
            location: as for ``look``.
            source: as for ``look``.
            name: of the dataset; left out, made from what was looked at.
            into: a dataset to add to, in place of ``name``.
            importing: options of ``DatasetStore.import_source``: ``layout``, ``alpha``, ``watch`` ...
            listing: what ``look`` gave for the same location and options, so that it is not asked for again.
            progress: called with (files done, files in all, path) while files are brought.
            transfer: called a few times a second while a large file arrives, by several threads.
            cancel: set, or true when called: stops; what arrived stays for the next time.
            options: the source's own.

        Raises:
            As ``look`` and ``DatasetStore.import_source``; and:
            OutOfDisk: there is no room.
            Stopped: ``cancel`` said so.
            JobError: another process fetches the same at this moment.
        """
        found, section = self._chosen(location, source, options)
        self._refuse_impossible(name, into)
        self._require_consent(found, location, section)
        with self._errand(found, location, section, progress=progress, transfer=transfer, cancel=cancel) as errand:
            with self._alone(errand.folder, location):
                about = {"source": found.name, "location": redact(" ".join(map(shown, location.split(" "))))}
                write_json(errand.folder / "errand.json", about)
                listing = listing if listing is not None else found.look(location, section, errand)
                haul = found.bring(listing, section, errand)
                asked: dict[str, Any] = {"limit": haul.limit, **(importing or {})}
                version = self._store.import_source(
                    haul.places,
                    name=name if name is not None or into is not None else safe_dataset_name(listing.name),
                    into=into,
                    origin=haul.origin,
                    cancel=cancel,
                    **asked,
                )
            shutil.rmtree(errand.folder, ignore_errors=True)
        return version

    def unfinished(self) -> list[Unfinished]:
        """Fetches that were interrupted, the latest last; the same ``fetch`` goes on with one."""
        found = []
        for record in (self._home / "fetched").glob("*/errand.json"):
            try:
                told = json.loads(record.read_bytes())
                source, location = str(told["source"]), str(told["location"])
            except (OSError, ValueError, KeyError, TypeError):  # being made or removed at this moment
                continue
            size = sum(path.stat().st_size for path in record.parent.rglob("*") if path.is_file())
            found.append(Unfinished(record.parent.name, source, location, size, record.stat().st_mtime))
        return sorted(found, key=lambda one: (one.begun, one.id))

    def give_up(self, id: str) -> Unfinished:
        """Remove what an interrupted fetch has brought.

        Raises:
            InputError: there is none of that id.
            JobError: it is not interrupted but under way.
        """
        found = next((one for one in self.unfinished() if one.id == id), None)
        if found is None:
            raise InputError(f"There is no unfinished fetch '{id}'.", "`lorasmith sources unfinished` lists them.")
        with self._alone(self._home / "fetched" / id, found.location):
            shutil.rmtree(self._home / "fetched" / id, ignore_errors=True)
        return found

    # --- inside ----------------------------------------------------------------------------------------------

    def _chosen(self, location: str, source: str | None, options: Mapping[str, Any]) -> tuple[Source, Section]:
        found = choose(sources(), source, "source") if source is not None else choose_source(location)
        if found is None:
            known = ", ".join(sources())
            raise ConfigError(
                f"Nothing here knows where '{redact(location)}' leads.",
                f"Give a path or an address with https://, or name the source: {known}.",
            )
        if not location.strip():
            raise ConfigError(f"{found.title} was told nothing to look for.", f"For example: {found.examples[0]}")
        return found, read_options(found, options)

    def _refuse_impossible(self, name: str | None, into: str | None) -> None:
        """What the import would refuse is refused before anything is brought."""
        if name is not None and into is not None:
            raise ConfigError("An import has a name or a dataset to add to, not both.", "Leave one of them out.")
        if into is not None:
            self._store.get(into)
        if name is not None and (safe := safe_dataset_name(name)) != name:
            raise InputError(f"'{name}' cannot be the name of a dataset.", f"Use '{safe}'.")

    def _require_consent(self, source: Source, location: str, options: Section) -> None:
        consents = Consents(self._home)
        for notice in source.notices(location, options):
            consents.require(notice)

    @contextmanager
    def _errand(
        self,
        source: Source,
        location: str,
        options: Section,
        *,
        progress: Watch | None = None,
        transfer: Callable[[Transfer], None] | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Errand]:
        """What a source may use; its folder is the same for the same location and options."""
        asked = json.dumps([location, options.model_dump(mode="json")], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()[:16]
        with self._making(self._limits_for(source, options)) as fetcher:
            yield Errand(
                fetcher=fetcher,
                credentials=self._credentials,
                consents=Consents(self._home),
                folder=self._home / "fetched" / f"{source.name}-{key}",
                watch=progress,
                transfer=transfer,
                cancel=cancel,
            )

    def _limits_for(self, source: Source, options: Section) -> Limits:
        """A mirror that the user names is meant, on whatever network it is."""
        pace = {**source.pace, **self._limits.pace}
        endpoint = str(getattr(options, "endpoint", None) or "")
        own = {urlsplit(endpoint).netloc.lower()} - {""}
        return replace(self._limits, pace=pace, allow_hosts=self._limits.allow_hosts | own)

    @contextmanager
    def _alone(self, folder: Path, location: str) -> Iterator[None]:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as cause:
            raise JobError(
                f"Another process is fetching {redact(location)} at this moment.", "Wait for it, or stop it."
            ) from cause
        try:
            yield
        finally:
            lock.release()


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """The worker's job "gather": ``fetch`` with ``payload["location"]``, ``source``, ``options``, ``name`` or ``into``,
    and ``importing``.

    Returns ``reference``, ``items`` and ``left_out``; ``complete`` is false when it was stopped: what arrived stays for
    the next time.

    Raises:
        LorasmithError: as ``fetch`` does.
    """
    from lorasmith.datasets.store import DatasetStore

    payload = folder.record().payload
    gathering = Gathering(folder.home, DatasetStore(folder.home))
    emit(Phase("fetching"))

    def taken(done: int, total: int, path: str) -> None:
        if done <= 1:
            emit(Phase("importing"))
        emit(Progress(done, total, unit="pictures"))

    try:
        version = gathering.fetch(
            str(payload["location"]),
            payload["source"],
            name=payload.get("name") or None,
            into=payload.get("into") or None,
            importing={**payload.get("importing", {}), "progress": taken},
            progress=lambda done, total, path: emit(Progress(done, total, unit="files")),
            cancel=lambda: control().wanted != "run",
            **payload.get("options", {}),
        )
    except Stopped:
        return {"complete": False}
    for sentence in version.operation.arguments.get("said", ())[:_SENTENCES]:
        emit(Said(str(sentence)))
    left_out = sum(fate.fate == "left_out" for fate in version.ledger)
    return {"reference": version.reference, "items": len(version.items), "left_out": left_out}


def read_options(source: Source, options: Mapping[str, Any]) -> Section:
    """A source's options from a plain mapping.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    try:
        return type(source).Options.model_validate(dict(options))
    except ValidationError as cause:
        raise ConfigError(*_explain(source, cause)) from cause


def _explain(source: Source, error: ValidationError) -> tuple[str, str]:
    """The first fault as a sentence, with the nearest name for an unknown key."""
    fault = error.errors(include_url=False)[0]
    key = ".".join(map(str, fault["loc"]))
    known = list(type(source).Options.model_fields)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1)
        there = f"Its options are: {', '.join(known)}." if known else "It has none."
        return f"{source.name} has no option '{key}'.", f"Did you mean '{near[0]}'?" if near else there
    reason = redact(str(fault["msg"])[:1].lower() + str(fault["msg"])[1:])
    field = type(source).Options.model_fields.get(key)
    about = " ".join((field.description or "").replace("`", "").split()) if field is not None else ""
    return f"The option {key} of {source.name} cannot be {redact(repr(fault.get('input')))}: {reason}.", about
