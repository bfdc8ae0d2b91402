"""A Postfix of one's own that hands everything to a smarthost: the client most relays meet.

Runs from a directory, beside any other Postfix. Knows no relay.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
mail_owner = postfix
setgid_group = postdrop
myhostname = app.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtp_dns_support_level = disabled
local_header_rewrite_clients =
minimal_backoff_time = 1s
queue_run_delay = 1s
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{port}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:{login}:{password}
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = {mechanism}
smtp_tls_CAfile = {certificate}
smtp_tls_secure_cert_match = relay.test
smtp_tls_security_level = secure
smtp_tls_wrappermode = {wrapped}
"""
_MASTER_CF = """
{port}     inet  n - n - - smtpd
pickup     unix  n - n 60 1 pickup
cleanup    unix  n - n - 0 cleanup
qmgr       unix  n - n 300 1 qmgr
tlsmgr     unix  - - n 1000? 1 tlsmgr
rewrite    unix  - - n - - trivial-rewrite
bounce     unix  - - n - 0 bounce
defer      unix  - - n - 0 bounce
trace      unix  - - n - 0 bounce
verify     unix  - - n - 1 verify
proxymap   unix  - - n - - proxymap
smtp       unix  - - n - - smtp -v
relay      unix  - - n - - smtp
showq      unix  n - n - - showq
error      unix  - - n - - error
retry      unix  - - n - - error
discard    unix  - - n - - discard
anvil      unix  - - n - 1 anvil
scache     unix  - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""


@contextmanager
def smarthosted(
    program: str,
    root: Path,
    *,
    port: int,
    login: str,
    password: str,
    mechanism: str,
    certificate: str,
    wrapped: bool,
) -> Iterator[int]:
    """Run Postfix with `port` as its smarthost, over TLS; yield the port it takes mail on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    config, data = root / "etc", root / "data"
    for path in (config, data, root / "queue"):
        path.mkdir(parents=True)
    # Its daemons are another user, and pytest's directories are for one's own eyes.
    shared = Path(tempfile.gettempdir())
    for path in (root, *root.parents):
        if shared in path.parents:
            path.chmod(0o755)
    shutil.chown(data, "postfix")
    main = _MAIN_CF.format(
        root=root,
        port=port,
        login=login,
        password=password,
        mechanism=mechanism,
        certificate=certificate,
        wrapped="yes" if wrapped else "no",
    )
    (config / "main.cf").write_text(main)
    (config / "master.cf").write_text(_MASTER_CF.format(port=own))
    words = [program, "-c", str(config)]
    started = subprocess.run([*words, "start"], check=False, capture_output=True, text=True)
    log = root / "log"
    said = started.stderr + (log.read_text() if log.exists() else "")
    assert started.returncode == 0, f"Postfix does not start: {said}"
    try:
        yield own
    finally:
        subprocess.run([*words, "stop"], check=False, capture_output=True)


def may_run() -> bool:
    """Whether this user may start a Postfix: only root may."""
    return os.geteuid() == 0
