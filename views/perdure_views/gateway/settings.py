"""Settings of a gateway, checked: it is reachable from elsewhere only with authentication."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from perdure_views.gateway.principals import Register

BODY_BYTES_MAX: Final = 1024 * 1024
STREAMS_MAX: Final = 256
"""So many live views and connections of clients at once."""
STREAMS_EACH: Final = STREAMS_MAX // 4
"""So many of them are one person's, where people are told apart."""
BODY_S: Final = 30.0
"""A body must have come whole within so long."""
SEND_S: Final = 20.0
"""A reader that takes nothing for so long is let go."""
ASK_S: Final = 10.0
WAIT_MAX_S: Final = 60.0


class SettingsError(ValueError):
    """A gateway that would be unsafe, or that nobody could reach."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a gateway listens, whom it serves, and what it links to."""

    host: str = "127.0.0.1"
    port: int = 8080
    host_names: tuple[str, ...] = ()
    """Names besides loopback that a request may call this gateway by."""
    register: Register = field(default_factory=Register)
    jaeger_url: str = ""
    insights: tuple[tuple[str, str], ...] = ()
    """Task queues, each with the address of a process of `perdure insights` that has figures."""
    audits_reads: bool = False
    """Whether the audit log has what only reads."""
    secure_cookie: bool = False
    """The browser speaks TLS to a proxy before this gateway."""

    def check(self) -> None:
        """Refuse what is unsafe. Raises SettingsError."""
        if self.jaeger_url and urlsplit(self.jaeger_url).scheme not in ("http", "https"):
            raise SettingsError(f"{self.jaeger_url!r} is no address of a Jaeger: write http://...")
        for queue, address in self.insights:
            if not queue or urlsplit(address).scheme not in ("http", "https"):
                raise SettingsError(
                    f"{queue}={address} is no task queue with its insights: write QUEUE=http://..."
                )
        if is_loopback(self.host):
            return
        if self.register.is_open:
            raise SettingsError(
                f"{self.host} can be reached from other machines, and nobody would be asked who"
                " they are: give --auth-tokens FILE or --oidc-issuer URL, or bind to 127.0.0.1"
            )
        if not self.host_names:
            raise SettingsError(
                f"say by which names browsers call {self.host}: --host-name perdure.example.org"
            )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(netloc: str) -> str:
    """The host of a `host:port`, as a Host header or the front of an Origin has it."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""
