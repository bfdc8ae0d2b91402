"""How the keys of a listener must fit together, and fit the senders there are.

Looks at the settings only. Does not know the certificates' contents, or whether addresses are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from relay.config.complaint import ANY, Finding, KeyPath
from relay.config.listener import Listener
from relay.config.model import Settings
from relay.config.network_checks import too_large
from relay.config.words import AuthWithoutTls, ListenerTls, TlsProfile
from relay.policy.admission import Auth

_EVERY_LOGIN: Final = ("senders", ANY, "login")
_EVERY_CERTIFICATE: Final = ("senders", ANY, "certificates")
_EVERY_NETWORK: Final = ("senders", ANY, "networks")


def check_listener(at: KeyPath, listener: Listener, settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with one listener."""
    if listener.tls is ListenerTls.OFF:
        yield from _without_tls(at, listener)
    else:
        yield from _certificate(at, listener, settings)
        yield from _profile(at, listener, settings)
    yield from _recognition(at, listener, settings)
    if listener.proxy_protocol is not None:
        for place, network in enumerate(listener.proxy_protocol.trusted):
            here = (*at, "proxy_protocol", "trusted", place)
            yield from too_large(here, network, "can say that it is any client")


def check_pairs(
    at: KeyPath, certificates: Sequence[object], keys: Sequence[object]
) -> Iterator[Finding]:
    """Complain where certificates and keys cannot belong together."""
    certificate, key = (*at, "certificate"), (*at, "key")
    relies = (certificate, key)
    if certificates and not keys:
        yield Finding(certificate, "needs its key: give key too", relies)
    elif keys and not certificates:
        yield Finding(key, "needs its certificate: give certificate too", relies)
    elif len(certificates) != len(keys):
        message = (
            "give one for each certificate, in the same order: "
            f"this is {len(keys)} for {len(certificates)}"
        )
        yield Finding(key, message, relies)


def _without_tls(at: KeyPath, listener: Listener) -> Iterator[Finding]:
    if listener.auth is not Auth.OFF:
        yield from _auth_in_clear(at, listener)
    for key in ("tls_profile", "certificate", "key", "client_ca"):
        if getattr(listener, key):
            here = (*at, key)
            yield Finding(here, "has no meaning with tls: off", (here, (*at, "tls")))


def _certificate(at: KeyPath, listener: Listener, settings: Settings) -> Iterator[Finding]:
    tls, certificate, key = (*at, "tls"), (*at, "certificate"), (*at, "key")
    if listener.certificate or listener.key:
        yield from check_pairs(at, listener.certificate, listener.key)
    elif settings.tls is None:
        yield Finding(
            tls,
            f"{listener.tls} needs a certificate: set tls.certificate and tls.key, or tls: off",
            (tls, certificate, key, ("tls",)),
        )


def _profile(at: KeyPath, listener: Listener, settings: Settings) -> Iterator[Finding]:
    profile, where = listener.tls_profile, (*at, "tls_profile")
    if profile is None and settings.tls is not None:
        profile, where = settings.tls.profile, ("tls", "profile")
    if profile is TlsProfile.LEGACY:
        yield Finding(
            where,
            "TLS 1.0 and 1.1 are broken; for devices that know nothing newer, on a listener only "
            "they use",
            (where, (*at, "tls"), (*at, "tls_profile")),
            is_warning=True,
        )


def _recognition(at: KeyPath, listener: Listener, settings: Settings) -> Iterator[Finding]:
    auth, authorities = (*at, "auth"), (*at, "client_ca")
    has_login = any(sender.login for sender in settings.senders)
    has_network = any(sender.networks for sender in settings.senders)
    has_certificate = any(sender.certificates for sender in settings.senders)
    shows = listener.client_ca is not None
    if shows and not has_certificate:
        yield Finding(
            authorities,
            "a certificate names nobody here: no sender has certificates",
            (authorities, _EVERY_CERTIFICATE),
            is_warning=True,
        )
    if shows and has_certificate:
        return
    if listener.auth is Auth.REQUIRED and not has_login:
        means = "a login or certificates" if shows else "a login"
        yield Finding(
            auth,
            f"nothing would be accepted here: AUTH is required and no sender has {means}",
            (auth, authorities, _EVERY_LOGIN, _EVERY_CERTIFICATE),
        )
    if listener.auth is not Auth.REQUIRED and not has_network:
        yield Finding(
            auth,
            f"with auth: {listener.auth} a client is known by its network, and no sender has "
            "networks",
            (auth, authorities, _EVERY_NETWORK, _EVERY_CERTIFICATE),
        )


def _auth_in_clear(at: KeyPath, listener: Listener) -> Iterator[Finding]:
    without, address = (*at, "auth_without_tls"), (*at, "address")
    relies = ((*at, "tls"), (*at, "auth"), without)
    if listener.auth_without_tls is AuthWithoutTls.NEVER:
        yield Finding(
            (*at, "tls"),
            "passwords would cross the network in clear: use starttls-required or implicit, or "
            "auth: off, or, for clients on this machine, auth_without_tls: loopback",
            relies,
        )
    elif listener.proxy_protocol is not None:
        proxy = (*at, "proxy_protocol")
        yield Finding(
            without,
            "loopback lets nobody log in here: who comes through a proxy is never a client on this "
            "machine",
            (*relies, proxy),
        )
    elif not listener.address.may_be_local:
        yield Finding(
            without,
            "loopback lets nobody log in here: no client reaches this address over loopback, as it "
            "would 127.0.0.1",
            (*relies, address),
        )
