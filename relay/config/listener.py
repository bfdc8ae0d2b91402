"""Every key of a listener, and of the TLS all listeners share.

The descriptions are the operator's documentation: the JSON Schema is made of them. Says nothing of
how keys must fit together; relay.config.listener_checks does.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from relay.config import values as v
from relay.config.part import ONE_OR_MORE, Part
from relay.config.spelling import words
from relay.config.words import AuthWithoutTls, Extension, ListenerTls, LongLines, TlsProfile
from relay.policy.admission import Auth
from relay.policy.sender import LineEndings


class ProxyProtocol(Part):
    """The proxies in front of a listener, which say by a PROXY header who the client is."""

    trusted: tuple[v.NetworkRange, ...] = Field(
        min_length=1,
        description=(
            "The networks of the proxies. Only they may connect, and each connection starts with a "
            "PROXY header, version 1 or 2."
        ),
    )


class Listener(Part):
    """One address on which clients are served."""

    name: v.Name = Field(
        description="What logs and metrics call this listener; unique among listeners."
    )
    address: v.ListenAddress = Field(description="Where it listens.")
    tls: Annotated[ListenerTls, words(ListenerTls)] = Field(
        default=ListenerTls.STARTTLS_REQUIRED,
        description=(
            "When connections are encrypted: off; starttls (offered); starttls-required (no mail "
            "before STARTTLS); implicit (TLS from the first octet, as on port 465)."
        ),
    )
    tls_profile: Annotated[TlsProfile, words(TlsProfile)] | None = Field(
        default=None,
        description=(
            "Which versions of TLS it speaks: modern (1.3), intermediate (1.2 and newer) or legacy "
            "(1.0 and newer, for old devices). Without it: tls.profile."
        ),
    )
    certificate: Annotated[tuple[v.FilePath, ...], ONE_OR_MORE] = Field(
        default=(),
        description=(
            "The certificate it shows, or several of different kinds (RSA and ECDSA), as in tls. "
            "Without it: tls.certificate."
        ),
    )
    key: Annotated[tuple[v.FilePath, ...], ONE_OR_MORE] = Field(
        default=(),
        description="The private key of each certificate, in the same order. Without it: tls.key.",
    )
    client_ca: v.FilePath | None = Field(
        default=None,
        description=(
            "The authorities, PEM, whose client certificates it accepts: a client that shows one "
            "is the sender that has a name of it among its certificates, as if it had logged in. "
            "Without it: no client is asked for a certificate."
        ),
    )
    auth: Annotated[Auth, words(Auth)] = Field(
        default=Auth.REQUIRED,
        description=(
            "Who the client is: required (it logs in); optional (it logs in, or its network names "
            "the sender); off (its network names the sender). A client certificate that names a "
            "sender counts as a login with all three."
        ),
    )
    auth_without_tls: Annotated[AuthWithoutTls, words(AuthWithoutTls)] = Field(
        default=AuthWithoutTls.NEVER,
        description=(
            "Where a password may be sent without TLS: never; or loopback, from clients on this "
            "machine to a listener on a loopback address."
        ),
    )
    max_connections: v.Count = Field(
        default=1000, description="How many connections it serves at a time; more are answered 421."
    )
    line_endings: Annotated[LineEndings, words(LineEndings)] = Field(
        default=LineEndings.REJECT,
        description=(
            "What happens to content with a bare CR or a bare LF: reject (550) or normalize (each "
            "becomes CRLF). A sender's own line_endings goes before it."
        ),
    )
    long_lines: Annotated[LongLines, words(LongLines)] = Field(
        default=LongLines.PASS,
        description=(
            "What happens to content with a line of more than 998 octets, which RFC 5322 forbids: "
            "pass (sent as it is) or reject (550)."
        ),
    )
    proxy_protocol: ProxyProtocol | None = Field(
        default=None,
        description=(
            "The proxies in front of it. Without it: clients connect themselves, and a PROXY "
            "header is an error."
        ),
    )
    extensions_off: tuple[Annotated[Extension, words(Extension)], ...] = Field(
        default=(),
        description=(
            "What it does not offer in its answer to EHLO, for clients that stumble over it: "
            f"{', '.join(Extension)}."
        ),
    )


class Tls(Part):
    """The certificate listeners with TLS show, and the versions of TLS they speak."""

    certificate: Annotated[tuple[v.FilePath, ...], ONE_OR_MORE] = Field(
        min_length=1,
        description=(
            "The certificate and its chain, PEM, the certificate first; or a list of such files, "
            "one of each kind (RSA and ECDSA)."
        ),
    )
    key: Annotated[tuple[v.FilePath, ...], ONE_OR_MORE] = Field(
        min_length=1,
        description="The private key of each certificate, PEM, in the same order.",
    )
    profile: Annotated[TlsProfile, words(TlsProfile)] = Field(
        default=TlsProfile.INTERMEDIATE,
        description=(
            "Which versions of TLS are spoken: modern (1.3), intermediate (1.2 and newer) or "
            "legacy (1.0 and newer, for old devices)."
        ),
    )
