"""Metrics of the gateway: requests by endpoint and status, live views, sign-ins."""

from __future__ import annotations

from opentelemetry.metrics import get_meter

from perdure_schemas.version import VERSION
from perdure_views import metrics


class GatewayMeter:
    """The instruments of one gateway. Without a meter provider they measure nothing."""

    def __init__(self, namespace: str) -> None:
        meter = get_meter("perdure", VERSION)
        self._facts = {"namespace": namespace}
        self._requests = metrics.histogram(meter, metrics.GATEWAY_REQUESTS)
        self._sign_ins = metrics.counter(meter, metrics.GATEWAY_SIGN_INS)
        self._streams = metrics.up_and_down(meter, metrics.GATEWAY_STREAMS)

    def answered(self, endpoint: str, status: int, took_s: float) -> None:
        """A request was answered; a live view by its first event."""
        facts = {**self._facts, "endpoint": endpoint, "status": str(status)}
        self._requests.record(took_s, facts)

    def signed_in(self, outcome: str) -> None:
        """Somebody signed in, was refused, or had failed too often: ok, refused, limited."""
        self._sign_ins.add(1, {**self._facts, "outcome": outcome})

    def streams(self, by: int) -> None:
        """So many more live views are open, or fewer."""
        self._streams.add(by, self._facts)
