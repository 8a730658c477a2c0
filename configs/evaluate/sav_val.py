"""SA-V validation set of 155 videos whose objects may overlap. The masks are public.

    python evaluate.py --config configs/evaluate/sav_val.py --data SAV --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/sav_val.py --data SAV --score PRED

SAV contains sav_val.txt, JPEGImages_24fps/VIDEO/FRAME.jpg and Annotations_6fps/VIDEO/OBJECT/FRAME.png, where OBJECT is 000,
001, and so on. Every frame is segmented, and each object is segmented separately. Masks are written for annotated frames, as
RUN/masks/VIDEO/OBJECT/FRAME.png. The metrics are J&F, J and F in percent.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for SA-V validation, whose videos are listed in sav_val.txt."""
    return benchmark_settings("sav_val")
