"""Whatever a file holds, it is a Configuration or a ConfigurationError; nothing else, nothing in between."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.config import Configuration, ConfigurationError, load_text
from relay.config.source import read
from tests.unit.config import test_config_broken_files as broken_files
from tests.unit.config.test_config_reference import KEYS, REFERENCE

WORDS = sorted({str(step) for path, _ in KEYS for step in path})
REFERENCE_TEXT = REFERENCE.read_text()
BROKEN = [
    text for name, text in vars(broken_files).items() if name.isupper() and isinstance(text, str)
]


def outcome(octets: bytes) -> Configuration | ConfigurationError:
    """Load octets; everything that is raised but ConfigurationError fails the test."""
    try:
        configuration = load_text(
            octets, file="relay.yaml", directory=Path("/nonexistent"), environ={"X": "x"}
        )
    except ConfigurationError as error:
        check_complaints(error)
        return error
    configuration.ruleset()
    configuration.redacted()
    return configuration


def check_complaints(error: ConfigurationError) -> None:
    assert error.complaints
    for complaint in error.complaints:
        assert complaint.line >= 1
        assert complaint.column >= 1
        assert complaint.message != "this is not YAML"
        assert str(complaint).isprintable()


@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    outcome(octets)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    outcome(text.encode("utf-8", "surrogatepass"))


@given(st.text(alphabet="{}[]:,-?&*!|>'\"%@`#\\ \n\t\ra0~.<=$", max_size=60))
@example('"\\UFFFFFFFF"')
@example("%YAML 9999999999999999999999.1\n---\n")
@example("%YAML 1." + "9" * 5000 + "\n---\n")
@example("!<%ff%fe> a")
@example("? ? ? a")
@example("a: !<tag:%GG> b")
def test_any_punctuation(text: str) -> None:
    outcome(text.encode())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["off", "required", "10/s", "4d", "0.0.0.0:25", "@example.com", "10.0.0.0/8"]),
    st.sampled_from(["${X}", "${NO}", "${X:-y}", "${", "$$", "main", "x", "10%", "eu-west-1"]),
    st.text(string.printable, max_size=10),
)
KEYS_OF_FILES = st.one_of(st.sampled_from(WORDS), st.text(max_size=3), st.integers())
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(KEYS_OF_FILES, inner, max_size=6)
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(TREES)
def test_any_tree(tree: object) -> None:
    outcome(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(deadline=None)
@given(st.data())
def test_the_reference_with_any_value_in_any_place(data: st.DataObject) -> None:
    """The nearly right file: one key or value of the reference is replaced by anything."""
    tree = yaml.safe_load(REFERENCE_TEXT.replace(" off", ' "off"'))
    for _ in range(data.draw(st.integers(1, 3))):
        container = tree
        while True:
            places = list(container) if isinstance(container, dict) else list(range(len(container)))
            if not places:
                break
            place = data.draw(st.sampled_from(places))
            inner = container[place]
            if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
                container = inner
                continue
            match data.draw(st.sampled_from(["value", "key", "drop"])):
                case "value":
                    container[place] = data.draw(TREES)
                case "key" if isinstance(container, dict):
                    container[data.draw(KEYS_OF_FILES)] = container.pop(place)
                case _:
                    del container[place]
            break
    outcome(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=40)
@given(st.data())
@pytest.mark.parametrize("text", [REFERENCE_TEXT, *BROKEN[:6]], ids=range(7))
def test_a_file_with_a_piece_missing_or_misplaced(text: str, data: st.DataObject) -> None:
    """What an editor saves in the middle of a thought."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    other = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from(["", text[start:end], "\t", "'", "@", "&a ", "*a", "[", "{"]))
    cut = text[:start] + text[end:]
    outcome((cut[:other] + piece + cut[other:]).encode())


@given(st.integers(0, 400))
def test_a_truncated_file(length: int) -> None:
    assert isinstance(outcome(REFERENCE_TEXT.encode()[:length]), ConfigurationError)


@given(TREES)
def test_places_are_known_for_every_value(tree: object) -> None:
    source = read(yaml.safe_dump({"a": tree}), file="f", environ={"X": "x"})
    if source.tree is None:
        return

    def walk(value: object, path: tuple[str | int, ...]) -> None:
        assert path in source.values
        if isinstance(value, dict):
            for key, item in value.items():
                assert (*path, key) in source.keys
                walk(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, (*path, index))

    walk(source.tree, ())
