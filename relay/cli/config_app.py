"""`relay config`: what is in force and why, and the schema of the file. Asks the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from relay.cli import ADMIN_PATH
from relay.cli.options import AdminOption, JsonOption

config = typer.Typer(help="The configuration in force.", no_args_is_help=True)


@config.command(
    "show", epilog="Examples:  relay config show --changed   relay config show --origin"
)
def show_config(
    admin: AdminOption = ADMIN_PATH,
    *,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what the file or the environment says.")
    ] = False,
    origin: Annotated[
        bool, typer.Option("--origin", help="With each value where it comes from.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the running daemon works by, defaults filled in, secrets as ***."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.show_config(admin, changed=changed, origin=origin, as_json=as_json)


@config.command("schema", epilog="Examples:  relay config schema > relay.schema.json")
def show_schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    from relay.config.schema import render  # noqa: PLC0415 - pydantic, 0.2 s

    typer.echo(render(), nl=False)
