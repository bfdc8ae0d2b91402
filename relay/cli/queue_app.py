"""The verbs of the queue and their help. Each does its imports itself, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import ADMIN_PATH, CONFIG_PATH
from relay.cli.options import AdminOption, ConfigOption, JsonOption, SpoolOption

if TYPE_CHECKING:
    from relay.cli.queue import Criteria
    from relay.cli.reach import Whom

queue = typer.Typer(
    help="Mail accepted and not yet relayed.",
    no_args_is_help=True,
    # Completion is the whole program's; and its options would be read before any help is shown.
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Queue ids; - reads them from stdin.")
]
SenderOption = Annotated[str, typer.Option("--sender", help="Mail of this sender.")]
AddressOption = Annotated[
    str, typer.Option("--address", help="Mail for this recipient or domain.", metavar="RECIPIENT")
]
StateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        help="Mail in this state: ready, in-flight, scheduled, held, ambiguous, failed, corrupt. "
        "May be given several times.",
    ),
]
OlderOption = Annotated[
    str,
    typer.Option("--older-than", metavar="AGE", help="Mail that came before: 90s, 2h, 4d ago."),
]
NewerOption = Annotated[
    str, typer.Option("--newer-than", metavar="AGE", help="Mail that came since then.")
]
WhyOption = Annotated[
    str,
    typer.Option(
        "--reason-matches",
        metavar="TEXT",
        help="Mail that waits for a reason with this text in it, in any case of its letters.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All mail there is.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask; needed for a selection without a terminal.")
]
DryOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
]
ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        help="Why; kept for the audit. To hold and to drop need one, all verbs for mail not named.",
    ),
]


def _whom(admin: Path, config: Path, spool: Path | None) -> Whom:
    from relay.cli.reach import Whom  # noqa: PLC0415

    return Whom(admin, config, spool)


def _criteria(  # noqa: PLR0917 - one for each option
    ids: list[str] | None,
    sender: str,
    address: str,
    state: list[str] | None,
    older_than: str,
    newer_than: str,
    reason_matches: str,
) -> Criteria:
    from relay.cli.queue import Criteria  # noqa: PLC0415

    return Criteria(
        ids=ids or (),
        sender=sender,
        address=address,
        states=state or (),
        older_than=older_than,
        newer_than=newer_than,
        why=reason_matches,
    )


@queue.command(
    "list",
    epilog="Examples:  relay queue list --state held   relay queue list --json | jq .queue_id   "
    "relay queue list --older-than 2h --reason-matches throttl",
)
def list_queue(  # noqa: PLR0913 - one option for each criterion
    ids: IdsArgument = None,
    *,
    sender: SenderOption = "",
    address: AddressOption = "",
    state: StateOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    reason_matches: WhyOption = "",
    limit: Annotated[int, typer.Option(min=1, help="Lines of the table.")] = 100,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
    config: ConfigOption = CONFIG_PATH,
    spool: SpoolOption = None,
) -> None:
    """List mail, oldest first: all, or what meets every criterion given."""
    from relay.cli import queue as verbs  # noqa: PLC0415

    meant = _criteria(ids, sender, address, state, older_than, newer_than, reason_matches)
    verbs.list_queue(_whom(admin, config, spool), meant, limit, as_json=as_json)


@queue.command("show", epilog="Examples:  relay queue show 06H04YCY58GVCD1MB7KG")
def show_entry(
    queue_id: Annotated[str, typer.Argument(help="Queue id.")],
    *,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
    config: ConfigOption = CONFIG_PATH,
    spool: SpoolOption = None,
) -> None:
    """Show one mail: envelope, state, and each recipient's attempts and reason."""
    from relay.cli import queue as verbs  # noqa: PLC0415

    verbs.show_entry(_whom(admin, config, spool), queue_id, as_json=as_json)


@queue.command(
    "shape",
    epilog="Examples:  relay queue shape   relay queue shape --by domain --state scheduled   "
    "relay queue shape --by reason --sender billing",
)
def shape(  # noqa: PLR0913 - one option for each criterion
    *,
    by: Annotated[
        str, typer.Option("--by", help="Rows: sender, domain, reason or state.")
    ] = "sender",
    sender: SenderOption = "",
    address: AddressOption = "",
    state: StateOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    reason_matches: WhyOption = "",
    top: Annotated[int, typer.Option(min=1, help="Rows of the table, the largest first.")] = 20,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
    config: ConfigOption = CONFIG_PATH,
    spool: SpoolOption = None,
) -> None:
    """Show how much mail is how old, in minutes since it came: qshape's columns.

    A mail for several domains counts in the row of each, and once in the total.
    """
    from relay.cli import queue as verbs  # noqa: PLC0415

    meant = _criteria(None, sender, address, state, older_than, newer_than, reason_matches)
    verbs.shape(_whom(admin, config, spool), meant, by, top, as_json=as_json)


def _give(verb: str, criteria: Criteria, whom: Whom, *, new_sender: str = "", **asked: Any) -> None:
    from relay.cli import orders  # noqa: PLC0415

    order = orders.Asked(verb=verb, criteria=criteria, new_sender=new_sender, **asked)
    raise typer.Exit(orders.give(whom, order))


def _order(verb: str, words: str, epilog: str) -> None:
    """Add a verb that changes mail; these have the same options."""

    def give(  # noqa: PLR0913 - one option for each criterion
        ids: IdsArgument = None,
        *,
        reason: ReasonOption = "",
        sender: SenderOption = "",
        address: AddressOption = "",
        state: StateOption = None,
        older_than: OlderOption = "",
        newer_than: NewerOption = "",
        reason_matches: WhyOption = "",
        everything: AllOption = False,
        yes: YesOption = False,
        dry_run: DryOption = False,
        as_json: JsonOption = False,
        admin: AdminOption = ADMIN_PATH,
        config: ConfigOption = CONFIG_PATH,
        spool: SpoolOption = None,
    ) -> None:
        _give(
            verb,
            _criteria(ids, sender, address, state, older_than, newer_than, reason_matches),
            _whom(admin, config, spool),
            is_all=everything,
            reason=reason,
            is_confirmed=yes,
            is_dry=dry_run,
            as_json=as_json,
        )

    queue.command(verb, help=words, epilog=epilog)(give)


_order(
    "hold",
    "Keep mail from being sent until it is released; what comes later is not held.\n\n"
    "Mail that SES has at this moment is not called back: exit 75, and the same again holds what "
    "is left of it.",
    'Examples:  relay queue hold --sender billing --reason "wrong template"   '
    'relay queue hold 06H04YCY58GVCD1MB7KG --reason "asked by phone"',
)


@queue.command(
    "release",
    epilog='Examples:  relay queue release --sender billing --reason "template mended"   '
    "relay queue release 06H04YCY58GVCD1MB7KG   "
    'relay queue release --sender gone --as billing --reason "gone is part of billing now"',
)
def release(  # noqa: PLR0913 - one option for each criterion
    ids: IdsArgument = None,
    *,
    new_sender: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="SENDER",
            help="Give mail of senders that are configured no more to this one.",
        ),
    ] = "",
    reason: ReasonOption = "",
    sender: SenderOption = "",
    address: AddressOption = "",
    state: StateOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    reason_matches: WhyOption = "",
    everything: AllOption = False,
    yes: YesOption = False,
    dry_run: DryOption = False,
    as_json: JsonOption = False,
    admin: AdminOption = ADMIN_PATH,
    config: ConfigOption = CONFIG_PATH,
    spool: SpoolOption = None,
) -> None:
    """Let held mail go, whatever it was held for; mail that is not held stays as it is."""
    _give(
        "release",
        _criteria(ids, sender, address, state, older_than, newer_than, reason_matches),
        _whom(admin, config, spool),
        new_sender=new_sender,
        is_all=everything,
        reason=reason,
        is_confirmed=yes,
        is_dry=dry_run,
        as_json=as_json,
    )


_order(
    "retry",
    "Make mail due now: failed and ambiguous too, and what SES's answers hold.\n\n"
    "An ambiguous one may go out twice: its answer was lost. A corrupt one is looked at first. "
    "What an operator holds is left alone, unless it is named by its id or with --state held.",
    "Examples:  relay queue retry 06H04YCY58GVCD1MB7KG   "
    'relay queue retry --state failed --newer-than 1h --reason "identity verified"',
)
_order(
    "drop",
    "Throw mail away, content and all, without telling anybody; relay trace still knows of it.",
    'Examples:  relay queue drop --sender billing --older-than 2h --reason "sent by hand"   '
    "relay queue list --state corrupt --json | jq -r .queue_id | relay queue drop - "
    '--reason "no copy left"',
)
