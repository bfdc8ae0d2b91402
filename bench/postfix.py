"""Postfix from Debian, private and durable, relaying to smtp-sink: what one would use instead."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.logs import SENT, Log
from bench.points import Point, Tls
from bench.stand_in import StandIn, free_port, wait_for_port
from bench.subjects import SBIN, Running, directory_on_disk, tool
from tests.tls import certificate_files

_MAIN_CF: Final = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{sink}
smtp_tls_security_level = none
smtpd_tls_security_level = {tls}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_session_cache_database =
message_size_limit = 20971520
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
disable_dns_lookups = yes
default_destination_concurrency_limit = 20
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 120
alias_maps =
alias_database =
"""
_MASTER_CF: Final = """
{port}     inet  n - n - - smtpd {wrapped}
pickup     unix  n - n 60 1 pickup
cleanup    unix  n - n - 0 cleanup
qmgr       unix  n - n 300 1 qmgr
rewrite    unix  - - n - - trivial-rewrite
bounce     unix  - - n - 0 bounce
defer      unix  - - n - 0 bounce
trace      unix  - - n - 0 bounce
verify     unix  - - n - 1 verify
proxymap   unix  - - n - - proxymap
smtp       unix  - - n - - smtp
relay      unix  - - n - - smtp
showq      unix  n - n - - showq
error      unix  - - n - - error
retry      unix  - - n - - error
discard    unix  - - n - - discard
anvil      unix  - - n - 1 anvil
scache     unix  - - n - 1 scache
tlsmgr     unix  - - n 1000? 1 tlsmgr
postlog    unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(point: Point, _ses: StandIn) -> Iterator[Running]:
    """Start it for a point; the CPU of smtp-sink is not counted."""
    with directory_on_disk() as root:
        port, sink_port = free_port(), free_port()
        root.chmod(0o755)
        config, queue, data = root / "etc", root / "queue", root / "data"
        for path in (config, queue, data):
            path.mkdir()
        shutil.chown(data, "postfix")
        certificate, key = certificate_files(root)
        (config / "main.cf").write_text(
            _MAIN_CF.format(
                root=root,
                sink=sink_port,
                tls="none" if point.tls is Tls.OFF else "may",
                certificate=certificate,
                key=key,
            )
        )
        wrapped = "-o smtpd_tls_wrappermode=yes" if point.tls is Tls.IMPLICIT else ""
        (config / "master.cf").write_text(_MASTER_CF.format(port=port, wrapped=wrapped))
        sink = subprocess.Popen(
            [tool("smtp-sink"), "-u", "nobody", f"127.0.0.1:{sink_port}", "1000"]
        )
        run = [tool("postfix"), "-c", str(config)]
        try:
            subprocess.run([*run, "start"], check=True, capture_output=True)
            wait_for_port(port)
            pid = int((queue / "pid" / "master.pid").read_text())
            yield Running(port, pid, certificate, Log(root / "log", SENT))
        finally:
            subprocess.run([*run, "stop"], check=False, capture_output=True)
            sink.terminate()
            sink.wait()


def can_run_postfix() -> bool:
    """Whether a private Postfix can be started here."""
    return os.geteuid() == 0 and shutil.which("postfix", path=SBIN) is not None
