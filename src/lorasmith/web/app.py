"""The app: every route of every page and of the API, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from lorasmith import __version__
from lorasmith.studio import Studio
from lorasmith.web import api, pages, replies
from lorasmith.web.accounts import Throttle
from lorasmith.web.announcing import Announcer
from lorasmith.web.answers import Answers
from lorasmith.web.audit import Audit
from lorasmith.web.gate import Gate
from lorasmith.web.hosting import Host
from lorasmith.web.journal import Tap
from lorasmith.web.later import operation_id, postpone
from lorasmith.web.looks import Looks
from lorasmith.web.owning import OwnedStudio
from lorasmith.web.rendering import ROOT
from lorasmith.web.sessions import Sessions
from lorasmith.web.sharing import Shares


def create_app(
    studio: Studio, *, hosts: Collection[str], sessions: Sessions | None = None, work: bool = True, whole: bool = True
) -> FastAPI:
    """The web app over a studio.

    Args:
        studio: what it shows.
        hosts: values of the ``Host`` header that it answers to.
        sessions: who may ask; left out, new ones of this home.
        work: whether it runs the queue of the home too, as long as it is served.
        whole: whether every route is there at once; else most come when they are asked for, or brought (``later``).
    """
    known = sessions or Sessions(studio.home)
    host, announcer, audit = Host(studio), Announcer(studio), Audit(studio.home)
    owned = OwnedStudio(studio)

    looks = Looks()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if work:
            host.start()
            announcer.start()
        yield
        looks.close()
        if work:
            announcer.stop()
            host.stop()

    app = FastAPI(
        title="lorasmith",
        version=__version__,
        description="The verbs of the studio as JSON. Every error is a sentence and the next thing to do.",
        middleware=[Middleware(Gate, sessions=known, hosts=hosts, audit=audit, unforeseen=replies.unforeseen)],
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=operation_id,
        lifespan=lifespan,
    )
    app.state.studio, app.state.sessions, app.state.host = owned, known, host
    app.state.journal, app.state.announcer, app.state.looks = Tap(studio), announcer, looks
    app.state.audit, app.state.throttle, app.state.shares = audit, Throttle(), Shares(studio.home)
    app.state.answers = Answers(studio.home)
    replies.install(app)
    app.mount("/static", StaticFiles(directory=ROOT / "static"), name="static")
    for router in pages.first():
        app.include_router(router)
    if not whole:
        postpone(app, pages.others, api.routers)
        return app
    for router in (*pages.others(), *api.routers()):
        app.include_router(router)
    return app
