"""YAML as it is read here: its traps, its dark corners, and files that are none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from relay.config import ConfigurationError, load
from relay.config.nodes import compose
from relay.config.source import plain, read
from relay.config.syntax import explain
from tests.unit.config.written import complaints, loaded, with_network_sender


def tree(text: str) -> object:
    source = read(text, file="relay.yaml", environ={})
    assert source.complaints == ()
    return source.tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("010", 10),
        ("-7", -7),
        ("+7", 7),
        ("0o10", 8),
        ("0xff", 255),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("1e999", math.inf),
        # Text, although YAML 1.1 or somebody else thinks otherwise.
        *((text, text) for text in ("on", "off", "yes", "no", "y", "n", "On", "OFF", "tRue")),
        *((text, text) for text in ("1:30", "190:20:30", "2026-03-01", "1_000", "0b1", "0o8")),
        *((text, text) for text in ("=", "<<", "10%", "4d", "1.2.3", "0x", "-", "--1", "..")),
        ("1" * 301, "1" * 301),
    ],
)
def test_an_unquoted_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


def test_nan_is_not_a_number_either() -> None:
    assert math.isnan(float(str(plain(".nan"))))


def test_quoted_scalars_and_blocks_are_text() -> None:
    assert tree('a: "true"\nb: \'1\'\nc: >-\n  1\nd: !!str 1\ne: "~"') == {
        "a": "true",
        "b": "1",
        "c": "1",
        "d": "1",
        "e": "~",
    }


def test_keys_are_text_however_they_look() -> None:
    assert tree("{1: a, true: b, null: c, 'x': d}") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "x": "d",
    }


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "---\n...\n", "~", "\ufeff"])
def test_an_empty_file_is_an_empty_configuration(text: str) -> None:
    assert [complaint.partition(": ")[2] for complaint in complaints(text)] == [
        "listeners: nothing would be accepted: configure at least one listener",
        "senders: nothing would be accepted: configure at least one sender",
        "ses.region: is missing, and neither AWS_REGION nor AWS_DEFAULT_REGION is set",
    ]


@pytest.mark.parametrize("text", ["hello", "[a, b]", "5", "'x'"])
def test_a_file_of_something_else_is_no_configuration(text: str) -> None:
    assert complaints(text) == [
        "1:1: a configuration is made of keys with values, such as `hostname: ...`"
    ]


@pytest.mark.parametrize("word", ["off", "'off'", '"off"'])
def test_off_is_a_word(word: str) -> None:
    text = with_network_sender().replace("tls: off", f"tls: {word}")
    assert loaded(text).settings.listeners[0].tls == "off"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("no", "'no' is not one of required, optional, off"),
        ("on", "'on' is not one of required, optional, off"),
        ("false", "false is a boolean, not one of required, optional, off"),
        ("0", "0 is a number, not one of required, optional, off"),
    ],
)
def test_no_other_word_or_value_passes_for_off(written: str, words: str) -> None:
    text = with_network_sender().replace("auth: off", f"auth: {written}")
    assert f"3:60: listeners[0].auth: {words}" in complaints(text)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("limits: {rate: 1:30}", "'1:30' is not a rate: write a number per s, min, h or day, such"),
        ("name: 007", "this key was given already, in line 6"),
        ("login: 007", "7 is a number, not a login: if it is meant, quote it"),
        ("login: true", "true is a boolean, not a login"),
        ("login: 1.5", "1.5 is a number, not a login: if it is meant, quote it"),
        ("login: 2026-03-01", "senders[0].login: nothing to check its password against"),
    ],
)
def test_a_figure_is_not_taken_for_another(key: str, line: str) -> None:
    assert any(line in complaint for complaint in complaints(with_network_sender(key)))


def test_a_leading_zero_is_not_octal() -> None:
    text = with_network_sender("limits: {rate: 10/s, burst: 010}")
    assert loaded(text).settings.senders[0].limits.burst == 10


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: @example.com\n", "1:4: a value cannot start with '@' unless it is quoted, as in "),
        (
            "a: [x, @.b.example]\n",
            "1:8: a value cannot start with '@' unless it is quoted, as in",
        ),
        ("- @\n", "1:3: a value cannot start with '@' unless it is quoted, as in"),
        ("a: `x`\n", "1:4: a value cannot start with '`' unless it is quoted"),
        ("a: %x\n", "1:4: a value cannot start with '%' unless it is quoted"),
        ("a: *\n", "1:5: a value cannot start with '*' unless it is quoted"),
        ("a: *@x\n", "1:5: a value cannot start with '*' unless it is quoted"),
        ("a: &*\n", "1:5: a value cannot start with '&' unless it is quoted"),
        ("a: !<x\n", "1:7: a value cannot start with '!' unless quoted"),
        ("a: !a!b c\n", "1:4: a value cannot start with '!' unless quoted"),
        ("a: |x\n", "1:5: a value cannot start with '|' or '>' unless it is quoted"),
        ("a: ? b\n", "1:4: a value cannot start with '? ' unless it is quoted"),
        ("\ta: 1\n", "1:1: a tab stands where YAML wants spaces; use spaces"),
        ("a:\n\t- b\n", "2:1: a tab stands where YAML wants spaces; use spaces"),
        ("a:\t1\n", "1:3: a tab stands where YAML wants spaces; use spaces"),
        ("a: [::]:25\n", '1:5: quote an address with brackets, as in "[::]:25"'),
        ("a: {b: ${X}}\n", "1:9: quote ${...} inside [ ] and { }"),
        ("a: [1\nb: 2\n", "1:4: this '[' is never closed"),
        ("a: {b: 1\n", "1:4: this '{' is never closed"),
        ("a: [b c: d: e]\n", "1:11: a ',' is missing here, or a value in this list must be quoted"),
        ("a: 'x\nb: 1\n", "1:4: this quote is never closed"),
        ('a: "x\n', "1:4: this quote is never closed"),
        ('a: "\\q"\n', "1:6: inside double quotes a backslash starts an escape; write \\\\, or"),
        ('a: "\\UFFFFFFFF"\n', "1:7: this escape stands for no character"),
        ("a: b: c\n", "1:5: a ':' does not fit here: check the indentation"),
        ("a:b\nc: 1\n", "2:2: a ':' does not fit here: check the indentation"),
        ("a: 1\n  b: 2\n", "2:4: a ':' does not fit here: check the indentation"),
        ("a: 1\nb\nc: 2\n", "2:1: a key must be followed by ':' and a space"),
        ("- a\nb: 1\n", "2:1: this does not fit what stands above it: check the indentation"),
        ('a: "b" c\n', "1:8: this does not fit what stands above it: check the indentation"),
        ("a: - b\n", "1:4: a '- ' must stand at the start of its own line"),
        ("a: }\n", "1:4: a value is missing here, or it starts with a character that must be"),
        ("a: 1\n---\nb: 1\n", "2:1: a configuration is one YAML document; a second one starts"),
        (
            "a: 1\n...\n}\n",
            "3:1: this does not belong to what stands above it: check its indentation",
        ),
        (
            " a: 1\nb: 2\n",
            "2:1: this does not belong to what stands above it: check its indentation",
        ),
        ("%YAML 2.0\n---\na: 1\n", "1:1: lines that start with '%' mean something to YAML"),
        ("%YAML x\n", "1:7: lines that start with '%' mean something to YAML"),
        ("a: \x07\n", "1:4: the character U+0007 has no place in a configuration"),
        ("# a\n#\u2028b\n", "2:2: the character U+2028 has no place in a configuration"),
        ("[" * 50, "1:22: values are nested more than 20 deep"),
    ],
)
def test_a_syntax_error_says_where_and_what_to_do(text: str, complaint: str) -> None:
    (said,) = complaints(text)
    assert said.startswith(complaint)


def test_an_unquoted_domain_has_a_complaint_of_its_own() -> None:
    text = with_network_sender().replace("[scanner@example.com]", "[@.example.com]")
    assert complaints(text) == [
        "8:12: a value cannot start with '@' unless it is quoted, as in \"@example.com\""
    ]


def test_an_error_of_a_newer_pyyaml_is_told_all_the_same() -> None:
    mark = yaml.Mark("f", 7, 1, 2, None, 0)
    assert explain(yaml.MarkedYAMLError(None, None, "news", mark), "") == (
        (2, 3),
        "this is not YAML",
    )
    assert explain(yaml.MarkedYAMLError(), "") == ((1, 1), "this is not YAML")


def test_every_text_pyyaml_has_for_an_error_has_ours() -> None:
    """PyYAML has no error codes, only texts; those it has are all told in our words."""
    texts = [
        "a: \x00",
        "? ",
        "a: !",
        "a: &",
        "'",
        '"',
        "{",
        "[",
        "|0",
        ">+-",
        "%A\n",
        "%TAG x\n",
        "!<",
    ]
    for text in texts:
        for before in ("", "a: ", "- ", "a: [", "a: {b: ", "a:\n  - "):
            source = read(before + text, file="relay.yaml", environ={})
            assert not any("this is not YAML" in c.message for c in source.complaints), (
                before + text
            )


def test_a_key_given_twice_is_an_error_and_the_first_stands() -> None:
    text = with_network_sender("priority: bulk\npriority: urgent\nname: x")
    assert complaints(text) == [
        "10:5: senders[0].priority: this key was given already, in line 9",
        "11:5: senders[0].name: this key was given already, in line 6",
    ]


def test_anchors_and_aliases_are_spelled_out() -> None:
    text = with_network_sender("limits: &small {rate: 1/h}") + (
        "  - name: other\n    networks: [10.30.0.0/16]\n    from: ['@example.com']\n"
        "    limits: *small\n"
    )
    first, second = loaded(text).settings.senders
    assert first.limits == second.limits


def test_a_complaint_about_an_alias_stands_at_its_anchor() -> None:
    text = with_network_sender("limits: &small {rate: 1}") + (
        "  - name: other\n    networks: [10.30.0.0/16]\n    from: ['@example.com']\n"
        "    limits: *small\n"
    )
    words = "1 is not a rate: write a number per s, min, h or day, such as 10/s"
    assert complaints(text) == [
        f"9:27: senders[0].limits.rate: {words}",
        f"9:27: senders[1].limits.rate: {words}",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hostname: *name", "1:11: hostname: no anchor ('&') of this name stands above"),
        ("ses: &a {accounts: *a}", "1:20: ses.accounts: this alias stands inside what it is an"),
        ("ses: &a [*a]", "1:10: ses[0]: this alias stands inside what it is an alias of"),
        ("hostname: !!binary aGk=", "1:11: hostname: tags ('!') are not accepted"),
        ("hostname: !!python/name:os.system", "1:11: hostname: tags ('!') are not accepted"),
        ("ses: !!map {}", "1:6: ses: tags ('!') are not accepted"),
        ("spool: !!int 5", "1:8: spool: tags ('!') are not accepted"),
        ("log: !x {}", "1:6: log: tags ('!') are not accepted"),
        ("log: {<<: {level: info}}", "1:7: log: merge keys ('<<') are not accepted; write the"),
        ("log: {'<<': {level: info}}", "1:7: log.?: this is not a key; is a space missing"),
        ('log: {"a\\e[2J": 1}', "1:7: log: a key holds a line break or a control character"),
        ("log: {[a]: 1}", "1:7: log: a key must be plain text"),
        ("log: {{a: b}: 1}", "1:7: log: a key must be plain text"),
        ("log: {? *x : 1}", "1:9: log: a key must be plain text"),
        ("log: {'': 1}", "1:7: log.?: this is not a key; is a space missing"),
        ("log: {: 1}", "1:7: a value is missing here, or it starts with a character that must"),
        ('hostname: "a\\nb"', "1:11: hostname: the value holds a line break or a control"),
        ('hostname: "\\ud800"', "1:11: hostname: the value holds a line break or a control"),
        ("hostname: |\n  relay\n", "1:11: hostname: the value holds a line break or a control"),
    ],
)
def test_what_of_yaml_is_not_accepted(text: str, complaint: str) -> None:
    assert any(said.startswith(complaint) for said in complaints(text))


def test_what_is_not_accepted_is_not_complained_of_twice() -> None:
    text = with_network_sender("limits: !!map {rate: 1}\npriority: *none")
    assert complaints(text) == [
        "9:13: senders[0].limits: tags ('!') are not accepted; quote a value that starts with '!'",
        "10:15: senders[0].priority: no anchor ('&') of this name stands above",
    ]


def test_aliases_of_aliases_cannot_exhaust_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (said,) = [c for c in complaints("\n".join(lines)) if "aliases" in c]
    assert said.endswith(": the aliases of this file stand for too much")


def test_aliases_cannot_nest_deeper_than_values() -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} {'[' * 15}*a{n - 1}{']' * 15}" for n in range(1, 100)]
    assert any(
        "the aliases of this file stand for too much" in c for c in complaints("\n".join(lines))
    )


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"hostname: a\nlog: \xff\n", "2:6: the file is not UTF-8"),
        ("hostname: bücher\n".encode("latin-1"), "1:12: the file is not UTF-8"),
        ("hostname: a\n".encode("utf-16"), "1:1: the file is not UTF-8"),
        (b"hostname: \xed\xa0\x80", "1:11: the file is not UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8(octets: bytes, complaint: str) -> None:
    assert complaints(octets) == [complaint]


def test_a_byte_order_mark_and_windows_line_ends_are_no_harm() -> None:
    text = "\ufeff" + with_network_sender().replace("\n", "\r\n")
    assert loaded(text).hostname == "relay.example.com"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in {
        tmp_path / "absent.yaml": "the file cannot be read: No such file or directory",
        tmp_path: "the file is a directory, not a file",
        tmp_path / "absent" / "relay.yaml": "the file cannot be read: No such file or directory",
        tmp_path / ("x" * 300): "the file cannot be read: File name too long",
        tmp_path / "a\0b": "the file is not a path",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            load(path)
        assert str(caught.value) == f"{path}:1:1: {words}"
        assert caught.value.__context__ is None


def test_a_file_of_five_megabytes_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_bytes(b"# large\n" * 655_360)
    with pytest.raises(ConfigurationError, match="is too large: 1048576 octets are the most"):
        load(path)


def test_a_device_without_end_is_too_large() -> None:
    with pytest.raises(ConfigurationError, match="is too large"):
        load("/dev/zero")


def test_places_are_those_of_the_text() -> None:
    node = compose("a:\n  - b: 'ü'\n    c: 1\n")
    assert yaml.__version__ >= "6"
    source = read("a:\n  - b: 'ü'\n    c: 1\n", file="f", environ={})
    assert node.mark == (1, 1)
    assert source.values["a", 0, "c"] == (3, 8)
    assert source.keys["a", 0, "c"] == (3, 5)
    # What stands nowhere is placed at what is nearest to where it would.
    assert str(source.complaint(("a", 0, "d", 1), "x")) == "f:2:5: a[0].d[1]: x"
    assert str(source.complaint(("z",), "x")) == "f:1:1: z: x"
