"""How keys of adapter files end: which piece of which kind of update a key holds.

Kinds: ``lora`` (also LoCon, with a third matrix ``mid``), ``loha``, ``lokr``, ``oft`` (also BOFT), ``glora``, ``full``
(a whole difference), ``norm``, ``ia3``, ``set`` (a value that replaces the base's). ``alpha`` and ``dora_scale`` stand
beside any of them. Spellings are those of diffusers, peft, kohya, LyCORIS and of ComfyUI's weight adapters.
"""

from __future__ import annotations

import functools
import re
from typing import Final, Literal

Kind = Literal["lora", "loha", "lokr", "oft", "glora", "full", "norm", "ia3", "set", "any"]

_LORA: Final = {"down": "down", "up": "up", "mid": "mid", "A": "down", "B": "up"}
_ENDING: Final = re.compile(
    r"(?P<lora>"
    r"\.lora_(?P<l1>down|up|mid)\.(?P<t1>weight|bias)"
    r"|\.lora_(?P<l2>[AB])(?:\.(?!weight$|bias$)\w+)?(?:\.(?P<t2>weight|bias))?"
    r"|[._]lora(?:_linear_layer)?\.(?P<l3>down|up|mid)\.(?P<t3>weight|bias)"
    r"|_lora(?P<n4>[12]?)\.(?P<l4>down|up)\.weight)$"
    r"|\.(?P<loha>hada_(?:w[12]_[ab]|t[12]))$"
    r"|\.(?P<lokr>lokr_(?:w[12](?:_[ab])?|t2))$"
    r"|\.(?P<oft>oft_blocks|oft_diag|oft_R\.weight|boft_[Rs]|rescale)$"
    r"|\.(?P<glora>[ab][12])\.weight$"
    r"|\.(?P<full>diff|diff_b)$"
    r"|\.(?P<norm>[wb]_norm)$"
    r"|\.(?P<ia3>on_input|ia3_l)$"
    r"|\.(?P<set>set_weight|reshape_weight)$"
    r"|\.(?P<any>alpha|dora_scale|lora_magnitude_vector(?:\.\w+)?(?:\.weight)?)$"
)


def split(key: str) -> tuple[str, Kind, str] | None:
    """``(stem, kind, piece)`` of a key; None when it ends like no piece of an update."""
    # Nothing that ends like a piece begins before the first ".lora_", so that the few endings of a file are told once.
    place = key.find(".lora_")
    if place < 0 and key.endswith(".alpha"):
        place = len(key) - len(".alpha")
    if place > 0 and (told := _told(key[place:])) is not None:
        return key[:place], *told
    return _searched(key)


@functools.lru_cache(maxsize=1024)
def _told(ending: str) -> tuple[Kind, str] | None:
    """Kind and piece of an ending that is one from its first letter on."""
    found = _searched(f"x{ending}")
    return found[1:] if found is not None and found[0] == "x" else None


def _searched(key: str) -> tuple[str, Kind, str] | None:
    found = _ENDING.search(key)
    if found is None or not found.start():
        return _bare_weight(key)
    stem, what = key[: found.start()], found.lastgroup or ""
    if found["lora"]:
        word = found["l1"] or found["l2"] or found["l3"] or found["l4"]
        piece = _LORA[word]
        if "bias" in (found["t1"], found["t2"], found["t3"]):
            return stem, "lora", f"{piece}_bias"
        if found["n4"]:
            stem = f"{stem}_lora{found['n4']}"
        return stem, "lora", piece
    text = found[what]
    if what == "any":
        return stem, "any", "alpha" if text == "alpha" else "dora_scale"
    pieces = {"loha": text.removeprefix("hada_"), "lokr": text.removeprefix("lokr_")}
    return stem, what, pieces.get(what, text.removesuffix(".weight"))  # type: ignore[return-value]


def _bare_weight(key: str) -> tuple[str, Kind, str] | None:
    """IA3 of LyCORIS has a plain ``.weight`` behind a flat name; a control LoRA brings the norms it replaces."""
    if key.startswith(("lora_", "lycoris_")) and key.endswith(".weight") and key.count(".") == 1:
        return key.removesuffix(".weight"), "ia3", "weight"
    if key.endswith("_norm.scale"):
        return key.removesuffix(".scale"), "set", "set_weight"
    return None
