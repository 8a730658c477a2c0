"""Defines the steps of benchmarks/accelerator.py. Each step is a function that takes `Sizes` and yields its results as dicts.

Unless stated otherwise, the time `ms` is the mean over several calls that are dispatched without waiting for earlier calls.
"""

import dataclasses
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_tools import (
    MIB,
    Compiling,
    Figures,
    capacity,
    memory,
    noise,
    peak_gib,
    picture_and_mask,
    random_variables,
    remembering,
    timed,
)
from PIL import Image

from hmmn_jax import HMMNConfig, Segmenter, load_checkpoint
from hmmn_jax.io.bundled import DEMO_CLIP
from hmmn_jax.metrics.davis import score_sequence, summarize
from hmmn_jax.model.backbones import ResNet
from hmmn_jax.model.matching import kernel_guided_read, read_in_chunks
from hmmn_jax.ops.precision import exact_einsum, fast_values_einsum
from hmmn_jax.ops.selection import top_k, top_k_in_rounds


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The model config, the sizes of frames and training clips, and the cases that the steps measure."""

    config: HMMNConfig = HMMNConfig()  # noqa: RUF009, the class is frozen
    frame: tuple[int, int] = (480, 864)
    side: int = 384  # height and width of training clips
    frames: tuple[tuple[str, int], ...] = (  # dtype and number of objects
        *(("bfloat16", 1), ("bfloat16", 3), ("float32", 1), ("bfloat16", 10), ("float32", 3), ("float32", 10)),
    )
    clips: tuple[tuple[str, int], ...] = (  # dtype and number of clips per step
        *(("bfloat16", 1), ("bfloat16", 4), ("float32", 1), ("bfloat16", 8), ("float32", 4), ("float32", 8)),
    )
    chunks: tuple[int, ...] = (16, 256, 64, 1024, 128, 512)  # MiB
    memory: tuple[int, ...] = (2, 20)  # numbers of memory frames
    runs: int = 20
    clip_frames: int = 40  # number of frames of the bundled clip to use


RELEASED = Sizes()
QUICK = Sizes(
    config=HMMNConfig(
        ResNet(8, (1, 1, 1), (8, 8, 8), norm="none"),
        key_dim_s16=8,
        key_dim_s8=8,
        key_dim_s4=8,
        value_dim_s16=8,
        value_dim_s8=8,
        value_dim_s4=8,
        decoder_dim=8,
    ),
    frame=(64, 96),
    side=64,
    frames=(("float32", 1),),
    clips=(("float32", 1),),
    chunks=(16,),
    memory=(2, 9),
    runs=2,
    clip_frames=4,
)


def device(sizes: Sizes) -> Iterator[Figures]:
    """Describes the machine and the software versions."""
    one = jax.devices()[0]
    limit = (one.memory_stats() or {}).get("bytes_limit", 0)
    yield {"case": "accelerator", "kind": one.device_kind, "platform": one.platform, "count": jax.device_count()}
    yield {"case": "accelerator", "memory_gib": round(limit / 2**30, 1)}
    yield {"case": "host", "cores": os.cpu_count(), "python": sys.version.split()[0], "jax": jax.__version__}
    yield {"case": "host", "xla_flags": os.environ.get("XLA_FLAGS", ""), "released_sizes": sizes == RELEASED}


def selection(sizes: Sizes) -> Iterator[Figures]:
    """Times several ways to select the top 32 cells for three objects.

    Also checks whether exact selections return the same indices as a stable sort if values are equal.
    """
    cells = (sizes.frame[0] // 16) * (sizes.frame[1] // 16)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 3, cells, 2 * cells)).astype(np.float32)
    k = min(32, cells)
    forms: dict[str, Callable[[jax.Array], Any]] = {
        "as shipped": functools.partial(top_k, k=k),
        "lax.top_k of 32": functools.partial(jax.lax.top_k, k=k),
        "rounds of 16": functools.partial(top_k_in_rounds, k=k),
        "lax.top_k of 16": functools.partial(jax.lax.top_k, k=k // 2),
        "lax.approx_max_k of 32": functools.partial(jax.lax.approx_max_k, k=k),
        "full sort of values": functools.partial(jnp.sort, axis=-1),
    }
    ties = np.round(x[:, :1], 1) + 0.0  # removes -0.0, which top_k may sort after 0.0
    ties[..., : cells // 2] = -np.inf
    wanted = np.argsort(-ties, axis=-1, kind="stable")[..., :k]
    for name in ("as shipped", "lax.top_k of 32", "rounds of 16"):
        found = np.asarray(jax.jit(forms[name])(ties)[1])
        yield {"case": f"{name}, with ties", "same_as_stable_sort": bool(np.array_equal(found, wanted))}
    x = jax.device_put(x)
    for name, form in forms.items():
        yield {"case": name} | timed(form, x, runs=sizes.runs)


def values(sizes: Sizes) -> Iterator[Figures]:
    """Times the exact and the fast product of weights and values. Also times bank reads with traced and static loop lengths."""
    config, (h, w) = sizes.config, (sizes.frame[0] // 16, sizes.frame[1] // 16)
    for dtype in ("bfloat16", "float32"):
        weights, bank = noise((1, 1, h * w, h * w)), noise((1, 1, h * w, config.value_dim_s16), dtype)
        for name, form in (("exact", exact_einsum), ("fast", fast_values_einsum)):
            yield {"case": f"product, {dtype}, {name}"} | timed(
                functools.partial(form, "boqm,bomv->boqv"), weights, bank, runs=sizes.runs
            )
    for count in sizes.memory:
        slots = capacity(count)
        arrays = (noise((1, 1, slots, h, w, c), "bfloat16") for c in (config.key_dim_s16, config.value_dim_s16))
        arguments = (*arrays, noise((1, h, w, config.key_dim_s16), "bfloat16"), None, jnp.asarray(count))
        for name, turns in (("traced", None), ("known", slots - 2)):
            read = functools.partial(kernel_guided_read, turns=turns)
            yield {"case": f"read, T={count} of {slots} slots, loop length {name}"} | timed(read, *arguments, runs=sizes.runs)


def fine_read(sizes: Sizes) -> Iterator[Figures]:
    """Times the stride-8 read with several chunk sizes: the forward pass for a frame, and the gradients for a clip."""
    config, k = sizes.config, sizes.config.k_s8
    frame, clip = (sizes.frame[0] // 16) * (sizes.frame[1] // 16), (sizes.side // 16) ** 2
    for bound in sizes.chunks:
        read = functools.partial(read_in_chunks, chunk_bytes=bound * MIB, read_values=fast_values_einsum)
        for name, cells, objects in (
            ("frame, 1 object", frame, 1),
            ("frame, 4 objects", frame, 4),
            ("clip, 3 objects", clip, 3),
        ):
            keys = noise((1, objects, 2 * cells, 4, config.key_dim_s8), "bfloat16")
            bank = noise((1, objects, 2 * cells, 4, config.value_dim_s8), "bfloat16")
            query = noise((1, cells, 4, config.key_dim_s8), "bfloat16")
            indices = jax.random.randint(jax.random.key(0), (1, objects, cells, k), 0, 2 * cells)
            selected = indices, jnp.ones(indices.shape, bool)

            def loss(keys: jax.Array, bank: jax.Array, query: jax.Array, *selected: jax.Array, read: Any = read) -> jax.Array:
                return read(keys, bank, query, *selected).sum()

            function = jax.grad(loss, (0, 1, 2)) if name.startswith("clip") else read
            yield {"case": f"{name}, {bound} MiB"} | timed(function, keys, bank, query, *selected, runs=sizes.runs)


def frame(sizes: Sizes, cases: tuple[tuple[str, int], ...] | None = None, fused: bool | None = None) -> Iterator[Figures]:
    """Measures latency, throughput, dispatch time, compilation time and memory of `Segmenter` for one frame."""
    for dtype, objects in cases or sizes.frames:
        compiling = Compiling()
        config = sizes.config.replace(dtype=dtype)
        segmenter = Segmenter(random_variables(config), config, mem_every=1, fused=fused)
        picture, mask = picture_and_mask(sizes.frame, objects)
        state = segmenter.init(picture, mask)
        for count in sizes.memory:
            state = remembering(segmenter, state, picture, count)
            segmenter.mem_every = sys.maxsize  # from here on, no frames are added to the memory
            for _ in range(2):
                state, result = segmenter.step(state, picture, donate=True)
            jax.block_until_ready(result.mask)
            alone, called = [], []
            for _ in range(sizes.runs):
                start = time.perf_counter()
                state, result = segmenter.step(state, picture, donate=True)
                called.append(time.perf_counter() - start)
                jax.block_until_ready(result.mask)
                alone.append(time.perf_counter() - start)
            start = time.perf_counter()
            for _ in range(sizes.runs):
                state, result = segmenter.step(state, picture, donate=True)
            jax.block_until_ready(result.mask)
            in_a_row = (time.perf_counter() - start) / sizes.runs
            yield {
                "case": f"{dtype}, {objects} objects, T={count}",
                "ms": 1000 * in_a_row,
                "latency_ms": 1000 * statistics.median(alone),
                "dispatch_ms": 1000 * statistics.median(called),
                "dispatch_share": statistics.median(called) / in_a_row,
                "compile_s": compiling.seconds,
                "process_peak_gib": peak_gib(),
            }


def single_programs(sizes: Sizes) -> Iterator[Figures]:
    """Repeats two measurements of `frame` with separate programs for each batch of objects, which are the default on CPUs."""
    yield from frame(dataclasses.replace(sizes, memory=sizes.memory[:1]), sizes.frames[:2], fused=False)


def quality(sizes: Sizes) -> Iterator[Figures]:
    """Measures the J&F of the bundled model on the bundled clip.

    Also measures the fraction of pixels that differ from masks computed on the CPU.
    """
    names = (DEMO_CLIP / "ImageSets/2017/val.txt").read_text().split()
    frames, truth = (
        np.stack([np.asarray(Image.open(path)) for path in sorted((DEMO_CLIP / folder / "240p" / names[0]).iterdir())])
        for folder in ("JPEGImages", "Annotations")
    )
    frames, truth = frames[: sizes.clip_frames], truth[: sizes.clip_frames]
    variables, config = load_checkpoint("lite")

    def masks(dtype: str) -> np.ndarray:
        segmenter = Segmenter(variables, config.replace(dtype=dtype), winograd=False)
        return np.stack([truth[0], *(np.asarray(result.mask) for result in segmenter.run(frames, truth[0]))])

    def figures(found: np.ndarray) -> Figures:
        return {"jf": summarize([score_sequence(found, truth)]).jf_mean}

    found = {dtype: masks(dtype) for dtype in ("bfloat16", "float32")}
    for dtype, of_device in found.items():
        yield {"case": dtype} | figures(of_device)
    with jax.default_device(jax.devices("cpu")[0]):
        on_cpu = masks("float32")
    yield {"case": "float32, CPU"} | figures(on_cpu)
    for dtype, of_device in found.items():
        yield {"case": dtype, "pixels_unlike_cpu": float((of_device != on_cpu).mean())}


def training(
    sizes: Sizes, cases: tuple[tuple[str, int], ...] | None = None, options: dict[str, Any] | None = None
) -> Iterator[Figures]:
    """Measures training steps with three objects, and checks whether two runs of five steps are bit-identical."""
    from hmmn_jax.training.optimizer import make_optimizer
    from hmmn_jax.training.schedules import learning_rate_schedule
    from hmmn_jax.training.train_state import TrainState
    from hmmn_jax.training.train_step import make_train_step

    schedule = learning_rate_schedule("poly", 1e-5, 1000)
    optimizer = make_optimizer("adam", schedule, clip_norm=1.0)
    for dtype, clips in cases or sizes.clips:
        config = sizes.config.replace(dtype=dtype)
        pictures, mask = zip(*(picture_and_mask((sizes.side, sizes.side), 3, seed) for seed in range(3 * clips)), strict=True)
        split = (clips, 3, sizes.side, sizes.side)
        batch = {"frames": np.stack(pictures).reshape(*split, 3), "masks": np.stack(mask).reshape(split)}
        batch |= {"valid": np.ones((clips, 3), bool), "sample": np.arange(clips, dtype=np.int32)}
        batch = jax.device_put(batch)
        begin = TrainState.create(random_variables(config), optimizer)
        start = time.perf_counter()
        lowered = jax.jit(make_train_step(config, optimizer, schedule), donate_argnums=0).lower(begin, batch)
        step = lowered.compile(compiler_options=options)
        compile_s = time.perf_counter() - start
        ends, times = [], []
        for _ in range(2):
            state = jax.tree.map(jnp.copy, begin)
            for _ in range(5):
                start = time.perf_counter()
                state, metrics = step(state, batch)
                jax.block_until_ready(metrics["loss"])
                times.append(time.perf_counter() - start)
            ends.append(jax.device_get(state.params))
        same = all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.array_equal(x, y, equal_nan=True)), *ends)))
        seconds = statistics.median(times[1:])
        yield {
            "case": f"{dtype}, {clips} clips",
            "ms": 1000 * seconds,
            "clips_per_s": clips / seconds,
            "compile_s": compile_s,
            "same_bits": same,
            "loss": float(metrics["loss"]),
        } | memory(step)


def deterministic(sizes: Sizes) -> Iterator[Figures]:
    """On GPUs, runs the first case of `training` with XLA's deterministic operations. Does nothing on other devices."""
    if jax.default_backend() == "gpu":
        yield from training(sizes, sizes.clips[:1], {"xla_gpu_deterministic_ops": True})


FUNCTIONS: dict[str, Callable[[Sizes], Iterator[Figures]]] = {
    "device": device,
    "selection": selection,
    "values": values,
    "fine read": fine_read,
    "frame": frame,
    "quality": quality,
    "training": training,
    "deterministic": deterministic,
    "single programs": single_programs,
}
