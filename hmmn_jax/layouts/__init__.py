"""What folders of DAVIS, YouTube-VOS, stills, or any frames look like; palettes, ids, void. No TensorFlow."""

from hmmn_jax.layouts.files import atomic_path
from hmmn_jax.layouts.frames import VideoFile, list_frames
from hmmn_jax.layouts.images import VOID, decode_mask, fit_mask, read_ids, read_image, read_mask, settle_ids, write_mask
from hmmn_jax.layouts.palette import davis_palette
from hmmn_jax.layouts.sequences import (
    Sequence,
    find_davis,
    find_unlisted,
    list_davis_splits,
    read_davis,
    read_folder,
    read_sequence,
    read_unlisted,
)
from hmmn_jax.layouts.stills import read_stills
from hmmn_jax.layouts.youtube_vos import YouTubeVideo, find_youtube_vos, read_youtube_vos

__all__ = [
    "VOID",
    "Sequence",
    "VideoFile",
    "YouTubeVideo",
    "atomic_path",
    "davis_palette",
    "decode_mask",
    "find_davis",
    "find_unlisted",
    "find_youtube_vos",
    "fit_mask",
    "list_davis_splits",
    "list_frames",
    "read_davis",
    "read_folder",
    "read_ids",
    "read_image",
    "read_mask",
    "read_sequence",
    "read_stills",
    "read_unlisted",
    "read_youtube_vos",
    "settle_ids",
    "write_mask",
]
