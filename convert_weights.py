"""Checkpoints in and out: the released PyTorch weights, trunks from ImageNet, and a comparison with the published code.

    python convert_weights.py from-torch HMMN_weights.pth OUT           # or .safetensors
    python convert_weights.py to-torch OUT weights.safetensors          # or .pth, with PyTorch installed; --half: in float16
    python convert_weights.py imagenet resnet50.pth OUT                 # torchvision's, or an EfficientNet-Lite: to start from
    python convert_weights.py inspect FILE                              # or OUT
    python convert_weights.py verify --official CHECKOUT --checkpoint HMMN_weights.pth --frames JPEGS --mask 00000.png

Exit code: 0 done; 1 with verify, logits that differ; 2 a mistake or a refusal, such as tensors that are not the model's.
"""

import argparse
import functools
import signal

import jax
import numpy as np

from hmmn_jax.checkpoints.pretrained import from_pretrained, recognise
from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json, load_checkpoint, load_config, save_checkpoint
from hmmn_jax.checkpoints.torch_file import read_torch_file, write_torch_file
from hmmn_jax.checkpoints.torch_weights import in_float16, to_torch
from hmmn_jax.cli.arguments import ArgumentParser
from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.datasets.order import ORDERS
from hmmn_jax.errors import CheckpointError, ConfigError
from hmmn_jax.io.files import lies_there, user_path
from hmmn_jax.io.new_file import EXISTS
from hmmn_jax.model import HMMNConfig
from tools.verify import verify


def run_from_torch(options: argparse.Namespace) -> None:
    """Writes a PyTorch checkpoint as a folder of ours."""
    variables, config = load_checkpoint(options.file)
    save_checkpoint(options.out, variables, config)
    print(f"{options.file} -> {options.out}: {count(to_torch(variables, config))}")


def run_to_torch(options: argparse.Namespace) -> None:
    """Writes a folder of ours as a PyTorch checkpoint, with the config in the metadata of a .safetensors."""
    if lies_there(options.file):
        raise CheckpointError(f"{options.file}: {EXISTS}")
    variables, config = load_checkpoint(options.checkpoint)
    tensors = to_torch(variables, config)
    if options.half:
        tensors = in_float16(tensors)
    write_torch_file(options.file, tensors, {METADATA_KEY: config_to_json(config)})
    print(f"{options.checkpoint} -> {options.file}: {count(tensors)}")


def run_imagenet(options: argparse.Namespace) -> None:
    """Writes starting weights: both backbones from a network trained on ImageNet, the new layers by the seed."""
    if not 0 <= options.seed < 2**32:
        raise ConfigError(f"--seed is {options.seed}, expected 0 to {2**32 - 1}")
    tensors = read_torch_file(options.file)
    kind = recognise(tensors)
    if options.config is not None:
        config = load_config(options.config)
    else:
        config = HMMNConfig() if kind is None else HMMNConfig(backbone=kind())
    variables = from_pretrained(tensors, config, options.seed, str(options.file))
    save_checkpoint(options.out, variables, config)
    print(f"{options.file} -> {options.out}: {count(to_torch(variables, config))}; new layers by seed {options.seed}")


def run_inspect(options: argparse.Namespace) -> None:
    """Prints the tensors of any checkpoint file, or of a folder of ours by their official names."""
    tensors = to_torch(*load_checkpoint(options.file)) if options.file.is_dir() else read_torch_file(options.file)
    for name, tensor in tensors.items():
        print(f"{name:<50}  {'x'.join(map(str, tensor.shape)) or '-':<14}  {tensor.dtype}")
    print(count(tensors))


def run_verify(options: argparse.Namespace) -> int:
    """Prints each frame's largest difference to the published code; 1 if any is beyond the tolerance."""
    if not options.tolerance >= 0:
        raise ConfigError(f"--tolerance is {options.tolerance}, expected 0 or more")
    inputs = options.official, options.checkpoint, options.frames, options.mask
    differences = verify(*inputs, max_frames=options.max_frames, size=options.size, order=options.order)
    print("largest |logit difference|  frame", *(f"{value:<26.3e}  {name}" for name, value in differences), sep="\n")
    same = all(value <= options.tolerance for _, value in differences)  # false for nan
    print(f"{'agrees' if same else 'DISAGREES'} with {options.official}: tolerance {options.tolerance:.1e}, both in float64")
    return 0 if same else 1


def count(tensors: dict[str, np.ndarray]) -> str:
    """How much there is; parameters are what PyTorch calls weights and biases."""
    parameters = sum(t.size for name, t in tensors.items() if name.endswith((".weight", ".bias", ".scale")))
    return f"{len(tensors)} tensors, {parameters:,} parameters, {sum(t.nbytes for t in tensors.values()):,} bytes"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; `run` of the result is the function to call."""
    parser = ArgumentParser(description=__doc__, prog="convert_weights.py")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, *positional: str) -> argparse.ArgumentParser:
        """Adds a command; what it reads, and any single file, can be in a bucket, a folder that it writes cannot."""
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        for argument in positional:
            added.add_argument(argument, type=functools.partial(user_path, buckets=argument != "out"))
        return added

    command("from-torch", run_from_torch, "file", "out")
    half = "floats in float16: half the size, half a thousandth from exact"
    command("to-torch", run_to_torch, "checkpoint", "file").add_argument("--half", action="store_true", help=half)
    add = command("imagenet", run_imagenet, "file", "out").add_argument
    add("--seed", type=int, default=0, help="of the new layers")
    sizes = "checkpoint folder or workdir with the config of the model (default: the released sizes, the backbone of the file)"
    add("--config", type=user_path, default=None, help=sizes)
    command("inspect", run_inspect, "file")
    add = command("verify", run_verify).add_argument
    add("--official", type=user_path, required=True, help="checkout of the published code, with its model.py")
    add("--checkpoint", type=user_path, required=True, help="its weights, .pth or .safetensors, or a folder made of them")
    add("--frames", type=user_path, required=True, help="folder of images")
    add("--mask", type=user_path, required=True, help="PNG with the ids of the objects in the first of them")
    add("--max-frames", type=int, default=3, help="how many frames, the first included (%(default)s)")
    add("--size", type=int, default=128, help="shorter side they are resized to, pixels (%(default)s)")
    add("--order", choices=ORDERS, default="", help="how names of frames are read, where more than one way applies")
    add("--tolerance", type=float, default=2e-6, help="largest difference of a logit (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; gives the exit code."""

    def run() -> int | None:
        options = parse(arguments)
        jax.config.update("jax_platforms", "cpu")  # an accelerator may be busy, and float64 is a matter for the CPU
        return options.run(options)

    return run_program("convert_weights.py", run)


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # `inspect FILE | head` ends quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    leave(main())
