"""What a message costs, beside what one would use instead. `make bench` runs it."""
