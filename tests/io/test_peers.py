"""Tests how processes exchange values, and how the end of one process ends the other processes.

Threads replace the processes, and a dict replaces the coordination service.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hmmn_jax.errors import CheckpointError, HMMNError
from hmmn_jax.io import peers

COUNT = 3


class Store:
    """A key-value store with the methods of JAX's coordination service."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value):
        with self.changed:
            if key in self.values:
                raise RuntimeError(f"ALREADY_EXISTS: {key}")
            self.values[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, timeout_in_ms):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, timeout_in_ms / 1000):
                raise RuntimeError("DEADLINE_EXCEEDED: GetKeyValue() timed out")
            return self.values[key]


@pytest.fixture
def store(monkeypatch):
    store = Store()
    monkeypatch.setattr(peers, "_client", lambda: store)
    monkeypatch.setattr(peers, "_index", lambda: int(threading.current_thread().name))
    monkeypatch.setattr(peers, "_count", lambda: COUNT)
    monkeypatch.setattr(peers, "_number", lambda name: 0)
    monkeypatch.setattr(peers, "POLL_SECONDS", 0.05)
    return store


def each(call):
    """Calls `call` in each process. Returns the result or the error of each process."""
    found = {}

    def run(index):
        threading.current_thread().name = str(index)
        try:
            found[index] = call(index)
        except HMMNError as error:
            found[index] = error

    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(run, range(COUNT)))
    return [found[i] for i in range(COUNT)]


def test_all_get_what_the_first_makes(store):
    def make():
        time.sleep(0.2)  # longer than POLL_SECONDS, the timeout of a request
        return {"step": 7}

    assert each(lambda i: peers.from_first("a", make)) == [{"step": 7}] * COUNT


def test_an_error_of_the_first_is_raised_in_all(store):
    def fail():
        raise CheckpointError("RUN: damaged", ["step 2", "step 4"])

    found = each(lambda i: peers.from_first("b", fail))
    assert [type(error) for error in found] == [CheckpointError] * COUNT
    assert {str(error) for error in found} == {"RUN: damaged\n  step 2\n  step 4"}


def test_all_get_the_values_of_all(store):
    assert each(lambda i: peers.from_all("c", f"host{i}")) == [["host0", "host1", "host2"]] * COUNT


def test_one_process_agrees_with_itself():
    assert peers.from_first("d", lambda: 3) == 3 and peers.from_all("d", 4) == [4]
    assert peers.watch(lambda end: 4, lambda: None) is None and not peers.terminated()
    peers.save_on_termination()
    peers.begun()


@pytest.fixture
def watched(store, monkeypatch):
    """Yields the `Watch` of process 1, a list of the `End` tuples that it reports, and a list of its exit codes."""
    monkeypatch.setattr(peers, "_index", lambda: 1)
    told, codes = [], []
    monkeypatch.setattr(peers.os, "_exit", codes.append)
    monkeypatch.setattr(peers, "GRACE_SECONDS", 0.01)
    watch = peers.Watch(lambda end: told.append(end) or 4, lambda: None)
    yield watch, told, codes
    watch.close()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_of_another_process_ends_this_one(store, watched):
    _, told, codes = watched
    store.key_value_set("hmmn_jax/ended", json.dumps([0, 2, "disk full"]))
    wait_for(lambda: codes)
    assert told == [peers.End(0, 2, "disk full")] and codes == [4]
    assert store.values["hmmn_jax/ended/1"] == "heard"


def test_the_first_end_is_the_reason(store, watched):
    watch, told, _ = watched
    assert watch.announce(1, "mine") == peers.End(1, 1, "mine")
    assert watch.announce(1, "later") == peers.End(1, 1, "mine")
    assert not told and "hmmn_jax/ended/1" not in store.values
    watch.hear()
    assert store.values["hmmn_jax/ended/1"] == "heard"


def test_termination_ends_a_process_that_has_nothing_to_save(store, watched):
    watch, told, codes = watched
    watch.announce_termination()
    wait_for(lambda: codes)
    assert watch.terminated.is_set() and told[0].code == 143


def test_termination_lets_a_process_save(store, watched):
    watch, told, codes = watched
    watch.saves = True
    watch.announce_termination()
    wait_for(watch.terminated.is_set)
    time.sleep(0.1)
    assert not told and not codes
