"""The closed sets of words that only the configuration knows; policy has the others."""

from __future__ import annotations

from enum import StrEnum

from relay.mail import ses_headers


class ListenerTls(StrEnum):
    """When a listener's connections are encrypted."""

    OFF = "off"
    STARTTLS = "starttls"
    STARTTLS_REQUIRED = "starttls-required"
    IMPLICIT = "implicit"


class AuthWithoutTls(StrEnum):
    """Where a password may cross an unencrypted connection."""

    NEVER = "never"
    LOOPBACK = "loopback"


class TlsProfile(StrEnum):
    """Which versions of TLS are spoken."""

    MODERN = "modern"
    INTERMEDIATE = "intermediate"
    LEGACY = "legacy"


class LongLines(StrEnum):
    """What becomes of content with a line of more than 998 octets."""

    PASS = "pass"  # noqa: S105 - not a password
    REJECT = "reject"


class Extension(StrEnum):
    """What a listener may leave out of its answer to EHLO."""

    PIPELINING = "PIPELINING"
    EIGHTBITMIME = "8BITMIME"
    SIZE = "SIZE"
    CHUNKING = "CHUNKING"
    ENHANCEDSTATUSCODES = "ENHANCEDSTATUSCODES"
    LIMITS = "LIMITS"


class SesHeader(StrEnum):
    """An X-SES-* field that a sender's mail may choose by; or none."""

    DENY = "deny"
    CONFIGURATION_SET = ses_headers.CONFIGURATION_SET
    MESSAGE_TAGS = ses_headers.MESSAGE_TAGS
    SOURCE_ARN = ses_headers.SOURCE_ARN
    FROM_ARN = ses_headers.FROM_ARN
    RETURN_PATH_ARN = ses_headers.RETURN_PATH_ARN
    LIST_MANAGEMENT = ses_headers.LIST_MANAGEMENT
    TENANT = ses_headers.TENANT


class SesApi(StrEnum):
    """Which of its two APIs Amazon SES is asked by."""

    AUTO = "auto"
    V1 = "v1"
    V2 = "v2"


class Confirm(StrEnum):
    """Who answers SNS's subscription confirmation."""

    AUTO = "auto"
    MANUAL = "manual"


class SignatureVersion(StrEnum):
    """Which signatures of SNS are believed: 1 is SHA-1, 2 is SHA-256."""

    ONE = "1"
    TWO = "2"


class AccountList(StrEnum):
    """What is made of the suppression list that SES keeps of each account."""

    OFF = "off"
    SYNC = "sync"
    WRITE_THROUGH = "write-through"


class Candidates(StrEnum):
    """What becomes of everybody whom one complaint names as possible."""

    IGNORE = "ignore"
    SUPPRESS = "suppress"


class Circuit(StrEnum):
    """What happens when too much of a sender's mail bounces or is complained of."""

    ALERT = "alert"
    PAUSE = "pause"


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogAddresses(StrEnum):
    """How mail addresses stand in the log."""

    PLAIN = "plain"
    HASHED = "hashed"


class PerSender(StrEnum):
    """Whether each sender has counters of its own."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(StrEnum):
    """How lines are written."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"
