"""Converts masks on disk to the formats of other programs.

MASKS is a folder with PNGs that have the names of frames of VIDEO, or 00012.png for frame 12 of a video file. It can be a
folder RUN/masks/NAME written by 'hmmn-jax segment', or contain masks from any other method.

  hmmn-jax export RUN/masks/clip --video clip.mp4 --kind coco --output clip.json
  hmmn-jax export RUN/masks/clip --video clip.mp4 --kind rgba --output layers.zip --probabilities RUN/probabilities/clip
  hmmn-jax export RUN/masks/FRAMES --video FRAMES --kind mp4 --output clip.mp4

davis   indexed PNGs with the DAVIS palette             folder or .zip: NAME/FRAME.png
binary  for each object PNGs of 0 and 255               folder or .zip: NAME/OBJECT/FRAME.png
rgba    for each object the frames, the rest invisible  folder or .zip: NAME/OBJECT/FRAME.png
coco    each frame an image, run-length encoded         .json
ytvis   one video, run-length encoded                   .json
mp4     all frames with coloured objects                .mp4
gif     the same, at most 480 pixels a side             .gif

With --probabilities, edges of rgba are soft. 'hmmn-jax segment --set save_probabilities=true' writes these files.
"""

import argparse

from hmmn_jax.cli.arguments import local

KINDS = ("davis", "binary", "rgba", "coco", "ytvis", "mp4", "gif")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("masks", type=local, metavar="MASKS", help="folder of the masks FRAME.png")
    add("--video", type=local, required=True, metavar="VIDEO", help="video file, or folder of images")
    add("--kind", choices=KINDS, required=True, help="format, see above")
    add("--output", type=local, required=True, metavar="PATH", help="file or folder to write, see above")
    add("--probabilities", type=local, metavar="DIR", help="folder of probabilities FRAME.npz, for soft edges")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    from tqdm import tqdm

    from hmmn_jax.evaluation.saved_masks import SavedMasks
    from hmmn_jax.exports import export
    from hmmn_jax.io.notes import note

    saved = SavedMasks(options.video, options.masks, options.probabilities)
    with tqdm(total=len(saved.video), unit="frame") as bar:
        remarks = export(options.kind, options.output, saved.video, saved.find, report=lambda *_: bar.update())
    for remark in remarks:
        note(remark)
    print(options.output)
