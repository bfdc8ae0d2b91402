"""A stand-in for SES cheap enough not to be the bottleneck: nginx with one canned answer.

At once, at once by TLS, or after 60 ms; nothing but nginx is in the way of any of them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.points import Ses
from tests.tls import certificate_files

_ANSWER: Final = (
    "return 200 "
    '\'<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/">'
    "<SendRawEmailResult><MessageId>0102018f-bench-000000</MessageId></SendRawEmailResult>"
    "<ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></SendRawEmailResponse>';"
)
_ANSWER_V2: Final = (
    'default_type application/json; return 200 \'{"MessageId":"0102018f-bench-000000"}\';'
)
_CONFIG: Final = """
worker_processes 1;
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 64m;
    client_body_buffer_size 256k;
    keepalive_requests 100000000;
    default_type text/xml;
    server {{
        {listen}
        {locations}
    }}
}}
"""
_AT_ONCE: Final = f"""
        location /v2/ {{ {_ANSWER_V2} }}
        location / {{ {_ANSWER} }}
"""
# nginx waits before it answers only where a password is missing; and what it says then is up to
# error_page. So no program of ours spends CPU on waiting. (Of a longer body it begins to wait
# before it has read all: 60 ms are then the least.)
_LATE: Final = f"""
        auth_basic bench;
        auth_basic_user_file /dev/null;
        auth_delay 60ms;
        location /v2/ {{ error_page 401 =200 @v2; }}
        location / {{ error_page 401 =200 @v1; }}
        location @v2 {{ auth_basic off; {_ANSWER_V2} }}
        location @v1 {{ auth_basic off; {_ANSWER} }}
"""


class StandIn(NamedTuple):
    """A running stand-in."""

    url: str
    authority: Path
    """PEM: whom to believe that it is SES."""


def free_port() -> int:
    """Return a TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, *, seconds: float = 30.0) -> None:
    """Return once something accepts connections on the port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def ses_stand_in(ses: Ses = Ses.AT_ONCE) -> Iterator[StandIn]:
    """Run nginx answering every request as SES answers one that sends."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        raise SystemExit("bench: nginx is not installed (Debian: apt-get install nginx-light)")
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), free_port()
        # The worker runs as another user and must reach its directories.
        directory.chmod(0o755)
        certificate, key = certificate_files(directory)
        listen = f"listen 127.0.0.1:{port};"
        if ses is Ses.TLS:
            listen = (
                f"listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; "
                f"ssl_certificate_key {key};"
            )
        config = directory / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                directory=directory,
                listen=listen,
                locations=_LATE if ses is Ses.LATE else _AT_ONCE,
            )
        )
        process = subprocess.Popen([nginx, "-e", directory / "error.log", "-c", config])
        try:
            wait_for_port(port)
            scheme = "https" if ses is Ses.TLS else "http"
            yield StandIn(f"{scheme}://127.0.0.1:{port}", certificate)
        finally:
            process.terminate()
            process.wait()
