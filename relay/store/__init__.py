"""Durability on SQLite: spool.db holds mail on its way, record.db what is remembered of it.

Knows disks and transactions. Does not know SMTP, SES or schedules: relay.ports says what is asked.
"""

from relay.store.inspection import Inspection
from relay.store.store import Store

__all__ = ["Inspection", "Store"]
