"""Event files of TensorBoard, written in the thread of training: the one of `SummaryWriter` hangs when the disk is full."""

import contextlib
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.io.files import writing_errors


class Board:
    """One new event file in a folder. Its methods raise DataError if writing fails."""

    def __init__(self, folder: Path, purge_step: int):
        """Opens the file; TensorBoard hides what older files say of `purge_step` and later steps."""
        from tensorboardX import event_file_writer
        from tensorboardX.proto.event_pb2 import SessionLog

        self.folder = folder
        with writing_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = event_file_writer.EventsWriter(str(folder / "events"), f".{uuid.uuid4().hex[:12]}")
        self._write(purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point in each of these curves."""
        from tensorboardX.summary import Summary, scalar

        self._write(step, summary=Summary(value=[value for item in values.items() for value in scalar(*item).value]))

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """A picture."""
        from tensorboardX.summary import image

        self._write(step, summary=image(name, rgb, dataformats="HWC"))

    def close(self) -> None:
        """Closes the file."""
        with writing_errors(self.folder):
            self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        try:
            with writing_errors(self.folder):
                self._file.write_event(Event(wall_time=time.time(), step=step, **content))
                self._file.flush()
        except Exception:
            with contextlib.suppress(OSError):
                self._file.close()
            raise
