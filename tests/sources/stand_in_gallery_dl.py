"""Stands in for the program gallery-dl where it is not installed: its arguments, messages, files and exit bits, for
direct links and for one booru whose server the settings name. The tests hold for both; written from what it says and
does, not from its source.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, build_opener, install_opener, urlopen

Found = tuple[str, dict[str, Any]]


def main(arguments: list[str]) -> int:
    if arguments[0] != "--config-ignore" or arguments[-2] != "--" or "--no-input" not in arguments:
        return 2
    told = json.loads(Path(arguments[arguments.index("--config") + 1]).read_text(encoding="utf-8"))
    url = arguments[-1]
    extractor = told["extractor"]
    install_opener(build_opener(ProxyHandler({"http": extractor["proxy"], "https": extractor["proxy"]})))
    last = int(extractor.get("image-range", "1-1000000").partition("-")[2])
    silent = "-J" in arguments
    try:
        found = list(files_of(url, extractor))
    except (HTTPError, URLError) as failure:
        return 0 if silent else say(f"[mock][error] HttpError: '{failure}' for '{url}'", 4)
    except PermissionError as failure:
        return 0 if silent else say(f"[mock][error] AuthRequired: {failure}", 16)
    except LookupError:
        return 0 if silent else say(f"[gallery-dl][error] Unsupported URL '{url}'", 64)
    if silent:
        for address, facts in found:
            print(json.dumps([3, address, facts]), flush=True)  # noqa: T201
        return 0
    filtered = [
        (a, f) for a, f in found if "image-filter" not in extractor or f["extension"] not in extractor["image-filter"]
    ]
    return 0 if "-s" in arguments else download(filtered[:last], told)


def say(line: str, code: int) -> int:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
    return code


def files_of(url: str, extractor: dict[str, Any]) -> Iterator[Found]:
    parts = urlsplit(url)
    path = parts.path.strip("/")
    if "." in path.rpartition("/")[2] and not path.endswith(".php"):
        stem, _, suffix = path.rpartition("/")[2].rpartition(".")
        facts = {"category": "directlink", "subcategory": parts.hostname, "filename": stem, "extension": suffix}
        yield url, {**facts, "path": path.rpartition("/")[0], "domain": parts.netloc}
        return
    root = extractor.get("gelbooru_v02", {}).get("mock", {}).get("root")
    if root is None or not url.startswith(root):
        raise LookupError(url)
    tags = parse_qs(parts.query)["tags"][0]
    with urlopen(f"{root}/index.php?page=dapi&s=post&q=index&pid=0&limit=1000&tags={tags}") as answer:
        document = ET.fromstring(answer.read())
    if document.tag == "error":
        raise PermissionError(document.text)
    for post in document:
        stem, _, suffix = post.attrib["file_url"].rpartition("/")[2].rpartition(".")
        own = {"category": "mock", "subcategory": "tag", "filename": stem, "extension": suffix}
        yield post.attrib["file_url"], {**post.attrib, **own, "search_tags": tags}


def download(found: list[Found], told: dict[str, Any]) -> int:
    extractor, status = told["extractor"], 0
    archive = sqlite3.connect(extractor["archive"])
    archive.execute("CREATE TABLE IF NOT EXISTS archive (entry TEXT PRIMARY KEY) WITHOUT ROWID")
    for url, facts in found:
        name = f"{facts['category']}_{facts.get('id', facts['filename'])}_{facts.get('md5', facts['filename'])}"
        path = Path(extractor["base-directory"]) / facts["category"] / f"{name}.{facts['extension']}"
        known = archive.execute("SELECT 1 FROM archive WHERE entry = ?", (name,)).fetchone()
        if known or path.exists():
            print(f"# {path}", flush=True)  # noqa: T201
            continue
        try:
            with urlopen(url) as answer:
                body = answer.read()
        except (HTTPError, URLError):
            status |= say(f"[download][error] Failed to download {path.name}", 4)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        beside = {**facts, extractor["url-metadata"]: url}
        path.with_name(f"{path.name}.json").write_text(json.dumps(beside), encoding="utf-8")
        archive.execute("INSERT INTO archive VALUES (?)", (name,))
        archive.commit()
        print(path, flush=True)  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
