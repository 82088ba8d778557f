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
from lorasmith.web.gate import Gate
from lorasmith.web.looks import Looks
from lorasmith.web.rendering import ROOT
from lorasmith.web.sessions import Sessions


def create_app(studio: Studio, *, hosts: Collection[str], sessions: Sessions | None = None) -> FastAPI:
    """The web app over a studio.

    Args:
        studio: what it shows.
        hosts: values of the ``Host`` header that it answers to.
        sessions: who may ask; left out, new ones of this home.
    """
    known = sessions or Sessions(studio.home)

    looks = Looks()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        looks.close()

    app = FastAPI(
        title="lorasmith",
        version=__version__,
        description="The verbs of the studio as JSON. Every error is a sentence and the next thing to do.",
        middleware=[Middleware(Gate, sessions=known, hosts=hosts)],
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.studio, app.state.sessions, app.state.looks = studio, known, looks
    replies.install(app)
    app.mount("/static", StaticFiles(directory=ROOT / "static"), name="static")
    for router in (*pages.routers(), *api.routers()):
        app.include_router(router)
    return app
