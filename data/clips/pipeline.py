"""Creates batches of clips with tf.data, in parallel and always in the same order."""

import io
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict
from PIL import Image

from data.clips.clip import make_clip
from data.clips.decode import Fetcher
from data.clips.plan import set_names
from data.clips.tables import join
from data.source import READS, RecordSource, open_source
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import reason
from hmmn_jax.io.stage import Stage


def make_batches(
    config: ConfigDict,
    *,
    batch: int,
    first_step: int,
    host: int = 0,
    hosts: int = 1,
    steps: int | None = None,
    stage: Stage | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this host's share of the batches, starting at batch number `first_step`.

    Batch number `step` contains the samples step * batch to (step + 1) * batch - 1. Each batch is split into one equal part per
    host, in the order of the host indices. A sample depends only on its number and the config. Hosts, restarts and the number
    of threads do not affect samples.

    Args:
        config: the `data` section of an experiment; see `configs/train/data.py`.
        batch: number of clips in a global batch, of which this host gets b = batch / hosts.
        first_step: number of the first batch.
        host: index of this host, from 0.
        hosts: number of hosts.
        steps: number of batches; None: unlimited.
        stage: local folder to which data sets in a bucket are copied. None: records are read in parallel from
            the bucket.

    Yields:
        Dicts of arrays:

        - `frames`: uint8 [b,t,H,W,3], RGB.
        - `masks`: uint8 [b,t,H,W], ids from 1 to o, or 0 for background.
        - `valid`: bool [b,o], whether each id is in use.
        - `sample`: int64 [b], the sample numbers.
        - `numbers`: int32 [b,t], the frame numbers in the original video.
        - `names`: bytes [b], the frame names in the form "SET/VIDEO/FRAME FRAME ...".

    Raises:
        DataError: a data set cannot be opened, a file is damaged, or many consecutive clips of a data set contain no object.
    """
    if batch % hosts:
        raise DataError(
            f"a batch of {batch} clips cannot be divided equally among {hosts} hosts. Choose a multiple of {hosts}."
        )
    fetcher = open_fetcher(config, stage)
    return _batches(clips(config, fetcher, batch, first_step, host, hosts, steps), fetcher)


def open_fetcher(config: ConfigDict, stage: Stage | None = None) -> Fetcher:
    """Opens the data sets of a mixture. Raises DataError if a data set cannot be opened."""
    names = set_names(config)
    if not names:
        raise DataError("the config contains no data set. Add a data set to data.sets.")
    settings = [config.sets[name] for name in names]
    sources = [open_source(setting.name, config.data_dir, setting.split, stage) for setting in settings]
    return Fetcher(sources, join(sources, settings, config.copy_paste.donor_share, config.frames))


def clips(
    config: ConfigDict, fetcher: Fetcher, batch: int, first_step: int, host: int, hosts: int, steps: int | None
) -> tf.data.Dataset:
    """Returns the batches of `make_batches` as a `tf.data.Dataset`, with the table rows of the frames instead of `names`."""
    share = batch // hosts
    stop = np.iinfo(np.int64).max if steps is None else (first_step + steps) * share
    places = tf.data.Dataset.range(first_step * share, stop)

    @tf.autograph.experimental.do_not_convert
    def clip(place: tf.Tensor) -> dict[str, tf.Tensor]:
        sample = place // share * batch + host * share + place % share
        drawn = sample % config.distinct if config.distinct else sample
        return {**make_clip(config, fetcher, drawn), "sample": sample}

    waits = any(isinstance(source, RecordSource) and source.in_bucket for source in fetcher.sources)
    workers = config.workers or (READS if waits else tf.data.AUTOTUNE)  # AUTOTUNE uses at most one worker per core
    options = tf.data.Options()
    if waits:
        options.threading.private_threadpool_size = workers
    options.deterministic = True
    dataset = places.map(clip, num_parallel_calls=workers, deterministic=True)
    return dataset.batch(share, drop_remainder=True).prefetch(2).with_options(options)


def _batches(dataset: tf.data.Dataset, fetcher: Fetcher) -> Iterator[dict[str, np.ndarray]]:
    failure = tf.errors.OpError  # a local name, because Python may delete modules at exit, before the generator ends
    try:
        for clip in dataset.as_numpy_iterator():
            rows = clip.pop("rows")
            yield {**clip, "names": np.array([_name(fetcher, row) for row in rows])}
    except failure as error:
        raise DataError(_explain(error, fetcher)) from error


def _name(fetcher: Fetcher, rows: np.ndarray) -> bytes:
    first, *rest = (fetcher.name(row) for row in rows.tolist())
    return " ".join([first, *(name.rsplit("/", 1)[1] for name in rest)]).encode()


def _explain(error: tf.errors.OpError, fetcher: Fetcher) -> str:
    """Returns the message for an error in a clip. The message names the damaged file if that file is known."""
    if assertion := re.search(r"assertion failed: \[([^\]]*)\] \[([^\]]*)\]", error.message):
        return f"set {assertion[2]}: {assertion[1]}"
    for row in reversed(list(fetcher.recent)):  # iterate over a copy, because other threads still fetch rows
        which = int(np.searchsorted(fetcher.tables.set_frame, row, side="right")) - 1
        try:
            files = fetcher.sources[which].fetch(fetcher.tables.record[[row]])
            for (file,) in files:
                Image.open(io.BytesIO(file)).load()
        except Exception as damage:  # each decoder raises its own exception types
            return (
                f"{fetcher.name(row)}: the image or mask is damaged: {reason(damage)}. Repair the file and rebuild the data "
                "set."
            )
    return f"no clip could be created: {reason(RuntimeError(error.message))}"
