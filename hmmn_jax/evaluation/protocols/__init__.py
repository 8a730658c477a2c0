"""The benchmarks, with one module for each benchmark. Importing this package registers all benchmarks."""

from hmmn_jax.evaluation.protocols.base import Protocol, Task, make_protocol, register, registered
from hmmn_jax.evaluation.protocols.burst import Burst
from hmmn_jax.evaluation.protocols.custom import Custom
from hmmn_jax.evaluation.protocols.davis import Davis
from hmmn_jax.evaluation.protocols.long_video import LongVideo
from hmmn_jax.evaluation.protocols.lvos import Lvos
from hmmn_jax.evaluation.protocols.mose1 import Mose1
from hmmn_jax.evaluation.protocols.mose2 import Mose2
from hmmn_jax.evaluation.protocols.sav import Sav
from hmmn_jax.evaluation.protocols.vost import Vost
from hmmn_jax.evaluation.protocols.youtube_vos import YouTubeVOS

__all__ = [
    "Burst",
    "Custom",
    "Davis",
    "LongVideo",
    "Lvos",
    "Mose1",
    "Mose2",
    "Protocol",
    "Sav",
    "Task",
    "Vost",
    "YouTubeVOS",
    "make_protocol",
    "register",
    "registered",
]
