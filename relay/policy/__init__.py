"""Decisions: who is this, may they, how fast, what does SES's answer mean, when again.

Pure: no I/O, and no clock; callers pass `now` and dice.
"""
