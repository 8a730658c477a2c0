"""Defines the programs that `Segmenter` compiles for each frame size.

All segmenters with the same config share the compiled programs. Functions without `jax.jit`, such as `encode_query`, call one
program for each block of the network. Equal blocks share a program, and each program frees its temporary memory.

Only programs that use the whole memory bank (`match`, `write`, ...) depend on the capacity of the bank. These programs do not
need the variables of the network. The fused programs `encode_all`, `match_all` and `decode_all` combine the other programs.
For a frame without a given mask, a fused segmenter runs only the three fused programs.
"""

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hmmn_jax.model import HMMN, HMMNConfig, encoders, step
from hmmn_jax.model import memory as banks
from hmmn_jax.model.backbones import Features
from hmmn_jax.model.decoder import PROBABILITY_MARGIN, Decoder, Query, ReadoutConv, Refine, res_block, soft_aggregation
from hmmn_jax.model.encoders import Memory, make_head
from hmmn_jax.model.frames import crop_from_stride
from hmmn_jax.model.step import Match


class Room(NamedTuple):
    """Describes how a frame is written to the memory bank of a batch of objects.

    Attributes:
        capacity: number of slots in the bank.
        drop: whether the oldest frame other than the first is dropped from the bank before the new frame is written.
        turns: number of loop iterations in `kernel_guided_read`; None: as many as needed.
    """

    capacity: int
    drop: bool = False
    turns: int | None = None


def _apply(config: HMMNConfig, method: str, variables: dict[str, Any], *args: Any) -> Any:
    """Applies a method of the network."""
    return HMMN(config).apply(variables, *args, method=method)


@functools.partial(jax.jit, static_argnums=0)
def query_first_layer(config: HMMNConfig, variables: dict[str, Any], frame: jax.Array) -> jax.Array:
    """Computes the first layer of the query encoder."""
    return _apply(config, "query_first_layer", variables, frame)


@functools.partial(jax.jit, static_argnums=0)
def memory_stem(config: HMMNConfig, variables: dict[str, Any], frame: jax.Array) -> jax.Array:
    """Computes the part of the memory encoder's first layer that depends only on the frame, once for all objects."""
    return _apply(config, "memory_stem", variables, frame)


def _memory_first_layer(
    config: HMMNConfig, variables: dict[str, Any], stem: jax.Array, mask: jax.Array, others: jax.Array
) -> jax.Array:
    """Computes the first layer of the memory encoder for a subset of the objects."""
    return _apply(config, "memory_first_layer", variables, stem, mask, others)


memory_first_layer = jax.jit(_memory_first_layer, static_argnums=0)
memory_first_layer_donating = jax.jit(_memory_first_layer, static_argnums=0, donate_argnums=2)


def _layers(module: nn.Module, method: str, variables: dict[str, Any], x: jax.Array, *args: jax.Array | None) -> Any:
    """Applies a method of a module of the network. Calls with equal modules and shapes share a program."""
    return module.apply(variables, x, *args, method=method)


layers = jax.jit(_layers, static_argnums=(0, 1))
layers_donating = jax.jit(_layers, static_argnums=(0, 1), donate_argnums=3)


def _of(variables: dict[str, Any], *path: str) -> dict[str, Any]:
    """Returns the variables of the module with this path."""
    for name in path:
        variables = {kind: tree[name] for kind, tree in variables.items() if name in tree}
    return variables


def backbone_features(config: HMMNConfig, variables: dict[str, Any], encoder: str, x: jax.Array) -> Features:
    """Computes the features of an encoder's backbone from the output `x` of its first layer."""
    module = config.backbone.make(config.compute, with_masks=False)  # only the first layer takes masks as input
    variables = _of(variables, encoder, "backbone")
    if not (stages := config.backbone.stages(config.compute)):
        return layers(module, "__call__", variables, x)
    x, outputs = layers(module, "before_blocks", variables, x), []
    for stage in stages:
        for i, (name, make) in enumerate(stage.items()):
            block = make()
            # The output replaces the input in memory if both have the same shape. The input of a stage's first block is not
            # replaced, because this input may be one of the returned features.
            apply = layers_donating if i and block.keeps_shape(x.shape[-1]) else layers
            x = apply(block, "__call__", _of(variables, name), x)
        outputs.append(x)
    return Features(*outputs)


def _head(config: HMMNConfig, variables: dict[str, Any], encoder: str, name: str, features: Features) -> jax.Array:
    """Computes the keys or values with this name, such as "key_s16", from the features of an encoder's backbone."""
    x = getattr(features, name.split("_")[1])
    return layers(make_head(config, name), "__call__", _of(variables, encoder, name), x)


def encode_query(config: HMMNConfig, variables: dict[str, Any], frame: jax.Array) -> Query:
    """Encodes the frame to be segmented, once for all objects."""
    with jax.named_scope("encode_query"):
        features = backbone_features(config, variables, "query_encoder", query_first_layer(config, variables, frame))
        head = functools.partial(_head, config, variables, "query_encoder", features=features)
        decoder, refine = _of(variables, "decoder"), Refine(config)
        return Query(
            key_s16=head("key_s16"),
            key_s8=head("key_s8") if config.use_topk_read else None,
            key_s4=head("key_s4") if config.use_topk_read else None,
            shared_s16=layers(ReadoutConv(config), "query", _of(decoder, "conv_readout"), head("value_s16")),
            shared_s8=layers(refine, "skip", _of(decoder, "refine_s8"), features.s8),
            shared_s4=layers(refine, "skip", _of(decoder, "refine_s4"), features.s4),
        )


def memorize(
    config: HMMNConfig, variables: dict[str, Any], stem: jax.Array, mask: jax.Array, others: jax.Array, donate: bool
) -> Memory:
    """Encodes a frame into memory for a subset of the objects.

    If `donate` is set, the output of the first layer replaces `stem` in device memory.
    """
    with jax.named_scope("memorize"):
        first_layer = memory_first_layer_donating if donate else memory_first_layer
        first = functools.partial(first_layer, config, variables, stem, mask, others)
        # The output of the first layer is passed on without a variable, because a variable would keep the array in memory.
        features = backbone_features(config, variables, "memory_encoder", first())
        strides = ("s16", "s8", "s4") if config.use_topk_read else ("s16",)
        names = [f"{kind}_{stride}" for stride in strides for kind in ("key", "value")]
        heads = {name: _head(config, variables, "memory_encoder", name, features) for name in names}
        return as_memory(heads, mask.shape[1])


@functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
def as_memory(heads: dict[str, jax.Array], objects: int) -> Memory:
    """Returns keys and values, `[b*o,h,w,c]`, as a `Memory` of one frame."""
    return Memory(**{name: x.reshape(-1, objects, 1, *x.shape[1:]) for name, x in heads.items()})


def decode(
    config: HMMNConfig,
    variables: dict[str, Any],
    query: Query,
    found: Match,
    fine: banks.FineMemory | None,
    size: tuple[int, ...],
    donate: bool = False,
) -> jax.Array:
    """Runs the top-k reads and the decoder. Returns each object's probability, `[1,o,H,W]`.

    If `donate` is set, intermediate results replace `query.shared_s8` and `query.shared_s4` in memory. This requires a single
    object.
    """
    with jax.named_scope("decode"):
        readout, decoder = read_fine(config, fine, query, found), _of(variables, "decoder")
        block, refine = res_block(config), Refine(config)
        x = layers(Decoder(config), "add_shared", decoder, query.shared_s16, readout.s16)
        x = layers_donating(block, "__call__", _of(decoder, "res_s16"), x)
        reads = [readout.s4, readout.s8]
        del readout  # so that each readout is freed after its use
        for name, shared in (("refine_s8", query.shared_s8), ("refine_s4", query.shared_s4)):
            part = _of(decoder, name)
            s = (layers_donating if donate else layers)(refine, "add_readout", part, shared, x, reads.pop())
            s = layers_donating(block, "__call__", _of(part, "res_skip"), s)
            s = layers_donating(refine, "add_coarse", {}, s, x)
            x = layers_donating(block, "__call__", _of(part, "res_out"), s)
        return predict(config, decoder, x, found.readout.shape[1], size)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def predict(config: HMMNConfig, decoder: dict[str, Any], x: jax.Array, objects: int, size: tuple[int, ...]) -> jax.Array:
    """Computes each object's probability from the output of the decoder's last block and the decoder's variables."""
    p: Any = Decoder(config).apply(decoder, x, objects, method="predict")
    return crop_from_stride(p, *size)


@jax.jit
def aggregate(p: list[jax.Array]) -> jax.Array:
    """Computes the logits of the background and all objects from the probabilities of each batch of objects."""
    return soft_aggregation(jnp.concatenate(p, axis=1))


@jax.jit
def aggregate_each(p: list[jax.Array]) -> jax.Array:
    """Computes a logit for each object. The sigmoid of the logit is the soft aggregation of the object and the background."""
    probs = jnp.clip(jnp.concatenate(p, axis=1), PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    return jnp.pad(2 * jnp.log(probs / (1 - probs)), ((0, 0), (1, 0), (0, 0), (0, 0)))


@functools.partial(jax.jit, static_argnames="independent")
def labels(probs: jax.Array, ids: jax.Array, independent: bool = False) -> jax.Array:
    """Returns the id of each pixel, or for independent objects, a mask for each object."""
    if independent:
        return probs[:, 1:] > 0.5
    channel = jnp.argmax(probs, axis=1)
    parts = (jnp.where(channel == k, ids[..., k], 0) for k in range(ids.shape[-1]))  # avoids a gather for each pixel
    return functools.reduce(operator.add, parts).astype(ids.dtype)


@functools.partial(jax.jit, static_argnames="independent")
def decide(logits: jax.Array, ids: jax.Array, independent: bool = False) -> tuple[jax.Array, jax.Array]:
    """Computes probabilities and labels from logits `[1,o+1,H,W]` and the ids of channels.

    The labels are ids `[1,H,W]`, or for independent objects, bool masks `[1,o,H,W]`.
    """
    if independent:
        objects = jax.nn.sigmoid(logits[:, 1:])
        probs = jnp.concatenate([jnp.prod(1 - objects, axis=1, keepdims=True), objects], axis=1)
    else:
        probs = jax.nn.softmax(logits, axis=1)
    return probs, labels(probs, ids, independent)


@jax.jit
def impose(probs: jax.Array, mask: jax.Array, ids: jax.Array) -> jax.Array:
    """Makes the probabilities one-hot where `mask` is not 0, and keeps the other probabilities. Adds channels for new ids."""
    probs = jnp.pad(probs, ((0, 0), (0, len(ids) - probs.shape[1]), (0, 0), (0, 0)))
    given = (mask == ids[1:, None, None]).astype(probs.dtype)
    return jnp.where(mask == 0, probs, 0).at[:, 1:].add(given)


@jax.jit
def impose_each(probs: jax.Array, given: jax.Array) -> jax.Array:
    """Sets the probability of each object to 1 where `given`, `[o,H,W]`, is True. Adds channels for new objects."""
    probs = jnp.pad(probs, ((0, 0), (0, len(given) + 1 - probs.shape[1]), (0, 0), (0, 0)))
    objects = jnp.where(given, 1, probs[:, 1:])
    return jnp.concatenate([jnp.prod(1 - objects, axis=1, keepdims=True), objects], axis=1)


sum_objects = jax.jit(encoders.sum_objects)
split_range = jax.jit(encoders.split_range, static_argnums=3)
match = jax.jit(step.match, static_argnums=0, static_argnames="turns")
read_fine = jax.jit(step.read_fine, static_argnums=0)
open_bank = jax.jit(banks.open_bank, static_argnums=1)
grow = jax.jit(banks.grow)
write, write_donating = jax.jit(banks.write_previous), jax.jit(banks.write_previous, donate_argnums=0)
drop, drop_donating = jax.jit(banks.drop_oldest), jax.jit(banks.drop_oldest, donate_argnums=0)


def memories(
    config: HMMNConfig,
    variables: dict[str, Any],
    frame: jax.Array | np.ndarray,
    probs: jax.Array | np.ndarray,
    objects: Sequence[tuple[int, int]],
    independent: bool,
) -> Iterator[Memory]:
    """Encodes a frame into memory, one range of objects at a time.

    The masks of a range are computed only when the range is encoded, which saves memory.
    """
    stem, union = memory_stem(config, variables, frame), sum_objects(probs)
    donate = probs.shape[1] == 2  # a single object
    for start, stop in objects:
        mask, others = split_range(probs, union, start, stop - start)
        others = jnp.zeros_like(others) if independent else others
        yield memorize(config, variables, stem, mask, others, donate)


def remember(
    room: Room, bank: banks.MemoryBank | None, memory: Memory, slot: int | jax.Array, donate: bool
) -> banks.MemoryBank:
    """Writes `memory`, which contains the previous frame, to `slot` of the bank. If `bank` is None, makes a new bank."""
    if bank is None:
        return open_bank(memory, room.capacity)
    if room.drop:
        bank = (drop_donating if donate else drop)(bank)
    return (write_donating if donate else write)(bank, memory, slot)


def combine(p: list[jax.Array], independent: bool) -> jax.Array:
    """Computes the logits `[1,o+1,H,W]` of all objects from the probabilities of each batch of objects."""
    return (aggregate_each if independent else aggregate)(p)


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def encode_all(
    config: HMMNConfig,
    variables: dict[str, Any],
    previous: jax.Array,
    probs: jax.Array,
    frame: jax.Array | None,
    objects: tuple[tuple[int, int], ...],
    independent: bool,
) -> tuple[list[Memory], Query | None]:
    """Runs the first fused program: encodes the previous frame into memory, and encodes the frame to be segmented, if given."""
    remembered = list(memories(config, variables, previous, probs, objects, independent))
    return remembered, None if frame is None else encode_query(config, variables, frame)


def _match_all(
    config: HMMNConfig,
    rooms: tuple[Room, ...],
    old: list[banks.MemoryBank | None],
    memories: list[Memory],
    slots: list[int | jax.Array],
    query: Query,
) -> tuple[list[banks.MemoryBank], list[Match]]:
    """Runs the second fused program: writes to the memory banks and reads from them, without the variables of the network."""
    new, found = [], []
    for room, bank, memory, slot in zip(rooms, old, memories, slots, strict=True):
        bank = remember(room, bank, memory, slot, donate=False)
        match_, centres = match(config, bank, query, slot + 1, turns=room.turns)
        new.append(bank.replace(centres=centres))
        found.append(match_)
    return new, found


match_all = jax.jit(_match_all, static_argnums=(0, 1))
match_all_donating = jax.jit(_match_all, static_argnums=(0, 1), donate_argnums=2)


@functools.partial(jax.jit, static_argnums=(0, 6, 7, 8))
def decode_all(
    config: HMMNConfig,
    variables: dict[str, Any],
    query: Query,
    found: list[Match],
    fine: list[banks.FineMemory | None],
    ids: jax.Array,
    size: tuple[int, int],
    independent: bool,
    together: bool,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """Runs the third fused program: decodes the result of `match_all`.

    Returns the probabilities `[V,o+1,H,W]` for the next state, and the labels, probabilities and logits of the result. If
    `together` is set, the arrays of the result have a leading axis V for several videos.
    """
    p = [decode(config, variables, query, *one, size) for one in zip(found, fine, strict=True)]
    logits = combine(p, independent)
    probs, labels = decide(logits, ids, independent)
    return probs, (labels, probs, logits) if together else (labels[0], probs[0], logits[0])
