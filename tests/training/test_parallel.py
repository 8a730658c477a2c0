"""Tests that five training steps give the same results on one device, on eight devices, and in two processes.

Each of the two processes has two devices. The results are in float64, and equal within 1e-9.
"""

import json
import os
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.training.parallel import Parallel
from tests.training import five_steps

# With these options, compilation takes a third of the time. The options may change the rounding of sums, but the tests allow
# for different rounding.
QUICK = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11, 1):  # JAX 0.11.1 and later do not have this option
    QUICK["xla_cpu_use_fusion_emitters"] = False


def start(folder, *arguments):
    quick = " ".join(f"--{name}={value}" for name, value in QUICK.items())
    environment = os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {quick}", "JAX_PLATFORMS": "cpu"}
    with open(folder / f"log{len(list(folder.glob('log*')))}", "w") as log:
        command = [sys.executable, "-m", "tests.training.five_steps", str(folder), *arguments]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs five steps in all settings.

    Returns a tuple of five items. Items 1 and 2 describe the run on one device: item 1 is the list of training states, and
    item 2 is a dict with the arrays of the final state and the metrics. Items 3 and 4 describe the other runs, and are dicts
    with the keys `ALL`: item 3 contains arrays as in item 2, and item 4 contains data about the devices. Item 5 is the pair of
    output folders.
    """
    eight, hosts = tmp_path_factory.mktemp("eight"), tmp_path_factory.mktemp("hosts")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    distributed = ["2", "jit", "--sparing", "--coordinator", address, "--processes", "2", "--process"]
    processes = [start(eight, "8", "pmap", "jit"), start(hosts, *distributed, "0"), start(hosts, *distributed, "1")]
    try:
        with jax.enable_x64(True):
            state, step = five_steps.make_run()
            step, metrics, states = jax.jit(step, compiler_options=QUICK), [], [state]
            for index in range(five_steps.STEPS):
                state, found = step(state, five_steps.batch(index))
                metrics.append(found)
                states.append(state)
        for process in processes:
            assert process.wait(timeout=600) == 0, [
                log.read_text()[-3000:] for log in (*eight.glob("log*"), *hosts.glob("log*"))
            ]
    finally:
        for process in processes:
            process.kill()
    numbers = {
        f"{path.parent.name[:-1]}/{path.stem}": dict(np.load(path)) for path in (*eight.glob("*.npz"), *hosts.glob("*.npz"))
    }
    facts = {
        f"{p.parent.name[:-1]}/{p.stem}": json.loads(p.read_text()) for p in (*eight.glob("*.json"), *hosts.glob("*.json"))
    }
    return states, five_steps.flatten(state, metrics), numbers, facts, (eight, hosts)


ALL = ["eight/pmap-0", "eight/jit-0", "hosts/jit-0", "hosts/jit-1"]


def test_metrics(runs):
    states, alone, *_ = runs
    assert alone[".step"] == five_steps.STEPS
    norm = np.sqrt(sum((leaf**2).sum() for leaf in map(np.asarray, jax.tree.leaves(states[-1].params))))
    np.testing.assert_allclose(alone["parameter_norm"][-1], norm, rtol=1e-12)
    assert np.isfinite(alone["loss"]).all()
    assert (alone["gradient_norm"] > five_steps.CLIP_NORM).all()  # so every step clips the mean gradient
    np.testing.assert_allclose(alone["learning_rate"][:3], [1e-3 / 3, 2e-3 / 3, 1e-3], rtol=1e-6)


def test_the_average_lags_behind_and_constants_stay(runs):
    states, *_ = runs
    average = states[0].params
    for state in states[1:]:
        average = jax.tree.map(lambda old, new: 0.75 * np.asarray(old) + 0.25 * np.asarray(new), average, state.params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), states[-1].ema, average)
    assert states[-1].ema_variables["params"] is states[-1].ema
    jax.tree.map(np.testing.assert_array_equal, states[-1].constants, states[0].constants)


@pytest.mark.parametrize("name", ALL)
def test_equals_one_device(runs, name):
    """All runs give the same numbers as one device.

    The two-process run uses two micro-batches and rematerialisation. The other runs use neither.
    """
    _, alone, numbers, *_ = runs
    assert numbers[name].keys() == alone.keys()
    for key, expected in alone.items():
        assert np.abs(numbers[name][key] - expected).max() <= 1e-9 * max(1, np.abs(expected).max()), key


@pytest.mark.parametrize("name", ALL)
def test_every_device_holds_the_same(runs, name):
    *_, facts, _ = runs
    assert facts[name]["same"]
    assert facts[name]["copies"] == (8 if name.startswith("eight") else 2)


def test_one_all_reduce_a_step(runs):
    *_, folders = runs
    programs = [path for folder in folders for path in folder.glob("*.hlo")]
    assert len(programs) == 4  # one for pmap, one for jit, and one for each of the two processes
    for program in programs:
        collectives = re.findall(r" ((?:all|collective|reduce-scatter)[\w\-]*?)(?:-start)?\(", program.read_text())
        assert collectives == ["all-reduce"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tpu", 1), "parallel is 'tpu', expected one of pmap, jit"),
        (("jit", 0), "batch size is 0"),
        (("pmap", 3, 2), "batch size is 3, expected a multiple of 2"),
    ],
)
def test_what_cannot_be_divided_is_reported(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Parallel(*arguments)
