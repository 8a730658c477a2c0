"""Your own videos: folders of images, or video files.

    python evaluate.py --config configs/evaluate/custom.py --data ROOT --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/custom.py --frames DIR|FILE.mp4 --mask FILE.png --checkpoint OUT --output RUN

ROOT has JPEGImages/NAME/*.jpg (or .png, ...) with the masks Annotations/NAME/FRAME.png, of which the first frame needs one. A
video file JPEGImages/NAME.mp4 has the mask of its first frame in Annotations/NAME.png, and masks of later frames in
Annotations/NAME/NUMBER.png.

Masks of later frames serve for scores: each object is scored on the annotated frames after its first one. With
--config.late_objects=True they also start the objects that appear there. With --config.direction=both, forward or backward each
is a complete annotation, from which the other frames are segmented; nothing is scored then.

Long videos: --config.max_memory_frames=50 bounds the memory. Large videos: --config.size=480 sets the network's input; the
masks have the size of the frames.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """All folders and video files."""
    return benchmark_settings("custom")
