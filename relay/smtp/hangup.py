"""How the conversation on a connection is ended from wherever it stands."""

from __future__ import annotations

from relay.mail.reply import Reply


class HangUpError(Exception):
    """The connection is to be closed, and this is the last thing to be said on it.

    With `linger` the client is in the middle of sending: closing at once would make its system
    throw our reply away (RFC 1122 section 4.2.2.13), so we go on reading for a while. With `mute`
    the reply is told to the operator only.
    """

    def __init__(self, reply: Reply, *, linger: bool = False, mute: bool = False) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.linger = linger
        self.mute = mute
