"""Checks the loops and matrix products in the StableHLO of both memory reads, at the sizes of the published network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.model import matching
from hmmn_jax.model.matching import kernel_guided_read, read_in_chunks, topk_guided_read
from hmmn_jax.ops.precision import exact_einsum, fast_values_einsum
from tests.lowered import lower, products, shape, turns

S8, S4 = (32, 4, 128, 256), (8, 16, 64, 128)  # selected cells, fine cells per selected cell, key channels, value channels
INFERENCE, TRAINING = 30 * 54, 24 * 24  # number of cells in a frame of 480x864 and of 384x384


def fine(objects, cells, stride, dtype):
    k, p, c, v = stride
    memory = 1, objects, 2 * cells, p
    selected = 1, objects, cells, k
    return (
        shape(*memory, c, dtype=dtype),
        shape(*memory, v, dtype=dtype),
        shape(1, cells, p, c, dtype=dtype),
        shape(*selected, dtype=jnp.int32),
        shape(*selected, dtype=jnp.bool_),
    )


def gradient(function):
    return jax.grad(lambda *arrays: function(*arrays).sum(), (0, 1, 2))


@pytest.mark.parametrize("stride", [S8, S4])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_fine_read_takes_at_most_three_turns_on_gpus(stride, dtype):
    (inference,) = turns(lower(topk_guided_read, *fine(1, INFERENCE, stride, dtype)))
    training = turns(lower(gradient(topk_guided_read), *fine(3, TRAINING, stride, dtype)))
    assert inference <= 3 and training and max(training) <= 3


def test_elsewhere_a_fine_read_takes_as_many_turns_as_before():
    for platform in ("cpu", "tpu"):
        assert turns(lower(topk_guided_read, *fine(1, INFERENCE, S8, jnp.bfloat16), platform=platform)) == [10]
        assert turns(lower(topk_guided_read, *fine(1, INFERENCE, S4, jnp.bfloat16), platform=platform)) == [5]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_bfloat16_model_reads_fine_values_in_bfloat16(platform):
    """Values are read in bfloat16. In the backward pass, products with values or their gradients have default precision."""
    found = products(lower(topk_guided_read, *fine(1, INFERENCE, S8, jnp.bfloat16), platform=platform))
    (_, affinity), (_, value) = (((precision, left[1]), (precision, right[1])) for precision, left, right in found)
    assert affinity == ("HIGHEST", "bf16") and value == ("DEFAULT", "bf16")
    backward = products(lower(gradient(topk_guided_read), *fine(1, INFERENCE, S8, jnp.bfloat16), platform=platform))
    of_values = [precision for precision, *operands in backward if any(S8[3] in dims for dims, _ in operands)]
    assert of_values and set(of_values) == {"DEFAULT"}


def coarse(slots, dtype):
    memory = 1, 1, slots, 30, 54
    return shape(*memory, 128, dtype=dtype), shape(*memory, 512, dtype=dtype), shape(1, 30, 54, 128, dtype=dtype)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_no_value_is_read_exactly_on_gpus_and_all_affinities_are(dtype):
    found = products(lower(kernel_guided_read, *coarse(8, dtype)))
    of_values = [precision for precision, *operands in found if any(512 in dims for dims, _ in operands)]
    of_keys = [precision for precision, *operands in found if all(128 in dims for dims, _ in operands)]
    assert set(of_values) == {"DEFAULT"} and set(of_keys) == {"HIGHEST"}
    assert len(found) == len(of_values) + len(of_keys) == 5


def test_a_read_of_a_bank_waits_for_the_host_unless_its_turns_are_known():
    arguments = *coarse(8, jnp.bfloat16), shape(1, 1, 8, 1620, dtype=jnp.int32), shape(dtype=jnp.int32)
    assert turns(lower(kernel_guided_read, *arguments)) == [None]
    assert turns(lower(functools.partial(kernel_guided_read, turns=6), *arguments)) == [6]
    assert turns(lower(functools.partial(kernel_guided_read, turns=0), *arguments)) == []


# The following tests run the implementations for GPUs on a CPU.


def random(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(0, 1.2, size).astype(np.float32)) for size in shapes]


@functools.cache
def banked():
    """Returns (keys, values, query), kernel centres, and the reads with 1 to 6 filled slots. A slot has 4x5 cells."""
    arrays = random((1, 2, 6, 4, 5, 6), (1, 2, 6, 4, 5, 3), (1, 4, 5, 6))
    centres = jnp.asarray(np.random.default_rng(1).integers(0, 20, (1, 2, 6, 20)), jnp.int32)
    read = jax.jit(functools.partial(kernel_guided_read, return_affinity=True))
    return arrays, centres, [read(*arrays, centres, count) for count in range(1, 7)]


@pytest.mark.parametrize("turns_", [2, 9])
def test_turns_that_are_not_needed_change_nothing(turns_):
    (keys, values, query), centres, expected = banked()
    read = jax.jit(functools.partial(kernel_guided_read, return_affinity=True, turns=turns_))
    for count in range(1, min(turns_ + 2, 6) + 1):
        empty = (jnp.arange(6) >= count)[:, None, None, None]
        found = read(jnp.where(empty, jnp.nan, keys), jnp.where(empty, jnp.nan, values), query, centres, count)
        for name in ("readout", "log_affinity", "affinity"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected[count - 1], name), rtol=0, atol=2e-6)
        np.testing.assert_array_equal(found.centres[:, :, :count], expected[count - 1].centres[:, :, :count])


def test_a_cpu_reads_as_its_form_alone_bit_for_bit(monkeypatch):
    """On a CPU, the read and its gradients are the same as if there were no implementations for other platforms."""
    monkeypatch.setattr(matching, "CHUNK_BYTES", 1000)
    keys, values, query, weights = random((1, 2, 12, 4, 6), (1, 2, 12, 4, 3), (1, 6, 4, 6), (1, 2, 6, 4, 3))
    indices = jnp.asarray(np.random.default_rng(2).permuted(np.tile(np.arange(12), (1, 2, 6, 1)), axis=3)[..., :5], jnp.int32)
    present = jnp.arange(5) < 4
    present = jnp.broadcast_to(present, indices.shape)
    alone = functools.partial(read_in_chunks, chunk_bytes=1000, read_values=exact_einsum)
    on_gpu = functools.partial(read_in_chunks, chunk_bytes=2**40, read_values=fast_values_einsum)

    def run(function):
        def loss(keys, values, query):
            readout = function(keys, values, query, indices, present)
            return jnp.vdot(readout, weights), readout

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(keys, values, query)

    found, wanted, other = map(run, (topk_guided_read, alone, on_gpu))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5), other, wanted)
