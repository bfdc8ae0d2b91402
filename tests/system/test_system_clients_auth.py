"""swaks, curl, msmtp and smtplib: every way to log in, over every way to begin a session."""

from __future__ import annotations

import asyncio
import itertools
import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.simulator import Message, Simulator
from tests.system.clients import (
    LOGIN,
    MAIL,
    PASSWORD,
    addressed,
    as_sent,
    certificate,
    configured,
    protocol,
    unix,
)
from tests.system.conftest import StartRelay
from tests.system.house import Relay, run

Needs = Callable[[str], str]
FROM = ("billing@example.com", ["jane@example.net"])


@pytest.fixture
async def relay(start_relay: StartRelay, tmp_path: Path) -> Relay:
    return await start_relay(**configured(tmp_path))


async def all_went_well(
    simulator: Simulator, commands: dict[str, tuple[str, ...]]
) -> tuple[Message, ...]:
    """Run all commands at once; say which of them failed, and what they said."""
    ended = await asyncio.gather(*(run(*words) for words in commands.values()))
    failed = {
        name: said[-1500:] for name, (code, said) in zip(commands, ended, strict=True) if code != 0
    }
    assert not failed, f"failed: {sorted(failed)}\n" + "\n".join(failed.values())
    return await simulator.received(len(commands))


SWAKS_TLS = {
    "starttls": ("submission", "--tls"),
    "implicit": ("smtps", "--tls-on-connect"),
    "optional, offered": ("either", "--tls-optional"),
    "none, on this host": ("either",),
}


@pytest.mark.P2
@pytest.mark.P7
async def test_swaks_in_every_mode(
    relay: Relay, simulator: Simulator, needs: Needs, tmp_path: Path
) -> None:
    content = tmp_path / "mail"
    # swaks ends the last line itself.
    content.write_bytes(unix(MAIL.removesuffix(b"\r\n")))
    modes = itertools.product(SWAKS_TLS, ("PLAIN", "LOGIN"), ((), ("--pipeline",)))
    swaks = needs("swaks")
    commands = {
        f"{tls}, {mechanism} {' '.join(how)}": (
            *(swaks, "--server", "127.0.0.1", "--port", str(relay.ports[SWAKS_TLS[tls][0]])),
            *(*SWAKS_TLS[tls][1:], "--auth", mechanism, "--auth-user", LOGIN, *how),
            *("--auth-password", PASSWORD, "--from", FROM[0], "--to", FROM[1][0]),
            *("--data", f"@{content}", "--suppress-data"),
        )
        for tls, mechanism, how in modes
    }
    messages = await all_went_well(simulator, commands)
    assert {as_sent(message) for message in messages} == {MAIL}
    assert all(addressed(message) == FROM for message in messages)
    # As often as there are modes of the kind: nobody was let in otherwise than it said.
    protocols = [protocol(message) for message in messages]
    assert (protocols.count(b"ESMTPSA"), protocols.count(b"ESMTPA")) == (12, 4)


@pytest.mark.P7
async def test_swaks_is_refused_without_password_or_tls(
    relay: Relay, simulator: Simulator, needs: Needs
) -> None:
    def words(listener: str, *more: str) -> tuple[str, ...]:
        where = ("--server", "127.0.0.1", "--port", str(relay.ports[listener]))
        return (needs("swaks"), *where, "--from", FROM[0], "--to", FROM[1][0], *more)

    right = ("--auth-user", LOGIN, "--auth-password", PASSWORD)
    wrong = ("--auth-user", LOGIN, "--auth-password", "wrong")
    tries = {
        "no TLS": (words("submission"), "530 5.7.0"),
        "no TLS, no password": (
            words("submission", "--auth", "LOGIN", *right),
            "did not advertise authentication",
        ),
        "no password": (words("smtps", "--tls-on-connect"), "530 5.7.0"),
        "wrong password": (
            words("smtps", "--tls-on-connect", "--auth", "PLAIN", *wrong),
            "535 5.7.8",
        ),
        "a mechanism we lack": (
            words("smtps", "--tls-on-connect", "--auth", "CRAM-MD5", *right),
            "Auth not attempted",
        ),
    }
    ended = await asyncio.gather(*(run(*command) for command, _ in tries.values()))
    for (what, (_, reply)), (code, said) in zip(tries.items(), ended, strict=True):
        assert code != 0, f"{what}: the mail was taken\n{said[-1500:]}"
        assert reply in said, f"{what}: not refused with {reply}\n{said[-1500:]}"
    assert simulator.taken == 0


@pytest.mark.P2
async def test_curl_in_every_mode(
    relay: Relay, simulator: Simulator, needs: Needs, tmp_path: Path
) -> None:
    content = tmp_path / "mail"
    content.write_bytes(MAIL)
    where = {
        "STARTTLS": (f"smtp://127.0.0.1:{relay.ports['submission']}", "--ssl-reqd"),
        "implicit": (f"smtps://127.0.0.1:{relay.ports['smtps']}",),
        "if offered": (f"smtp://127.0.0.1:{relay.ports['either']}", "--ssl"),
        "clear": (f"smtp://127.0.0.1:{relay.ports['either']}",),
    }
    commands = {
        f"{tls}, {mechanism}": (
            *(needs("curl"), "--silent", "--show-error", *words, "--cacert", certificate(relay)),
            *("--user", f"{LOGIN}:{PASSWORD}", "--login-options", f"AUTH={mechanism}"),
            *("--mail-from", FROM[0], "--mail-rcpt", FROM[1][0], "--upload-file", str(content)),
        )
        for (tls, words), mechanism in itertools.product(where.items(), ("PLAIN", "LOGIN"))
    }
    messages = await all_went_well(simulator, commands)
    assert {as_sent(message) for message in messages} == {MAIL}
    assert all(addressed(message) == FROM for message in messages)
    assert sorted(protocol(message) for message in messages) == [b"ESMTPA"] * 2 + [b"ESMTPSA"] * 6


@pytest.mark.P2
async def test_msmtp_in_every_mode(
    relay: Relay, simulator: Simulator, needs: Needs, tmp_path: Path
) -> None:
    content = tmp_path / "mail"
    content.write_bytes(unix(MAIL))
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    where = {
        "STARTTLS": ("submission", "--tls=on --tls-starttls=on"),
        "implicit": ("smtps", "--tls=on --tls-starttls=off"),
        "clear": ("either", "--tls=off"),
    }
    modes = itertools.product(where.items(), ("plain", "login"))
    commands: dict[str, tuple[str, ...]] = {}
    for (tls, (listener, words)), mechanism in modes:
        trust = "" if tls == "clear" else f"--tls-trust-file={certificate(relay)}"
        command = (
            f"{needs('msmtp')} --file=/dev/null --host=127.0.0.1 --port={relay.ports[listener]}"
            f" {words} {trust} --auth={mechanism} --user={LOGIN} --passwordeval='cat {secret}'"
            " --set-date-header=off --set-msgid-header=off"
            f" --from={FROM[0]} {FROM[1][0]} < {content}"
        )
        commands[f"{tls}, {mechanism}"] = ("sh", "-c", command)
    messages = await all_went_well(simulator, commands)
    assert {as_sent(message) for message in messages} == {MAIL}
    assert all(addressed(message) == FROM for message in messages)


@pytest.mark.P2
async def test_smtplib_in_every_mode(relay: Relay, simulator: Simulator) -> None:
    context = ssl.create_default_context(cafile=certificate(relay))

    def submit(tls: str, mechanism: str) -> None:
        client = (
            smtplib.SMTP_SSL("127.0.0.1", relay.ports["smtps"], context=context)
            if tls == "implicit"
            else smtplib.SMTP("127.0.0.1", relay.ports["either"])
        )
        with client:
            if tls == "STARTTLS":
                client.starttls(context=context)
            client.ehlo()
            client.user, client.password = LOGIN, PASSWORD
            # login() tries what it likes best; here each mechanism has its turn. bpo-27820 was
            # LOGIN without an initial response.
            first = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}
            name, _, how = mechanism.partition(" ")
            code, _ = client.auth(name, first[name], initial_response_ok=not how)
            assert code == 235
            for _ in range(2):
                client.sendmail(*FROM, MAIL, ["BODY=8BITMIME"])

    modes = list(
        itertools.product(
            ("STARTTLS", "implicit", "clear"), ("PLAIN", "PLAIN bare", "LOGIN", "LOGIN bare")
        )
    )
    await asyncio.gather(*(asyncio.to_thread(submit, *mode) for mode in modes))
    messages = await simulator.received(2 * len(modes))
    assert {as_sent(message) for message in messages} == {MAIL}
    assert all(addressed(message) == FROM for message in messages)


@pytest.mark.P7
@pytest.mark.parametrize("version", ["1", "2"])
async def test_swaks_comes_through_a_proxy(
    start_relay: StartRelay,
    simulator: Simulator,
    needs: Needs,
    tmp_path: Path,
    version: str,
) -> None:
    relay = await start_relay(networks="192.0.2.0/24", **configured(tmp_path, proxied=True))

    def words(source: str) -> tuple[str, ...]:
        return (
            *(needs("swaks"), "--server", "127.0.0.1", "--port", str(relay.ports["proxied"])),
            *(
                "--proxy-version",
                version,
                "--proxy-family",
                "TCP4" if version == "1" else "AF_INET",
            ),
            *("--proxy-source", source, "--proxy-source-port", "4711"),
            *("--proxy-dest", "198.51.100.1", "--proxy-dest-port", "25"),
            *("--from", "app@example.com", "--to", "jane@example.net"),
            *("--h-From", "app@example.com", "--body", "Hi"),
        )

    code, said = await run(*words("203.0.113.9"))
    assert code != 0, f"a client of no known network was let in\n{said[-1500:]}"
    assert "550 5.7.1" in said
    code, said = await run(*words("192.0.2.7"))
    assert code == 0, said[-1500:]
    (message,) = await simulator.received(1)
    assert b"([192.0.2.7])" in message.raw.partition(b"\r\n\r\n")[0]
