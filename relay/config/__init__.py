"""The configuration file: from YAML text to one immutable value, or every complaint at once."""

from relay.config.complaint import Complaint, ConfigurationError
from relay.config.configuration import Configuration, ListenerTlsFiles, ResolvedAccount
from relay.config.loader import load, load_text
from relay.config.model import Settings
from relay.config.verifiers import Secret

__all__ = [
    "Complaint",
    "Configuration",
    "ConfigurationError",
    "ListenerTlsFiles",
    "ResolvedAccount",
    "Secret",
    "Settings",
    "load",
    "load_text",
]
