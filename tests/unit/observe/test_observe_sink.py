"""A log that cannot be written costs log lines, never mail."""

from __future__ import annotations

import threading

import pytest

from relay.observe.sink import OCTETS, LogWriter


class Stream:
    """A file that can be stuck or broken."""

    def __init__(self) -> None:
        self.octets = b""
        self.error: Exception | None = None
        self.flows = threading.Event()
        self.flows.set()
        self.asked = threading.Event()

    def write(self, octets: bytes, /) -> None:
        self.asked.set()
        self.flows.wait()
        if self.error is not None:
            raise self.error
        self.octets += octets

    def flush(self) -> None:
        pass


def lines(count: int) -> list[bytes]:
    return [b"line %d\n" % n for n in range(count)]


def test_lines_are_written_in_order_and_all_of_them_at_the_end() -> None:
    stream = Stream()
    writer = LogWriter(stream)
    for line in lines(5000):
        writer.write(line)
    writer.close()
    assert stream.octets == b"".join(lines(5000))
    assert writer.dropped == 0


@pytest.mark.P6
def test_long_lines_are_bounded_by_what_they_weigh() -> None:
    stream = Stream()
    stream.flows.clear()
    writer = LogWriter(stream)
    line = b"x" * 250_000
    for _ in range(1000):
        writer.write(line)
    assert writer.dropped > 1000 - 2 * OCTETS // len(line)
    stream.flows.set()
    writer.close()
    # What was written no longer counts.
    assert len(stream.octets) == (1000 - writer.dropped) * len(line)
    assert writer._taken == writer._written


@pytest.mark.P6
def test_a_reader_that_stops_reading_costs_lines_and_no_time() -> None:
    stream = Stream()
    stream.flows.clear()
    writer = LogWriter(stream, capacity=100)
    writer.write(b"first\n")
    assert stream.asked.wait(10)
    # Were any of these to block, nobody would ever let the stream flow again.
    for line in lines(1000):
        writer.write(line)
    assert writer.dropped > 800
    stream.flows.set()
    writer.close()
    kept = stream.octets.splitlines(keepends=True)
    assert kept[0] == b"first\n"
    assert kept[1:] == lines(1000)[: len(kept) - 1]
    assert len(kept) + writer.dropped == 1001


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_a_file_that_fails_is_written_again_when_it_is_mended(error: Exception) -> None:
    stream = Stream()
    stream.error = error
    writer = LogWriter(stream)
    writer.write(b"lost\n")
    while not writer.dropped:
        assert stream.asked.wait(10)
    stream.error = None
    writer.write(b"kept\n")
    writer.close()
    assert stream.octets == b"kept\n"
    assert writer.dropped == 1
