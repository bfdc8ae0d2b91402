"""A stand-in for SES cheap enough not to be the bottleneck: nginx with one canned answer."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ANSWER: Final = (
    '<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/">'
    "<SendRawEmailResult><MessageId>0102018f-bench-000000</MessageId></SendRawEmailResult>"
    "<ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></SendRawEmailResponse>"
)
_ANSWER_V2: Final = '{"MessageId":"0102018f-bench-000000"}'
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
        listen 127.0.0.1:{port};
        location /v2/ {{ default_type application/json; return 200 '{answer_v2}'; }}
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


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
def ses_stand_in() -> Iterator[str]:
    """Run nginx answering every request as SES answers one that sends; yield its URL."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        raise SystemExit("bench: nginx is not installed (Debian: apt-get install nginx-light)")
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), free_port()
        # The worker runs as another user and must reach its directories.
        directory.chmod(0o755)
        config = directory / "nginx.conf"
        config.write_text(
            _CONFIG.format(directory=directory, port=port, answer=_ANSWER, answer_v2=_ANSWER_V2)
        )
        process = subprocess.Popen([nginx, "-e", directory / "error.log", "-c", config])
        try:
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
