"""`python -m tests.nursery FD`: a process that has imported the relay, and forks whatever starts it.

To import it takes ten times as long as to start it, and proofs and tests start it hundreds of
times. The children are processes of their own, killed and reaped like any other. Knows how to fork
and reap; a child runs a module as `python -m` would. Ends, and its children with it, when the
socket closes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from typing import Any, Final, NoReturn

_MOST: Final = 65536  # octets of one message
_FILES: Final = 3
# What a daemon imports, and what a verb does.
_MODULES: Final = ("relay.service", "relay.cli.serve", "relay.cli.app", "relay.cli.queue_app")


def warm_up() -> None:
    """Have read and imported what a daemon or a verb only reads and imports once it starts."""
    # As in a daemon: structlog must not find it, although verbs do.
    sys.modules["rich"] = None  # type: ignore[assignment]
    for name in _MODULES[:2]:
        importlib.import_module(name)
    del sys.modules["rich"]
    for name in _MODULES[2:]:
        importlib.import_module(name)
    _prepare_daemons()


def _prepare_daemons() -> None:
    from relay.service import run  # noqa: PLC0415 - in the order of `warm_up`
    from relay.ses.aws import Botocore  # noqa: PLC0415
    from relay.ses.sdk import Whereabouts  # noqa: PLC0415

    aws = Botocore(Whereabouts("eu-west-1", "http://127.0.0.1:9"))
    for service in ("ses", "sesv2"):
        aws.endpoint_url(service)
    aws.keys(anew=False)

    async def nothing() -> int:
        return 0

    run(nothing)


def serve(wire: socket.socket) -> None:
    """Fork a child for each message; tell of its birth, and its end, by the pipe that came with it.

    The other two files are what it has for standard output and error.
    """
    children: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(wire, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not wire:
                    waiting.unregister(key.fd)
                    pid, told = children.pop(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(pid, 0)
                    _tell(told, os.waitstatus_to_exitcode(status))
                    os.close(told)
                    continue
                octets, files, _, _ = socket.recv_fds(wire, _MOST, _FILES)
                if not octets:
                    for pid, _ in children.values():
                        os.kill(pid, signal.SIGKILL)
                    return
                *standard, told = files
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(octets), standard)
                for descriptor in standard:
                    os.close(descriptor)
                handle = os.pidfd_open(pid)
                children[handle] = pid, told
                waiting.register(handle, selectors.EVENT_READ)
                _tell(told, pid)


def _tell(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
        os.write(pipe, b"%d\n" % number)


def _become(asked: dict[str, Any], files: list[int]) -> NoReturn:
    """Be the process that was asked for, with those two files for what it says."""
    code = 1
    try:
        for target, descriptor in enumerate(files, 1):
            os.dup2(descriptor, target)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(asked["environment"])
        module, *words = asked["words"]
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        else:
            code = end.code or 0
    except BaseException:  # noqa: BLE001 - the parent reads it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not through the fork's copy of what the nursery would do at its end.
        os._exit(code)


if __name__ == "__main__":
    warm_up()
    # Or each child's collector would write to, and so copy, all that was imported.
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
