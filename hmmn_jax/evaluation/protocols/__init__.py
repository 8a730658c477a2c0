"""The benchmarks, one module each. Importing this registers them."""

from hmmn_jax.evaluation.protocols.base import Protocol, Task, make_protocol, register, registered
from hmmn_jax.evaluation.protocols.custom import Custom
from hmmn_jax.evaluation.protocols.davis import Davis
from hmmn_jax.evaluation.protocols.youtube_vos import YouTubeVOS

__all__ = ["Custom", "Davis", "Protocol", "Task", "YouTubeVOS", "make_protocol", "register", "registered"]
