"""Consent on the command line: asked for once, in one place, for every command."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from lorasmith.cli.session import Session, verb
from lorasmith.errors import ConsentNeeded
from lorasmith.fetching import Consents, Notice

TERMS = (Notice("site-terms", "The terms of a site", "Be kind."), Notice("send-to:x", "Pictures leave", "To x."))


class Visit:
    """A command that needs both consents, and remembers how often it was begun and done."""

    def __init__(self, home: Path) -> None:
        self.home, self.begun, self.done = home, 0, 0

    def run(self, *arguments: str) -> None:
        @verb("visit")
        def visit(session: Session) -> None:
            """Visit a site."""
            self.begun += 1
            for notice in TERMS:
                Consents(session.studio.home).require(notice)
            self.done += 1

        visit.main([*arguments, "--home", str(self.home)], standalone_mode=False, obj=Session())


def test_without_a_person_it_stops_and_says_what_to_accept(tmp_path: Path) -> None:
    visit = Visit(tmp_path)
    with pytest.raises(ConsentNeeded, match="Be kind") as caught:
        visit.run()
    assert "--accept site-terms" in caught.value.hint and (visit.begun, visit.done) == (1, 0)
    with pytest.raises(ConsentNeeded, match="To x"):
        visit.run("--accept", "site-terms")
    assert list(Consents(tmp_path).all()) == ["site-terms"]


def test_what_is_accepted_is_kept_as_it_was_worded(tmp_path: Path) -> None:
    visit = Visit(tmp_path)
    visit.run("--accept", "site-terms", "--accept", "send-to:x")
    assert (visit.begun, visit.done) == (3, 1)
    visit.run()
    assert visit.done == 2
    assert not Consents(tmp_path).given(Notice("site-terms", "The terms of a site", "Be kinder."))


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def test_a_person_at_a_terminal_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "live", property(lambda self: True))
    visit = Visit(tmp_path)
    monkeypatch.setattr(sys, "stdin", Terminal("y\nn\n"))
    with pytest.raises(ConsentNeeded, match="To x"):
        visit.run()
    assert list(Consents(tmp_path).all()) == ["site-terms"] and visit.done == 0
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    visit.run()
    assert visit.done == 1 and len(Consents(tmp_path).all()) == 2
