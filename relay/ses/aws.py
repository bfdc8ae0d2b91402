"""What is asked of botocore: where credentials and endpoint are found.

With relay.ses.assumed the only module that imports it, and slow to import for that reason: it is
imported in a thread. Every method blocks and may raise anything that botocore raises. SES is never
asked from here.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Final

from botocore.config import Config
from botocore.credentials import CredentialResolver
from botocore.loaders import create_loader
from botocore.session import Session
from botocore.utils import get_environ_proxies

from relay.ses.assumed import AssumedRole
from relay.ses.sdk import Role, Whereabouts
from relay.ses.signer import Keys

# One attempt: who asks has a schedule of its own.
_CONFIG: Final = Config(
    connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1, "mode": "standard"}
)

# The descriptions of AWS that come with botocore: decoding them holds the interpreter for some
# 100 ms, so it is done once and not with every session.
_DEFINITIONS: Final = create_loader()


class Botocore:
    """One account's view of the machine's AWS configuration. Safe to share between threads."""

    def __init__(self, whereabouts: Whereabouts) -> None:
        self._whereabouts = whereabouts
        self._lock = threading.Lock()
        self._session: Session | None = None

    def keys(self, *, anew: bool) -> Keys | None:
        """Return the credentials of the first provider that has any; None when none has.

        Those that expire are renewed from a quarter of an hour ahead. `anew` asks every provider
        again: environment, profile, web identity, container, instance. With a role it is those that
        assume it.
        """
        with self._lock:
            if anew:
                self._session = None
            found = self._opened().get_credentials()
            if found is None:
                # A session reads its files once; the next look shall see what has changed.
                self._session = None
                return None
        frozen = found.get_frozen_credentials()
        # botocore has no public name for it; those that never expire have none at all.
        expires_at = getattr(found, "_expiry_time", None)
        return Keys(frozen.access_key, frozen.secret_key, frozen.token or "", expires_at)

    def assume(self, role: Role) -> None:
        """Take this role from the next look for credentials on; a session of another one ends."""
        with self._lock:
            if role != self._whereabouts.role:
                self._whereabouts = replace(self._whereabouts, role=role)
                self._session = None

    def endpoint_url(self, service: str) -> str:
        """Return where SES is: the one configured, or AWS's own for the region."""
        with self._lock:
            # Stand-in credentials, so that none are looked for: this asks nobody.
            client = self._new_client(
                service,
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106
            )
        url: str = client.meta.endpoint_url
        client.close()
        return url

    def proxy(self, url: str) -> str | None:
        """Return the proxy that HTTPS_PROXY or HTTP_PROXY, and NO_PROXY, name for a URL."""
        proxy: str | None = get_environ_proxies(url).get(url.partition(":")[0])
        return proxy

    def ca_bundle(self) -> str | None:
        """Return the file of trusted certificates that the AWS configuration names, if any."""
        with self._lock:
            path: str | None = self._opened().get_config_variable("ca_bundle")
        return path

    def client(self, service: str, *, read_timeout: float | None = None) -> Any:
        """Return a client of another service, with these credentials; who asks closes it."""
        longer = None if read_timeout is None else Config(read_timeout=read_timeout)
        with self._lock:
            return self._new_client(service, longer)

    def _opened(self) -> Session:
        if self._session is None:
            region = self._whereabouts.region
            self._session = _new_session(region)
            if (role := self._whereabouts.role) is not None:
                # Whoever asks it for credentials, its clients too, gets those of the role.
                assumed = AssumedRole(_new_session(region), role, region, _CONFIG)
                resolver = CredentialResolver([assumed])
                self._session.register_component("credential_provider", resolver)
        return self._session

    def _new_client(self, service: str, config: Config | None = None, **credentials: str) -> Any:
        return self._opened().create_client(
            service,
            region_name=self._whereabouts.region,
            endpoint_url=self._whereabouts.endpoint_url,
            config=_CONFIG if config is None else _CONFIG.merge(config),
            **credentials,
        )


def _new_session(region: str) -> Session:
    session = Session()
    # Where the providers ask STS: a web identity needs no other region than the account has.
    session.set_config_variable("region", region)
    session.register_component("data_loader", _DEFINITIONS)
    return session
