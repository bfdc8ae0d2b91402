"""What holds for all tests: which begin first, what the collector leaves alone, the nursery."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

from tests.forked import Nursery
from tests.system import house


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collector from what stays to the end: modules, and thousands of tests.

    To look through them takes a third of a second, again and again, in the middle of tests that
    measure and of tests that wait.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what may take long, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(scope="session")
def nursery() -> Nursery:
    """The process from which relays are forked."""
    return house.nursery()
