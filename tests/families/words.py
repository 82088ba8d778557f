"""Tokenizers that know a few words, of the classes the real pipelines use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def clip_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> Any:
    from transformers import CLIPTokenizer

    from lorasmith.sandbox.architecture import write_tokenizer

    place = folder / f"clip{len(pad_token)}"
    write_tokenizer(place)
    settings = json.loads((place / "tokenizer_config.json").read_text())
    settings |= {"model_max_length": 77, "pad_token": pad_token}
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(place)
