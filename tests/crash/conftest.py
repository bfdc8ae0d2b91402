"""Fixtures of the crash tests: the nursery, and where a spool is kept when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.victim import Nursery


@pytest.fixture(scope="session", name="nursery")
def _nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
