"""`Segmenter`: any video in, masks out, frame by frame, for objects that come and go."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Integer, Num

from hmmn_jax.inference import compiled
from hmmn_jax.inference.inputs import Mask, as_frame, as_mask, as_masks, join_ids
from hmmn_jax.model import HMMNConfig, fold_batch_norm
from hmmn_jax.model.encoders import Memory
from hmmn_jax.model.memory import MemoryBank
from hmmn_jax.ops.canary import warn_if_cpu_is_unsound
from hmmn_jax.ops.precision import at_least_float32

FIRST_CAPACITY = 8  # slots of a new bank; it doubles when they are full


class ObjectGroup(struct.PyTreeNode):
    """Some objects that started on the same frame: neighbours in the channels, one memory, one clock."""

    start: int  # frame on which their masks were given
    first: int  # channel of the first of them, background being 0
    size: int  # how many they are
    kept: int  # memory frames kept so far
    bank: MemoryBank | None  # None until the frame after `start`


class State(struct.PyTreeNode):
    """Where a video stands: all that the next step needs. A pytree; counters are plain integers.

    Arrays are on the device; those of a state that was saved may be NumPy's.
    """

    index: int  # number of the last frame seen
    frame: Num[Array | np.ndarray, "1 H W 3"]  # that frame
    probs: Float[Array | np.ndarray, "1 o1 H W"]  # its probabilities, background first, never arg-maxed
    ids: Integer[np.ndarray, " o1"]  # the caller's id of each channel, 0 for the background
    groups: tuple[ObjectGroup, ...]


class Result(NamedTuple):
    """A segmented frame; arrays stay on the device until they are asked for.

    mask: ids as in the caller's masks, `[H,W]`, uint8, or uint16 where one is above 255. Of independent objects bool
      `[K,H,W]`, in the order of `ids[1:]`.
    probs: probabilities of background and objects, `[K+1,H,W]`; on a frame where masks are given, with those masks.
    logits: what the network says, `[K+1,H,W]`; -inf for objects that are given on this very frame. Of independent objects
      those of the sigmoid, and 0 for the background.
    ids: the id of each channel, `[K+1]`.
    """

    mask: jax.Array
    probs: jax.Array
    logits: jax.Array
    ids: np.ndarray


class Segmenter:
    """Segments videos with one set of variables; holds no state of any video.

        segmenter = Segmenter(variables, config, mem_every=5)
        state = segmenter.init(frame, mask)
        state, result = segmenter.step(state, next_frame)

    Frames are RGB `[H,W,3]`, uint8 or float in [0, 1], which is checked; masks are ids `[H,W]`, uint8 or uint16, 0 is
    background; a bool mask is object 1. Of independent objects masks are `{id: bool [H,W]}` and may overlap. They are arrays of
    JAX or NumPy, or what NumPy can read: PIL images, PyTorch tensors on the host. Each object's work is its own, so objects are
    computed in batches whose sizes are powers of two (5 objects: 4 + 1): a frame size compiles once per batch size, the memory
    read once more when the bank doubles.
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
    ):
        """Puts the variables on the device, with BatchNorm folded.

        Args:
          variables: of `HMMN(config)`, as `load_checkpoint` returns them.
          config: of the model.
          mem_every: every how many frames one is kept in the memory, counted from an object's first.
          max_memory_frames: the most frames kept, the previous one apart; beyond it the oldest but the first goes.
            None: no bound. 1: the first frame alone.
          objects_per_batch: the most objects computed at once; None: 1 on a CPU, where more would only need more memory,
            else 4.
          winograd: compute 3x3 convolutions by Winograd's algorithm, 1e-4 from exact; None: where that was measured to be
            faster, in float32 on a CPU.
          independent: each object is segmented as if it were alone, so that objects may overlap; the frame is encoded once.
        """
        for name, value in (
            ("mem_every", mem_every),
            ("max_memory_frames", max_memory_frames),
            ("objects_per_batch", objects_per_batch),
        ):
            if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
                raise ValueError(f"{name} is {value!r}, expected an integer, 1 or more")
        warn_if_cpu_is_unsound()
        variables, config = fold_batch_norm(variables, config)
        on_cpu = jax.default_backend() == "cpu"
        dtype = jnp.dtype(config.dtype or jnp.result_type(*jax.tree.leaves(variables["params"])))
        self.config = config.replace(winograd=on_cpu and dtype == jnp.float32 if winograd is None else winograd)
        self.dtype = at_least_float32(*jax.tree.leaves(variables["params"]))
        if not config.backbone.has_norm:  # convolutions alone, which would cast their parameters anew for each frame
            variables = variables | {"params": jax.tree.map(lambda x: np.asarray(x).astype(dtype), variables["params"])}
        self.variables = jax.device_put(variables)
        self.mem_every, self.max_memory_frames = mem_every, max_memory_frames
        self.objects_per_batch = objects_per_batch or (1 if on_cpu else 4)
        self.independent = independent

    def init(self, frame: Num[Array | np.ndarray, "H W 3"], mask: Mask | None) -> State:
        """Starts a video with its first frame and the ids of the objects in it, which may be none.

        Raises:
          ValueError: shapes, types or values other than said.
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
    ) -> tuple[State, Result]:
        """Segments the next frame.

        Args:
          state: after the frame before.
          frame: of the same size.
          mask: ids of objects given on this frame. Ids not seen before join; the given pixels win, for known ids too, and
            what was predicted stands elsewhere.
          donate: reuse the buffers of `state`, which can then not be used again.

        Raises:
          ValueError: shapes, types or values other than said, or another size than the frame before.
        """
        frame = as_frame(frame)
        if frame.shape != state.frame.shape:
            shapes = [list(shape[1:]) for shape in (frame.shape, state.frame.shape)]
            raise ValueError(f"the frame is {shapes[0]}, expected {shapes[1]}, as the frames before")
        if state.groups:
            groups, logits = self._segment(state, frame, donate)
        else:
            groups, logits = (), self._aggregate([jnp.zeros((1, 0, *frame.shape[1:3]), self.dtype)])
        probs, labels = compiled.decide(logits, state.ids, self.independent)
        state = State(int(state.index) + 1, frame, probs, state.ids, groups)
        if mask is not None:
            known = len(state.ids)
            state = self._give(state, mask)
            labels = compiled.labels(state.probs, state.ids, self.independent)
            joined = len(state.ids) - known
            logits = jnp.pad(logits, ((0, 0), (0, joined), (0, 0), (0, 0)), constant_values=-jnp.inf)
        return state, Result(labels[0], state.probs[0], logits[0], state.ids)

    def run(
        self,
        frames: Iterable[Num[Array | np.ndarray, "H W 3"]],
        mask: Mask | None,
        later: Mapping[int, Mask] | None = None,
    ) -> Iterator[Result]:
        """Segments a video, given the ids in its first frame: yields a result for each frame after it.

        `later` has by index the masks that are given on later frames, as `step` takes them.

        Frames are streamed: while the device computes one, the next is fetched. (So results come one frame late; for a live
        camera call `step`.)

        Raises:
          ValueError: as `init` and `step` do; `later` has something else than indices of frames after the first, or, once all
            frames are segmented, masks of frames that there are not.
        """
        later = later or {}
        if wrong := [t for t in later if not (isinstance(t, int | np.integer) and t >= 1)]:
            raise ValueError(f"later has {wrong[0]!r}, expected indices of frames after the first: integers, 1 or more")
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
        if beyond := [int(t) for t in later if t > int(state.index)]:
            raise ValueError(f"later has masks of frames {sorted(beyond)}, but the last frame is {int(state.index)}")

    def _give(self, state: State, mask: Mask) -> State:
        """The state with the given ids: their pixels are certain, and those not seen before become groups of objects."""
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

    def _segment(self, state: State, frame: jax.Array, donate: bool) -> tuple[tuple[ObjectGroup, ...], jax.Array]:
        """Memorises the last frame, reads for this one: the groups after it, and the logits `[1,o+1,H,W]`."""
        remembered = self._memorize(state, donate)
        query = compiled.encode_query(self.config, self.variables, frame)
        groups, p = [], []
        for group, count in remembered:
            bank = group.bank
            assert bank is not None  # _memorize has just written to it
            found, centres = compiled.match(self.config, bank, query, count)
            p.append(compiled.decode(self.config, self.variables, query, found, bank.fine, frame.shape[1:3]))
            keep = (int(state.index) - int(group.start)) % self.mem_every == 0
            groups.append(group.replace(bank=bank.replace(centres=centres), kept=group.kept + keep))
        return tuple(groups), self._aggregate(p)

    def _memorize(self, state: State, donate: bool) -> list[tuple[ObjectGroup, int]]:
        """Each group with the last frame in its bank, and how many slots are then filled."""
        stem = compiled.memory_stem(self.config, self.variables, state.frame)
        mask, others = compiled.split_objects(state.probs)
        if self.independent:
            others = jnp.zeros_like(others)
        remembered = []
        for group in state.groups:
            objects = slice(int(group.first) - 1, int(group.first) - 1 + int(group.size))
            memory = compiled.memorize(self.config, self.variables, stem, mask[:, objects], others[:, objects])
            remembered.append(self._remember(group, memory, donate))
        return remembered

    def _aggregate(self, p: list[jax.Array]) -> jax.Array:
        return (compiled.aggregate_each if self.independent else compiled.aggregate)(p)

    def _remember(self, group: ObjectGroup, memory: Memory, donate: bool) -> tuple[ObjectGroup, int]:
        """The group with `memory` as its previous frame, and how many slots are then filled; makes room first."""
        if group.bank is None:
            return group.replace(bank=compiled.open_bank(memory, FIRST_CAPACITY)), 1
        bank, kept = group.bank, int(group.kept)
        write, drop = (compiled.write_donating, compiled.drop_donating) if donate else (compiled.write, compiled.drop)
        if self.max_memory_frames is not None and kept > self.max_memory_frames:
            if kept > 2:  # slots 0, 1, 2, ... are kept: slot 1 goes. Of two, the previous frame overwrites it by itself
                bank = drop(bank)
            kept -= 1
        if kept == bank.capacity:
            full, bank = bank, compiled.grow(bank)
            if donate:  # now, not when the step is over: what is compiled for the larger bank comes between
                for buffer in (full.key_s16, full.value_s16, full.centres):
                    if isinstance(buffer, jax.Array):  # those of a state that was saved may be NumPy's
                        buffer.delete()
        return group.replace(bank=write(bank, memory, kept), kept=kept), kept + 1
