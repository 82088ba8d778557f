"""The studio with an address: the same verbs as ``Studio``, asked over HTTP.

    studio = connect("http://127.0.0.1:7860", key)
    version = studio.dataset("cats")
    job = studio.train("cats", {"base": "sandbox"})
    studio.queue.wait(job.id)

Names and arguments are those of ``Studio`` and its ``curate``, ``captions``, ``sources``, ``bases``, ``enqueue`` and
``queue``; answers are the same value types where these are plain values, and errors the
same classes. What would hold bytes of pictures or paths of the server comes as a mapping. POSTs carry an
``Idempotency-Key``, so that what is sent again after a broken line is done once.

    line.py        requests to one server, their answers as values
    refusals.py    what a server refuses, as the error it was there
    asking.py      how versions, runs and places are said to it
    studio.py      the studio and its own verbs
    curation.py    curate: a dataset looked at and edited
    captions.py    captions: captioners and their tags
    sources.py     sources: pictures from elsewhere
    weights.py     bases and toolbox: the weights below, and LoRA files
    queue.py       enqueue and queue: jobs written down, and what becomes of them
"""

from __future__ import annotations

import httpx2

from lorasmith.client.asking import Reference
from lorasmith.client.captions import RemoteCaptioning
from lorasmith.client.curation import RemoteCuration
from lorasmith.client.line import Line
from lorasmith.client.queue import RemoteEnqueue, RemoteQueue
from lorasmith.client.refusals import TextConflict, error_of
from lorasmith.client.sources import RemoteSources
from lorasmith.client.studio import RemoteStudio
from lorasmith.client.weights import RemoteBases, RemoteToolbox

__all__ = [
    "Line",
    "Reference",
    "RemoteBases",
    "RemoteCaptioning",
    "RemoteCuration",
    "RemoteEnqueue",
    "RemoteQueue",
    "RemoteSources",
    "RemoteStudio",
    "RemoteToolbox",
    "TextConflict",
    "connect",
    "error_of",
]


def connect(
    address: str, key: str, *, timeout: float = 60.0, transport: httpx2.BaseTransport | None = None
) -> RemoteStudio:
    """The studio that is served at an address.

    Args:
        address: such as ``http://127.0.0.1:7860``.
        key: the content of ``web-key`` in its home, or what ``lorasmith users key NAME`` printed.
        timeout: seconds for an answer; rehearsals and fetches may take as long as they need.
        transport: how it is asked, if not over the network.

    Raises:
        LorasmithError: nobody answers there, or not to this key.
    """
    studio = RemoteStudio(Line(address, key, timeout, transport))
    studio.me()
    return studio
