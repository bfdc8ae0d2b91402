"""The dependency rule, held: the core touches nothing, adapters never meet, one importer each."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELAY = ROOT / "relay"

ADAPTERS = {"smtp", "store", "delivery", "ses", "feedback", "web", "observe"}
CORE = {"mail", "policy"}
# What each part of the tree may import of the others.
MAY_IMPORT = {
    "mail": set(),
    "policy": {"mail"},
    "ports": {"mail", "policy"},
    "operators": {"mail"},
    "aftermath": {"mail", "policy"},
    "unawaited": set(),
    "facts": {"mail", "policy", "ports", "operators", "passing"},
    "upkeep": {"mail", "policy", "ports"},
    "passing": {"mail", "policy", "ports"},
    **{
        adapter: {
            "mail",
            "policy",
            "ports",
            "operators",
            "aftermath",
            "facts",
            "upkeep",
            "passing",
            "unawaited",
        }
        for adapter in ADAPTERS
    },
    # Values only: the composition root hands them out.
    "config": {"mail", "policy"},
    # Stands alone, so that it cannot share a mistake with what it tests.
    "simulator": {"mail"},
}
# The composition root and the command line may see everything below them.
ROOTS = {
    "daemon",
    "observing",
    "probe",
    "offline",
    "delivering",
    "feeding",
    "reloading",
    "accounts",
    "activation",
    "inspecting",
    "progress",
    "pulse",
    "readmission",
    "supervisor",
    "surveying",
    "serving",
    "wiring",
    "service",
    "status",
    "watching",
    "clock",
    "vitals",
    "cli",
    "__main__",
    "__init__",
}

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


MODULES = sorted(RELAY.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(RELAY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def relay_parts(path: Path) -> set[str]:
    found = {match[1] for name in imports(path) if (match := re.match(r"relay\.([a-z_]+)", name))}
    return found - {"__version__"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_rule_names_every_part_of_the_tree_and_no_other() -> None:
    assert {part_of(path) for path in MODULES} == {*MAY_IMPORT, *ROOTS}


def test_imports_follow_the_dependency_rule() -> None:
    wrong = [
        f"{name_of(path)}: {part} may not import {name}"
        for path in MODULES
        if (part := part_of(path)) not in ROOTS
        for name in sorted(relay_parts(path) - {part, *MAY_IMPORT[part]})
    ]
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_importer() -> None:
    wrong = [
        f"{name_of(path)}: {name} is {owner}'s to import"
        for path in MODULES
        for name in sorted(imports(path))
        if (owner := ONLY_IMPORTER.get(name.partition(".")[0])) not in (None, part_of(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_touches_nothing() -> None:
    core = [path for path in MODULES if part_of(path) in CORE]
    wrong = [
        f"{name_of(path)}: the core does not touch {name}"
        for path in core
        for name in sorted(imports(path))
        if any(f"{name}.".startswith(f"{impure}.") for impure in IMPURE)
    ]
    wrong += [
        f"{name_of(path)}: the core does not read the clock"
        for path in core
        if "datetime.now" in path.read_text()
    ]
    assert not wrong, "\n".join(wrong)


def test_a_module_says_its_duty_and_stays_small() -> None:
    wrong = [
        f"{name_of(path)}: no module docstring"
        for path in MODULES
        if not ast.get_docstring(tree_of(path))
    ]
    wrong += [
        f"{name_of(path)}: {lines} lines; more than one duty fits in 350"
        for path in MODULES
        if (lines := path.read_text().count("\n")) > 350
    ]
    assert not wrong, "\n".join(wrong)


def test_the_daemon_is_the_only_one_to_name_adapters() -> None:
    wrong = [
        f"{name_of(path)}: the command line may not import {name}"
        for path in MODULES
        if part_of(path) == "cli"
        for name in sorted(imports(path))
        if re.match(r"relay\.(store|delivery|ses|web|feedback)\b", name)
    ]
    assert not wrong, "\n".join(wrong)
