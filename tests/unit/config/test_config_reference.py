"""config/relay.yaml, config/minimal.yaml and the schema say what the model says."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

from relay.config import ConfigurationError, load, load_text
from relay.config.complaint import KeyPath
from relay.config.model import Settings
from relay.config.part import Part
from relay.config.schema import json_schema, render
from relay.config.shape import Listing, Table, default_of, keys, shape_of
from relay.config.source import Source, read
from relay.config.spelling import Spelling
from relay.config.validate import _ITEM_STAND_INS, _STAND_INS
from tests.unit.config import test_config_broken_files as broken_files

CONFIG = Path(__file__).parents[3] / "config"
REFERENCE = CONFIG / "relay.yaml"
# No types are published for it, and only these tests need it.
jsonschema: Any = importlib.import_module("jsonschema")


def every_key(part: type[Part] = Settings, at: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Yield every key of the model; of lists the first item, of tables `main`."""
    for key, field in keys(part).items():
        here = (*at, key)
        yield here, field
        shape: object = shape_of(field)
        while not isinstance(shape, Spelling | type):
            if isinstance(shape, Listing):
                shape, here = shape.item, (*here, 0)
            elif isinstance(shape, Table):
                shape, here = shape.value, (*here, "main")
        if isinstance(shape, type) and issubclass(shape, Part):
            yield from every_key(shape, here)


KEYS = list(every_key())


def source_of(text: str) -> Source:
    source = read(text, file="relay.yaml", environ={})
    assert source.complaints == ()
    return source


def value_at(source: Source, path: KeyPath) -> object:
    value: Any = source.tree
    for step in path:
        value = value[step]
    return value


def mention(source: Source, path: KeyPath) -> KeyPath:
    """Return where a key stands first, be it in the second listener or sender."""
    steps = [step for step in path if isinstance(step, str)]
    for found in source.keys:
        if [step for step in found if isinstance(step, str)] == steps:
            return found
    pytest.fail("the reference does not mention it")


@pytest.fixture(scope="module", name="uncommented")
def _uncommented() -> Source:
    """The reference with every key active: `#key:` is a key, `# text` is a comment."""
    return source_of(re.sub(r"(?m)^( *)#(?=[a-z_]+:)", r"\1", REFERENCE.read_text()))


def name_of(item: object) -> str | None:
    return ".".join(map(str, item)) if isinstance(item, tuple) else None


@pytest.mark.parametrize(("path", "field"), KEYS, ids=name_of)
def test_the_reference_has_every_key_with_its_default(
    path: KeyPath, field: FieldInfo, uncommented: Source
) -> None:
    path = mention(uncommented, path)
    mark = uncommented.keys[path]
    lines = REFERENCE.read_text().splitlines()
    line = lines[mark.line - 1]
    above = []
    for earlier in reversed(lines[: mark.line - 1]):
        if not earlier.strip().startswith("# "):
            break
        above.append(earlier.strip(" #"))
    about = " ".join([*reversed(above), line.partition("  # ")[2]])
    default = default_of(field)
    if field.is_required():
        assert "eeded" in about, "the comment does not say that it is needed"
    elif line.strip().startswith("#"):
        assert value_at(uncommented, path) == default
    elif isinstance(shape_of(field), Spelling):
        assert f"Default: {'' if default is None else default}" in about


def test_the_reference_has_no_other_key(uncommented: Source) -> None:
    known = {tuple(str(step) for step in path if isinstance(step, str)) for path, _ in KEYS}
    written = {
        tuple(str(step) for step in path if isinstance(step, str)) for path in uncommented.keys
    }
    assert written - known == {
        ("ses", "accounts", "main"),
        ("senders", "ses", "tags", "app"),
    }


def test_the_reference_is_a_sound_configuration() -> None:
    configuration = load(REFERENCE, environ={})
    assert configuration.warnings == ()
    assert [sender.name for sender in configuration.settings.senders] == [
        "billing",
        "printers",
        "newsletter",
    ]


def test_the_reference_tells_editors_where_the_schema_is() -> None:
    first = REFERENCE.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=relay.schema.json"


def test_the_minimal_configuration_is_minimal_and_sound() -> None:
    text = (CONFIG / "minimal.yaml").read_text()
    assert text.count("\n") <= 10
    configuration = load(CONFIG / "minimal.yaml", environ={})
    assert configuration.warnings == ()
    # Every line of it is needed.
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#"):
            continue
        shorter = "\n".join(lines[:number] + lines[number + 1 :])
        path = CONFIG / "minimal.yaml"
        with pytest.raises(ConfigurationError):
            load_text(shorter.encode(), file=str(path), directory=CONFIG, environ={})


def test_the_schema_in_the_repository_is_the_model_s() -> None:
    """Make it anew with `python -m relay.config.schema > config/relay.schema.json`."""
    assert (CONFIG / "relay.schema.json").read_text() == render()
    assert json.loads(render()) == json_schema()


def test_the_schema_is_one_of_draft_7() -> None:
    assert json_schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(json_schema())


def errors_of(text: str) -> list[str]:
    validator = jsonschema.Draft7Validator(json_schema())
    return [error.message for error in validator.iter_errors(yaml.safe_load(quoted(text)))]


def quoted(text: str) -> str:
    """Return YAML 1.2 as YAML 1.1 must have it, where `off` is a word."""
    return re.sub(r": (off|no|yes)\b", r': "\1"', text)


@pytest.mark.parametrize("name", ["relay.yaml", "minimal.yaml"])
def test_an_editor_finds_no_fault_with_the_files_we_ship(name: str) -> None:
    assert errors_of((CONFIG / name).read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        broken_files.NOTHING,
        broken_files.MISSPELT,
        broken_files.UNITS,
        broken_files.SHAPES,
        broken_files.ACCOUNTS,
        broken_files.FRONT,
        broken_files.FEEDBACK,
    ],
)
def test_an_editor_finds_fault_with_broken_files(text: str) -> None:
    assert errors_of(text)


def test_an_editor_lets_variables_stand() -> None:
    text = """
        listeners: [{name: "${A}", address: "${B}:${C}", tls: "${D}", max_connections: "${E}"}]
        senders: [{name: x, from: ["${F}"], secret_hash: "$${G}", limits: {rate: "${H:-1/s}"}}]
        spool: {unsafe: "${I}"}
        """
    assert errors_of(text) == []


@pytest.mark.parametrize(
    ("written", "is_right"),
    [
        ("a.pem", True),
        ("[a.pem, b.pem]", True),
        ('"${CERTIFICATES}"', True),
        ('["${A}", "${B}"]', True),
        ("[]", False),
        ("~", False),
        ("5", False),
        ("{a: b}", False),
    ],
)
def test_an_editor_lets_one_stand_for_a_list(written: str, is_right: bool) -> None:
    text = f"""
        listeners: [{{name: a, address: "10.0.0.5:25"}}]
        tls: {{certificate: {written}, key: a.key}}
        senders: [{{name: a, from: ["@example.com"]}}]
        """
    assert (errors_of(text) == []) is is_right


def test_every_key_has_a_description_and_every_default_is_legal() -> None:
    for path, field in KEYS:
        assert field.description, path
        assert field.description.endswith("."), path
        shape = shape_of(field)
        default = default_of(field)
        if isinstance(shape, Spelling) and default is not None:
            assert shape.validate(default) == field.get_default(), path
            grammar = {"anyOf": [dict(shape.grammar)]}
            assert jsonschema.Draft7Validator(grammar).is_valid(default), path


def test_a_model_no_file_could_spell_is_a_mistake_of_ours() -> None:
    class Odd(Part):
        number: int
        table: Mapping[Part, Part]  # type: ignore[type-var,unused-ignore]

    for field in Odd.model_fields.values():
        with pytest.raises(TypeError, match="which no file can spell"):
            shape_of(field)


def test_every_needed_key_has_a_stand_in() -> None:
    """With it, the rest of a broken file can still be judged."""
    for path, field in KEYS:
        shape = shape_of(field)
        if field.is_required():
            assert path[-1] in _STAND_INS, path
        if isinstance(shape, Listing):
            assert path[-1] in _ITEM_STAND_INS, path
