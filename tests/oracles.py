"""Implements the method of the paper with loops in NumPy, as a reference for the tests.

The functions are slow, compute in float64, and process one sample at a time. The memory is read for one object at a time.
"""

import math

import numpy as np


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def conv(x, kernel, stride=1):
    """Convolves a map `[h,w,c]` with a kernel `[k,k,c,o]`. The padding is k // 2 zeros on each side."""
    k = kernel.shape[0]
    h, w = ((size + 2 * (k // 2) - k) // stride + 1 for size in x.shape[:2])
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    out = np.zeros((h, w, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            patch = padded[i * stride : i * stride + k, j * stride : j * stride + k]
            for o in range(kernel.shape[3]):
                out[i, j, o] = np.sum(patch * kernel[..., o])
    return out


def bilinear(x, factor):
    """Enlarges a map `[h,w,c]` by bilinear interpolation with half-pixel centres. Edge values are repeated."""
    h, w, c = x.shape
    out = np.zeros((h * factor, w * factor, c))
    for i in range(h * factor):
        for j in range(w * factor):
            y, z = max((i + 0.5) / factor - 0.5, 0), max((j + 0.5) / factor - 0.5, 0)
            y0, z0 = int(y), int(z)
            y1, z1 = min(y0 + 1, h - 1), min(z0 + 1, w - 1)
            top = (1 - (z - z0)) * x[y0, z0] + (z - z0) * x[y0, z1]
            bottom = (1 - (z - z0)) * x[y1, z0] + (z - z0) * x[y1, z1]
            out[i, j] = (1 - (y - y0)) * top + (y - y0) * bottom
    return out


def best_in_window(s, height, width, window):
    """Returns the best query cell in a window around each memory cell, given the affinity `s[m][q]`."""
    best = []
    for m in range(height * width):
        y, x = divmod(m, width)
        reach = window // 2
        near = [
            v * width + u
            for v in range(max(y - reach, 0), min(y + reach, height - 1) + 1)
            for u in range(max(x - reach, 0), min(x + reach, width - 1) + 1)
        ]
        best.append(max(near, key=lambda q: s[m][q]))
    return best


class CoarseMemory:
    """The stride-16 memory of one object. `step` reads the memory for the next frame of a video.

    As in the published code, the kernel of an older frame is not placed at the tracked position, but at the best match of the
    tracked position. With `extra_hop=False`, all kernels are placed at the tracked positions, unlike in the published code.
    """

    def __init__(self, height, width, window=7, sigma=3.0, growth=0.5, use_kernel=True, extra_hop=True):
        self.height, self.width, self.window, self.sigma, self.growth = height, width, window, sigma, growth
        self.use_kernel, self.extra_hop = use_kernel, extra_hop
        self.older = []  # (keys [n,c], values [n,v], centres [n]) of each kept frame before the previous one

    def step(self, key, value, query, keep, compute=True):
        """Reads the memory for `query`. `key` and `value` belong to the previous frame. Each array has one row per cell.

        If `keep` is set, the previous frame stays in the memory.

        Returns the readout `[n,v]`, the normalised affinity `[q,t,m]`, the logarithm of the unnormalised affinity `[q,t,m]`,
        and the centres `[t,m]`. If `compute` is False, returns None.
        """
        n = self.height * self.width
        best = best_in_window(self._affinity(key, query), self.height, self.width, self.window)
        hops = []
        for _, _, centres in self.older:
            for m in range(n):
                centres[m] = best[centres[m]]
            hops.append([best[c] if self.extra_hop else c for c in centres])
        frames = [*self.older, (key, value, best)]
        hops.append(best)
        result = self._read(frames, hops, query) if compute else None
        centres = np.array([frame[2] for frame in frames])
        if keep:
            self.older.append((key, value, list(best)))
        return result and (*result, centres)

    def _affinity(self, key, query):
        return [query @ k / math.sqrt(len(k)) for k in key]

    def _read(self, frames, hops, query):
        n, count = self.height * self.width, len(frames)
        log = np.zeros((n, count, n))
        y, x = np.divmod(np.arange(n), self.width)
        for t, (key, _, _) in enumerate(frames):
            affinity, age = self._affinity(key, query), count - 1 - t
            sigma = self.sigma * (self.growth * age + 1)
            for m in range(n):
                log[:, t, m] = affinity[m]
                if self.use_kernel:
                    cy, cx = divmod(hops[t][m], self.width)
                    log[:, t, m] -= ((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2)
        p, readout = np.zeros_like(log), []
        for q in range(n):
            p[q] = softmax(log[q])
            readout.append(sum(p[q, t] @ value for t, (_, value, _) in enumerate(frames)))
        return np.array(readout), p, log


def select(log, k):
    """Selects the k cells (t, m) with the largest `log[q,t,m]` in the first and the previous frame, for each query cell q."""
    ends = [0] if log.shape[1] == 1 else [0, log.shape[1] - 1]
    chosen = []
    for row in log:
        cells = [(t, m) for t in ends for m in range(log.shape[2])]
        chosen.append(sorted(cells, key=lambda cell: -row[cell])[:k])
    return chosen


def fine_read(keys, values, query, cells, size):
    """Reads the maps `keys[frame]` and `values[frame]` in the coarse cells (frame, y, x) that are given for each query cell."""
    height, width = query.shape[0] // size, query.shape[1] // size
    out = np.zeros((*query.shape[:2], values[0].shape[-1]))
    for cell in range(height * width):
        y, x = divmod(cell, width)
        places = [(f, cy * size + i, cx * size + j) for f, cy, cx in cells[cell] for i in range(size) for j in range(size)]
        k, v = (np.array([source[f][i, j] for f, i, j in places]) for source in (keys, values))
        for i in range(y * size, (y + 1) * size):
            for j in range(x * size, (x + 1) * size):
                out[i, j] = softmax(k @ query[i, j] / math.sqrt(k.shape[1])) @ v
    return out


def aggregate(p):
    """Returns logits `[o+1,h,w]`, given the probabilities `[o,h,w]` of separate objects."""
    logits = np.zeros((len(p) + 1, *p.shape[1:]))
    for i in range(p.shape[1]):
        for j in range(p.shape[2]):
            background = 1.0
            for one in p[:, i, j]:
                background *= 1 - one
            for channel, one in enumerate([background, *p[:, i, j]]):
                clipped = min(max(one, 1e-7), 1 - 1e-7)
                logits[channel, i, j] = math.log(clipped / (1 - clipped))
    return logits


def pixel_cross_entropy(frame, mask):
    """Returns the cross-entropy of each pixel, given the logits `[o+1,h,w]` and the true ids `[h,w]` of a frame."""
    return [-math.log(softmax(frame[:, i, j])[mask[i, j]]) for i, j in np.ndindex(mask.shape)]


def cross_entropy(logits, masks):
    """Averages the cross-entropy over pixels and sums it over frames, given logits `[t,o+1,h,w]` and true ids `[t,h,w]`."""
    return sum(np.mean(pixel_cross_entropy(frame, mask)) for frame, mask in zip(logits, masks, strict=True))
