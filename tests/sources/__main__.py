"""``python -m tests.sources``: a Gelbooru, a Danbooru, a Civitai and a web server on this machine until Ctrl-C, and the
commands that ask them, so that every source can be tried from end to end without the internet.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

from tests.fetching.loopback import Loopback, Shelf
from tests.sources.boorus import DanbooruSite, GelbooruSite, post
from tests.sources.civitai_site import CivitaiSite
from tests.sources.errands import picture


def main() -> None:
    """Serve, and say how to ask."""
    kinds = {"character": "shirakami_fubuki", "copyright": "hololive"}
    entries = [post(n, "solo 1girl ^_^", artist=f"artist_{n % 3}", score=n, **kinds) for n in range(1, 61)]
    with ExitStack() as stack:
        one, two, three, store = (stack.enter_context(Loopback()) for _ in range(4))
        gelbooru, danbooru = GelbooruSite(one, entries), DanbooruSite(two, entries)
        civitai = CivitaiSite(three, store, 40)
        link = store.at("/photos/one.png", Shelf(picture(1)))
        asked = "shirakami_fubuki solo high_quality -nsfw"
        say(f'lorasmith import gelbooru "{asked}" --limit 50 --endpoint {gelbooru.root}')
        say(f'lorasmith import danbooru "{asked}" --limit 50 --endpoint {danbooru.root}')
        say(f"lorasmith import civitai post:77 --endpoint {civitai.root} --allow-host {store.place}")
        say(f"lorasmith import gallery_dl {link} --allow-host {store.place}")
        say(f"lorasmith import {link} --allow-host {store.place}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
