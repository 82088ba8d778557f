"""Routes that are put in when one of them is asked for first, or when the server has nothing else to do.

Importing and building all pages and the API takes a second; the first page does not wait for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

API = "/api/"


class Later(BaseRoute):
    """Stands among the routes for others that are not there yet, and answers by bringing them."""

    def __init__(self, app: FastAPI, routers: Callable[[], Sequence[APIRouter]], *, api: bool) -> None:
        """
        Args:
            app: where they will be.
            routers: imports and gives them.
            api: whether they are the API; else they are all that is not.
        """
        self._app, self._routers, self._api = app, routers, api
        self._lock = threading.Lock()
        self._there = False

    def bring(self) -> None:
        """Put the routes in, once; whoever comes meanwhile waits."""
        with self._lock:
            if not self._there:
                for router in self._routers():
                    self._app.include_router(router)
                self._there = True

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Every address that may be one of them, as long as they are not there."""
        asked = not self._there and scope["type"] == "http" and scope["path"].startswith(API) == self._api
        return (Match.FULL if asked else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bring them, and ask them."""
        await run_in_threadpool(self.bring)
        await self._app.router(scope, receive, send)


def postpone(app: FastAPI, pages: Callable[[], Sequence[APIRouter]], api: Callable[[], Sequence[APIRouter]]) -> None:
    """Let an app bring these pages, and its API, when they are asked for; the description of the API is one of it."""
    verbs = Later(app, api, api=True)
    app.router.routes.extend([Later(app, pages, api=False), verbs])
    describe = app.openapi

    def openapi() -> dict[str, object]:
        verbs.bring()
        return describe()

    app.openapi = openapi  # type: ignore[method-assign]


def operation_id(route: APIRoute) -> str:
    """The function's name, which clients of the API are made from; no two are alike."""
    return route.name
