"""Tests the log of events without a server."""

import asyncio
import json
import threading

from hmmn_jax.paint import events
from hmmn_jax.paint.events import EventLog


async def take(log, after, count, then=lambda: None):
    """Opens a stream, reads its first line, calls `then`, and returns the next `count` messages."""
    found, stream = [], log.stream(after)
    assert (await anext(stream)).startswith(":")
    then()
    for _ in range(count):
        found.append(await asyncio.wait_for(anext(stream), 20))
    await stream.aclose()
    return found


def numbers(texts):
    return [int(text.split("\n")[0].removeprefix("id: ")) for text in texts]


def test_an_event_as_text():
    log = EventLog()
    log.publish("frames", {"t": 1, "name": "a\nb"})
    (text,) = asyncio.run(take(log, 0, 1))
    assert text == 'id: 1\nevent: frames\ndata: {"t":1,"name":"a\\nb"}\n\n'
    assert json.loads(text.split("data: ")[1])["name"] == "a\nb"


def test_events_of_another_thread_come_in_order():
    log = EventLog()

    def publish():
        threading.Thread(target=lambda: [log.publish("x", i) for i in range(50)]).start()

    assert numbers(asyncio.run(take(log, 0, 50, publish))) == list(range(1, 51))


def test_without_a_number_it_starts_now():
    log = EventLog()
    log.publish("x", 0)
    assert numbers(asyncio.run(take(log, None, 1, lambda: log.publish("x", 1)))) == [2]


def test_what_is_no_longer_kept_has_disappeared(monkeypatch):
    monkeypatch.setattr(events, "KEPT", 3)
    log = EventLog()
    for i in range(5):
        log.publish("x", i)
    assert numbers(asyncio.run(take(log, 2, 3))) == [3, 4, 5]
    for unknown in (1, 0, 6):
        found = asyncio.run(take(log, unknown, 2, lambda: threading.Timer(0.1, log.publish, ("x", 9)).start()))
        assert found[0] == events.GONE and numbers(found[1:]) == [log.last]
        for i in range(3):
            log.publish("x", i)


def test_a_quiet_connection_is_tested(monkeypatch):
    monkeypatch.setattr(events, "PING_SECONDS", 0.01)
    assert asyncio.run(take(EventLog(), None, 2)) == [": ping\n\n"] * 2


def test_closing_ends_the_streams():
    log = EventLog()

    async def run():
        threading.Timer(0.05, log.close).start()
        return [text async for text in log.stream(None)]

    assert asyncio.run(run()) == [": open\n\n"] and not log._listeners
