"""`python -m tests.crash.nursery FD`: a process that has imported the relay, and forks daemons.

To import it takes ten times as long as to start it, and a proof starts it hundreds of times. The
children are processes of their own, killed and reaped like any other. Knows how to fork and reap;
what runs in the child is the launcher. Ends, and its children with it, when the socket closes.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any, Final, NoReturn

from relay.service import run
from relay.ses.aws import Botocore
from relay.ses.sdk import Whereabouts
from tests.crash import launcher

_MOST: Final = 65536  # octets of one message


def warm_up() -> None:
    """Have read and imported what a daemon only reads and imports once it starts."""
    aws = Botocore(Whereabouts("eu-west-1", "http://127.0.0.1:9"))
    for service in ("ses", "sesv2"):
        aws.endpoint_url(service)
    aws.keys(anew=False)
    aws.close()
    run(_nothing)


async def _nothing() -> int:
    return 0


def serve(wire: socket.socket) -> None:
    """Fork a child for each message; tell of each child that has ended."""
    children: dict[int, int] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(wire, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not wire:
                    pid = children.pop(key.fd)
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(pid, 0)
                    code = os.waitstatus_to_exitcode(status)
                    wire.send(json.dumps({"pid": pid, "code": code}).encode())
                    continue
                octets, files, _, _ = socket.recv_fds(wire, _MOST, 2)
                if not octets:
                    for pid in children.values():
                        os.kill(pid, signal.SIGKILL)
                    return
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(octets), files)
                for descriptor in files:
                    os.close(descriptor)
                handle = os.pidfd_open(pid)
                children[handle] = pid
                waiting.register(handle, selectors.EVENT_READ)
                # With its handle: a number may be another's by the time a signal is sent to it.
                socket.send_fds(wire, [json.dumps({"pid": pid}).encode()], [handle])


def _become(asked: dict[str, Any], files: list[int]) -> NoReturn:
    """Be the daemon that was asked for, with those two files for what it says."""
    code = 1
    try:
        for target, descriptor in enumerate(files, 1):
            os.dup2(descriptor, target)
        os.closerange(3, 256)
        os.environ.update(asked["environment"])
        sys.argv = ["relay", *asked["words"]]
        launcher.run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
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
