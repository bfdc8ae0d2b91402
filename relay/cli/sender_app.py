"""`relay sender` and `relay account`: the verbs and their help."""

from __future__ import annotations

from typing import Annotated

import typer

from relay.cli import ADMIN_PATH
from relay.cli.options import AdminOption, JsonOption

sender = typer.Typer(
    help="How the mail of senders fares, and whose is kept from being sent.", no_args_is_help=True
)
account = typer.Typer(help="The SES accounts mail leaves by.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The sender's name in the configuration.")]


@sender.command("show", epilog="Examples:  relay sender show   relay sender show billing --json")
def show(
    name: Annotated[str, typer.Argument(help="Of this sender only.")] = "",
    admin: AdminOption = ADMIN_PATH,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show how its mail was received in the last hour and day; exit 1 if there is none such."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.show_senders(admin, name, as_json=as_json)


@sender.command("pause", epilog='Examples:  relay sender pause billing --reason "wrong template"')
def pause(
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; others see it, and the audit.")],
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Accept and keep its mail, and attempt none of it, over restarts, until it is resumed."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.pause(admin, name, reason)


@sender.command("resume", epilog="Examples:  relay sender resume billing")
def resume(
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept for the audit.")] = "",
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Let its mail go again; exit 1 if it is not paused."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.resume(admin, name, reason)


@account.command("show", epilog="Examples:  relay account show   relay account show main --json")
def show_account(
    name: Annotated[str, typer.Argument(help="Of this account only.")] = "",
    admin: AdminOption = ADMIN_PATH,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show rate, quota, breaker and credentials of each account; exit 1 if there is none such."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.show_accounts(admin, name, as_json=as_json)
