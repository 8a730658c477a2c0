"""Sends the numbered events of a project to any number of connected pages."""

import asyncio
import collections
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

KEPT = 1000  # number of past events that a reconnecting page can receive
PING_SECONDS = 15.0  # seconds without events before an empty comment is sent, to detect broken connections
GONE = "event: gone\ndata: {}\n\n"


class EventLog:
    """Stores the most recent events, and sends them to pages. `publish` is thread-safe; `stream` runs in an event loop."""

    def __init__(self, first: int = 0):
        """Creates an empty log. The first event gets the number `first` + 1."""
        self._lock = threading.Lock()
        self._events: collections.deque[tuple[int, str]] = collections.deque(maxlen=KEPT)
        self._last = first
        self._listeners: set[Callable[[], None]] = set()
        self._is_closed = False

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self._last

    def publish(self, name: str, data: Any) -> None:
        """Appends an event. `data` is converted to JSON."""
        with self._lock:
            self._last += 1
            text = f"id: {self._last}\nevent: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
            self._events.append((self._last, text))
        self._wake()

    def close(self) -> None:
        """Ends all streams."""
        self._is_closed = True
        self._wake()

    async def stream(self, after: int | None) -> AsyncIterator[str]:
        """Yields the events after event number `after`, including future events, until the log is closed.

        Args:
            after: the number of the last event that the page has received; None: yield only future events. The event "gone" is
                yielded first if some later events are no longer stored, or if `after` is not the number of a past event.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # raised if the event loop is closed
                loop.call_soon_threadsafe(news.set)

        self._listeners.add(wake)
        try:
            known = self._last if after is None else after
            yield ": open\n\n"
            while not self._is_closed:
                news.clear()
                found = self._after(known)
                if found is None:
                    yield GONE
                    known = self._last
                for known, text in found or ():  # noqa: B007, `known` is used after the loop
                    yield text
                try:
                    await asyncio.wait_for(news.wait(), PING_SECONDS)
                except TimeoutError:
                    yield ": ping\n\n"
        finally:
            self._listeners.discard(wake)

    def _after(self, known: int) -> list[tuple[int, str]] | None:
        """The events after number `known`; None if some events are no longer stored or the number is not assigned yet."""
        with self._lock:
            oldest = self._events[0][0] if self._events else self._last + 1
            if not oldest - 1 <= known <= self._last:
                return None
            return [event for event in self._events if event[0] > known]

    def _wake(self) -> None:
        for wake in list(self._listeners):
            wake()
