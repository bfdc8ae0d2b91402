"""Every promise of the package docstring has tests that carry its number."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import relay

ROOT = Path(__file__).parents[2]
PROMISES = re.findall(r"^(P\d)  ", relay.__doc__ or "", re.MULTILINE)


def test_promises_and_marks_agree() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    marks = [
        mark.partition(":")[0] for mark in document["tool"]["pytest"]["ini_options"]["markers"]
    ]
    assert marks == PROMISES
    assert len(PROMISES) == 8


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_has_tests(promise: str) -> None:
    bearers = [
        path.name
        for path in (ROOT / "tests").rglob("test_*.py")
        if f"@pytest.mark.{promise}\n" in path.read_text()
        or f"pytest.mark.{promise}]" in path.read_text()
    ]
    assert bearers, f"no test carries @pytest.mark.{promise}"
