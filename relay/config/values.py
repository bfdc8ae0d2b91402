"""The kinds of values as pydantic types, each with the grammar an editor can check.

Every scalar of the model is one of these, so that every complaint about a scalar is in our words.
Does not know which key holds which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, GetCoreSchemaHandler, WrapSerializer
from pydantic_core import CoreSchema, core_schema

from relay.config import measures, names, verifiers
from relay.policy.sender import Rate

AUTO: Final = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """How one kind of value is written: `read` takes the text, `show` gives it back.

    `takes` says whether YAML's own numbers or booleans are taken too; where text is wanted they are
    not, because YAML would already have lost the zeros of `007`. A number or boolean written as
    text is the same value, so that the environment, which knows only text, can give it.
    """

    kind: str
    read: Callable[[str], Any]
    grammar: Mapping[str, Any]
    explanation: str
    show: Callable[[Any], Any] = str
    takes: tuple[type, ...] = ()
    none: str | None = None
    """How None is written, where it is a value and not the lack of one."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self.spell),
        )

    def spell(self, value: object) -> Any:
        """Return a value as the file would have it."""
        return self.none if value is None else self.show(value)

    def validate(self, value: object) -> object:
        """Return what a plain value of the file means here."""
        match value:
            case str():
                return self.read(value)
            case bool() if bool in self.takes:
                return value
            case bool():
                raise ValueError(f"is a boolean, not {self.kind}")
            case int() | float() if int in self.takes:
                return self.read(str(value))
            case int() | float():
                hint = "" if "enum" in self.grammar else ": if it is meant, quote it"
                raise ValueError(f"is a number, not {self.kind}{hint}")
            case _:
                raise ValueError(f"is not {self.kind}")


def _text(
    kind: str, read: Callable[[str], Any], pattern: str, explanation: str, **more: Any
) -> Spelling:
    return Spelling(kind, read, {"type": "string", "pattern": pattern}, explanation, **more)


def _free(kind: str, read: Callable[[str], Any], explanation: str) -> Spelling:
    return Spelling(kind, read, {"type": "string", "minLength": 1}, explanation)


def words(choices: type[StrEnum]) -> Spelling:
    """Spell a closed set of words."""
    return Spelling(
        f"one of {', '.join(choices)}",
        lambda text: measures.word(text, choices),
        {"enum": list(choices)},
        "",
    )


def _rate_or_auto(text: str) -> Rate | None:
    try:
        return None if text == AUTO else measures.rate(text)
    except ValueError as error:
        raise ValueError(f"{error}; or write auto") from None


Duration = Annotated[
    timedelta,
    _text(
        "a duration",
        measures.duration,
        measures.DURATION,
        "A duration: a whole number and ms, s, m, h or d, such as 500ms, 90s, 5m, 1h, 4d.",
        show=measures.show_duration,
        takes=(int, float),
    ),
]
MessageSize = Annotated[
    int,
    Spelling(
        "a size",
        measures.message_size,
        {"type": ["string", "integer"], "pattern": measures.SIZE, "minimum": 1024},
        "A size: a whole number and KiB, MiB (1024), KB or MB (1000), or plain octets.",
        show=measures.show_size,
        takes=(int, float),
    ),
]
MessageRate = Annotated[
    Rate,
    _text(
        "a rate",
        measures.rate,
        measures.RATE,
        "A rate: a whole number per s, min, h or day, such as 10/s, 300/min, 5000/day.",
        show=measures.show_rate,
        takes=(int, float),
    ),
]
RateOrAuto = Annotated[
    Rate | None,
    _text(
        "a rate or auto",
        _rate_or_auto,
        rf"auto|{measures.RATE}",
        "auto, or a rate: a whole number per s, min, h or day, such as 14/s.",
        show=measures.show_rate,
        takes=(int, float),
        none=AUTO,
    ),
]
FreeShare = Annotated[
    float,
    _text(
        "a percentage",
        measures.free_share,
        measures.PERCENTAGE,
        "A percentage, such as 10%.",
        show=measures.show_percentage,
        takes=(int, float),
    ),
]
Count = Annotated[
    int,
    Spelling(
        "a whole number",
        measures.count,
        {"type": ["integer", "string"], "pattern": measures.COUNT, "minimum": 1},
        "A whole number of at least 1.",
        show=int,
        takes=(int, float),
    ),
]
Switch = Annotated[
    bool,
    Spelling(
        "a boolean",
        measures.boolean,
        {"type": "boolean"},
        "true or false.",
        show=bool,
        takes=(bool,),
    ),
]

Name = Annotated[
    str,
    _text("a name", names.name, names.NAME, "A name: letters, digits, '-' and '_', at most 64."),
]
Login = Annotated[
    str,
    _text("a login", names.login, names.LOGIN, "A login: printable ASCII without spaces."),
]
TagName = Annotated[
    str,
    _text(
        "a tag name",
        names.tag_name,
        names.TAG,
        "The name of a message tag: letters, digits, '-' and '_', at most 256.",
    ),
]
TagValue = Annotated[
    str,
    _text(
        "a tag value",
        names.tag_value,
        names.TAG,
        "The value of a message tag: letters, digits, '-' and '_', at most 256.",
    ),
]
Domain = Annotated[
    str, _free("a domain name", names.domain, "A domain name, such as relay.example.com.")
]
FromPattern = Annotated[
    str,
    _text(
        "an address or domain",
        names.from_pattern,
        r"[^*].*@.+|@[^@]+",
        'user@example.com, "@example.com", or "@.example.com" for all its subdomains.',
    ),
]
Address = Annotated[
    names.SocketAddress,
    _text(
        "an address",
        names.socket_address,
        r".+:[0-9]{1,5}",
        'Where to listen: "0.0.0.0:587", "[::]:25" or "localhost:25"; port 0: any free one.',
    ),
]
NetworkRange = Annotated[
    IPv4Network | IPv6Network,
    _free("a network", names.network, "A network, such as 10.20.0.0/16, or one IP address."),
]
Region = Annotated[
    str, _text("a region", names.region, names.REGION, "An AWS region, such as eu-west-1.")
]
Topic = Annotated[
    str,
    _text("a topic", names.topic, names.TOPIC, "The ARN of a standard Amazon SNS topic."),
]
EndpointUrl = Annotated[
    str,
    _text(
        "a URL", names.endpoint_url, r"https?://.+", "A URL: http(s)://host or http(s)://host:port."
    ),
]
FilePath = Annotated[
    Path,
    _free(
        "a path",
        names.file_path,
        "The path of a file. A relative one is looked for in $CREDENTIALS_DIRECTORY, where systemd "
        "puts credentials, and then beside the configuration file.",
    ),
]
AbsolutePath = Annotated[
    Path,
    _text(
        "an absolute path", names.absolute_path, r"/.*", "An absolute path, such as /var/lib/mail."
    ),
]
SocketPath = Annotated[
    Path,
    _text("the path of a socket", names.socket_path, r"/.*", "The absolute path of a Unix socket."),
]

PasswordHash = Annotated[
    verifiers.Secret,
    _text(
        "an argon2id hash",
        verifiers.argon2id,
        verifiers.ARGON2ID,
        "An argon2id hash, as `relay secret hash` prints it.",
        show=repr,
    ),
]
TokenHash = Annotated[
    verifiers.Secret,
    _text(
        "a token hash",
        verifiers.token_hash,
        verifiers.TOKEN_HASH,
        "sha256: and 64 hexadecimal digits, as `relay secret token` prints it.",
        show=repr,
    ),
]


def _plain_dict(value: Mapping[str, Any], handler: Callable[[Any], Any]) -> Any:
    return handler(dict(value))


READ_ONLY: Final = (AfterValidator(MappingProxyType), WrapSerializer(_plain_dict))
"""What makes a mapping of the model immutable, as all else of it is."""
