"""Long-time Video data set of three videos with thousands of frames. Only a few frames are annotated.

    python evaluate.py --config configs/evaluate/long_video.py --data LONG --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/long_video.py --data LONG --score PRED

LONG contains JPEGImages/VIDEO/FRAME.jpg, Annotations/VIDEO/FRAME.png for the first frame and some other frames, and val.txt.
The metrics are DAVIS's J and F on the annotated frames except the first and the last, as in later papers that use this data
set. The data set's own scorer excludes only the first frame. The memory is limited to 50 frames (max_memory_frames).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for Long-time Video, whose annotated frames are scored with DAVIS's J and F."""
    return benchmark_settings("long_video")
