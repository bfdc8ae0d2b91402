"""From a path to a Configuration, or to everything that is wrong with the file, at once.

Knows the order of the steps: read, validate, resolve, check. Does not know a single key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from relay.config.checks import check
from relay.config.complaint import Complaint, ConfigurationError, Finding, Mark
from relay.config.configuration import Configuration
from relay.config.files import read_file
from relay.config.resolve import resolve
from relay.config.source import Source, position, read
from relay.config.validate import validate

# A thousand senders take about 200 KiB.
FILE_LIMIT: Final = 1024**2


def load(
    path: str | os.PathLike[str],
    *,
    generation: int = 1,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Read a configuration file; raise ConfigurationError with all that is wrong with it."""
    file = Path(path)
    try:
        octets = read_file(file, FILE_LIMIT)
    except ValueError as error:
        complaint = Complaint(str(file), 1, 1, "", f"the file {error}")
    else:
        return load_text(
            octets,
            file=str(file),
            directory=file.absolute().parent,
            generation=generation,
            environ=environ,
        )
    raise ConfigurationError([complaint])


def load_text(
    octets: bytes,
    *,
    file: str,
    directory: Path,
    generation: int = 1,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Read a configuration from memory, as if it stood in `directory` and were called `file`."""
    source = _source(octets, file, environ)
    if source.tree is None and source.complaints:
        raise ConfigurationError(source.complaints)
    validated = validate(source)
    settings = validated.settings
    resolved = resolve(settings, directory=directory, environ=environ)
    findings = [
        finding
        for finding in (*check(settings), *resolved.findings)
        if finding.is_sound(validated.broken)
    ]
    errors = [
        *source.complaints,
        *validated.complaints,
        *_told(source, (finding for finding in findings if not finding.is_warning)),
    ]
    if errors:
        raise ConfigurationError(errors)
    return Configuration(
        generation=generation,
        file=file,
        settings=settings,
        hostname=resolved.hostname,
        accounts=resolved.accounts,
        tls=resolved.tls,
        verifiers=resolved.verifiers,
        callback_secrets=resolved.callback_secrets,
        raw_secret=resolved.raw_secret,
        warnings=tuple(_told(source, (finding for finding in findings if finding.is_warning))),
        marks=source.values,
        variables=source.variables,
    )


def _source(octets: bytes, file: str, environ: Mapping[str, str]) -> Source:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode("utf-8", "replace")
        mark: Mark = position(before, len(before))
        return Source(file, complaints=(Complaint(file, *mark, "", "the file is not UTF-8"),))
    return read(text, file=file, environ=environ)


def _told(source: Source, findings: Iterable[Finding]) -> list[Complaint]:
    return sorted({source.complaint(finding.at, finding.message) for finding in findings})
