"""What the front door says, in our words only: nothing a client sent is ever repeated."""

from __future__ import annotations

from typing import Final

from relay.mail.reply import Refusal, Reply
from relay.smtp.lines import LINE_LIMIT

# --- going on -------------------------------------------------------------------------------------

OK: Final = Reply(250, "2.0.0", "Ok")
REVERSE_PATH_OK: Final = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Ok")
NOTHING_QUEUED: Final = Reply(250, "2.0.0", "Ok, nothing queued: every recipient is suppressed")
# Gives nothing away about any mailbox (RFC 5321 section 7.3).
CANNOT_VRFY: Final = Reply(252, "2.5.2", "Send the mail and see")
HELP: Final = Reply(214, "2.0.0", "See RFC 5321, and the operator of this relay")
BYE: Final = Reply(221, "2.0.0", "Bye")
START_TLS: Final = Reply(220, "2.0.0", "Ready to start TLS")
START_CONTENT: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
AUTHENTICATED: Final = Reply(235, "2.7.0", "Authentication succeeded")

# --- not understood, or not now -------------------------------------------------------------------

UNKNOWN_COMMAND: Final = Reply(500, "5.5.2", "Command not recognised")
LINE_TOO_LONG: Final = Reply(500, "5.5.2", "Command line too long")
BARE_LINE_ENDING: Final = Reply(500, "5.5.2", "Command lines must end with CRLF")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "This command takes no argument")
# RFC 2034 section 3: replies to HELO and EHLO carry no enhanced status.
HELO_SYNTAX: Final = Reply(501, "", "Syntax: EHLO hostname")
MAIL_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
BDAT_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: BDAT size [LAST]")
RCPT_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_PARAMETER: Final = Reply(501, "5.5.4", "A parameter is malformed or given twice")
UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "A parameter is not recognised or not implemented")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
HELO_FIRST: Final = Reply(503, "5.5.1", "Send EHLO first")
NESTED_MAIL: Final = Reply(503, "5.5.1", "A transaction is open already; finish it or send RSET")
MAIL_FIRST: Final = Reply(503, "5.5.1", "Send MAIL first")
RCPT_FIRST: Final = Reply(503, "5.5.1", "Send RCPT first")
NO_VALID_RECIPIENT: Final = Reply(554, "5.5.1", "No valid recipient")
CONTENT_BEGUN: Final = Reply(503, "5.5.1", "Content has begun; finish it with BDAT or send RSET")
CHUNK_FAILED: Final = Reply(503, "5.5.1", "A part of this message was refused; send RSET")
CHUNK_TOO_LARGE: Final = Reply(552, "5.3.4", "No message may have as many octets as announced")
TLS_ALREADY: Final = Reply(503, "5.5.1", "TLS is active already")

# --- AUTH (RFC 4954) ------------------------------------------------------------------------------

AUTH_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
AUTH_CANCELLED: Final = Reply(501, "5.5.2", "Authentication cancelled")
AUTH_NOT_BASE64: Final = Reply(501, "5.5.2", "The response is not base64, or not of this mechanism")
AUTH_LINE_TOO_LONG: Final = Reply(500, "5.5.6", "Authentication exchange line is too long")
AUTH_UNKNOWN_MECHANISM: Final = Reply(504, "5.5.4", "Mechanism not recognised; use PLAIN or LOGIN")
AUTH_NOT_OFFERED: Final = Reply(503, "5.5.1", "Authentication is not offered here")
AUTH_NOT_NOW: Final = Reply(503, "5.5.1", "Already authenticated, or in a transaction")
AUTH_FAILED: Final = Reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_BUSY: Final = Reply(454, "4.7.0", "Too many authentications at once; try again later")
AUTH_NEEDS_TLS: Final = Reply(538, "5.7.11", "Encryption required for authentication")

# --- refusals of policy that only the session can make --------------------------------------------

TLS_REQUIRED: Final = Refusal(
    Reply(530, "5.7.0", "Must issue a STARTTLS command first"), "tls_required"
)
_NO_SPACE: Final = Reply(452, "4.3.1", "Insufficient system storage; try again later")
NO_ROOM: Final = Refusal(_NO_SPACE, "disk")
STRAY_LINE_ENDING: Final = Refusal(
    Reply(550, "5.6.0", "The message has a CR or LF that is not part of CRLF; mend the client"),
    "bad_content",
)
NUL_IN_CONTENT: Final = Refusal(
    Reply(550, "5.6.0", "The message has a NUL octet; encode it as base64"), "bad_content"
)
LONG_LINE: Final = Refusal(
    Reply(550, "5.6.0", f"The message has a line of more than {LINE_LIMIT} octets; wrap its lines"),
    "bad_content",
)
CONTROL_IN_HEADER: Final = Refusal(
    Reply(554, "5.6.0", "The header has a control character; mend the client"), "bad_content"
)
TOO_MANY_HEADERS: Final = Refusal(_NO_SPACE, "busy")
SPOOL_FULL: Final = Refusal(_NO_SPACE, "spool")
SPOOL_FAILED: Final = Refusal(
    Reply(451, "4.3.0", "The mail could not be stored; try again later"), "spool"
)

# --- the last thing said --------------------------------------------------------------------------

INTERNAL_ERROR: Final = Reply(451, "4.3.0", "Internal error, try again later")
CONTENT_FAULT: Final = Refusal(INTERNAL_ERROR, "spool")
TOO_MANY_FAULTS: Final = Reply(421, "4.3.0", "Internal error, closing connection")
NOTHING_IS_KEPT: Final = Reply(421, "4.3.0", "No mail can be kept now, try again later")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.3.2", "Too many connections, try again later")
TOO_MANY_OF_SENDER: Final = Reply(
    421, "4.7.0", "Too many connections of this sender, try again later"
)
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Service shutting down")
TIMED_OUT: Final = Reply(421, "4.4.2", "Timed out, closing connection")
TOO_MUCH_JUNK: Final = Reply(421, "4.7.0", "Too many commands without mail, closing connection")
NOT_SMTP: Final = Reply(421, "4.7.0", "This is an SMTP server, closing connection")
TOO_MANY_AUTH_FAILURES: Final = Reply(421, "4.7.0", "Too many failed authentications")
SESSION_TOO_LONG: Final = Reply(421, "4.3.2", "This session has lasted long enough; connect again")
CREDENTIALS_CHANGED: Final = Reply(421, "4.7.0", "Your login has changed; connect again")
SENDER_CHANGED: Final = Reply(421, "4.7.0", "The rules for this sender have changed; connect again")
LISTENER_CHANGED: Final = Reply(421, "4.3.2", "This service has changed; connect again")
OCTETS_BEHIND_STARTTLS: Final = Reply(554, "5.5.0", "Octets followed STARTTLS, closing connection")
