"""Measures the seconds until the first mask, including imports and compilation, with an empty cache of compiled programs.

    python benchmarks/first_frame.py --checkpoint lite --height 240 --width 432
    python benchmarks/first_frame.py --height 480 --width 864 --flags ""

Each round (option --rounds) starts a new process. Without --checkpoint, the published network is used with random weights. By
default, the process uses the same compiler flags as `hmmn-jax`. The option --flags replaces these flags. Run the script on an
otherwise idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import time


def measure(height: int, width: int, checkpoint: str | None) -> None:
    """Prints a JSON line with the times of this process, in seconds."""
    start = time.perf_counter()
    import jax
    import numpy as np

    from hmmn_jax import HMMNConfig, Segmenter, load_checkpoint
    from hmmn_jax.inference.host_memory import keep_host_memory_small
    from hmmn_jax.model.hmmn import abstract_variables

    keep_host_memory_small()  # the hmmn-jax commands also call this function
    compiled: list[float] = []

    def listen(event: str, duration_secs: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    rng = np.random.default_rng(0)
    if checkpoint:
        variables, config = load_checkpoint(checkpoint)
    else:
        config = HMMNConfig()
        variables = jax.tree.map(
            lambda leaf: np.float32(0.02) * rng.standard_normal(leaf.shape, np.float32) + np.float32(leaf.ndim == 1),
            abstract_variables(config),
        )
    segmenter = Segmenter(variables, config)
    ready = time.perf_counter()
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 1
    state, result = segmenter.step(segmenter.init(frame, mask), frame, donate=True)
    result.mask.block_until_ready()
    done = time.perf_counter()
    found = {
        "ready": ready - start,
        "first frame": done - ready,
        "compilation": sum(compiled),
        "programs": len(compiled),
    }
    state, result = segmenter.step(state, frame, donate=True)  # compiles the program that writes to an existing memory bank
    result.mask.block_until_ready()
    start = time.perf_counter()
    for _ in range(5):
        state, result = segmenter.step(state, frame, donate=True)
        result.mask.block_until_ready()
    print(json.dumps(found | {"later frame": (time.perf_counter() - start) / 5}))


def main() -> None:
    """Starts one process for each round, and prints a line with the times of each process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=864)
    parser.add_argument("--checkpoint", default=None, help="path of a checkpoint, or name of a bundled model")
    parser.add_argument("--flags", default=None, help="value of XLA_FLAGS (default: the flags that hmmn-jax sets)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return measure(given.height, given.width, given.checkpoint)
    if given.flags is None:
        from hmmn_jax.cli.launch import set_compiler_flags

        set_compiler_flags(quick=True)
    else:
        os.environ["XLA_FLAGS"] = given.flags
    for _ in range(given.rounds):
        command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker"]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        print("; ".join(f"{name} {value:.3g}" for name, value in json.loads(line).items()), flush=True)
    return None


if __name__ == "__main__":
    main()
