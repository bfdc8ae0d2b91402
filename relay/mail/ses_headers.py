"""What a mail asks of SES in X-SES-* fields: each read strictly, as its own words or not at all.

Knows the fields and their grammar (SES Developer Guide, "Using SES with header fields"). Does not
know who may ask for what, nor how SES is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

CONFIGURATION_SET: Final = "X-SES-CONFIGURATION-SET"
MESSAGE_TAGS: Final = "X-SES-MESSAGE-TAGS"
SOURCE_ARN: Final = "X-SES-SOURCE-ARN"
FROM_ARN: Final = "X-SES-FROM-ARN"
RETURN_PATH_ARN: Final = "X-SES-RETURN-PATH-ARN"
LIST_MANAGEMENT: Final = "X-SES-LIST-MANAGEMENT-OPTIONS"
TENANT: Final = "X-SES-TENANT"

SES_HEADERS: Final = (
    CONFIGURATION_SET,
    MESSAGE_TAGS,
    SOURCE_ARN,
    FROM_ARN,
    RETURN_PATH_ARN,
    LIST_MANAGEMENT,
    TENANT,
)
"""The fields there are. X-SES-* fields of any other name mean nothing to SES."""
V2_HEADERS: Final = (LIST_MANAGEMENT, TENANT)
"""Those that only v2 of the API has a parameter for."""

RESERVED_TAGS: Final = ("relay-id", "relay-node", "relay-sender")
"""The relay sets these on every mail (relay.ports, Consignment.tags)."""
TAGS_LIMIT: Final = 50
"""Tags of one call, the relay's among them. AWS documents no number for message tags; fifty is what
it allows on everything else that is tagged, and the relay's words are better than a refusal later.
"""

TAG: Final = r"[A-Za-z0-9_-]{1,256}"
NAME: Final = r"[A-Za-z0-9_-]{1,64}"
IDENTITY_ARN: Final = r"arn:aws[a-z-]{0,16}:ses:[a-z0-9-]{1,32}:[0-9]{12}:identity/[!-~]{1,320}"

_SYNTAX: Final = "holds letters, digits, '-' and '_' only"
_LIST: Final = re.compile(rf"({NAME})(?:[ \t]*;[ \t]*topic[ \t]*=[ \t]*({NAME}))?")


class SesHeaderError(ValueError):
    """A field that cannot be read. The message is ours and repeats nothing of it: safe to show."""


class SesHeaders(NamedTuple):
    """What a mail asks for itself; empty where it does not."""

    configuration_set: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    source_arn: str = ""
    from_arn: str = ""
    return_path_arn: str = ""
    contact_list: str = ""
    topic: str = ""
    tenant: str = ""

    @classmethod
    def read(cls, fields: Iterable[tuple[str, str]]) -> SesHeaders:
        """Read (name, value) pairs of SES_HEADERS; raise SesHeaderError.

        A field that is there twice is refused: of some SES heeds the first, of others nobody says.
        """
        found: dict[str, str] = {}
        for name, value in fields:
            if name in found:
                raise SesHeaderError(f"{name} is there more than once")
            found[name] = value.strip(" \t")
        contact_list, topic = _list(found)
        return cls(
            configuration_set=_name(found, CONFIGURATION_SET),
            tags=_tags(found),
            source_arn=_arn(found, SOURCE_ARN),
            from_arn=_arn(found, FROM_ARN),
            return_path_arn=_arn(found, RETURN_PATH_ARN),
            contact_list=contact_list,
            topic=topic,
            tenant=_name(found, TENANT),
        )

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield (name, value) of the fields that say this; `read` takes them."""
        topic = f"; topic={self.topic}" if self.topic else ""
        for name, value in (
            (CONFIGURATION_SET, self.configuration_set),
            (MESSAGE_TAGS, ", ".join([f"{name}={value}" for name, value in self.tags])),
            (SOURCE_ARN, self.source_arn),
            (FROM_ARN, self.from_arn),
            (RETURN_PATH_ARN, self.return_path_arn),
            (LIST_MANAGEMENT, self.contact_list + topic),
            (TENANT, self.tenant),
        ):
            if value:
                yield name, value

    def text(self) -> str:
        """Return the fields, one a line; `of_text` reads them. Empty for nothing."""
        return "\n".join([f"{name}: {value}" for name, value in self.fields()]) if self else ""

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return self != NOTHING_ASKED


NOTHING_ASKED: Final = SesHeaders()


@lru_cache(maxsize=256)  # an application asks for the same again and again
def of_text(text: str) -> SesHeaders:
    """Return what `text` was made of; raise ValueError where it is not that."""
    lines = [line.partition(": ") for line in text.split("\n")]
    found = SesHeaders.read((name, value) for name, _, value in lines)
    if found.text() != text:
        raise SesHeaderError("the X-SES fields are not as they were written")
    return found


def _name(found: dict[str, str], field: str) -> str:
    name = found.get(field)
    if name is None:
        return ""
    if re.fullmatch(NAME, name) is None:
        raise SesHeaderError(f"{field} {_SYNTAX}, 64 at most")
    return name


def _arn(found: dict[str, str], field: str) -> str:
    arn = found.get(field)
    if arn is None:
        return ""
    if re.fullmatch(IDENTITY_ARN, arn) is None:
        raise SesHeaderError(f"{field} is the ARN of an SES identity")
    return arn


def _list(found: dict[str, str]) -> tuple[str, str]:
    text = found.get(LIST_MANAGEMENT)
    if text is None:
        return "", ""
    match = _LIST.fullmatch(text)
    if match is None:
        raise SesHeaderError(f"{LIST_MANAGEMENT} is written list or list; topic=name")
    return match[1], match[2] or ""


def _tags(found: dict[str, str]) -> tuple[tuple[str, str], ...]:
    text = found.get(MESSAGE_TAGS)
    if text is None:
        return ()
    tags: dict[str, str] = {}
    for number, one in enumerate(text.split(","), 1):
        name, equals, value = (part.strip(" \t") for part in one.partition("="))
        where = f"{MESSAGE_TAGS}, tag {number}:"
        if not equals:
            raise SesHeaderError(f"{where} a tag is written name=value, with commas between tags")
        for what, word in (("name", name), ("value", value)):
            if re.fullmatch(TAG, word) is None:
                raise SesHeaderError(f"{where} the {what} {_SYNTAX}, 256 at most, and is not empty")
        if name in RESERVED_TAGS:
            raise SesHeaderError(f"{where} the relay itself sets {', '.join(RESERVED_TAGS)}")
        if name in tags:
            raise SesHeaderError(f"{where} its name is there already")
        tags[name] = value
    return tuple(tags.items())
