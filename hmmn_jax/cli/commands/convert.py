"""Converts checkpoints between PyTorch and JAX, and converts ImageNet weights to initial weights for training.

  hmmn-jax convert from-torch HMMN_weights.pth OUT       # or .safetensors
  hmmn-jax convert to-torch OUT weights.safetensors      # or .pth if PyTorch is installed; --half: as float16
  hmmn-jax convert imagenet resnet50.pth OUT             # a ResNet-50 from torchvision, or an EfficientNet-Lite
  hmmn-jax convert inspect FILE                          # or OUT, or lite (the bundled model)

Reading a .pth file does not require PyTorch and executes no code in the file. Existing files and folders are never replaced.
"""

import argparse
import functools
from collections.abc import Callable

from hmmn_jax.cli.arguments import anywhere, local


def add_arguments(parser: argparse.ArgumentParser) -> Callable[..., argparse.ArgumentParser]:
    """Adds the arguments of the command. Returns a function that adds further subcommands."""
    kinds = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def command(name: str, text: str, convert: Callable | str, *positional: str) -> argparse.ArgumentParser:
        """Adds a subcommand. Inputs and output files can be in a bucket, but output folders must be local."""
        added = kinds.add_parser(name, help=text, description=text)
        added.set_defaults(convert=functools.partial(_convert, convert) if isinstance(convert, str) else convert)
        for argument in positional:
            added.add_argument(argument, type=local if argument == "out" else anywhere)
        return added

    command("from-torch", "Converts a PyTorch checkpoint to a checkpoint folder.", "convert_from_torch", "file", "out")
    text = "Converts a checkpoint folder to a PyTorch checkpoint. The metadata of a .safetensors file contains the config."
    add = command("to-torch", text, "convert_to_torch", "checkpoint", "file").add_argument
    add("--half", action="store_true", help="store floats as float16 (half the size, with relative errors up to 0.0005)")
    text = (
        "Writes initial weights. The weights of both backbones are copied from a network trained on ImageNet. The other layers "
        "are initialised randomly with --seed."
    )
    add = command("imagenet", text, "convert_imagenet", "file", "out").add_argument
    add("--seed", type=int, default=0, help="seed for the randomly initialised layers")
    sizes = "folder or workdir with the model's config (default: the published dimensions and the backbone from the file)"
    add("--config", type=local, default=None, help=sizes)
    text = "Lists the tensors of a checkpoint. For a checkpoint folder, shows the names from the official PyTorch checkpoint."
    command("inspect", text, "inspect_checkpoint", "file")
    return command


def run(options: argparse.Namespace) -> int | None:
    """Runs the selected subcommand on the CPU."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # accelerators may be busy, and some do not support float64
    return options.convert(options)


def _convert(name: str, options: argparse.Namespace) -> int | None:
    from hmmn_jax.cli import convert

    return getattr(convert, name)(options)
