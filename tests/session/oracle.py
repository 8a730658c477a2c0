"""Implements the rules of `Session` frame by frame and without caches, as a reference for the tests.

Each frame is a dictionary with the mask and the probability of each object. The dictionary of a computed frame also contains
the frame's anchors (the annotated frames on which it depends) and the directions of its passes.
"""

import copy

import numpy as np

from tests.session.stub import LEVELS, advance


class Oracle:
    def __init__(self, frames):
        self.frames, self.count = frames, len(frames)
        self.anchors, self.computed, self.gone, self.past = {}, {}, {}, []

    # Anchors

    def around(self, t):
        before = next((a for a in range(t - 1, -1, -1) if a in self.anchors), None)
        after = next((b for b in range(t + 1, self.count) if b in self.anchors), None)
        return before, after

    def needs(self, t):
        """Returns the anchors before and after a frame, with their content. An anchor is None if it does not exist."""
        return [None if a is None else (a, self.content(a)) for a in self.around(t)]

    def content(self, a):
        anchor = self.anchors[a]
        return anchor["mask"].tolist(), sorted((k, np.rint(p * LEVELS).tolist()) for k, p in anchor["p"].items())

    def is_current(self, t):
        return t in self.computed and self.computed[t]["needs"] == self.needs(t)

    def state(self, t):
        if t in self.anchors:
            return "annotated"
        if t not in self.computed:
            return "missing"
        if not self.is_current(t):
            return "stale"
        return "final" if len(self.computed[t]["passes"]) == 2 - self.around(t).count(None) else "provisional"

    def shown(self, t):
        return self.anchors.get(t, self.computed.get(t))

    # The network

    def run(self, a, t):
        """Computes all frames from anchor `a` to frame `t`, and returns the result for frame `t`."""
        anchor = self.anchors[a]
        ids = sorted(anchor["p"])
        objects = [np.rint(anchor["p"][k] * LEVELS).astype(int) for k in ids]
        levels = np.stack([LEVELS - sum(objects, np.zeros(anchor["mask"].shape, int)), *objects])
        for s in range(a + 1, t + 1) if t > a else range(a - 1, t - 1, -1):
            levels = advance(levels, self.frames[s])
        return np.array([0, *ids])[levels.argmax(0)], {k: level / LEVELS for k, level in zip(ids, levels[1:], strict=True)}

    def blend(self, t):
        a, b = self.around(t)
        u = (t - a) / (b - a)
        (_, forward), (_, backward) = self.run(a, t), self.run(b, t)
        p = {}
        for k in forward.keys() | backward.keys():
            if k in forward and k in backward:
                p[k] = (1 - u) * forward[k] + u * backward[k]
            else:
                p[k] = forward[k] if k in forward else backward[k]
        background = np.maximum(0, 1 - sum(p.values(), np.zeros(self.frames.shape[1:3])))
        total = background + sum(p.values(), 0)
        p = {k: x / total for k, x in p.items()}
        ids = sorted(p)
        probs = np.stack([background / total, *(p[k] for k in ids)])
        return np.array([0, *ids])[probs.argmax(0)], p

    # Propagation

    def propagate(self, start, stop, direction):
        """Yields the index of each computed frame, and whether its result is final."""
        assert self.anchors
        sent = {}
        for segment in self.segments(start, stop):
            a, b = self.around(segment[0])
            for way, anchor in (("forward", a), ("backward", b)):
                if direction not in (way, "both"):
                    continue
                order = segment if way == "forward" else segment[::-1]
                lacking = [t for t in order if not (self.is_current(t) and way in self.computed[t]["passes"])]
                if anchor is not None and lacking:
                    step = 1 if way == "forward" else -1
                    for t in range(anchor + step, lacking[-1] + step, step):
                        self.reach(t, way, anchor)
                        if t in segment and sent.get(t) is not self.computed[t]:
                            sent[t] = self.computed[t]
                            yield t, self.state(t) == "final"
                    order = order[order.index(lacking[-1]) + 1 :]
                for t in order:
                    if self.is_current(t) and sent.get(t) is not self.computed[t]:
                        sent[t] = self.computed[t]
                        yield t, self.state(t) == "final"

    def segments(self, start, stop):
        found = []
        for t in range(start, stop):
            if t in self.anchors:
                continue
            if found and found[-1][-1] == t - 1:
                found[-1].append(t)
            else:
                found.append([t])
        return found

    def reach(self, t, way, anchor):
        passes = self.computed[t]["passes"] if self.is_current(t) else set()
        if way in passes:
            return
        mask, p = self.blend(t) if passes else self.run(anchor, t)
        self.computed[t] = {"mask": mask, "p": p, "needs": self.needs(t), "passes": passes | {way}}

    # Edits

    def edit(self):
        self.past.append(copy.deepcopy((self.anchors, self.computed, self.gone)))

    def annotate(self, t, mask, unknown):
        self.edit()
        now = self.shown(t) or {"mask": np.zeros(mask.shape, int), "p": {}}
        mask = mask.astype(int)
        p = {int(k): (mask == k).astype(float) for k in np.unique(mask) if k}
        if unknown is not None:
            found = np.where(unknown, now["mask"], mask)
            ids = [int(k) for k in np.unique(found) if k]
            p = {k: (found == k).astype(float) for k in ids}
            for y, x in zip(*np.nonzero(unknown), strict=True):
                known = {k: now["p"][k][y, x] for k in now["p"]}
                background = max(0, 1 - sum(known.values()))
                total = background + sum(known.get(k, 0) for k in ids)
                for k in ids:
                    p[k][y, x] = known.get(k, 0) / total if total else 0
            mask = found
        self.anchors[t] = {"mask": mask, "p": p}
        self.computed.pop(t, None)

    def unannotate(self, t):
        self.edit()
        del self.anchors[t]

    def rename(self, old, new):
        self.edit()
        for frame in [*self.anchors.values(), *self.computed.values()]:
            if old in frame["p"]:
                frame["mask"] = np.where(frame["mask"] == old, new, frame["mask"])
                p = frame["p"].pop(old)
                if new:
                    frame["p"][new] = np.minimum(frame["p"].get(new, 0) + p, 1)
                if "needs" in frame:
                    frame["needs"] = "never again"
        self.gone[old] = new

    def undo(self):
        if not self.past:
            return False
        later = self.computed
        self.anchors, before, self.gone = self.past.pop()
        self.computed = {}
        for t in {*before, *later} - {*self.anchors}:
            both = [frames[t] for frames in (before, later) if t in frames]
            current = [frame for frame in both if frame["needs"] == self.needs(t)]
            most = max((len(frame["passes"]) for frame in current), default=0)
            self.computed[t] = next((frame for frame in current if len(frame["passes"]) == most), both[0])
        return True
