"""Runs a checkout of the published PyTorch code on one clip in float64. `verify` runs this script in a separate process.

    python official_process.py CHECKOUT FOLDER

FOLDER contains `weights.npz` and `clip.npz`. `weights.npz` uses the official parameter names without the prefix `module.`.
`clip.npz` contains `frames` (uint8 `[T,H,W,3]`), `mask` (uint8 `[H,W]`, with ids 1..K) and `mem_every`. The script writes
`logits.npy`, float64 `[T-1,K+1,H,W]`, to FOLDER. Torch and NumPy are required, but JAX is not.
"""

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

STAND_INS = ("torchvision", "torchvision.models", "torchvision.transforms", "cv2", "matplotlib", "matplotlib.pyplot")


class StandIn(types.ModuleType):
    """A stub module. Any attribute can be imported, read and called, with no effect."""

    def __getattr__(self, name: str) -> "StandIn":
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")

    def __call__(self, *_args, **_kwargs) -> "StandIn":
        """Returns the stub itself."""
        return self


class Bottleneck(nn.Module):
    """The bottleneck block of torchvision's ResNet v1.5, with the stride in the 3x3 convolution.

    Maps `[b,inputs,h,w]` to `[b,4*width,h/stride,w/stride]`.
    """

    def __init__(self, inputs: int, width: int, stride: int, project: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if project:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        """Applies three convolutions and adds a shortcut."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet50(*_args, **_kwargs) -> nn.Module:
    """Returns a ResNet-50 with torchvision's parameter names and random weights, but without `layer4` and `fc`."""
    net = nn.Module()
    net.conv1, net.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
    net.relu, net.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    inputs = 64
    for layer, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256)), 1):
        stage = []
        for i in range(blocks):
            stage.append(Bottleneck(inputs, width, 2 if i == 0 and layer > 1 else 1, project=i == 0))
            inputs = 4 * width
        setattr(net, f"layer{layer}", nn.Sequential(*stage))
    return net


def supply_stand_ins() -> None:
    """Replaces missing or broken imports of the checkout with stubs, and prevents `resnet50` from downloading weights.

    The stubs for cv2 and matplotlib do not change the results, because the network does not use these packages. The downloaded
    weights are not needed, because all weights are replaced later.
    """
    for name in STAND_INS:
        parent, _, child = name.rpartition(".")
        try:
            importlib.import_module(name)
        except Exception:  # a missing module raises ImportError, and a broken one may raise any exception
            sys.modules[name] = StandIn(name)
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
    models = sys.modules["torchvision.models"]
    if isinstance(models, StandIn):
        models.resnet50 = resnet50
    else:
        build = models.resnet50
        models.resnet50 = lambda *_args, **_kwargs: build()


def load_network(checkout: Path, weights: dict[str, np.ndarray]) -> nn.Module:
    """Creates the checkout's `HMMN` with the given weights, in float64 and evaluation mode."""
    if not (checkout / "model.py").is_file():
        raise SystemExit("the folder contains no model.py")
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("model")
    if not hasattr(module, "HMMN"):
        raise SystemExit("model.py contains no class HMMN")
    net = module.HMMN().eval()
    net.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.items()})
    net.double()
    for stem in (net.Encoder_M.conv1_m, net.Encoder_M.conv1_o):  # the published code casts the inputs of both layers to float32
        stem.register_forward_pre_hook(lambda _module, inputs: tuple(x.double() for x in inputs))
    return net


def segment(net: Callable, frames: np.ndarray, mask: np.ndarray, mem_every: int) -> np.ndarray:
    """Computes the logits `[T-1,K+1,H,W]` of all frames after the first, in the same way as the published code.

    The memories `[K,C,T,h,w]` grow along axis 2. The memory at stride 16 keeps every `mem_every`-th frame, and the memories at
    strides 8 and 4 keep only the first frame. The previous frame is always the last frame of each memory.
    """
    objects = int(mask.max())
    video = torch.from_numpy(frames.astype(np.float32) / np.float32(255)).double().permute(0, 3, 1, 2)
    probs = torch.from_numpy(np.stack([mask == k for k in range(objects + 1)])).double()[None]
    count, kept, outputs = torch.tensor([objects]), None, []
    for t in range(1, len(video)):
        new = net(video[t - 1 : t], probs, count)
        memory = tuple(new) if kept is None else tuple(torch.cat(pair, 2) for pair in zip(kept, new, strict=True))
        logits = net(video[t : t + 1], *memory, count)
        probs = torch.softmax(logits, 1)
        if kept is None:
            kept = memory
        elif (t - 1) % mem_every == 0:
            kept = memory[:2] + kept[2:]
        outputs.append(logits[0].numpy())
    return np.stack(outputs)


@torch.no_grad()
def main(checkout: Path, folder: Path) -> None:
    """Reads the weights and the clip from FOLDER, and writes the logits."""
    torch.set_default_dtype(torch.float64)
    supply_stand_ins()
    with np.load(folder / "weights.npz") as weights, np.load(folder / "clip.npz") as clip:
        net = load_network(checkout, dict(weights))
        logits = segment(net, clip["frames"], clip["mask"], int(clip["mem_every"]))
    np.save(folder / "logits.npy", logits)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
