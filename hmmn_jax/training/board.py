"""Writes TensorBoard event files in the training thread, because the thread of `SummaryWriter` hangs if the disk is full."""

import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import writing_errors
from hmmn_jax.io.uploads import UploadedFolder

_LARGEST_UPLOAD = 8 << 20  # maximum size of an event file in a bucket; each upload copies the whole file


class Board:
    """Writes events to a new local file, or to several new files in a bucket. Methods raise DataError if writing fails."""

    def __init__(self, folder: AnyPath, purge_step: int):
        """Opens an event file. TensorBoard then hides entries in earlier files from step `purge_step` onwards."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self.folder = folder
        self._uploads = UploadedFolder(folder)
        self._open()
        self._write(purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one point for each curve."""
        from tensorboardX.summary import Summary, scalar

        self._write(step, summary=Summary(value=[value for item in values.items() for value in scalar(*item).value]))

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a picture."""
        from tensorboardX.summary import image

        self._write(step, summary=image(name, rgb, dataformats="HWC"))

    def flush(self) -> None:
        """If the folder is in a bucket, uploads new entries now.

        Without a flush, entries are uploaded when an entry is written, but at most every 30 seconds.
        """
        self._uploads.flush()

    def close(self) -> None:
        """Closes the file."""
        with writing_errors(self.folder):
            self._file.close()
        self._uploads.close()

    def _open(self) -> None:
        from tensorboardX import event_file_writer

        with writing_errors(self.folder):
            self._file = event_file_writer.EventsWriter(str(self._uploads.local / "events"), f".{uuid.uuid4().hex[:12]}")
        self._bytes = 0

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        if is_bucket(self.folder) and self._bytes > _LARGEST_UPLOAD:
            with writing_errors(self.folder):
                self._file.close()
            self._open()
        self._bytes += event.ByteSize()
        try:
            with writing_errors(self.folder):
                self._file.write_event(event)
                self._file.flush()
            self._uploads.changed()
        except Exception:
            with contextlib.suppress(OSError):
                self._file.close()
            raise
