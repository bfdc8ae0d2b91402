"""How log lines leave the process: JSON for machines, columns for a terminal. Knows no mail."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from enum import StrEnum
from typing import Any, Final, TextIO, TypeAlias

import orjson
import structlog

Logger: TypeAlias = structlog.typing.FilteringBoundLogger
Render: TypeAlias = Callable[[MutableMapping[str, Any]], str]
"""Turns one event into the text of its line; an empty text is not written."""


class LogFormat(StrEnum):
    """`auto` is console on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def make_logger(
    level: str, log_format: LogFormat, stream: TextIO = sys.stdout, render: Render | None = None
) -> Logger:
    """Return the logger of the daemon, and send what libraries log the same way.

    `render` replaces both formats (the demo tells its story in sentences).
    """
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    first: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if render is not None:
        last: list[structlog.typing.Processor] = [_rendered_by(render)]
    elif log_format is LogFormat.CONSOLE:
        last = [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    else:
        first.append(structlog.processors.format_exc_info)
        last = [structlog.processors.JSONRenderer(serializer=orjson.dumps)]
    writes_bytes = render is None and log_format is LogFormat.JSON
    sink = structlog.BytesLogger(stream.buffer) if writes_bytes else structlog.PrintLogger(stream)
    logger: Logger = structlog.wrap_logger(
        sink,
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    ).bind()
    _adopt_libraries(logger)
    return logger


def _rendered_by(render: Render) -> structlog.typing.Processor:
    def processor(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        line = render(event)
        if not line:
            raise structlog.DropEvent
        return line

    return processor


class _Adopted(logging.Handler):
    """Takes the warnings of libraries into our log, so that there is one log to read."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under one event name, its own words as a field."""
        self._logger.warning(
            "library.warning",
            library=record.name,
            words=record.getMessage(),
            exc_info=record.exc_info or None,
        )


def _adopt_libraries(logger: Logger) -> None:
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Adopted)]:
        root.removeHandler(handler)
    root.addHandler(_Adopted(logger))
