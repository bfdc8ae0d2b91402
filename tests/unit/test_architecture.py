"""The dependency rule, held: the core touches nothing, adapters never meet, one importer each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELAY = ROOT / "relay"

ADAPTERS = {"smtp", "store", "delivery", "ses", "feedback", "web", "observe"}
CORE = {"mail", "policy"}
# What each part of the tree may import of the others.
MAY_IMPORT = {
    "mail": set(),
    "policy": {"mail"},
    "ports": {"mail", "policy"},
    "facts": {"mail", "policy", "ports"},
    **{adapter: {"mail", "policy", "ports", "facts"} for adapter in ADAPTERS},
    # Values only: the composition root hands them out.
    "config": {"mail", "policy"},
    # Stands alone, so that it cannot share a mistake with what it tests.
    "simulator": {"mail"},
}
# The composition root and the command line may see everything below them.
ROOTS = {"daemon", "wiring", "service", "clock", "vitals", "cli", "__main__", "__init__"}

ONLY_IMPORTER = {
    "yaml": "config",
    "pydantic": "config",
    "structlog": "observe",
    "prometheus_client": "observe",
    "botocore": "ses",
    "boto3": "ses",
    "aiosmtpd": "smtp",
    "argon2": "smtp",
    "sqlite3": "store",
    "typer": "cli",
    "rich": "cli",
}
# Reading a clock, a file or a socket has no place in a decision.
IMPURE = {
    "asyncio",
    "http",
    "logging",
    "os.path",
    "pathlib",
    "random",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}


def modules() -> list[Path]:
    return sorted(RELAY.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(RELAY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_follow_the_dependency_rule(path: Path) -> None:
    part = part_of(path)
    if part in ROOTS:
        return
    allowed = {part, *MAY_IMPORT[part]}
    used = {
        match[1] for name in imports(path) if (match := re.match(r"relay\.([a-z_]+)", name))
    } - {"__version__"}
    assert used <= allowed, f"{part} may not import {used - allowed}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_each_library_has_one_importer(path: Path) -> None:
    part = part_of(path)
    for name in imports(path):
        owner = ONLY_IMPORTER.get(name.partition(".")[0])
        assert owner in (None, part), f"{name} is {owner}'s to import"


@pytest.mark.parametrize("path", [p for p in modules() if part_of(p) in CORE], ids=name_of)
def test_the_core_touches_nothing(path: Path) -> None:
    touched = {name.partition(".")[0] for name in imports(path)} & IMPURE
    assert not touched
    assert "datetime.now" not in path.read_text()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_says_its_duty_and_stays_small(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert text.count("\n") <= 350, "more than one duty fits in 350 lines"


def test_the_daemon_is_the_only_one_to_name_adapters() -> None:
    cli = [p for p in modules() if part_of(p) == "cli"]
    named = {
        (name_of(p), name)
        for p in cli
        for name in imports(p)
        if re.match(r"relay\.(store|delivery|ses|web|feedback)\b", name)
    }
    assert not named
