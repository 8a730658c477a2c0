"""What a DAVIS folder, or any folder of frames, looks like; palettes, ids, void. No TensorFlow."""

from hmmn_jax.layouts.files import atomic_path
from hmmn_jax.layouts.frames import VideoFile, list_frames
from hmmn_jax.layouts.images import VOID, fit_mask, read_ids, read_image, read_mask, settle_ids, write_mask
from hmmn_jax.layouts.palette import davis_palette
from hmmn_jax.layouts.sequences import Sequence, read_davis, read_folder, read_sequence

__all__ = [
    "VOID",
    "Sequence",
    "VideoFile",
    "atomic_path",
    "davis_palette",
    "fit_mask",
    "list_frames",
    "read_davis",
    "read_folder",
    "read_ids",
    "read_image",
    "read_mask",
    "read_sequence",
    "settle_ids",
    "write_mask",
]
