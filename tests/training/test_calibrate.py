"""The shift of an object's log-odds."""

import flax
import jax
import jax.numpy as jnp
import numpy as np

from hmmn_jax import HMMN
from hmmn_jax.training.calibrate import shift_objects
from tests.small import TINY, one_hot, quick_jit, rectangles, variables, video


def test_it_multiplies_the_odds_of_each_object_and_changes_nothing_else():
    """Of one object soft aggregation squares the odds: its logits are those of p and of 1 - p."""
    frame, probs = jnp.asarray(video(1, 32, 48)), jnp.asarray(one_hot(rectangles((1,), 32, 48), (1,)), jnp.float32)

    @quick_jit
    def logits(variables):
        model = HMMN(TINY)
        memory = model.apply(variables, frame, probs, method="memorize")
        return model.apply(variables, frame, memory, method="segment").logits

    before = variables(TINY)
    after = shift_objects(before, 0.5)
    plain, shifted = (np.asarray(logits(each), np.float64) for each in (before, after))
    np.testing.assert_allclose(
        shifted - plain, np.broadcast_to([[[[-0.5]], [[0.5]]]], plain.shape), rtol=0, atol=1e-3
    )  # float32, p near 1
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, after)
    paths = [path for path, value in flax.traverse_util.flatten_dict(changed).items() if value]
    assert paths == [("params", "decoder", "conv_predict", "bias")]
