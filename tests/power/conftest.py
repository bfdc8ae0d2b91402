"""Fixtures of the power tests: a relay under strace, where there is strace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.power.record import Tracer, tracer, why_not


@pytest.fixture(scope="session", name="traced")
def _traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracer]:
    if complaint := why_not():
        pytest.skip(complaint)
    with tracer(tmp_path_factory.mktemp("traced")) as opened:
        yield opened
