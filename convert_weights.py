"""Converts checkpoints from and to PyTorch, creates initial weights, and compares the model with the published code.

    python convert_weights.py from-torch HMMN_weights.pth OUT           # or .safetensors
    python convert_weights.py to-torch OUT weights.safetensors          # or .pth, which requires PyTorch; --half: float16
    python convert_weights.py imagenet resnet50.pth OUT                 # from torchvision, or an EfficientNet-Lite
    python convert_weights.py inspect FILE                              # or OUT
    python convert_weights.py verify --official CHECKOUT --checkpoint HMMN_weights.pth --frames JPEGS --mask 00000.png

The exit code is 0 on success, 1 if verify finds different logits, and 2 for invalid arguments or files.
"""

import argparse
import signal
from collections.abc import Callable

from hmmn_jax.cli.arguments import ArgumentParser, local
from hmmn_jax.cli.commands import convert
from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.datasets.order import ORDERS
from hmmn_jax.errors import ConfigError
from tools.verify import verify


def run_verify(options: argparse.Namespace) -> int:
    """Prints each frame's largest logit difference from the published code. Returns 1 if a difference exceeds the tolerance."""
    if not options.tolerance >= 0:
        raise ConfigError(f"--tolerance is {options.tolerance}, expected 0 or more")
    inputs = options.official, options.checkpoint, options.frames, options.mask
    differences = verify(*inputs, max_frames=options.max_frames, size=options.size, order=options.order)
    print("largest |logit difference|  frame", *(f"{value:<26.3e}  {name}" for name, value in differences), sep="\n")
    same = all(value <= options.tolerance for _, value in differences)  # false if a difference is nan
    verdict = f"The logits {'agree' if same else 'DISAGREE'} with {options.official} at a tolerance of {options.tolerance:.1e}."
    print(f"{verdict} Both models compute in float64.")
    return 0 if same else 1


def add_verify(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command `verify`, which is only available in a checkout of this repository."""
    add = command("verify", run_verify.__doc__, run_verify).add_argument
    add("--official", type=local, required=True, help="checkout of the published code, which contains model.py")
    add(
        "--checkpoint",
        type=local,
        required=True,
        help="published weights (.pth, .safetensors), or a folder converted from them",
    )
    add("--frames", type=local, required=True, help="folder of images")
    add("--mask", type=local, required=True, help="PNG with the ids of the objects in the first frame")
    add("--max-frames", type=int, default=3, help="number of frames, including the first (default: %(default)s)")
    add("--size", type=int, default=128, help="shorter side of the resized frames, in pixels (default: %(default)s)")
    add("--order", choices=ORDERS, default="", help="how to interpret frame names whose order is ambiguous")
    add("--tolerance", type=float, default=2e-6, help="largest accepted difference between two logits (default: %(default)s)")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns the exit code."""

    def run() -> int | None:
        parser = ArgumentParser(description=__doc__, prog="convert_weights.py")
        add_verify(convert.add_arguments(parser))
        return convert.run(parser.parse_args(arguments))

    return run_program("convert_weights.py", run)


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # so that `inspect FILE | head` ends without an error
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    leave(main())
