from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import torch

from tests.families.tiny import RECORDS, make
from tests.families.variants import EVERY


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny base of a family or variant, made when first asked for."""
    root = tmp_path_factory.mktemp("families")
    return cache(lambda name: make(EVERY[name], root / "variants" / name if name not in RECORDS else root))


@pytest.fixture(autouse=True)
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' reader of a family's files with the width of the tiny base, see ``Record.reader``."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    record = RECORDS.get(parameters.get("name", ""))
    if record is None or record.reader is None:
        return
    from diffusers.loaders import lora_pipeline

    function, published, tiny = record.reader
    theirs = getattr(lora_pipeline, function)
    code, places = _with_width(theirs.__code__, published, tiny)
    assert places == 1, f"{function} has {published} written into it {places} times"
    monkeypatch.setattr(lora_pipeline, function, FunctionType(code, theirs.__globals__, function))


def _with_width(code: CodeType, published: int, tiny: int) -> tuple[CodeType, int]:
    """The code and that of the functions in it with another number, and in how many places it stood."""
    constants: list[Any] = []
    places = 0
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner, found = _with_width(constant, published, tiny)
            constants.append(inner)
            places += found
        elif constant == published and type(constant) is int:
            constants.append(tiny)
            places += 1
        else:
            constants.append(constant)
    return code.replace(co_consts=tuple(constants)), places
