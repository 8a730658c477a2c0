"""Tests the options of `HMMN` with a small config, and compares `__call__` with calls of `memorize` and `segment`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax import HMMN, HMMNConfig, Segmenter
from hmmn_jax.model.memory import bank_of
from tests.small import SMALL, TINY, one_hot, rectangles, shapes, variables, video, with_backbone

SIDE = 192  # in pixels; at stride 16, the frame has 12 x 12 cells, more than 4 * k_s8 cells


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames=("use_kernel", "return_affinity"))
def apply(method, config, variables, *args, **kwargs):
    return HMMN(config).apply(variables, *args, method=method, **kwargs)


@functools.cache
def remembered(config=SMALL):
    """Returns the memory of two frames with two objects, the third frame, and the kernel centres after the second frame."""
    frames, mask = jnp.asarray(video(3, SIDE, SIDE)), rectangles((1, 2), SIDE, SIDE)
    probs = jnp.asarray(one_hot(mask, (1, 2)), jnp.float32)
    first, second = (apply("memorize", config, variables(config), frame[None], probs) for frame in frames[:2])
    memory = jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=2), first, second)
    centres = apply("segment", config, variables(config), frames[1][None], bank_of(first)).centres
    return memory, frames[2][None], jnp.concatenate([centres, centres], axis=2)


@functools.cache
def segmented(config=SMALL):
    own = any(getattr(config, name) != getattr(SMALL, name) for name in ("backbone", "dtype", "use_topk_read"))
    shared = config if own else SMALL  # other fields do not change the variables or the memory
    memory, frame, centres = remembered(shared)
    return apply("segment", config, variables(shared), frame, bank_of(memory, centres))


def test_the_small_model_is_a_hundredth_of_the_released_one():
    def size(config):
        return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(config)["params"]))

    assert 40e6 < size(HMMNConfig()) < 45e6
    assert size(SMALL) < size(HMMNConfig()) / 100


def test_a_model_starts_with_keys_that_match():
    """Before training, both encoders return the same keys if the mask is empty, and the decoder's residual branches are 0."""
    config = TINY.replace(normalise_keys=True)
    model = HMMN(config)
    start = jax.jit(model.init_variables)(jax.random.key(0))
    frame, probs = jnp.asarray(video(1, 32, 48)), jnp.zeros((1, 2, 32, 48)).at[:, 0].set(1)
    memory = apply("memorize", config, start, frame, probs)
    query = apply("encode_query", config, start, frame)
    for stride in ("s16", "s8", "s4"):
        key = getattr(query, f"key_{stride}")
        assert np.ptp(key) > 0.1
        np.testing.assert_allclose(getattr(memory, f"key_{stride}")[:, 0, 0], key, rtol=0, atol=1e-5)
    blocks = [start["params"]["decoder"]["res_s16"]]
    blocks += [
        start["params"]["decoder"][refine][block] for refine in ("refine_s8", "refine_s4") for block in ("res_skip", "res_out")
    ]
    assert all(np.any(block["conv1"]["kernel"]) and not np.any(block["conv2"]["kernel"]) for block in blocks)


@pytest.mark.parametrize(
    "change",
    [
        {"k_s8": 16},
        {"k_s4": 2},
        {"window": 3},
        {"sigma": 1.5},
        {"use_kernel": False},
        {"use_topk_read": False},
    ],
)
def test_each_switch_of_the_matching_changes_the_output(change):
    (name,) = change
    plain, changed = segmented(), segmented(SMALL.replace(**change))
    assert plain.match.indices.shape == (1, 2, 144, 8) and np.ptp(plain.logits) > 1
    assert changed.logits.shape == plain.logits.shape == (1, 3, SIDE, SIDE)
    assert np.abs(changed.logits - plain.logits).max() > 1e-4
    if name in ("k_s8", "k_s4"):
        np.testing.assert_allclose(changed.match.readout, plain.match.readout, atol=1e-4)
    if name in ("k_s8", "window", "sigma", "use_kernel"):
        assert not np.array_equal(changed.match.indices, plain.match.indices)
    assert (changed.match.indices is None) == (name == "use_topk_read")


def test_use_kernel_can_be_overridden_for_a_call():
    memory, frame, centres = remembered()
    off = apply("segment", SMALL, variables(), frame, bank_of(memory, centres), use_kernel=False, return_affinity=True)
    expected = segmented(SMALL.replace(use_kernel=False))
    np.testing.assert_allclose(off.match.readout, expected.match.readout, atol=1e-4)
    np.testing.assert_allclose(off.logits, expected.logits, atol=5e-3)  # the two programs round differently in float32
    assert off.match.affinity.shape == (1, 2, 144, 2, 144)
    np.testing.assert_allclose(off.match.affinity.sum((3, 4)), 1, atol=1e-5)


def test_an_8_bit_frame_is_its_true_quotient():
    frame, probs = video(1, 50, 60), jnp.asarray(one_hot(rectangles((1,), 50, 60), (1,)), jnp.float32)
    quotient = frame.astype(np.float32) / np.float32(255)
    memories = [apply("memorize", SMALL, variables(), x, probs) for x in (frame, quotient)]
    for of_bytes, of_floats in zip(*map(jax.tree.leaves, memories), strict=True):
        np.testing.assert_allclose(of_bytes, of_floats, rtol=0, atol=1e-6 * np.abs(of_floats).max())


# Training


def clips(objects=2, padded=0):
    """Returns two clips of 50 x 60 pixels (4 x 4 cells), and float64 masks with `padded` additional, nonexistent objects."""
    frames = jnp.asarray(np.stack([video(3, 50, 60, seed=seed) for seed in (0, 1)]))
    ids = tuple(range(1, objects + 1))
    mask = np.concatenate([one_hot(rectangles(ids, 50, 60), ids), one_hot(rectangles(ids[::-1], 50, 60), ids)])
    return frames, jnp.asarray(np.pad(mask, ((0, 0), (0, padded), (0, 0), (0, 0))))


def test_training_form_is_memorising_and_segmenting_by_hand(x64):
    frames, mask = clips()
    keep = jnp.array([[[True, False], [False, True]], [[True, True], [False, False]]])  # axes: clip, frame, stride (8 or 4)
    values = variables(SMALL, "float64")
    first = apply("memorize", SMALL, values, frames[:, 0], mask)
    one = apply("segment", SMALL, values, frames[:, 1], bank_of(first), use_kernel=False, keep=keep[:, 0]).logits
    second = apply("memorize", SMALL, values, frames[:, 1], jax.nn.softmax(one, axis=1))
    both = jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=2), first, second)
    two = apply("segment", SMALL, values, frames[:, 2], bank_of(both), use_kernel=False, keep=keep[:, 1]).logits
    found = apply(None, SMALL, values, frames, mask, keep=keep)
    np.testing.assert_allclose(found, jnp.stack([one, two], axis=1), rtol=0, atol=1e-10)

    always = apply(None, SMALL, values, frames, mask, keep=jnp.ones_like(keep))
    assert (np.abs(always - found).max((2, 3, 4)) > 1e-3).tolist() == [
        [True, True],
        [False, True],
    ]  # in frame 1 of clip 1, `keep` is True for both strides


def test_kernel_in_training_follows_each_cell_from_frame_to_frame(x64):
    config = SMALL.replace(kernel_in_training=True)
    values, (frames, mask) = variables(SMALL, "float64"), clips()
    first = apply("memorize", SMALL, values, frames[:, 0], mask)
    one = apply("segment", SMALL, values, frames[:, 1], bank_of(first))
    second = apply("memorize", SMALL, values, frames[:, 1], jax.nn.softmax(one.logits, axis=1))
    both = jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=2), first, second)
    centres = jnp.pad(one.centres, ((0, 0), (0, 0), (0, 1), (0, 0)))
    two = apply("segment", SMALL, values, frames[:, 2], bank_of(both, centres))
    found = apply(None, config, values, frames, mask)
    np.testing.assert_allclose(found, jnp.stack([one.logits, two.logits], axis=1), rtol=0, atol=1e-10)
    assert np.abs(found - apply(None, SMALL, values, frames, mask)).max() > 1e-3


def test_a_longer_clip_remembers_as_inference_does(x64):
    """Compares the results for five frames and two objects with those of a `Segmenter` that stores each frame in the memory."""
    config, frames, ids = TINY.replace(kernel_in_training=True), video(5, 50, 60), (1, 2)
    mask, values = rectangles(ids, 50, 60), variables(TINY, "float64")
    results = list(Segmenter(values, config, mem_every=1).run(frames, mask))
    found = apply(None, config, values, jnp.asarray(frames[None]), jnp.asarray(one_hot(mask, ids)))
    assert found.shape == (1, 4, 3, 50, 60)
    expected = np.stack([result.probs for result in results])
    # Probabilities are rounded to float32 before they are encoded into the memory. See test_segmenter.py.
    np.testing.assert_allclose(jax.nn.softmax(found[0], axis=1), expected, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_the_gradient_of_a_longer_clip_is_that_of_its_finite_differences(x64):
    """Gradients flow through predicted masks in memory, and through a memory frame between the first and the previous frame."""
    frames, mask, values = jnp.asarray(video(4, 32, 48)[None]), rectangles((1,), 32, 48), variables(TINY, "float64")
    mask = jnp.asarray(one_hot(mask, (1,)))

    def loss(params):
        logits = HMMN(TINY).apply(values | {"params": params}, frames, mask)
        return -jax.nn.log_softmax(logits[:, -1], axis=1)[:, 1].mean()

    params = values["params"]
    gradient, value = jax.jit(jax.grad(loss))(params), jax.jit(loss)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape) * np.abs(x).mean(), params)
    along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float((g * d).sum()), gradient, direction)))
    # Masks are rounded to float32 before they are encoded into the memory. With steps smaller than 1e-4, the rounding would
    # dominate the finite difference.
    behind, ahead = (value(jax.tree.map(lambda x, d, s=sign: x + s * 1e-4 * d, params, direction)) for sign in (-1, 1))
    assert abs(along) > 1e-4
    np.testing.assert_allclose((ahead - behind) / 2e-4, along, rtol=1e-2)


def test_two_objects_padded_to_five_give_what_two_give(x64):
    values = variables(SMALL, "float64")
    plain = apply(None, SMALL, values, *clips(2))
    padded = apply(None, SMALL, values, *clips(2, padded=3), valid=jnp.broadcast_to(jnp.arange(5) < 2, (2, 5)))
    np.testing.assert_allclose(padded[:, :, :3], plain, rtol=0, atol=1e-9)
    assert (np.asarray(padded[:, :, 3:]) == -np.inf).all()


def test_padded_objects_leave_finite_gradients():
    model, (frames, mask) = HMMN(SMALL), clips(1, padded=1)
    valid = jnp.array([[True, False]] * 2)

    @jax.jit
    @jax.grad
    def gradient(params):
        values = variables() | {"params": params}
        memory = model.apply(values, frames[:, 0], mask.astype(jnp.float32), method="memorize")
        out = model.apply(values, frames[:, 1], bank_of(memory), valid=valid, use_kernel=False, method="segment")
        return -jax.nn.log_softmax(out.logits, axis=1)[:, 1].mean()

    for path, leaf in jax.tree.leaves_with_path(gradient(variables()["params"])):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


@pytest.mark.parametrize("change", [{"norm": "group", "norm_groups": 4}, {"norm": "layer"}, {"dtype": "bfloat16"}])
def test_variants_of_the_model_run(change):
    config = SMALL.replace(**change) if "dtype" in change else with_backbone(SMALL, **change)
    memory, *_ = remembered(config)
    logits = segmented(config).logits
    assert memory.key_s16.dtype == change.get("dtype", "float32")
    assert logits.dtype == jnp.float32 and np.isfinite(logits).all() and np.ptp(logits) > 0.1
    if "dtype" in change:
        # With 24 other seeds, the relative error of values was at most 0.02, and the mean error of probabilities at most 0.07.
        value = np.asarray(remembered()[0].value_s16)
        assert 0 < np.linalg.norm(np.asarray(memory.value_s16, np.float32) - value) < 0.03 * np.linalg.norm(value)
        assert 0 < np.abs(jax.nn.softmax(logits, axis=1) - jax.nn.softmax(segmented().logits, axis=1)).mean() < 0.08
