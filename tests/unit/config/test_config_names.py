"""Names, domains, patterns, addresses, networks, AWS names, paths, verifiers."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import names, verifiers
from relay.config.names import SocketAddress
from relay.config.verifiers import Secret
from tests.unit.config.written import PASSWORD_HASH, TOKEN_HASH


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:587", "0.0.0.0", 587),
        ("[::]:25", "::", 25),
        ("[2001:DB8::1]:25", "2001:db8::1", 25),
        ("localhost:25", "localhost", 25),
        ("Relay.Example.COM:2525", "relay.example.com", 2525),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    address = names.socket_address(text)
    assert address == SocketAddress(host, port)
    assert names.socket_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("587", "not an address and port"),
        (":587", "not an address and port"),
        ("0.0.0.0", "not an address and port"),
        ("0.0.0.0:", "not an address and port"),
        ("0.0.0.0:65536", "not an address and port"),
        ("0.0.0.0:smtp", "not an address and port"),
        ("::1:25", "not an address and port"),
        ("[::]", "not an address and port"),
        ("*:25", r"for every address write 0\.0\.0\.0 or \[::\]"),
        ("300.0.0.1:25", "does not start with an IP address or a host name"),
        ("010.0.0.1:25", "does not start with an IP address or a host name"),
        ("[10.0.0.1:25", "not an address and port"),
        ("[zz::]:25", "not an address and port"),
        ("[:::]:25", "does not start with an IP address"),
        ("a b:25", "does not start with an IP address"),
        ("a_b:25", "does not start with an IP address"),
    ],
)
def test_what_is_no_address(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.socket_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback", "may_be_local"),
    [
        ("127.0.0.1", True, True),
        ("127.9.9.9", True, True),
        ("::1", True, True),
        ("localhost", True, True),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("relay", False, True),
        ("10.0.0.5", False, False),
        ("2001:db8::1", False, False),
    ],
)
def test_which_addresses_clients_on_this_machine_reach(
    host: str, *, is_loopback: bool, may_be_local: bool
) -> None:
    address = SocketAddress(host, 25)
    assert (address.is_loopback, address.may_be_local) == (is_loopback, may_be_local)


@pytest.mark.parametrize("text", ["billing@example.com", "@example.com", "@.example.com", "@x"])
def test_a_from_pattern_is_read(text: str) -> None:
    assert names.from_pattern(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "@", "@.", "@..x", "example.com", "a@b@c", "@[10.0.0.1]", "@-x", "@x.", "ü@example.com"],
)
def test_what_is_no_from_pattern(text: str) -> None:
    with pytest.raises(ValueError, match=r"write user@example\.com, @example\.com, or @\.example"):
        names.from_pattern(text)


def test_a_star_is_a_legal_local_part_and_never_meant() -> None:
    with pytest.raises(ValueError, match="leave the '\\*' out"):
        names.from_pattern("*@example.com")


def test_a_pattern_of_recipients_is_written_like_one_of_senders() -> None:
    assert names.to_pattern("@.example.com") == "@.example.com"
    with pytest.raises(ValueError, match=r"^is not an address or domain to send to: write user@"):
        names.to_pattern("example.com")
    with pytest.raises(ValueError, match="leave the '\\*' out"):
        names.to_pattern("*@example.com")


@pytest.mark.parametrize(
    "text",
    [
        "scanner7",
        "scanner_7.example.com",
        "Scanner.Example.COM",
        "7even.example",
        "scanner@Example.com",
        "spiffe://example.com/Billing",
        "urn:uuid:F81D4FAE-7dec-11d0-a765-00a0c91e6bf6",
    ],
)
def test_a_name_in_a_certificate_is_read_without_its_case(text: str) -> None:
    assert names.certificate_name(text) == text.lower()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*.example.com", "stands for many names: write each"),
        *(
            (text, "^is not a name a certificate is known by: write a DNS name, an e-mail")
            for text in ("", "10.0.0.5", "7", "a b", "CN=scanner", "a..b", "ü.example", "@", "a:")
        ),
    ],
)
def test_what_is_no_name_in_a_certificate(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.certificate_name(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.20.0.0/16", "10.20.0.0/16"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
    ],
)
def test_a_network_is_read(text: str, value: str) -> None:
    assert names.network(text) == ip_network(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a network"),
        ("10.0.0.0/33", "is not a network"),
        ("10.0.0.0/255.0.0.0", "is not a network"),
        ("10.0.0.0/", "is not a network"),
        ("10.0.0.0/8/8", "is not a network"),
        ("example.com", "is not a network"),
        ("fe80::1%eth0", "is not a network"),
        ("10.20.1.5/16", "is an address inside a network; write 10.20.0.0/16 for the whole of it"),
        ("::ffff:10.0.0.0/104", "count as IPv4"),
        ("::ffff:10.0.0.1", "count as IPv4"),
    ],
)
def test_what_is_no_network(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.network(text)


@pytest.mark.parametrize("text", ["relay.example.com", "localhost", "a-1", "xn--bcher-kva.example"])
def test_a_domain_is_read(text: str) -> None:
    assert names.domain(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a_b",
        "a..b",
        ".a",
        "a.",
        "10.0.0.1",
        "[10.0.0.1]",
        "a b",
        "bücher.example",
        "a@b",
        "x" * 64,
        ".".join(["x" * 63] * 5),
    ],
)
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(ValueError, match="is not a domain name"):
        names.domain(text)


@pytest.mark.parametrize("text", ["billing", "A-b_9", "x" * 64])
def test_a_name_is_read(text: str) -> None:
    assert names.name(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a.b", "ä", "x" * 65, "a\n"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        names.name(text)


@pytest.mark.parametrize("text", ["", "a b", "ü", "x" * 256])
def test_what_is_no_login(text: str) -> None:
    with pytest.raises(ValueError, match="is not a login"):
        names.login(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ses:caller", "names that start with 'ses:' belong to Amazon SES"),
        ("relay-id", "the relay itself sets relay-id, relay-node, relay-sender"),
        ("relay-node", "the relay itself sets"),
        ("relay-sender", "the relay itself sets"),
        ("a b", "is not legal in a tag"),
        ("", "is not legal in a tag"),
        ("x" * 257, "at most 256"),
    ],
)
def test_what_is_no_tag_name(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.tag_name(text)


@pytest.mark.parametrize(
    "text", ["eu-west-1", "us-gov-east-1", "us-isob-east-1", "mx-central-1", "ap-southeast-7"]
)
def test_a_region_is_read(text: str) -> None:
    assert names.region(text) == text


@pytest.mark.parametrize("text", ["", "eu", "eu-west", "eu_west_1", "EU-WEST-1", "eu-west-1a"])
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(ValueError, match="is not an AWS region"):
        names.region(text)


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:sns:eu-west-1:123456789012:ses-feedback",
        "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a_b",
        "arn:aws-cn:sns:cn-north-1:123456789012:x",
    ],
)
def test_a_topic_is_read(text: str) -> None:
    assert names.topic(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ses-feedback", "is not the ARN of an SNS topic"),
        ("arn:aws:sqs:eu-west-1:123456789012:x", "is not the ARN of an SNS topic"),
        ("arn:aws:sns:eu-west-1:12345:x", "is not the ARN of an SNS topic"),
        ("arn:aws:sns:eu-west-1:123456789012:x:sub", "is not the ARN of an SNS topic"),
        ("arn:aws:sns:eu-west-1:123456789012:x.fifo", "publishes to standard topics only"),
    ],
)
def test_what_is_no_topic(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.topic(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://email.eu-west-1.amazonaws.com", "https://email.eu-west-1.amazonaws.com"),
        ("http://localhost:8025/", "http://localhost:8025"),
        ("http://[::1]:8025", "http://[::1]:8025"),
    ],
)
def test_an_endpoint_is_read(text: str, value: str) -> None:
    assert names.endpoint_url(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:8025",
        "ftp://x",
        "https://",
        "https://user:password@host",
        "https://host/path",
        "https://host?x",
        "https://host#x",
        "https://host:99999",
        "https://host:x",
        "http://[::1",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match="is not an endpoint"):
        names.endpoint_url(text)


def test_paths() -> None:
    assert names.file_path("key.pem") == Path("key.pem")
    assert names.absolute_path("/var/lib/x") == Path("/var/lib/x")
    assert names.socket_path("/" + "x" * 106) == Path("/" + "x" * 106)
    with pytest.raises(ValueError, match="start it with '/'"):
        names.absolute_path("spool")
    with pytest.raises(ValueError, match="107 octets at most"):
        names.socket_path("/" + "x" * 107)
    with pytest.raises(ValueError, match="is not a path"):
        names.file_path("")


def test_a_password_hash_is_read() -> None:
    assert verifiers.argon2id(PASSWORD_HASH).reveal() == PASSWORD_HASH
    assert verifiers.verifier(PASSWORD_HASH) == Secret(PASSWORD_HASH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        TOKEN_HASH,
        PASSWORD_HASH.replace("argon2id", "argon2i"),
        PASSWORD_HASH[:-20] + "\n",
        "$argon2id$v=19$m=19456,t=2,p=1$",
        "$2b$12$abcdefghijklmnopqrstuv",
        "{SSHA}abc",
    ],
)
def test_what_is_no_password_hash(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not an argon2id hash: make one with `relay secret"):
        verifiers.argon2id(text)


def test_a_hash_must_not_cost_the_machine_its_memory() -> None:
    with pytest.raises(ValueError, match="more than 1 GiB"):
        verifiers.argon2id(PASSWORD_HASH.replace("m=19456", "m=1048577"))


def test_a_token_hash_is_read_in_either_case() -> None:
    assert verifiers.token_hash(TOKEN_HASH.replace("abc", "ABC")).reveal() == TOKEN_HASH
    assert verifiers.verifier(TOKEN_HASH) == Secret(TOKEN_HASH)


@pytest.mark.parametrize("text", ["", "sha256:", TOKEN_HASH[:-1], TOKEN_HASH + "0", TOKEN_HASH[7:]])
def test_what_is_no_token_hash(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits: make one with `relay secret"):
        verifiers.token_hash(text)


def test_a_verifier_is_one_of_the_two() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        verifiers.verifier("sha256:x")
    with pytest.raises(ValueError, match="is not an argon2id hash"):
        verifiers.verifier("$argon2id$x")
    with pytest.raises(ValueError, match="is neither what"):
        verifiers.verifier("hunter2")


def test_a_secret_does_not_show() -> None:
    secret = Secret("hunter2")
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert secret != "hunter2"
    assert hash(secret) == hash(Secret("hunter2"))
    assert secret.reveal() == "hunter2"


@given(st.text(alphabet=st.characters(codec="utf-8")))
@pytest.mark.parametrize(
    "read",
    [
        names.name,
        names.login,
        names.tag_name,
        names.tag_value,
        names.domain,
        names.from_pattern,
        names.to_pattern,
        names.certificate_name,
        names.socket_address,
        names.network,
        names.region,
        names.topic,
        names.endpoint_url,
        names.socket_path,
        verifiers.verifier,
    ],
)
def test_any_text_is_read_or_refused(read: Callable[[str], object], text: str) -> None:
    try:
        read(text)
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017 - both ends are fine
