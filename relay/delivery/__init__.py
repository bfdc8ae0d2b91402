"""Delivery: what is due, in whose turn, how fast, and what is recorded of each attempt."""
