"""Clients that show a certificate: who they are, and when they no longer are."""

from __future__ import annotations

import contextlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from relay.policy.admission import Auth
from relay.policy.sender import Sender
from relay.smtp.settings import TlsMode
from relay.smtp.tls import TlsFiles, server_context
from tests.builders import a_ruleset
from tests.dialogue.house import (
    PASSWORD,
    Caller,
    House,
    a_house,
    a_known_sender,
    a_listener,
    trusting,
)
from tests.tls import Authority

NAME = x509.DNSName("ERP.example.com")
MODES = [TlsMode.IMPLICIT, TlsMode.STARTTLS_REQUIRED]
MAIL = "MAIL FROM:<billing@example.com>"


def known_by(*names: str, name: str = "billing") -> Sender:
    """A sender known by its certificate or its login, and by no network."""
    return replace(a_known_sender(name), certificates=names, networks=())


def login(name: str, password: str = PASSWORD) -> str:
    return "AUTH PLAIN " + b64encode(f"\0{name}\0{password}".encode()).decode()


class Place:
    """Where the certificates of a test are."""

    def __init__(self, server: Path, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.authority = Authority()

    def authorities(self, *others: Authority) -> Path:
        path = self.directory / "clients.pem"
        path.write_bytes(b"".join(one.pem for one in (*others, self.authority)))
        return path

    def showing(self, *names: x509.GeneralName, by: Authority | None = None) -> ssl.SSLContext:
        """A client that shows a certificate with these names."""
        context = trusting(self.server)
        common_name = "erp.example.com"
        issued = (by or self.authority).issue(self.directory, *names, common_name=common_name)
        context.load_cert_chain(issued)
        return context

    @contextlib.asynccontextmanager
    async def house(
        self, *senders: Sender, tls: TlsMode = TlsMode.IMPLICIT, auth: Auth = Auth.REQUIRED
    ) -> AsyncIterator[House]:
        listener = a_listener(tls, auth, takes_certificates=True, max_connections=80)
        async with a_house(
            *(senders or (known_by("erp.example.com"),)),
            listener=listener,
            certificate=self.server,
            client_ca=self.authorities(),
        ) as house:
            yield house


@pytest.fixture(name="place")
def _place(certificate: Path, tmp_path: Path) -> Place:
    return Place(certificate, tmp_path)


@contextlib.asynccontextmanager
async def calling(house: House, tls: ssl.SSLContext) -> AsyncIterator[Caller]:
    """A client that has done its handshake and said EHLO."""
    is_implicit = house.door.listeners[0].settings.tls is TlsMode.IMPLICIT
    async with await Caller.at(house.port, tls=tls if is_implicit else None) as caller:
        await caller.greet()
        if not is_implicit:
            await caller.ask("STARTTLS")
            await caller.start_tls(tls)
            await caller.ask("EHLO app.test")
        yield caller


@pytest.mark.P7
@pytest.mark.parametrize("tls", MODES)
@pytest.mark.parametrize("auth", list(Auth))
@pytest.mark.parametrize(
    "name",
    [NAME, x509.RFC822Name("erp@example.com"), x509.UniformResourceIdentifier("urn:x:erp")],
    ids=lambda name: type(name).__name__,
)
async def test_a_certificate_says_who_the_client_is(
    name: x509.GeneralName, auth: Auth, tls: TlsMode, place: Place
) -> None:
    sender = known_by("erp.example.com", "erp@example.com", "urn:x:erp")
    async with (
        place.house(sender, tls=tls, auth=auth) as house,
        calling(house, place.showing(name, x509.DNSName("else.test"))) as caller,
    ):
        assert (await caller.ask(MAIL)).startswith("250 ")
        [(_, mechanism, known)] = house.told("authenticated")
        assert (mechanism, known) == ("certificate", "billing")


@pytest.mark.P7
@pytest.mark.parametrize("tls", MODES)
async def test_a_certificate_that_names_nobody_is_no_identity(tls: TlsMode, place: Place) -> None:
    both = [known_by("erp.example.com"), known_by("a.example.com", name="printers")]
    async with place.house(*both, tls=tls) as house:
        for names in ([x509.DNSName("else.test")], [NAME, x509.DNSName("a.example.com")]):
            async with calling(house, place.showing(*names)) as caller:
                assert (await caller.ask(MAIL)).startswith("530 5.7.0 ")
                # Which does not keep it from being somebody all the same.
                assert (await caller.ask(login("printers"))).startswith("235 ")
                assert (await caller.ask(MAIL)).startswith("250 ")
        # The common name is the sender's, and is not looked at.
        async with calling(house, place.showing()) as caller:
            assert (await caller.ask(MAIL)).startswith("530 5.7.0 ")
        assert [names for _, names in house.told("certificate_unknown")] == [
            ("else.test",),
            ("ERP.example.com", "a.example.com"),
        ]
        assert [mechanism for _, mechanism, _ in house.told("authenticated")] == ["plain"] * 2


async def test_the_size_offered_is_that_of_senders_with_certificates_too(place: Place) -> None:
    sender = replace(known_by("erp.example.com"), login="", secret="")
    async with place.house(sender) as house, calling(house, place.showing(NAME)) as caller:
        assert f"SIZE {sender.limits.message_size}\r\n" in await caller.ask("EHLO app.test")


async def test_nobody_has_to_show_a_certificate(place: Place) -> None:
    async with place.house() as house, calling(house, trusting(place.server)) as caller:
        assert (await caller.ask(MAIL)).startswith("530 5.7.0 ")
        assert (await caller.ask(login("billing"))).startswith("235 ")
        assert (await caller.ask(MAIL)).startswith("250 ")
        assert not house.told("certificate_unknown")


@pytest.mark.P7
async def test_a_certificate_of_nobody_we_believe_ends_the_handshake(place: Place) -> None:
    stranger = place.showing(NAME, by=Authority("stranger.test"))
    async with place.house() as house:
        # With TLS 1.3 the client has done its part before it is refused.
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            async with await Caller.at(house.port, tls=stranger) as caller:
                await caller.greet()
        assert house.facts.told == [("connection_refused", ("legacy", "127.0.0.1", "certificate"))]
        assert not house.door.listeners[0].places


@pytest.mark.P7
async def test_the_same_behind_starttls(place: Place) -> None:
    stranger = place.showing(NAME, by=Authority("stranger.test"))
    async with place.house(tls=TlsMode.STARTTLS) as house:
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            async with calling(house, stranger):
                pass
        await house.gone()
        [(_, *failure)] = house.told("auth_failed")
        assert failure == ["certificate", "credentials"]
        assert not house.told("fault")


@pytest.mark.P7
@pytest.mark.parametrize("tls", MODES)
async def test_a_login_goes_before_a_certificate(tls: TlsMode, place: Place) -> None:
    both = [known_by("erp.example.com"), known_by(name="printers")]
    async with (
        place.house(*both, tls=tls) as house,
        calling(house, place.showing(NAME)) as caller,
    ):
        assert "AUTH PLAIN LOGIN" in await caller.ask("EHLO app.test")
        assert (await caller.ask(login("printers", "wrong"))).startswith("535 ")
        assert (await caller.ask(MAIL)).startswith("250 ")
        assert (await caller.ask(login("printers"))).startswith("503 ")
        await caller.ask("RSET")
        assert (await caller.ask(login("printers"))).startswith("235 ")
        assert "AUTH" not in await caller.ask("EHLO app.test")
        assert (await caller.ask(login("billing"))).startswith("503 ")
        await caller.reach_data()
        assert [sender for *_, sender in house.told("authenticated")] == ["billing", "printers"]
        assert house.door.listeners[0].places._senders == {"printers": 1}


async def test_a_certificate_is_not_what_rfc_3848_calls_authenticated(place: Place) -> None:
    async with place.house() as house, calling(house, place.showing(NAME)) as caller:
        assert (await caller.send()).startswith("250 ")
        assert b" with ESMTPS id " in house.contents[0]
        assert house.spool.committed[0][0].sender == "billing"


CHANGED = "421 4.7.0 Your login has changed; connect again"


@pytest.mark.P7
@pytest.mark.parametrize("tls", MODES)
@pytest.mark.parametrize(
    ("senders", "reply"),
    [
        ([known_by("erp.example.com")], "250 2.1.0 Ok"),
        ([replace(known_by("x.test", "erp.example.com"), login="other")], "250 2.1.0 Ok"),
        ([known_by("other.example.com")], CHANGED),
        ([known_by("erp.example.com", name="other")], CHANGED),
        ([known_by(), known_by("erp.example.com", name="other")], CHANGED),
    ],
    ids=["same", "more", "renamed", "gone", "moved"],
)
async def test_a_reload_that_takes_the_name_away_ends_the_session(
    senders: list[Sender], reply: str, tls: TlsMode, place: Place
) -> None:
    async with (
        place.house(tls=tls) as house,
        calling(house, place.showing(NAME)) as caller,
    ):
        assert (await caller.ask(MAIL)).startswith("250 ")
        await caller.ask("RSET")
        house.rules.current = a_ruleset(*senders, generation=2)
        assert await caller.ask(MAIL) == reply


@pytest.mark.P7
@pytest.mark.parametrize("tls", MODES)
async def test_a_reload_that_takes_the_authority_away_ends_the_session(
    tls: TlsMode, place: Place
) -> None:
    other = Authority("other.test")
    async with place.house(tls=tls) as house:

        def reload(client_ca: Path | None) -> None:
            files = TlsFiles((place.server,), (place.server,), client_ca=client_ca)
            house.tls["legacy"].current = server_context(files)
            house.rules.current = a_ruleset(known_by("erp.example.com"), generation=2)

        shown = place.showing(NAME)
        async with calling(house, shown) as caller:
            reload(place.authorities(other))
            assert (await caller.ask(MAIL)).startswith("250 ")
        async with calling(house, shown) as caller:
            only_other = place.directory / "other.pem"
            only_other.write_bytes(other.pem)
            reload(only_other)
            assert await caller.ask(MAIL) == CHANGED
        async with calling(house, place.showing(NAME, by=other)) as caller:
            reload(None)
            assert await caller.ask(MAIL) == CHANGED


TOO_MANY = "421 4.7.0 Too many connections of this sender, try again later"


@pytest.mark.P6
@pytest.mark.parametrize("how", ["certificate", "login", "network"])
async def test_a_sender_has_a_share_however_it_is_known(how: str, place: Place) -> None:
    sender = known_by("erp.example.com")
    if how == "network":
        sender = replace(sender, networks=a_known_sender().networks)
    tls = place.showing(NAME) if how == "certificate" else trusting(place.server)
    words = login("billing") if how == "login" else MAIL
    async with place.house(sender, auth=Auth.OPTIONAL) as house:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                caller = await stack.enter_async_context(calling(house, tls))
                assert (await caller.ask(words))[:1] == "2"
            async with await Caller.at(house.port, tls=tls) as one_more:
                said = await one_more.hear()
                if how != "certificate":
                    said = await one_more.ask("EHLO app.test", words)
                assert said == TOO_MANY
            assert house.told("connection_refused") == [("legacy", "127.0.0.1", "sender")]
        await house.gone()
        async with calling(house, tls) as caller:
            assert (await caller.ask(words))[:1] == "2"
