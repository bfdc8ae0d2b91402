"""`relay suppression` and `relay callback`: the verbs and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relay.cli import ADMIN_PATH
from relay.cli.options import AdminOption, JsonOption

suppression = typer.Typer(help="Addresses that are not mailed.", no_args_is_help=True)
callback = typer.Typer(help="What applications are told of their mail.", no_args_is_help=True)

AddressArgument = Annotated[str, typer.Argument(help="Address.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept for the audit.")]
ScopeOption = Annotated[
    str,
    typer.Option(
        help="account:NAME or sender:NAME: whose mail this is about. Without it: everybody's."
    ),
]
FormatOption = Annotated[
    str, typer.Option("--format", help="csv or jsonl. Without it: by the name of the file, or csv.")
]


@suppression.command("list", epilog="Examples:  relay suppression list --json")
def list_suppressions(admin: AdminOption = ADMIN_PATH, *, as_json: JsonOption = False) -> None:
    """List the suppressed addresses."""
    from relay.cli import suppressions  # noqa: PLC0415

    suppressions.list_all(admin, as_json=as_json)


@suppression.command("show", epilog="Examples:  relay suppression show jane@example.net")
def show(
    address: AddressArgument, admin: AdminOption = ADMIN_PATH, *, as_json: JsonOption = False
) -> None:
    """Say why an address is not mailed; exit 1 if it is not on the list."""
    from relay.cli import suppressions  # noqa: PLC0415

    suppressions.show_one(admin, address, as_json=as_json)


@suppression.command(
    "add",
    epilog='Examples:  relay suppression add jane@example.net --reason "asked by phone"   '
    "relay suppression add jane@example.net --reason moved --scope sender:news --expires-in 90d",
)
def add(
    address: AddressArgument,
    reason: ReasonOption,
    scope: ScopeOption = "",
    expires_in: Annotated[
        str, typer.Option(help="For how long, such as 90d. Without it: for ever.")
    ] = "",
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Put an address on the list: it is refused at RCPT from now on."""
    from relay.cli import suppressions  # noqa: PLC0415

    suppressions.add(admin, address, reason, scope, expires_in)


@suppression.command(
    "remove", epilog='Examples:  relay suppression remove jane@example.net --reason "mailbox fixed"'
)
def remove(
    address: AddressArgument,
    reason: ReasonOption,
    scope: Annotated[
        str | None, typer.Option(help="Only in this scope. Without it: wherever it is.")
    ] = None,
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Take an address off the list, and say whether SES's own list still holds it."""
    from relay.cli import suppressions  # noqa: PLC0415

    suppressions.remove(admin, address, reason, scope)


@suppression.command(
    "import",
    epilog="Examples:  relay suppression import old.csv --reason migration   "
    "relay suppression import - --format jsonl --reason migration < list.jsonl",
)
def bring_in(
    file: Annotated[
        Path,
        typer.Argument(
            allow_dash=True,
            help="With address (or emailAddress) and, where there are any, reason, detail, scope, "
            "since and until. - is standard input.",
        ),
    ],
    reason: ReasonOption,
    file_format: FormatOption = "",
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Add the addresses of a file; exit 1 if some of its lines are no addresses."""
    from relay.cli import suppressions  # noqa: PLC0415

    raise typer.Exit(suppressions.bring_in(admin, file, reason, file_format))


@suppression.command("export", epilog="Examples:  relay suppression export > suppressed.csv")
def export(
    file: Annotated[
        Path, typer.Argument(allow_dash=True, help="Where to; - is standard output.")
    ] = Path("-"),
    file_format: FormatOption = "",
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Write the whole list, as `import` reads it."""
    from relay.cli import suppressions  # noqa: PLC0415

    suppressions.export(admin, file, file_format)


@suppression.command(
    "sync", epilog="Examples:  relay suppression sync   relay suppression sync main --full"
)
def sync(
    account: Annotated[str, typer.Argument(help="Of this account only.")] = "",
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read all of it again, to find out what is gone.")
    ] = False,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Copy SES's own lists now. What is broken off is gone on with by the same again."""
    from relay.cli import suppressions  # noqa: PLC0415

    raise typer.Exit(suppressions.sync(admin, account, full=full, as_json=as_json))


@callback.command(
    "list", epilog="Examples:  relay callback list --dead   relay callback list --json"
)
def list_callbacks(
    *,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """List what applications have not been told yet."""
    from relay.cli import callbacks  # noqa: PLC0415

    callbacks.list_all(admin, dead=dead, as_json=as_json)


@callback.command(
    "replay",
    epilog="Examples:  relay callback replay --sender billing   relay callback replay msg_9f86d081",
)
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="webhook-ids.")] = None,
    *,
    sender: Annotated[str, typer.Option(help="All dead ones of this sender.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All dead ones.")] = False,
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Tell again what was given up; exit 1 if there is nothing."""
    from relay.cli import callbacks  # noqa: PLC0415

    callbacks.replay(admin, ids or (), sender, everything=everything)
