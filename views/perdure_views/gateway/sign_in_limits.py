"""Rate limits on failed sign-ins, by address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from perdure_views.gateway.problems import ProblemError

FAILURES_MAX: Final = 10
"""So many may fail at once."""
FORGIVEN_EVERY_S: Final = 6.0
"""One more may fail after each of these."""
PEERS_MAX: Final = 10_000
_IPV6_BITS: Final = 64
"""So much of an address is its owner's network: all of it counts as one."""


class SignInLimiter:
    """Counts failures by address; forgets the address that failed longest ago when full."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, peer: str) -> None:
        """Raise ProblemError for an address from which too many have failed."""
        over = self._standing(_owner(peer)) - (FAILURES_MAX - 1)
        if over > 0:
            wait_s = math.ceil(over * FORGIVEN_EVERY_S)
            raise ProblemError(
                "too_many",
                f"too many sign-ins from your address have failed; try again in {wait_s} s",
                retry_after_s=wait_s,
            )

    def failed(self, peer: str) -> None:
        """Somebody of this address had a token that lets nobody in."""
        owner = _owner(peer)
        self._failures[owner] = (self._standing(owner) + 1, self._clock())
        self._failures.move_to_end(owner)
        while len(self._failures) > PEERS_MAX:
            self._failures.popitem(last=False)

    def _standing(self, owner: str) -> float:
        """How many failures are not forgiven yet."""
        failures, at_s = self._failures.get(owner, (0.0, 0.0))
        return max(failures - (self._clock() - at_s) / FORGIVEN_EVERY_S, 0.0)


def _owner(peer: str) -> str:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, _IPV6_BITS), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
