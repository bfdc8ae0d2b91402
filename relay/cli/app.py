"""The verbs and their help. Each does its imports itself, so that `relay --help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relay.cli import ADMIN_PATH, CONFIG_PATH
from relay.cli.config_app import config as configuration
from relay.cli.options import AdminOption, ConfigOption, ForOption, JsonOption, SpoolOption
from relay.cli.queue_app import queue
from relay.cli.sender_app import account, sender
from relay.cli.suppression_app import callback, suppression

app = typer.Typer(
    help="An SMTP server for legacy applications that hands their mail to Amazon SES.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
secret = typer.Typer(help="Verifiers for the configuration.", no_args_is_help=True)
app.add_typer(queue, name="queue")
app.add_typer(sender, name="sender")
app.add_typer(account, name="account")
app.add_typer(configuration, name="config")
app.add_typer(suppression, name="suppression")
app.add_typer(callback, name="callback")
app.add_typer(secret, name="secret")


@app.command(epilog="Examples:  relay serve --config /etc/ses-relay/relay.yaml")
def serve(config: ConfigOption = CONFIG_PATH) -> None:
    """Run the daemon in the foreground."""
    from relay.cli.serve import serve as run  # noqa: PLC0415

    raise typer.Exit(run(config))


@app.command(
    epilog="Examples:  relay check --config config/relay.yaml   relay check --host --live   "
    "relay check --spool; echo $?"
)
def check(
    config: ConfigOption = CONFIG_PATH,
    *,
    host: Annotated[
        bool,
        typer.Option(
            "--host",
            help="This machine too, as the user that runs this: certificates' ends, ports, spool. "
            "Exit 1 if anything is not fit.",
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="AWS too: whose credentials these are, the quota, whether every address and "
            "domain in from is verified. Sends nothing. Exit 1 if anything is amiss.",
        ),
    ] = False,
    spool: Annotated[
        bool,
        typer.Option(
            "--spool",
            help="Read through the spool instead, in use or not: databases, length and checksum of "
            "all content. Exit 1 if anything is damaged.",
        ),
    ] = False,
) -> None:
    """Validate the configuration without starting: every complaint at once, exit 78 if any."""
    from relay.cli import serve as verbs  # noqa: PLC0415

    if spool:
        raise typer.Exit(verbs.check_spool(config))
    raise typer.Exit(verbs.check(config, verbs.Looks(host=host, live=live)))


@app.command(epilog="Examples:  relay demo   relay demo --smtp-port 2525")
def demo(
    smtp_port: Annotated[
        int, typer.Option(min=0, max=65535, help="SMTP port on 127.0.0.1; 0 takes any.")
    ] = 2525,
    data: Annotated[
        Path | None,
        typer.Option(readable=False, help="Keep the spool here instead of a temporary directory."),
    ] = None,
) -> None:
    """Run the relay against a simulated SES on this machine, and tell what happens to each mail."""
    from relay.cli.demo import demo as run  # noqa: PLC0415

    raise typer.Exit(run(smtp_port, data))


@app.command(epilog="Examples:  relay reload")
def reload(admin: AdminOption = ADMIN_PATH) -> None:
    """Load the configuration again, all or nothing; fails with the complaints when refused."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.reload(admin)


@app.command(epilog="Examples:  relay health   relay health --live; echo $?")
def health(
    admin: AdminOption = ADMIN_PATH,
    *,
    live: Annotated[
        bool,
        typer.Option("--live", help="Only whether it works at all, be mail taken or not."),
    ] = False,
) -> None:
    """Say whether the daemon takes mail, by the exit code: 0 yes, 1 no, 69 there is none."""
    from relay.cli.health import health as ask  # noqa: PLC0415

    raise typer.Exit(ask(admin, live=live))


@app.command(epilog="Examples:  relay status   relay status --watch   relay status --json")
def status(
    admin: AdminOption = ADMIN_PATH,
    *,
    as_json: JsonOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")
    ] = False,
) -> None:
    """Say how the relay is doing, the worst first; exit 1 while something is critical."""
    from relay.cli.status import status as run  # noqa: PLC0415

    raise typer.Exit(run(admin, as_json=as_json, watch=watch))


@app.command(
    epilog="Examples:  relay trace 06H04YCY58GVCD1MB7KG   relay trace jane@example.net   "
    "relay trace '<20260301.1@erp.example.com>'"
)
def trace(
    key: Annotated[
        str,
        typer.Argument(help="Queue id, SES message id, recipient, or Message-ID of the header."),
    ],
    *,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
    config: ConfigOption = CONFIG_PATH,
    spool: SpoolOption = None,
) -> None:
    """Tell the life of a mail: attempts, orders, SES's answers, and what SES reported later."""
    from relay.cli import queue, reach  # noqa: PLC0415

    queue.trace(reach.Whom(admin, config, spool), key, as_json=as_json)


@app.command(
    epilog="Examples:  relay explain --login billing --from billing@example.com --to a@b.example   "
    "relay explain --ip 10.20.0.7 --from '<>' --header-from root"
)
def explain(  # noqa: PLR0913 - one option for each thing SMTP says
    config: ConfigOption = CONFIG_PATH,
    admin: AdminOption = ADMIN_PATH,
    *,
    sender: Annotated[str, typer.Option(help="The client is this configured sender.")] = "",
    login: Annotated[str, typer.Option(help="The client logged in with this user name.")] = "",
    certificate: Annotated[
        str, typer.Option(help="The client showed a certificate with this name.")
    ] = "",
    ip: Annotated[str, typer.Option(help="The client's address.")] = "",
    listener: Annotated[
        str, typer.Option(help="The listener it comes to; without it the most lenient one.")
    ] = "",
    reverse_path: Annotated[
        str | None, typer.Option("--from", help="MAIL FROM; '<>' for the null sender.")
    ] = None,
    header_from: Annotated[str | None, typer.Option(help="The From header.")] = None,
    recipients: Annotated[
        list[str] | None, typer.Option("--to", help="RCPT TO; may be given several times.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a mail would be admitted, and which rule says so; exit 1 if it would not."""
    from relay.cli.explain import Asked, run  # noqa: PLC0415

    asked = Asked(
        sender=sender,
        login=login,
        certificate=certificate,
        ip=ip,
        listener=listener,
        reverse_path=reverse_path,
        author=header_from,
        recipients=recipients or (),
    )
    raise typer.Exit(run(config, admin, asked, as_json=as_json))


@app.command(
    "log-level",
    epilog="Examples:  relay log-level   relay log-level debug --for 15m   relay log-level reset",
)
def log_level(
    level: Annotated[
        str, typer.Argument(help="debug, info, warning or error; reset: as configured.")
    ] = "",
    length: ForOption = "15m",
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Show at which level is logged, or log at another for a while; it falls back by itself."""
    from relay.cli.watching import log_level as run  # noqa: PLC0415

    run(admin, level, length)


@app.command(
    "trace-smtp",
    epilog="Examples:  relay trace-smtp --client 10.20.0.7   "
    "relay trace-smtp --client 10.20.0.0/16 --for 1h --json",
)
def trace_smtp(
    client: Annotated[str, typer.Option(help="The client's address, or a network.")],
    length: ForOption = "10m",
    *,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Show what clients say and hear as it happens; content and what logs them in is left out."""
    from relay.cli.watching import trace_smtp as run  # noqa: PLC0415

    run(admin, client, length, as_json=as_json)


@app.command(
    epilog="Examples:  relay selftest   relay selftest --sender billing --from billing@example.com"
)
def selftest(
    sender: Annotated[
        str, typer.Option(help="As which sender. Without it: as the first one.")
    ] = "",
    address: Annotated[
        str, typer.Option("--from", help="From which of its addresses. Without it: the first.")
    ] = "",
    length: Annotated[
        str, typer.Option("--timeout", help="How long it may take, such as 90s.")
    ] = "60s",
    *,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
) -> None:
    """Send a mail to SES's mailbox simulator, and wait until SES's event returns; exit 1 if not."""
    from relay.cli.watching import selftest as run  # noqa: PLC0415

    raise typer.Exit(run(admin, sender, address, length, as_json=as_json))


@app.command(epilog="Examples:  relay version")
def version() -> None:
    """Show the version."""
    from relay import __version__  # noqa: PLC0415
    from relay.cli.words import show  # noqa: PLC0415

    show(__version__)


@secret.command("hash", epilog="Examples:  relay secret hash   printf %s pw | relay secret hash")
def hash_secret() -> None:
    """Hash a person's password for `secret_hash`; asked twice, or read from standard input."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.hash_secret()


@secret.command("token", epilog="Examples:  relay secret token")
def new_token() -> None:
    """Make a token for an application, and its digest for `token_hash`."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.new_token()


@secret.command("callback", epilog="Examples:  relay secret callback > billing-callback")
def new_callback_secret() -> None:
    """Make a secret that signs callbacks, for the file that `callback.secret_file` names."""
    from relay.cli import verbs  # noqa: PLC0415

    verbs.new_callback_secret()
