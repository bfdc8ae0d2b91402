"""From plain values to Settings: every key and value judged on its own, all complaints at once.

Where something is wrong, a stand-in takes its place, so that the rest can still be judged together.
Turns pydantic's errors into our words; does not know how keys must fit together.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from relay.config.complaint import Broken, Complaint, KeyPath, is_plausible
from relay.config.model import Settings
from relay.config.part import Part
from relay.config.prepare import prepare
from relay.config.shape import keys, shape_at, shapes
from relay.config.source import Source

# What these keys hold is never repeated; an endpoint's URL could have a password in it.
_UNSHOWN: Final = ("secret_hash", "token_hash", "secret_file", "endpoint_url")
_LOOKS_SECRET: Final = re.compile(r"\$argon2|\$2[aby]\$|sha256:", re.IGNORECASE)
_LONGEST_QUOTE: Final = 60

_WHY_NEEDED: Final = {
    "listeners": "nothing would be accepted: configure at least one listener",
    "senders": "nothing would be accepted: configure at least one sender",
    "from": "this sender could write as nobody: list the addresses or domains it sends from",
    "allow": "this sender could write to nobody: list addresses or domains, or leave it out",
    "trusted": "nobody could connect here: list the networks of the proxies",
}
_FOR_PASSWORDS: Final = (
    "unknown key: the relay keeps no passwords; give secret_hash what `relay secret hash` prints"
)
_HINTS: Final = dict.fromkeys(("password", "passwd", "pass", "secret"), _FOR_PASSWORDS)

# What takes the place of a required value that is missing or wrong. Each is sound, so that one look
# at a mended file finds nothing more; findings that rely on one are not told.
_ITEM_STAND_INS: Final[dict[str, Any]] = {
    "certificate": "certificate.pem",
    "key": "key.pem",
    "trusted": "192.0.2.0/24",
    "extensions_off": "LIMITS",
    "ses_headers": "deny",
    "certificates": "client.example.com",
    "networks": "192.0.2.0/24",
    "from": "@example.com",
    "allow": "@example.com",
    "deny": "@example.net",
    "recipients": "1000000/day",
    "topics": "arn:aws:sns:eu-west-1:123456789012:feedback",
    "signature_versions": 2,
    "listeners": {"name": "listener", "address": "127.0.0.1:0"},
    "senders": {"name": "sender", "from": ["@example.com"]},
}
_STAND_INS: Final[dict[str, Any]] = {
    "name": "unnamed",
    "address": "127.0.0.1:0",
    "certificate": [_ITEM_STAND_INS["certificate"]],
    "key": [_ITEM_STAND_INS["key"]],
    "trusted": [_ITEM_STAND_INS["trusted"]],
    "from": [_ITEM_STAND_INS["from"]],
    "url": "https://callback.invalid/",
    "secret_file": "callback-secret",
    "listeners": [_ITEM_STAND_INS["listeners"]],
    "senders": [_ITEM_STAND_INS["senders"]],
}


@dataclass(frozen=True, slots=True)
class Validated:
    """The settings, what is wrong with single keys and values, and where stand-ins stand."""

    settings: Settings
    complaints: tuple[Complaint, ...]
    broken: Broken


def validate(source: Source) -> Validated:
    """Judge every key and value of a source."""
    complaints: list[Complaint] = []
    prepared = prepare(source)
    tree = prepared.tree
    if not isinstance(tree, dict):
        if not source.broken:
            message = "a configuration is made of keys with values, such as `hostname: ...`"
            complaints.append(source.complaint((), message))
        return Validated(_stand_in(), tuple(complaints), Broken([()]))
    broken = set(source.broken)
    meant: set[KeyPath] = set()
    errors = _errors(tree)
    # Unknown keys first: what is misspelt is not also missing.
    for error in sorted(errors, key=lambda error: error["type"] != "extra_forbidden"):
        path, is_key = _path(error)
        path = prepared.written(path)
        if _is_told(error, path, source.broken, meant):
            continue
        if error["type"] == "extra_forbidden":
            message, close = _unknown_key(path)
            complaints.append(source.complaint(path, message, at_key=True))
            meant.add(close)
        else:
            message = _message(source, error, path, is_key=is_key)
            complaints.append(source.complaint(path, message, at_key=is_key))
        broken.add(path)
    for error in errors:
        _mend(tree, error)
    return Validated(Settings.model_validate(tree), tuple(complaints), Broken(broken | meant))


def _errors(tree: object) -> Sequence[ErrorDetails]:
    try:
        Settings.model_validate(tree)
    except ValidationError as error:
        return error.errors(include_url=False)
    return ()


def _path(error: ErrorDetails) -> tuple[KeyPath, bool]:
    """Return what an error is about, and whether that is a key rather than its value."""
    path: KeyPath = error["loc"]
    return (path[:-1], True) if path[-1:] == ("[key]",) else (path, False)


def _is_told(
    error: ErrorDetails, path: KeyPath, broken: Collection[KeyPath], meant: Collection[KeyPath]
) -> bool:
    """Whether another complaint says already what an error would say."""
    if any(path[:length] in broken for length in range(len(path) + 1)):
        return True
    match error["type"]:
        case "missing":
            return path in meant
        case "too_short":
            # The list is there; its items are wrong, and have complaints of their own.
            return bool(error["input"])
    return False


def _message(source: Source, error: ErrorDetails, path: KeyPath, *, is_key: bool) -> str:
    match error["type"]:
        case "missing":
            return _WHY_NEEDED.get(str(path[-1]), "is missing")
        case "too_short":
            return _WHY_NEEDED.get(str(path[-1]), "is empty: give at least one")
        case "model_type" | "dict_type" | "mapping_type":
            return "must be a mapping: write 'key: value' pairs, indented below it"
        case "tuple_type":
            return "must be a list: write [a, b], or one '- a' per line below it"
    message = error.get("ctx", {}).get("error", error["msg"])
    return f"{_quoted(source, path, error['input'], is_key=is_key)} {message}"


def _quoted(source: Source, path: KeyPath, found: object, *, is_key: bool) -> str:
    """Name a value in a sentence: itself where it is short and cannot be a secret."""
    names = source.variables.get(path)
    if names and not is_key:
        return "the value of " + ", ".join(f"${{{name}}}" for name in names)
    match found:
        case None:
            return "an empty value"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(found).lower()
    text = str(found)
    is_secret = any(key in path for key in _UNSHOWN) or _LOOKS_SECRET.search(text)
    # What cannot be printed could mean something to a terminal.
    if is_secret or len(text) > _LONGEST_QUOTE or not text.isprintable():
        return "the value"
    return f"'{text}'" if isinstance(found, str) else text


def _unknown_key(path: KeyPath) -> tuple[str, KeyPath]:
    """Return what to say of an unknown key, and the path of the key that was probably meant."""
    key, parent = str(path[-1]), path[:-1]
    if not is_plausible(key):
        return "this is not a key; is a space missing after a ':'?", path
    if key in _HINTS and parent[:1] == ("senders",):
        return _HINTS[key], (*parent, "secret_hash")
    part = shape_at(parent)
    known = shapes(part) if isinstance(part, type) else {}
    for name, section in known.items():
        if isinstance(section, type) and key in keys(section):
            return f"unknown key; did you mean '{name}.{key}'?", (*parent, name, key)
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean '{near[0]}'?", (*parent, near[0])
    return f"unknown key; known here: {', '.join(known)}", path


def _stand_in() -> Settings:
    return Settings.model_validate({key: _STAND_INS[key] for key in ("listeners", "senders")})


def _mend(tree: Any, error: ErrorDetails) -> None:
    """Put a stand-in for what an error is about, or take it out where it may be left out."""
    path, _ = _path(error)
    if error["type"] == "too_short" and error["input"]:
        return  # its items are mended one by one
    parent: Any = tree
    for step in path[:-1]:
        try:
            parent = parent[step]
        except (KeyError, IndexError, TypeError):
            return  # mended already, as part of something larger
    last = path[-1]
    if isinstance(last, int):
        parent[last] = copy.deepcopy(_ITEM_STAND_INS[str(path[-2])])
    elif _is_required(path):
        parent[last] = copy.deepcopy(_STAND_INS[last])
    else:
        parent.pop(last, None)


def _is_required(path: KeyPath) -> bool:
    part = shape_at(path[:-1])
    if not (isinstance(part, type) and issubclass(part, Part)):
        return False
    field = keys(part).get(str(path[-1]))
    return field is not None and field.is_required()
