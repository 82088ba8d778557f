"""A Civitai on this machine: pictures by cursor, and originals behind a redirect to signed addresses.

with Loopback() as server, Loopback() as store:
    gathering(home).fetch("post:77", "civitai", endpoint=CivitaiSite(server, store, 3).root)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fetching.loopback import Loopback, Shelf, Visit, redirects, refuses_authorization
from tests.sources.errands import picture


class CivitaiSite:
    """``/api/v1/images`` with cursors, previews and originals that lie on another server, behind a redirect."""

    def __init__(self, server: Loopback, store: Loopback, count: int, **changed: Any) -> None:
        self.server, self.store, self.changed = server, store, changed
        self.root = server.url("").rstrip("/")
        self.ids = list(range(count, 0, -1))
        self.asked: list[Mapping[str, str]] = []
        server.at("/api/v1/images", self._answer)
        for number in self.ids:
            signed = store.at(
                f"/r2/{number}", refuses_authorization(Shelf(picture(number, "JPEG" if number % 2 else "PNG")))
            )
            server.at(f"/x/uuid-{number}/original=true/{number}.jpeg", redirects(f"{signed}?X-Amz-Signature=abcdefgh"))
            server.at(f"/x/uuid-{number}/width=450/{number}.jpeg", Shelf(picture(number, "JPEG", (8, 8))))

    def _answer(self, visit: Visit) -> None:
        asked = {name: values[0] for name, values in visit.seen.query.items()}
        self.asked.append(asked)
        start, limit = int(asked.get("cursor", "0").partition("|")[0]), int(asked["limit"])
        some = self.ids[start : start + limit]
        metadata: dict[str, Any] = {"pageSize": limit}
        if start + limit < len(self.ids):
            metadata |= {"nextCursor": f"{start + limit}|x", "nextPage": "https://civitai.com/api/v1/images?cursor=1"}
        visit.say(200, json.dumps({"items": [self._image(n) for n in some], "metadata": metadata}).encode())

    def _image(self, number: int) -> dict[str, Any]:
        image: dict[str, Any] = {
            "id": number, "url": f"{self.root}/x/uuid-{number}/width=450/{number}.jpeg", "hash": "U1", "width": 24,
            "height": 16, "nsfw": False, "nsfwLevel": "None", "browsingLevel": 1, "postId": 77, "username": "somebody",
            "createdAt": "2025-11-01T10:00:00.000Z", "type": "image", "baseModel": "SDXL 1.0", "modelVersionIds": [5],
            "stats": {"cryCount": 0, "laughCount": 1, "likeCount": 3, "dislikeCount": 0, "heartCount": 4},
            "meta": {"prompt": "a (fox:1.2), <lora:x:0.8> forest", "seed": 1} if number % 3 else None,
        }  # fmt: skip
        return image | self.changed.get(f"n{number}", {})
