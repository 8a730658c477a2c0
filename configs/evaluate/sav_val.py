"""SA-V validation: 155 videos whose objects may overlap; masks are public.

    python evaluate.py --config configs/evaluate/sav_val.py --data SAV --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/sav_val.py --data SAV --score PRED

SAV has sav_val.txt, JPEGImages_24fps/VIDEO/FRAME.jpg and Annotations_6fps/VIDEO/OBJECT/FRAME.png, with the folders 000, 001,
... of objects. Every frame is segmented, each object separately. RUN/masks/VIDEO/OBJECT/FRAME.png are written for annotated
frames. Reports J&F, J and F in percent.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The list sav_val.txt."""
    return benchmark_settings("sav_val")
