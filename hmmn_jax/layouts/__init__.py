"""What folders of DAVIS, YouTube-VOS, stills, or any frames look like; palettes, ids, void. No TensorFlow."""

from hmmn_jax.layouts.files import atomic_path, check_name, user_path
from hmmn_jax.layouts.frames import IMAGE_SUFFIXES, VideoFile, list_frames
from hmmn_jax.layouts.image_frames import ImageFrames
from hmmn_jax.layouts.images import (
    MASK_VALUES,
    VOID,
    decode_mask,
    fit_mask,
    is_binary,
    read_ids,
    read_image,
    read_mask,
    settle_ids,
    write_mask,
)
from hmmn_jax.layouts.inspection import FrameFacts, inspect_frames
from hmmn_jax.layouts.levels import looks_like_levels
from hmmn_jax.layouts.notes import Notes
from hmmn_jax.layouts.order import ORDERS, same_name
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
    "IMAGE_SUFFIXES",
    "MASK_VALUES",
    "ORDERS",
    "VOID",
    "FrameFacts",
    "ImageFrames",
    "Notes",
    "Sequence",
    "VideoFile",
    "YouTubeVideo",
    "atomic_path",
    "check_name",
    "davis_palette",
    "decode_mask",
    "find_davis",
    "find_unlisted",
    "find_youtube_vos",
    "fit_mask",
    "inspect_frames",
    "is_binary",
    "list_davis_splits",
    "list_frames",
    "looks_like_levels",
    "read_davis",
    "read_folder",
    "read_ids",
    "read_image",
    "read_mask",
    "read_sequence",
    "read_stills",
    "read_unlisted",
    "read_youtube_vos",
    "same_name",
    "settle_ids",
    "user_path",
    "write_mask",
]
