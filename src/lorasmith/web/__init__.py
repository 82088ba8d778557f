"""The web app: a face of ``Studio`` for a browser, served on this machine.

    serving      starts the server, opens the browser, keeps the queue going
    app          all routes put together
    gate         who may ask what: host, origin, session, headers; everything is closed that is not opened here
    sessions     start-up token, sessions, keys for programs
    rendering    pages and parts of pages from templates; every text of a stranger stays text
    replies      errors as pages, parts and JSON
    vendoring    libraries of others that are served, locked by hash
    pages/       what people look at, a file per area
    api/         the same verbs as JSON, and the stream of events

Nothing here knows plugins, databases or model libraries: it asks ``Studio``.
"""

from lorasmith.web.app import create_app
from lorasmith.web.serving import serve

__all__ = ["create_app", "serve"]
