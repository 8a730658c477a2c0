"""Selects an implementation of a function by the platform for which a program is lowered."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def by_platform(*arrays: Any, default: Callable[..., Any], **forms: Callable[..., Any]) -> Any:
    """Calls the implementation for the platform, and saves only the arguments for the backward pass.

    `jax.lax.platform_dependent` has the gradient of `jax.lax.switch`: on each platform, the forward pass also returns zeros for
    the residuals of the other implementations. In `by_platform`, the backward pass recomputes the residuals from the arguments.

    Args:
        *arrays: positional arguments of the implementations. Arguments with a floating-point dtype get gradients.
        default: the implementation for platforms that are not in `forms`.
        **forms: the implementation for each platform: `cpu`, `cuda`, `rocm`, `tpu`.

    Returns:
        The result of the implementation for the platform.
    """
    forms = {**forms, "default": default}
    floats = [i for i, x in enumerate(arrays) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]

    def backward_of(form: Callable[..., Any]) -> Callable[..., Any]:
        def backward(gradient: Any, *arrays: Any) -> Any:
            def of_floats(*chosen: Any) -> Any:
                by_index = dict(zip(floats, chosen, strict=True))
                return form(*(by_index.get(i, x) for i, x in enumerate(arrays)))

            return jax.vjp(of_floats, *(arrays[i] for i in floats))[1](gradient)

        return backward

    @jax.custom_vjp
    def call(*arrays: Any) -> Any:
        return jax.lax.platform_dependent(*arrays, **forms)

    def call_forward(*arrays: Any) -> tuple[Any, tuple[Any, ...]]:
        return call(*arrays), arrays

    def call_backward(arrays: tuple[Any, ...], gradient: Any) -> tuple[Any, ...]:
        backwards = {
            form: backward_of(form) for form in set(forms.values())
        }  # platforms with the same implementation share a branch
        found = jax.lax.platform_dependent(gradient, *arrays, **{name: backwards[form] for name, form in forms.items()})
        gradients = dict(zip(floats, found, strict=True))
        return tuple(gradients.get(i) for i in range(len(arrays)))

    call.defvjp(call_forward, call_backward)
    return call(*arrays)
