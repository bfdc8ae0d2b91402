"""What log lines look like: JSON for machines, columns for a terminal. Knows no mail."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import orjson
import structlog

from relay.observe.masking import Mask
from relay.observe.recent import Recent
from relay.observe.sink import Sink

Logger: TypeAlias = structlog.typing.FilteringBoundLogger
Render: TypeAlias = Callable[[MutableMapping[str, Any]], str]
"""Turns one event into the text of its line; an empty text is not written."""


class LogFormat(StrEnum):
    """`auto` is console on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def make_logger(
    level: str,
    log_format: LogFormat,
    sink: Sink,
    *,
    is_terminal: bool = False,
    render: Render | None = None,
    recent: Recent | None = None,
    mask: Mask | None = None,
) -> Logger:
    """Return the logger of the daemon, and send what libraries log the same way.

    `render` replaces both formats (the demo tells its story in sentences). `mask` hides addresses,
    `recent` remembers what went wrong.
    """
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if is_terminal else LogFormat.JSON
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if render is None:
        # For people too: where rich is there, structlog would have it print a traceback with the
        # values of all variables, passwords and content among them.
        processors.append(structlog.processors.format_exc_info)
    if mask is not None:
        processors.append(mask)
    if recent is not None:
        processors.append(recent)
    if render is not None:
        processors.append(_rendered_by(render))
    elif log_format is LogFormat.CONSOLE:
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
            )
        )
    else:
        processors.append(structlog.processors.JSONRenderer(serializer=_json))
    logger: Logger = structlog.wrap_logger(
        _Lines(sink),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    ).bind()
    _adopt_libraries(logger)
    return logger


class _Lines:
    """The end of structlog's chain: one rendered line, given to the sink."""

    def __init__(self, sink: Sink) -> None:
        self._write = sink.write

    def msg(self, line: str | bytes) -> None:
        """Give the line to the sink."""
        octets = line if isinstance(line, bytes) else line.encode(errors="backslashreplace")
        self._write(octets + b"\n")

    debug = info = warning = error = msg


def _json(event: object, **_options: object) -> bytes:
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        # Half a surrogate pair from somebody's diagnostic: the line matters more than its looks.
        return json.dumps(event, default=str).encode()


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
        tell = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        tell(
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
