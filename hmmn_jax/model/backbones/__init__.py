"""Backbones: networks that compute features at strides 4, 8 and 16 from a frame, with or without masks.

Importing this package registers the backbones.
"""

from hmmn_jax.model.backbones.base import (
    Backbone,
    BackboneModule,
    Features,
    Normalise,
    backbone_from_dict,
    register,
    registered,
)
from hmmn_jax.model.backbones.efficientnet_lite import EfficientNetLite
from hmmn_jax.model.backbones.resnet import ResNet

__all__ = [
    "Backbone",
    "BackboneModule",
    "EfficientNetLite",
    "Features",
    "Normalise",
    "ResNet",
    "backbone_from_dict",
    "register",
    "registered",
]
