"""The relay: SMTP in from applications that know nothing else, Amazon SES out.

What it promises, by number; the tests carry the same numbers as marks (`pytest -m P3`).

P1  A `250` after DATA means the mail survives `kill -9` and power loss (mode `queued`).
P2  Content is byte-exact: what SES gets is what the client sent, plus declared trace headers, minus
    declared removals. MIME is never re-serialised.
P3  Delivery is at-least-once. The windows in which mail can go out twice are named, short and
    counted; an attempt that may have gone out is marked, logged with one fixed phrase, and retried
    on its own patient schedule.
P4  *Relayed* (SES took it) is not *delivered* (SES says the receiving host took it).
P5  What we do not understand, from SES, from feedback or in the spool, is deferred or set aside,
    logged and counted; never failed, never dropped.
P6  One client cannot hurt another: memory, connections, time and spool space are bounded, and a
    slow SES never stalls SMTP.
P7  Closed by default: without a matching sender nothing is accepted.
P8  An operator's mistake never bounces users' mail: it holds it and raises an alert metric.
"""

__version__ = "0.1.0"
