"""Compares the speed of EfficientNet-Lite0, up to stride 16, in this project and in PyTorch.

    python benchmarks/depthwise.py

The network consists largely of depthwise convolutions, which are slow in XLA on a CPU. The weights are random float32 numbers.
The forward pass is measured for one 480x864 frame, with BatchNorm folded (as in inference) and not folded. The forward and
backward pass is measured for six 192x192 images, with gradients of all parameters and with the stored BatchNorm statistics.
Each round starts a new process for this project and then a new process for PyTorch. PyTorch is measured with the default memory
format and with channels last. Prints the medians over the rounds, and their ratios. The script also prints the load of the
machine, measured before the first process starts. Run the script on an otherwise idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

ROWS = ("forward, folded", "forward", "forward and backward")
FRAME, IMAGES = (1, 480, 864, 3), (6, 192, 192, 3)
# Expansion, kernel size, stride, channels and number of blocks of each stage.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
FEATURES = (2, 4, 10)  # indices of the blocks whose outputs are used


def measure_ours(runs: int) -> dict[str, float]:
    """Returns the median time of `runs` calls in seconds, for each row of the table."""
    import jax

    from hmmn_jax.model.backbones import EfficientNetLite
    from hmmn_jax.model.layers import Compute

    def see(module, frame):
        return module(module.frame(frame))

    def forward(sizes):
        return jax.jit(lambda values, frame: sizes.make(Compute(), False).apply(values, frame, method=see))

    @jax.jit
    def gradients(params, rest, frame):
        def found(params):
            return sizes.make(Compute(), False).apply({"params": params, **rest}, frame, method=see)

        features, backward = jax.vjp(found, params)
        return backward(features)  # uses an arbitrary cotangent, so that the measurement does not include a loss

    sizes, (frame, images) = EfficientNetLite(), (jax.numpy.asarray(draw(shape)) for shape in (FRAME, IMAGES))
    values = jax.jit(lambda: sizes.make(Compute(), False).init(jax.random.key(0), images, method=see))()
    folded, without = sizes.fold(values)
    folded = jax.tree.map(jax.numpy.asarray, folded)
    rest = {"batch_stats": values["batch_stats"]}
    with_norms, inference = forward(sizes), forward(without)
    return {
        ROWS[0]: seconds(lambda: jax.block_until_ready(inference(folded, frame)), runs),
        ROWS[1]: seconds(lambda: jax.block_until_ready(with_norms(values, frame)), runs),
        ROWS[2]: seconds(lambda: jax.block_until_ready(gradients(values["params"], rest, images)), runs),
    }


def measure_torch(runs: int) -> dict[str, list[float]]:
    """Returns the PyTorch times in seconds for each row of the table, with the default memory format and with channels last."""
    import torch
    from torch import nn

    class Padded(nn.Module):
        """A convolution with TensorFlow's padding, followed by a norm. Height and width must be multiples of the stride."""

        def __init__(self, inputs, features, size, stride=1, groups=1, active=True):
            super().__init__()
            total = size - stride if size > 1 else 0
            symmetric = total % 2 == 0
            self.pad = nn.Identity() if symmetric else nn.ZeroPad2d((total // 2, total - total // 2) * 2)
            padding = total // 2 if symmetric else 0
            self.conv = nn.Conv2d(inputs, features, size, stride, padding, groups=groups, bias=False)
            self.norm, self.active = nn.BatchNorm2d(features, eps=1e-3), nn.ReLU6(inplace=True) if active else nn.Identity()

        def forward(self, x):
            return self.active(self.norm(self.conv(self.pad(x))))

        def fold(self):
            self.conv, self.norm = nn.utils.fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()

    class Block(nn.Module):
        def __init__(self, inputs, features, expansion, size, stride):
            super().__init__()
            wide, self.shortcut = inputs * expansion, stride == 1 and inputs == features
            expand = [Padded(inputs, wide, 1)] if expansion > 1 else []
            self.layers = nn.Sequential(
                *expand, Padded(wide, wide, size, stride, wide), Padded(wide, features, 1, active=False)
            )

        def forward(self, x):
            return x + self.layers(x) if self.shortcut else self.layers(x)

    class Lite0(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, blocks, inputs = Padded(3, 32, 3, 2), [], 32
            for expansion, size, stride, features, count in STAGES:
                for i in range(count):
                    blocks.append(Block(inputs, features, expansion, size, stride if i == 0 else 1))
                    inputs = features
            self.blocks = nn.ModuleList(blocks)

        def forward(self, frame):
            x, found = self.stem((frame * 255 - 127) / 128), []
            for index, block in enumerate(self.blocks):
                x = block(x)
                if index in FEATURES:
                    found.append(x)
            return found

    def measure(memory_format):
        network = Lite0().eval().to(memory_format=memory_format)
        frame, images = (
            torch.tensor(draw(shape).transpose(0, 3, 1, 2).copy()).contiguous(memory_format=memory_format)
            for shape in (FRAME, IMAGES)
        )

        def forward():
            with torch.inference_mode():
                network(frame)

        def backward():
            network.zero_grad()
            features = network(images)
            torch.autograd.backward(features, [x.detach() for x in features])

        found = {ROWS[2]: seconds(backward, runs), ROWS[1]: seconds(forward, runs)}
        for layer in network.modules():
            if isinstance(layer, Padded):
                layer.fold()
        return found | {ROWS[0]: seconds(forward, runs)}

    formats = [measure(torch.contiguous_format), measure(torch.channels_last)]
    return {row: [found[row] for found in formats] for row in ROWS}


def draw(shape: tuple[int, ...]) -> np.ndarray:
    """Returns random frames with values in [0, 1), drawn with a fixed seed."""
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def seconds(call: Callable[[], object], runs: int) -> float:
    """Returns the median time of a call in seconds, after two warm-up calls."""
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main() -> None:
    """Runs both implementations alternately, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="number of measurements in each process, after two warm-up runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=("ours", "torch"), default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps((measure_ours if args.worker == "ours" else measure_torch)(args.runs)))
        return
    rounds, load = [], os.getloadavg()[0]
    for _ in range(args.rounds):
        commands = ([sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker", who] for who in ("ours", "torch"))
        outputs = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for command in commands]
        rounds.append([json.loads(output.splitlines()[-1]) for output in outputs])
        print(rounds[-1], file=sys.stderr)
    print(
        f"Each value is a median of {args.rounds} processes with {args.runs} runs each. A ratio is the time of this "
        f"package divided by the time of PyTorch. The load of the machine before the first process was {load:.1f}."
    )
    print("ms                   |   ours | PyTorch  ratio | channels last  ratio")
    for row in ROWS:
        ours = statistics.median(pair[0][row] for pair in rounds)
        default, last = (statistics.median(pair[1][row][i] for pair in rounds) for i in (0, 1))
        ratios = f"{1e3 * default:7.1f}  {ours / default:5.2f} | {1e3 * last:13.1f}  {ours / last:5.2f}"
        print(f"{row:20} | {1e3 * ours:6.1f} | {ratios}")


if __name__ == "__main__":
    main()
