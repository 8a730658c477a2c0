"""Defines `Segmenter`, which segments a video frame by frame. Objects may appear and disappear."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from hmmn_jax.inference import compiled
from hmmn_jax.inference.inputs import Mask, as_frame, as_mask, as_masks, join_ids, narrow
from hmmn_jax.inference.state import ObjectGroup, Result, State
from hmmn_jax.model import HMMNConfig, fold_batch_norm
from hmmn_jax.model.decoder import Query
from hmmn_jax.ops.canary import warn_if_cpu_is_unsound
from hmmn_jax.ops.precision import at_least_float32

FIRST_CAPACITY = 8  # number of slots in a new bank, unless `max_memory_frames` requires fewer; a full bank doubles in size


class Segmenter:
    """Segments videos with one set of variables. The state of each video is a `State`.

    ::

        segmenter = Segmenter(variables, config, mem_every=5)
        state = segmenter.init(frame, mask)
        state, result = segmenter.step(state, next_frame)

    Frames are RGB images `[H,W,3]`, either uint8 or float in [0, 1]; the range is checked. Masks are ids `[H,W]`, uint8 or
    uint16, where 0 is the background. In a bool mask, True is object 1. Masks of independent objects are `{id: bool [H,W]}` and
    may overlap. Frames and masks can be JAX or NumPy arrays, or anything that NumPy can read, such as PIL images or PyTorch
    tensors on the host.

    Objects are processed in batches whose sizes are powers of two (for example, 4 + 1 for 5 objects). Without `fused`, programs
    are compiled once for each combination of frame size and batch size. The program that reads the memory is compiled again
    when the memory bank doubles in size.
    """

    def __init__(
        self,
        variables: dict[str, Any],
        config: HMMNConfig,
        *,
        mem_every: int = 5,
        max_memory_frames: int | None = None,
        objects_per_batch: int | None = None,
        winograd: bool | None = None,
        independent: bool = False,
        fused: bool | None = None,
    ):
        """Folds BatchNorm and copies the variables to the device.

        Args:
            variables: variables of `HMMN(config)`, as returned by `load_checkpoint`.
            config: config of the model.
            mem_every: interval between memory frames, in frames. The first frame of an object is its first memory frame.
            max_memory_frames: maximum number of memory frames, not counting the previous frame. When the maximum is exceeded,
                the oldest frame other than the first is dropped. None means no maximum. With a maximum of 1, only the first
                frame is kept.
            objects_per_batch: maximum number of objects to process at once. None means 1 on a CPU and 4 on other devices. On a
                CPU, a larger number only increases memory use.
            winograd: whether to compute 3x3 convolutions with Winograd's algorithm. The results differ from those of a direct
                convolution by about 1e-4. None enables Winograd's algorithm only in float32 on a CPU, where this algorithm is
                faster.
            independent: whether to segment each object as if there were no other objects. If True, objects may overlap. Each
                frame is still encoded only once.
            fused: whether to run three fused programs per frame, regardless of the number of objects. Without fused programs,
                each block of the network is a separate program, and many programs run per batch of objects. With fused
                programs, an accelerator spends less time waiting for the host, but the programs are compiled for each number of
                objects. None means False on a CPU and True on other devices.
        """
        for name, value in (
            ("mem_every", mem_every),
            ("max_memory_frames", max_memory_frames),
            ("objects_per_batch", objects_per_batch),
        ):
            if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
                raise ValueError(f"{name} is {value!r}, expected an integer of at least 1")
        warn_if_cpu_is_unsound()
        variables, config = fold_batch_norm(variables, config)
        on_cpu = jax.default_backend() == "cpu"
        dtype = jnp.dtype(config.dtype or jnp.result_type(*jax.tree.leaves(variables["params"])))
        self.config = config.replace(winograd=on_cpu and dtype == jnp.float32 if winograd is None else winograd)
        self.dtype = at_least_float32(*jax.tree.leaves(variables["params"]))
        if not config.backbone.has_norm:  # otherwise, convolutions would cast the weights for each frame
            variables = variables | {"params": jax.tree.map(lambda x: np.asarray(x).astype(dtype), variables["params"])}
        self.variables = jax.device_put(variables)
        self.mem_every, self.max_memory_frames = mem_every, max_memory_frames
        self.objects_per_batch = objects_per_batch or (1 if on_cpu else 4)
        self.independent = independent
        self.fused = not on_cpu if fused is None else fused
        # On GPUs, a loop without a static length waits for the host in each iteration; see `turns` in `kernel_guided_read`.
        self.known_lengths = jax.default_backend() == "gpu"

    def init(self, frame: Num[Array | np.ndarray, "H W 3"], mask: Mask | None) -> State:
        """Starts the segmentation of a video.

        Args:
            frame: the first frame, `[H,W,3]`.
            mask: ids of the objects in the first frame, `[H,W]`, or None if there are no objects yet.

        Returns:
            The state after the first frame.

        Raises:
            ValueError: a shape, type or value does not match the description of the class.
        """
        frame = as_frame(frame)
        height, width = frame.shape[1:3]
        nothing = jnp.ones((1, 1, height, width), self.dtype)
        state = State(0, frame, nothing, np.zeros(1, np.uint8), ())
        return state if mask is None else self._give(state, mask)

    def step(
        self,
        state: State,
        frame: Num[Array | np.ndarray, "H W 3"],
        mask: Mask | None = None,
        *,
        donate: bool = False,
        query: Query | None = None,
    ) -> tuple[State, Result]:
        """Segments the next frame.

        Args:
            state: the state that was returned for the previous frame.
            frame: the next frame, which must have the same size as the previous frame.
            mask: ids of the objects that are given for this frame, or None. New ids start new objects. Nonzero pixels of the
                mask replace the prediction, for new and existing ids.
            donate: whether to reuse the buffers of `state`. If True, do not use `state` after this call.
            query: the result of `encode` for `frame`. If `query` is None, `step` encodes the frame.

        Returns:
            The new state, and the result for this frame.

        Raises:
            ValueError: a shape, type or value does not match the description of the class, or the frame and the previous frame
                differ in size.
        """
        frame = as_frame(frame)
        if frame.shape != state.frame.shape:
            shapes = [list(shape[1:]) for shape in (frame.shape, state.frame.shape)]
            raise ValueError(f"the frame has the shape {shapes[0]}, expected {shapes[1]}, the shape of the previous frames")
        if state.groups:
            groups, probs, (labels, shown, logits) = self._segment(state, frame, donate, query)
        else:
            nothing = [jnp.zeros((1, 0, *frame.shape[1:3]), self.dtype)]
            groups, (probs, (labels, shown, logits)) = (), self._decide(nothing, state.ids)
        known = len(state.ids)
        state = State(int(state.index) + 1, frame, probs, state.ids, groups)
        if mask is not None:
            state = self._give(state, mask)
            labels, shown = compiled.labels(state.probs, state.ids, self.independent)[0], state.probs[0]
            joined = len(state.ids) - known
            logits = jnp.pad(logits, ((0, joined), (0, 0), (0, 0)), constant_values=-jnp.inf)
        return state, Result(labels, shown, logits, state.ids)

    def encode(self, frame: Num[Array | np.ndarray, "H W 3"]) -> Query:
        """Encodes a frame for `step`, to save time if the same frame is segmented several times.

        Raises ValueError if the frame does not match the description of the class.
        """
        return compiled.encode_query(self.config, self.variables, as_frame(frame))

    def run(
        self,
        frames: Iterable[Num[Array | np.ndarray, "H W 3"]],
        mask: Mask | None,
        later: Mapping[int, Mask] | None = None,
    ) -> Iterator[Result]:
        """Segments a video, given the mask of its first frame.

        Frames are streamed: while the device computes one frame, the next frame is fetched. Streaming delays each result
        by one frame. For a live camera, call `step` instead of `run`.

        Args:
            frames: the frames, `[H,W,3]` each.
            mask: ids of the objects in the first frame, or None if there are no objects yet.
            later: a mapping from the indices of later frames to the masks that are given for these frames; see `step`.

        Yields:
            A result for each frame after the first.

        Raises:
            ValueError: `init` or `step` rejects an argument, or a key of `later` is not the index of a frame after the first.
                An index after the last frame is reported only after all frames have been segmented.
        """
        later = later or {}
        if wrong := [t for t in later if not (isinstance(t, int | np.integer) and t >= 1)]:
            raise ValueError(f"later has the key {wrong[0]!r}, expected indices of later frames: integers of at least 1")
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            return
        state = self.init(first, mask)
        upcoming = next(frames, None)
        while upcoming is not None:
            state, result = self.step(state, upcoming, later.get(int(state.index) + 1), donate=True)
            upcoming = next(frames, None)
            yield result
            del result  # with many objects, this result is large, and the next frame needs the memory
        if beyond := [int(t) for t in later if t > int(state.index)]:
            raise ValueError(f"later has masks for frames {sorted(beyond)}, but the last frame is {int(state.index)}")

    def run_together(
        self, videos: Sequence[Iterable[Num[Array | np.ndarray, "_ _ 3"]]], masks: Sequence[Mask]
    ) -> Iterator[Result]:
        """Segments V videos as one batch, to increase the utilisation of accelerators.

        All videos must have the same frame size and the same number of objects. All objects must be in the masks of the first
        frames.

        Args:
            videos: the frames of each video, `[H,W,3]` each.
            masks: for each video, the ids of the objects in its first frame, `[H,W]`. The ids may differ between videos.

        Yields:
            A result for each frame after the first, until the longest video ends. The first axis of each array in a result
            indexes the videos. For videos that have ended, the values in a result are undefined.

        Raises:
            ValueError: a shape, type or value does not match the description, or a video has no frames.
        """
        streams = [iter(video) for video in videos]
        frames = [as_frame(first) for stream in streams for first in itertools.islice(stream, 1)]
        if self.independent or not len(frames) == len(streams) == len(masks) > 0:
            raise ValueError("run_together expects videos with frames, a mask for each video, and independent=False")
        given = [as_mask(mask, (frame.shape[1], frame.shape[2])) for mask, frame in zip(masks, frames, strict=True)]
        ids = [np.union1d(mask, 0) for mask in given]  # the id of each channel
        if len({(frame.shape, frame.dtype, len(found)) for frame, found in zip(frames, ids, strict=True)}) > 1:
            found = ", ".join(
                f"{list(frame.shape[1:])} with {len(i) - 1} object(s)" for frame, i in zip(frames, ids, strict=True)
            )
            raise ValueError(f"the first frames are {found}, expected the same size and number of objects for all videos")
        channels = [np.searchsorted(i, mask).astype(np.uint16) for i, mask in zip(ids, given, strict=True)]
        states = [self.init(frame[0], mask) for frame, mask in zip(frames, channels, strict=True)]
        frame, probs = (jnp.concatenate([getattr(state, name) for state in states]) for name in ("frame", "probs"))
        state = states[0].replace(frame=frame, probs=probs, ids=narrow(np.stack(ids)[:, None, None]))
        while True:
            upcoming = [next(stream, None) for stream in streams]
            if all(frame is None for frame in upcoming):
                return
            frames = [old if new is None else as_frame(new) for old, new in zip(frames, upcoming, strict=True)]
            frame = jnp.concatenate(frames)
            groups, probs, shown = self._segment(state, frame, True, None)
            state = state.replace(index=state.index + 1, frame=frame, probs=probs, groups=groups)
            yield Result(*shown, state.ids[:, 0, 0])

    def _give(self, state: State, mask: Mask) -> State:
        """Returns a state that includes a given mask.

        The probability of each object becomes 1 where the mask contains the object. New ids form new groups of objects.
        """
        _, height, width, _ = state.frame.shape
        if self.independent:
            masks = as_masks(mask, (height, width))
            ids = join_ids(state.ids, np.array(sorted(masks), np.uint16))
            given = np.zeros((len(ids) - 1, height, width), bool)
            for i, one in masks.items():
                given[np.flatnonzero(ids == i)[0] - 1] = one
            probs = compiled.impose_each(state.probs, given)
        else:
            mask = as_mask(mask, (height, width))
            ids = join_ids(state.ids, np.unique(mask))
            probs = compiled.impose(state.probs, mask, ids)
        groups, first = list(state.groups), len(state.ids)
        while first < len(ids):
            size = 1 << (min(len(ids) - first, self.objects_per_batch).bit_length() - 1)
            groups.append(ObjectGroup(int(state.index), first, size, 0, None))
            first += size
        return state.replace(probs=probs, ids=ids, groups=tuple(groups))

    def _segment(
        self, state: State, frame: jax.Array, donate: bool, query: Query | None
    ) -> tuple[tuple[ObjectGroup, ...], jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        """Encodes the last frame into memory, then reads the memory for the new frame.

        Returns the groups after the new frame, the probabilities `[V,K+1,H,W]`, and the labels, probabilities and logits of the
        result.
        """
        groups, rooms, slots = zip(*(self._make_room(group, donate) for group in state.groups), strict=True)
        old = [group.bank for group in groups]
        objects = tuple((int(group.first) - 1, int(group.first) - 1 + int(group.size)) for group in groups)
        config, variables, size = self.config, self.variables, frame.shape[1:3]
        if self.fused:
            wanted = frame if query is None else None
            arguments = state.frame, state.probs, wanted, objects, self.independent
            memories, encoded = compiled.encode_all(config, variables, *arguments)
            query = encoded if query is None else query
            match_all = compiled.match_all_donating if donate else compiled.match_all
            new, found = match_all(config, rooms, old, memories, list(slots), query)
            fine = [bank.fine for bank in new]
            together = state.ids.ndim > 1
            wanted_ids = state.ids, size, self.independent, together
            probs, shown = compiled.decode_all(config, variables, query, found, fine, *wanted_ids)
        else:
            memories = compiled.memories(config, variables, state.frame, state.probs, objects, self.independent)
            new = [compiled.remember(*each, donate) for each in zip(rooms, old, memories, slots, strict=True)]
            if (
                donate and state.ids.ndim == 1 and isinstance(state.probs, jax.Array)
            ):  # not for several videos, because the last result refers to the same array
                state.probs.delete()  # with many objects, this array is large, and later frames need only the banks
            # A single object needs the query only once. A query that the caller passed may be needed again.
            donate_query = query is None and state.probs.shape[1] == 2
            query = compiled.encode_query(config, variables, frame) if query is None else query
            p = []
            for i, (room, slot) in enumerate(zip(rooms, slots, strict=True)):
                found, centres = compiled.match(config, new[i], query, slot + 1, turns=room.turns)
                p.append(compiled.decode(config, variables, query, found, new[i].fine, size, donate_query))
                new[i] = new[i].replace(centres=centres)
            probs, shown = self._decide(p, state.ids)
        kept = (group.kept + ((int(state.index) - int(group.start)) % self.mem_every == 0) for group in groups)
        groups = tuple(group.replace(bank=bank, kept=k) for group, bank, k in zip(groups, new, kept, strict=True))
        return groups, probs, shown

    def _decide(self, p: list[jax.Array], ids: np.ndarray) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        """Combines the probabilities `p` of all batches of objects, and empties the list `p` to free memory.

        Returns the probabilities for the next state, and the labels, probabilities and logits of the result.
        """
        logits = compiled.combine(p, self.independent)
        p.clear()  # with many objects, the arrays in `p` are as large as the logits
        probs, labels = compiled.decide(logits, ids, self.independent)
        if ids.ndim > 1:
            return probs, (labels, probs, logits)
        logits = logits[0]
        return probs, (labels[0], probs[0], logits)

    def _make_room(self, group: ObjectGroup, donate: bool) -> tuple[ObjectGroup, compiled.Room, int]:
        """Ensures that the group's bank has a slot for the previous frame.

        Returns the group, a `Room` that describes how to write the frame, and the slot for the frame.
        """
        bank, kept = group.bank, int(group.kept)
        if bank is None:
            most = FIRST_CAPACITY if self.max_memory_frames is None else self.max_memory_frames + 1
            return group, self._room(min(FIRST_CAPACITY, most), 1), 0
        drop = False
        if self.max_memory_frames is not None and kept > self.max_memory_frames:
            drop = kept > 2  # if only slots 0 and 1 are used, the previous frame overwrites slot 1, so no frame is dropped
            kept -= 1
        if kept == bank.capacity:
            full, bank = bank, compiled.grow(bank)
            if donate:  # release the old bank before programs for the larger bank are compiled
                for buffer in (full.key_s16, full.value_s16, full.centres):
                    if isinstance(buffer, jax.Array):  # a saved state may contain NumPy arrays
                        buffer.delete()
        return group.replace(bank=bank, kept=kept), self._room(bank.capacity, kept + 1, drop), kept

    def _room(self, capacity: int, count: int, drop: bool = False) -> compiled.Room:
        # The number of iterations is rounded up, because each different number requires a compilation.
        most = capacity - 2
        turns = next(turns for turns in (0, min(2, most), most) if turns >= count - 2) if self.known_lengths else None
        return compiled.Room(capacity, drop, turns)
