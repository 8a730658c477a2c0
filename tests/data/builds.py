"""Builds data sets from the small folders that tests generate."""

from data.build import build, make_config
from tests.data import folders

THREE = [[1], [1], [1]]


def run(tmp_path, name, source, config=None, splits=(), new_name=None, fields=(), **options):
    config = make_config(
        name, config or {"davis": "2017", "youtube_vos": "2019", "image_masks": "ids"}[name], new_name, list(fields)
    )
    directory, reports = build(name, config, source, tmp_path / "built", splits, **options)
    assert directory == tmp_path / "built" / name / config.name / "1.0.0"
    return reports


def still(root, name, mask, size=folders.SIZE):
    folders.jpeg(root / f"{name}.jpg", size=size)
    folders.png(root / f"{name}.png", mask, palette=False)
