"""The loss of the STM family: cross-entropy on soft-aggregated logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from hmmn_jax.model.precision import at_least_float32


def clip_cross_entropy(logits: Float[Array, "b t o1 h w"], masks: Integer[Array, "b t h w"]) -> Float[Array, " b"]:
    """Cross-entropy of each clip: mean over the pixels of a frame, summed over its t frames.

    Logits have the background first and -inf for objects that are padding; masks are ids 0..o of objects that are not.
    """
    logits = logits.astype(at_least_float32(logits))
    chosen = jnp.take_along_axis(logits, masks[:, :, None].astype(jnp.int32), axis=2)[:, :, 0]
    losses = jax.nn.logsumexp(logits, axis=2) - chosen
    return losses.mean((2, 3)).sum(1)
