"""A worker whose job does all it can to give a secret away: run as ``python leaky_worker.py JOBDIR``."""

from __future__ import annotations

import base64
import json
import logging
import sys
import types
import warnings
from typing import Any
from urllib.parse import quote

from lorasmith import worker
from lorasmith.credentials import Credentials
from lorasmith.errors import JobError
from lorasmith.events import Notice, Phase


def run(folder: Any, emit: Any, control: Any) -> dict[str, Any]:
    """Says every secret in every way there is."""
    for service in ("civitai", "huggingface"):
        secret = Credentials(folder.home).get(service)
        assert secret is not None
        value = secret.reveal()
        packed = base64.b64encode(value.encode()).decode()
        emit(Phase(f"asking with {value}"))
        emit(Notice(f"refused {value}", f"https://civitai.com/a?token={quote(value, safe='')}"))
        logging.getLogger("httpx2").info("HTTP Request: GET https://civitai.com/a?token=%s", value)
        logging.getLogger("lib").error("headers %r", {"Authorization": f"Bearer {value}"})
        logging.getLogger("lib").warning("headers %s", f"Basic {packed}")
        warnings.warn(f"deprecated: {value}", stacklevel=1)
        print(f"printed {value}", flush=True)  # noqa: T201
        sys.stderr.write(f"written {value[:5]}")
        sys.stderr.write(f"{value[5:]}\n")
        try:
            raise ValueError(value)
        except ValueError:
            logging.getLogger("lib").exception("caught")
    for entry in json.loads((folder.home / "secrets.json").read_bytes())["secrets"].values():
        print("never asked for, only found:", entry["value"])  # noqa: T201
    emit(Notice("all was said"))
    raise (JobError(f"The server refused {value}.", f"It said {value}.") if "known" in sys.argv else KeyError(value))


if __name__ == "__main__":
    sys.modules["leaky"] = module = types.ModuleType("leaky")
    module.run = run  # type: ignore[attr-defined]
    worker.KINDS["caption"] = "leaky"  # type: ignore[index]
    sys.exit(worker.main([sys.argv[1]]))
