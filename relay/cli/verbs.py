"""What the verbs do: ask the daemon, show the answer. Knows no daemon internals."""

from __future__ import annotations

import base64
import getpass
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import CONFIGURATION, FOUND_BAD, USAGE
from relay.cli.words import clean, fail, say, show, show_json


@contextmanager
def asking(admin: Path) -> Iterator[AdminClient]:
    """Yield a client, and end the program in words where the daemon cannot be asked or says no."""
    try:
        yield AdminClient(admin)
    except AdminError as error:
        fail(str(error), error.exit_code)


def reload(admin: Path) -> None:
    """Ask the daemon to load its configuration again."""
    with asking(admin) as daemon:
        answer = daemon.ask("POST", "reload")
    for warning in answer["warnings"]:
        say(f"warning: {warning}")
    for complaint in answer["complaints"]:
        say(complaint)
    if answer["complaints"]:
        fail("the configuration was refused; the previous one is still in force", CONFIGURATION)
    say("the new configuration is in force")


def show_config(admin: Path, *, changed: bool, origin: bool, as_json: bool) -> None:
    """Show what the daemon works by, and why."""
    from relay.config.shown import spelled  # noqa: PLC0415 - pydantic, 0.2 s

    with asking(admin) as daemon:
        answer = daemon.ask("GET", "config")
    found = [one for one in answer["settings"] if one["is_set"] or not changed]
    if as_json:
        show_json(found)
        return
    for one in found:
        value = clean(spelled(one["value"]))
        show(f"{one['place']}: {value}" + (f"   # {one['origin']}" if origin else ""))


def pause(admin: Path, name: str, reason: str) -> None:
    """Keep a sender's mail from being attempted."""
    with asking(admin) as daemon:
        answer = daemon.ask("POST", "senders", name, "pause", body={"reason": reason})
    say(f"{answer['sender']} is paused: its mail is accepted and kept")


def resume(admin: Path, name: str, reason: str) -> None:
    """Let a sender's mail go again."""
    with asking(admin) as daemon:
        answer = daemon.ask("POST", "senders", name, "resume", body={"reason": reason})
    say(f"{answer['sender']} is resumed")


def show_senders(admin: Path, name: str, *, as_json: bool) -> None:
    """Show how the mail of the senders, or of one of them, is received."""
    with asking(admin) as daemon:
        found = daemon.ask("GET", "senders")["senders"]
    chosen = [one for one in found if not name or one["sender"] == name]
    if not chosen:
        fail(f"there is no sender {name}", FOUND_BAD)
    if as_json:
        show_json(chosen)
        return
    for one in chosen:
        show(f"{'sender:':<12}{one['sender']}")
        paused = one["paused"]
        if paused is not None:
            words = f"since {paused['since'][:16]} by {paused['actor']}: {paused['reason']}"
            show(clean(f"{'paused:':<12}{words}"))
        if one["suspect"]:
            show(clean(f"{'suspect:':<12}{one['suspect']}"))
        for window in ("1h", "24h"):
            seen = one[window]
            show(
                f"{window + ':':<12}{seen['sent']} sent, {seen['delivered']} delivered, "
                f"{seen['bounced']} bounced ({seen['bounce_rate']:.2%}), "
                f"{seen['complained']} complained ({seen['complaint_rate']:.3%})"
            )
        show("")


def show_accounts(admin: Path, name: str, *, as_json: bool) -> None:
    """Show how the accounts, or one of them, are doing."""
    with asking(admin) as daemon:
        found = daemon.ask("GET", "accounts")["accounts"]
    chosen = [one for one in found if not name or one["account"] == name]
    if not chosen:
        fail(f"there is no account {name}", FOUND_BAD)
    if as_json:
        show_json(chosen)
        return
    for one in chosen:
        for key, value in one.items():
            # An unlimited quota has no number in JSON.
            shown = "-" if value in (None, "") else value
            show(clean(f"{key.replace('_', ' ') + ':':<24}{shown}"))
        show("")


def hash_secret() -> None:
    """Hash a password for the configuration."""
    from relay.smtp.auth import hash_password  # noqa: PLC0415 - loads argon2

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            fail("the passwords differ", USAGE)
    else:
        password = sys.stdin.read().rstrip("\r\n")
    if not password:
        fail("an empty password is no secret", USAGE)
    show(f'secret_hash: "{hash_password(password)}"')


def new_callback_secret() -> None:
    """Make a secret that signs callbacks (Standard Webhooks 1.0)."""
    say("Into the file that callback.secret_file names, and to the application that verifies:")
    show(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}")


def new_token() -> None:
    """Make a token and its digest."""
    from relay.smtp.auth import new_token as make  # noqa: PLC0415

    token, digest = make()
    say("The application's password, shown this once:")
    show(token)
    say("For the configuration:")
    show(f'token_hash: "{digest}"')
