"""Converts checkpoints from PyTorch and back, and makes initial weights for training from ImageNet weights.

  hmmn-jax convert from-torch HMMN_weights.pth OUT       # or .safetensors
  hmmn-jax convert to-torch OUT weights.safetensors      # or .pth, with PyTorch installed; --half: in float16
  hmmn-jax convert imagenet resnet50.pth OUT             # torchvision's, or an EfficientNet-Lite: to start from
  hmmn-jax convert inspect FILE                          # or OUT, or lite

A .pth file is read without PyTorch, and nothing in it is executed. Existing files and folders are never replaced.
"""

import argparse
import functools
from collections.abc import Callable

from hmmn_jax.cli.arguments import anywhere, local


def add_arguments(parser: argparse.ArgumentParser) -> Callable[..., argparse.ArgumentParser]:
    """Adds the arguments of the command. Returns a function that adds a subcommand for one kind of conversion."""
    kinds = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def command(name: str, text: str, convert: Callable | str, *positional: str) -> argparse.ArgumentParser:
        """Adds a command. Its inputs and single output files can be in a bucket; output folders cannot."""
        added = kinds.add_parser(name, help=text, description=text)
        added.set_defaults(convert=functools.partial(_convert, convert) if isinstance(convert, str) else convert)
        for argument in positional:
            added.add_argument(argument, type=local if argument == "out" else anywhere)
        return added

    command("from-torch", "Converts a PyTorch checkpoint to a checkpoint folder.", "convert_from_torch", "file", "out")
    text = "Writes a checkpoint folder as a PyTorch checkpoint. The metadata of a .safetensors file contains the config."
    add = command("to-torch", text, "convert_to_torch", "checkpoint", "file").add_argument
    add("--half", action="store_true", help="store floats as float16: half the size, relative error up to 0.0005")
    text = (
        "Writes initial weights: both backbones come from a network trained on ImageNet, and the other layers are initialised "
        "from the seed."
    )
    add = command("imagenet", text, "convert_imagenet", "file", "out").add_argument
    add("--seed", type=int, default=0, help="seed of the new layers")
    sizes = "folder or workdir with the config of the model (default: the published sizes, with the backbone of the file)"
    add("--config", type=local, default=None, help=sizes)
    text = "Prints the tensors of any checkpoint file, or of a checkpoint folder by their official names."
    command("inspect", text, "inspect_checkpoint", "file")
    return command


def run(options: argparse.Namespace) -> int | None:
    """Runs the command."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # accelerators may be busy, and some do not support float64
    return options.convert(options)


def _convert(name: str, options: argparse.Namespace) -> int | None:
    from hmmn_jax.cli import convert

    return getattr(convert, name)(options)
