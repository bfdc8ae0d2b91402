"""The SMTP front door: what a client says, and what it is answered. Never sends mail onward."""
