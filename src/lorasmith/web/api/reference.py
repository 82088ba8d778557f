"""``python -m lorasmith.web.api.reference > docs/api.md``: the routes, written from the routes themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.routing import APIRoute

from lorasmith.web.api import routers

_HEAD = """# API
Written by `python -m lorasmith.web.api.reference`; a test fails when it is stale.

Every verb of the studio as JSON under `/api/`. A running server has the whole of it, with examples, at
`/api/openapi.json`.

- **Who asks.** `Authorization: Bearer KEY`, with the content of `web-key` in the home, or a key of an account
  (`lorasmith users key NAME`). Browsers use the cookie they have.
- **Errors** are `{"error", "hint", "kind"}`: a sentence, the next thing to do, and the class in `lorasmith.errors`.
- **Lists** come in pieces: `limit`, `offset`, `total`, and `Link` to the next.
- **POSTs** take an `Idempotency-Key`: sent again with the same body, the same answer comes, and nothing is done twice.
- **Captions** have an `ETag`; a `PUT` names it in `If-Match`. Who comes second gets 412 (409 at the same moment)
  with both texts.
- **A dataset** is written `name`, its present version, or `name@3`.

From Python it is the studio with an address, with the same verbs, values and errors:

```python
from lorasmith.client import connect

studio = connect("http://127.0.0.1:7860", key)
job = studio.train("cats", {"base": "sandbox", "trigger_word": "ohwx"})
studio.queue.wait(job.id)
```
"""


def reference() -> str:
    """The whole page."""
    by_tag: dict[str, list[str]] = {}
    for route in _routes():
        for method in sorted(route.methods or ()):
            tag = str(route.tags[0]) if route.tags else "events"
            by_tag.setdefault(tag, []).append(f"| `{method} {route.path}` | {route.summary} |")
    parts = [_HEAD]
    for tag, rows in by_tag.items():
        parts += [f"## {tag.capitalize()}", "", "| route | what it does |", "|---|---|", *rows, ""]
    return "\n".join(parts).rstrip() + "\n"


def _routes() -> Iterator[APIRoute]:
    for router in routers():
        yield from _of(router)


def _of(router: APIRouter) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route


if __name__ == "__main__":
    sys.stdout.write(reference())
