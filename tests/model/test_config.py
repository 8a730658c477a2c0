"""Tests that `HMMNConfig` rejects invalid values, and that configs can be converted to JSON and back."""

import dataclasses
import json

import pytest

from hmmn_jax import HMMNConfig
from hmmn_jax.model.backbones import ResNet
from tests.small import untyped

GROUP = ResNet(widths=(16, 32, 64), stem_width=8, norm="group", norm_groups=4)


def test_is_frozen_and_hashable():
    config = HMMNConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.window = 9
    assert hash(config) == hash(HMMNConfig()) and config == HMMNConfig()
    assert {config: 1}[HMMNConfig(window=7)] == 1
    assert config.replace(window=9) != config and config.replace(window=9).window == 9


def test_survives_json():
    config = HMMNConfig(backbone=GROUP, sigma=2.5, dtype="bfloat16")
    with untyped():  # JSON converts tuples to lists
        again = HMMNConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and hash(again) == hash(config)
    assert HMMNConfig.from_dict({}) == HMMNConfig()


def test_sizes_of_a_resnet_next_to_the_other_fields_as_older_files_have_them():
    fields = {"widths": [16, 32, 64], "stem_width": 8, "norm": "group", "norm_groups": 4, "sigma": 2.5, "dtype": "bfloat16"}
    assert HMMNConfig.from_dict(fields) == HMMNConfig(backbone=GROUP, sigma=2.5, dtype="bfloat16")


def test_an_unknown_backbone_is_reported_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"unknown backbone 'vgg', expected one of .*resnet"):
        HMMNConfig.from_dict({"backbone": {"name": "vgg"}})
    with pytest.raises(ValueError, match="unknown backbone None"):
        HMMNConfig.from_dict({"backbone": {}})
    with pytest.raises(ValueError, match=r"ResNet has no field depth. A newer version of hmmn-jax may be required"):
        HMMNConfig.from_dict({"backbone": {"name": "resnet", "depth": 5}})
    with untyped(), pytest.raises(ValueError, match=r"HMMNConfig.backbone is 'resnet', expected a backbone"):
        HMMNConfig(backbone="resnet")


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match="no field colour, zoom"):
        HMMNConfig.from_dict({"zoom": 1, "window": 7, "colour": "red"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"norm": "instance"}, "norm is 'instance', expected one of batch, group, layer, none"),
        ({"dtype": "float16"}, "dtype is 'float16', expected None, bfloat16"),
        ({"window": 6}, "window is 6, expected an odd number"),
        ({"window": -1}, "window is -1"),
        ({"sigma": 0.0}, "sigma is 0.0, expected a number of cells above 0"),
        ({"k_s4": 0}, "k_s4 is 0"),
        ({"k_s8": 4}, "k_s4 is 8, expected an integer from 1 to k_s8, which is 4"),
        ({"blocks": (3, 4)}, r"blocks is \(3, 4\), expected three positive numbers"),
        ({"blocks": (3, 0, 4)}, "blocks"),
        ({"widths": (256, 512, 1024, 2048)}, "widths"),
        ({"widths": (256, 510, 1024)}, "widths .* multiples of 4"),
        ({"stem_width": 0}, "stem_width is 0, expected an integer from 1 to 16384"),
        ({"key_dim_s8": -1}, "key_dim_s8 is -1"),
        ({"decoder_dim": 10**9}, "decoder_dim is 1000000000"),
        ({"value_dim_s4": 64.0}, "value_dim_s4 is 64.0"),
        ({"k_s8": True}, "k_s8 is True"),
        ({"window": "7"}, "window is '7'"),
        ({"blocks": (3, 4, 10**6)}, "blocks .* up to 50"),
        ({"blocks": 7}, "blocks is 7"),
        ({"widths": (256, "512", 1024)}, "widths"),
        ({"norm_groups": 0}, "norm_groups is 0"),
        ({"sigma": float("nan")}, "sigma is nan"),
        ({"sigma": [3]}, "sigma is "),
        ({"sigma_growth": -0.5}, "sigma_growth is -0.5, expected a number of at least 0"),
        ({"use_kernel": 1}, "use_kernel is 1, expected True or False"),
        ({"dtype": "half"}, "dtype is 'half', expected None, bfloat16, float32 or float64"),
        ({"norm": "group", "norm_groups": 7}, "norm_groups is 7, expected a divisor of every width, including 64"),
        ({"norm": "group", "stem_width": 12}, "norm_groups is 8"),
    ],
)
def test_what_no_network_can_have_is_rejected(fields, told):
    kind = ResNet if fields.keys() <= {field.name for field in dataclasses.fields(ResNet)} else HMMNConfig
    with untyped(), pytest.raises(ValueError, match=f"{kind.__name__}.{told}"):
        kind(**fields)
