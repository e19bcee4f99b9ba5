"""Lists that are fetched a page at a time: `async for` takes what is in them one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Pages(ABC, Generic[T]):
    """The page at hand, and how far it was taken; who derives from it makes the pages."""

    _page: list[T] | None = None
    _index = 0

    @property
    def current_page(self) -> Sequence[T] | None:
        """The page that was made last."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """The index in that page of what comes next."""
        return self._index

    @property
    @abstractmethod
    def next_page_token(self) -> bytes | None:
        """Where another list goes on after that page; None after the last one."""

    @property
    @abstractmethod
    def _is_done(self) -> bool:
        """Whether no page follows."""

    @abstractmethod
    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Make the next page."""

    def _turn_to(self, page: list[T]) -> None:
        self._page, self._index = page, 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self._page is None or self._index >= len(self._page):
            if self._is_done:
                raise StopAsyncIteration
            await self.fetch_next_page()
        self._index += 1
        return self._page[self._index - 1]
