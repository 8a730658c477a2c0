"""Converts masks on disk to the formats of other programs.

MASKS is a folder of PNGs, each named after its frame in VIDEO. For frame 12 of a video file, the name is 00012.png. The masks
can come from 'hmmn-jax segment' (RUN/masks/NAME) or from any other method.

  hmmn-jax export RUN/masks/clip --video clip.mp4 --kind coco --output clip.json
  hmmn-jax export RUN/masks/clip --video clip.mp4 --kind rgba --output layers.zip --probabilities RUN/probabilities/clip
  hmmn-jax export RUN/masks/FRAMES --video FRAMES --kind mp4 --output clip.mp4

davis   indexed PNGs with the DAVIS palette             folder or .zip: NAME/FRAME.png
binary  one PNG per object and frame, with 0 and 255    folder or .zip: NAME/OBJECT/FRAME.png
rgba    each object cut out of each frame               folder or .zip: NAME/OBJECT/FRAME.png
coco    run-length encoded; each frame is an image      .json
ytvis   run-length encoded; one video                   .json
mp4     all frames with coloured objects                .mp4
gif     like mp4; longer side at most 480 pixels        .gif

With --probabilities, objects in rgba have soft edges. 'hmmn-jax segment --set save_probabilities=true' writes the
probabilities.
"""

import argparse

from hmmn_jax.cli.arguments import local

KINDS = ("davis", "binary", "rgba", "coco", "ytvis", "mp4", "gif")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("masks", type=local, metavar="MASKS", help="folder with the masks FRAME.png")
    add("--video", type=local, required=True, metavar="VIDEO", help="video file, or folder of images")
    add("--kind", choices=KINDS, required=True, help="format (see above)")
    add("--output", type=local, required=True, metavar="PATH", help="file or folder to write (see above)")
    add("--probabilities", type=local, metavar="DIR", help="folder with the probabilities FRAME.npz, for soft edges")


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
