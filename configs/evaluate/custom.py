"""Settings for your own videos, which can be folders of images or video files.

    python evaluate.py --config configs/evaluate/custom.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/custom.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN

ROOT contains frames in JPEGImages/NAME/*.jpg (or .png, ...) and masks in Annotations/NAME/FRAME.png. The first frame needs a
mask. For a video file JPEGImages/NAME.mp4, the mask of the first frame is Annotations/NAME.png, and masks of later frames are
Annotations/NAME/NUMBER.png.

Masks of later frames are used for scoring. Each object is scored on the annotated frames after its first annotated frame. With
--config.late_objects=True, masks of later frames also start new objects. If --config.direction is set to forward, backward or
both, each mask is treated as the complete annotation of its frame. The other frames are segmented from the nearest masks, and
no scores are computed.

For long videos, --config.max_memory_frames=50 limits the number of memory frames. For high-resolution videos,
--config.size=480 sets the shorter side of the network's input. The masks still have the size of the frames.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for your own videos. All folders of images and all video files are evaluated."""
    return benchmark_settings("custom")
