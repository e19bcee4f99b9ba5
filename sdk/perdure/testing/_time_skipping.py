"""Time skipping under the control of a test, under Temporal's names.

Here one clock is that of the whole environment: what one workflow skips, all do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from perdure.testing._clock import TimeKeeper


@dataclass(frozen=True)
class FastForwardConfig:
    """How far time is skipped once a workflow starts: without effect, call `fast_forward`."""

    id: str
    duration: timedelta


@dataclass(frozen=True)
class TimeSkippingConfig:
    """Whether time leaps while results are awaited; all else is without effect."""

    enabled: bool = True
    fast_forward_config: FastForwardConfig | None = None
    disable_propagation: bool = False
    max_session_skip_count: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for time that is skipped and not skipped."""
        if not self.enabled and self.fast_forward_config is not None:
            raise ValueError("fast_forward_config cannot be set when enabled is False")


@dataclass(frozen=True)
class TimeSkippingInfo:
    """How a workflow's time stands; it is that of its environment."""

    config: TimeSkippingConfig
    current_time: datetime


class TimeSkipper:
    """Skips the time of a test environment, for a client of it.

    Raises RuntimeError for any other client: time elsewhere is the machines'.
    """

    def __init__(
        self, client: Client, *, config: TimeSkippingConfig = TimeSkippingConfig()
    ) -> None:
        keeper = client.connection.overrides.pace
        if not isinstance(keeper, TimeKeeper):
            raise RuntimeError(  # noqa: TRY004 - as Temporal's
                "time is skipped in an environment of WorkflowEnvironment.start_time_skipping()"
            )
        self._client = client
        self._keeper = keeper
        self._config = TimeSkippingConfig()
        self.config = config

    @property
    def client(self) -> Client:
        """The client that was given."""
        return self._client

    @property
    def config(self) -> TimeSkippingConfig:
        """Whether time leaps while results are awaited."""
        return self._config

    @config.setter
    def config(self, value: TimeSkippingConfig) -> None:
        if value.enabled != self._config.enabled:
            self._keeper.hold(begin=not value.enabled)
        self._config = value

    async def fast_forward(
        self,
        handle: WorkflowHandle[Any, Any],
        duration: timedelta | float | None = None,
        /,
    ) -> bool:
        """Skip so much time, deadline by deadline; without a duration, until the workflow ends.

        Whether that time is over and the workflow is open; False once it has ended.
        """
        if duration is None:
            return await self._to_the_end(handle)
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        await self._keeper.sleep(max(int(seconds * 1000), 0))
        status = (await handle.describe()).status
        return status is WorkflowExecutionStatus.RUNNING

    async def _to_the_end(self, handle: WorkflowHandle[Any, Any]) -> bool:
        with self._keeper.leaping():
            try:
                await handle.result()
            except WorkflowFailureError:
                return False
        return False

    async def get_current_time(
        self,
        handle: WorkflowHandle[Any, Any] | None = None,
    ) -> datetime:
        """The environment's time, which is that of all its workflows."""
        return datetime.fromtimestamp(self._keeper.wall_ms() / 1000, UTC)

    async def get_time_skipping_info(
        self, handle: WorkflowHandle[Any, Any]
    ) -> TimeSkippingInfo | None:
        """How a workflow's time stands."""
        return TimeSkippingInfo(self._config, await self.get_current_time(handle))

    @contextmanager
    def with_time_skipping_disabled(self) -> Iterator[None]:
        """Let time go by itself in the block, though results are awaited there."""
        with self._keeper.held():
            yield


class SkipsTime:
    """The part of an environment that skips time when a test says so."""

    _client: Client
    _keeper: TimeKeeper | None
    _time_skipper: TimeSkipper | None = None

    def _skipper(self) -> TimeSkipper:
        if self._time_skipper is None:
            self._time_skipper = TimeSkipper(self._client)
        return self._time_skipper

    @property
    def supports_time_skipping_v1(self) -> bool:
        """Whether time leaps while results are awaited."""
        return self._keeper is not None

    @property
    def supports_time_skipping_v2(self) -> bool:
        """Whether `fast_forward` skips time."""
        return self._keeper is not None

    async def fast_forward(
        self,
        handle: WorkflowHandle[Any, Any],
        duration: timedelta | float | None = None,
        /,
    ) -> bool:
        """Skip so much time; without a duration, until the workflow ends. See TimeSkipper.

        Raises RuntimeError where time does not leap.
        """
        return await self._skipper().fast_forward(handle, duration)

    async def get_time_skipping_info(
        self, handle: WorkflowHandle[Any, Any]
    ) -> TimeSkippingInfo | None:
        """How a workflow's time stands. Raises RuntimeError where time does not leap."""
        return await self._skipper().get_time_skipping_info(handle)

    @contextmanager
    def with_time_skipping_disabled(self) -> Iterator[None]:
        """Let time go by itself in the block, if it leaps at all."""
        if self._keeper is None:
            yield
            return
        with self._keeper.held():
            yield
