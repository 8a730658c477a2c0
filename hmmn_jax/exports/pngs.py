"""Exports PNG files: ids with the DAVIS palette, binary masks of single objects, or RGBA layers of single objects."""

from pathlib import Path

import numpy as np

from hmmn_jax.exports.exporter import Exporter, MaskedFrame, VideoFacts
from hmmn_jax.io.images import write_mask
from hmmn_jax.io.pictures import write_image


class IndexedPngs(Exporter):
    """Writes ids to `VIDEO/FRAME.png`, indexed with the DAVIS palette or, if an id is above 255, as 16-bit grey."""

    def add(self, frame: MaskedFrame) -> None:
        """Writes the ids."""
        if frame.mask is not None:
            write_mask(self.folder / self.facts.name / f"{frame.name}.png", frame.mask)


class _ObjectPngs(Exporter):
    """Writes a folder `VIDEO/OBJECT` for each object.

    The folder contains a file for each frame that has a mask, even if the object is absent from the frame. The files of
    labelled objects start at the first frame. The files of other objects start at the first frame that contains the object.
    """

    def __init__(self, folder: Path, facts: VideoFacts):
        super().__init__(folder, facts)
        self._known = set(facts.labels)

    def _files(self, frame: MaskedFrame) -> list[tuple[int, Path]]:
        """Returns the id and the file path of each object that needs a file for this frame.

        These are the labelled objects, and the objects in this frame or an earlier frame.
        """
        self._known |= set(frame.ids)
        return [(k, self.folder / self.facts.name / f"{k:03d}" / f"{frame.name}.png") for k in sorted(self._known)]


class BinaryPngs(_ObjectPngs):
    """Writes `VIDEO/OBJECT/FRAME.png` with the value 255 for pixels of the object, and 0 for other pixels."""

    def add(self, frame: MaskedFrame) -> None:
        """Writes a mask for each object."""
        if frame.mask is not None:
            for k, path in self._files(frame):
                write_mask(path, np.where(frame.mask == k, np.uint8(255), np.uint8(0)))


class RgbaPngs(_ObjectPngs):
    """Writes each frame to `VIDEO/OBJECT/FRAME.png`, with the object's probability as opacity.

    Without probabilities, the opacity is 255 for pixels of the object and 0 for other pixels. Pixels with opacity 0 are black.
    Colours are not premultiplied.
    """

    needs_image = needs_probs = True

    def __init__(self, folder: Path, facts: VideoFacts):
        super().__init__(folder, facts)
        self.hard = 0  # number of frames without soft edges

    def add(self, frame: MaskedFrame) -> None:
        """Writes a layer for each object."""
        if frame.mask is None:
            return
        assert frame.image is not None  # because needs_image is True
        soft = False
        for k, path in self._files(frame):
            p = (frame.mask == k) if frame.probs is None else frame.probs.get(k, np.zeros(frame.mask.shape, np.float32))
            opacity = np.rint(np.clip(p, 0, 1) * np.float32(255)).astype(np.uint8)
            soft = soft or bool(((opacity > 0) & (opacity < 255)).any())
            write_image(path, np.dstack([np.where(opacity[..., None] > 0, frame.image, np.uint8(0)), opacity]))
        self.hard += not soft

    @property
    def remarks(self) -> list[str]:
        """Remarks about frames without masks and about frames without soft edges."""
        if not self.hard:
            return super().remarks
        found = f"{self.hard} of {self.frames} frames have hard edges. Their masks are annotations or have no probabilities."
        return [*super().remarks, found]
