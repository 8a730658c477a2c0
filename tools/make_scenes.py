"""Creates training videos with exact masks: three-dimensional objects that move, rotate and occlude each other.

    pip install mujoco pybullet --no-deps
    python -m tools.make_scenes OUTPUT --photos PHOTOS [PHOTOS ...] --videos 300

Writes `JPEGImages/Full-Resolution` and `Annotations/Full-Resolution` to OUTPUT, as input for
`python -m data.build davis --config folder`. The objects are bicycles, simple solids, the meshes in pybullet's `random_urdfs`,
and people and animals made of capsules. The textures of the objects are taken from the photos. Some objects look alike, some
have the texture of the ground, and some are not labelled.
"""

import argparse
import importlib.util
import io
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tools.rendered import add_arguments, list_photos, open_photo, window, write_videos

os.environ.setdefault("MUJOCO_GL", "egl")  # renders without a display; mujoco reads this variable during import
import mujoco

HEIGHT, WIDTH, FRAMES = 288, 512, 14
LABELLED, UNLABELLED = 4, 3  # maximum number of labelled and of unlabelled objects in a scene
TEXTURE = 192  # side of a texture, in pixels
TWINS, CAMOUFLAGE, TURNS, BACKDROP = 0.35, 0.2, 0.35, 0.75  # probabilities: see `build` and `Paths.draw`


@dataclass
class Scene:
    """The parts of a MuJoCo model.

    Attributes:
        rng: the random number generator.
        photos, meshes: the files to choose from.
        assets, bodies: the XML of the model.
        files: the contents of textures and meshes, by file name.
        swings: for each joint, the amplitude in rad, the frequency in cycles per frame, and the phase in rad. A wheel has an
            infinite amplitude, and its frequency is in rad per frame.
        labels: the object id of each body; 0: not labelled.
        backdrop: photo that replaces the ground and the wall; None: the ground and the wall are visible.
    """

    rng: np.random.Generator
    photos: list[Path]
    meshes: list[Path]
    assets: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    swings: list[tuple[float, float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    backdrop: Image.Image | None = None

    def add_material(self, source: Image.Image | None = None) -> str:
        """Adds a material and returns its name. The texture is `source` if given, otherwise a part of a random photo."""
        rng, number = self.rng, len(self.files)
        image = source or crop(open_photo(self.photos, rng), rng, TEXTURE)
        if source is None and rng.random() < 0.3:  # mostly a single colour, with little texture
            image = Image.blend(image, Image.new("RGB", image.size, tuple(rng.integers(20, 235, 3).tolist())), 0.85)
        elif source is None and rng.random() < 0.4:
            image = Image.merge("RGB", [image.split()[i] for i in rng.permutation(3)])
        self.files[f"t{number}.png"] = encode(image)
        repeat = rng.uniform(0.15, 2)
        self.assets.append(f'<texture name="t{number}" type="2d" file="t{number}.png"/>')
        self.assets.append(
            f'<material name="m{number}" texture="t{number}" texuniform="true" texrepeat="{repeat:.2f} {repeat:.2f}" '
            f'specular="{rng.uniform(0, 0.6):.2f}" shininess="{rng.uniform(0, 0.8):.2f}" reflectance="0"/>'
        )
        return f"m{number}"

    def joint(self, axis: str, amplitude: float, frequency: float, phase: float) -> str:
        """Returns the XML of a hinge joint whose angle oscillates."""
        self.swings.append((amplitude, frequency, phase))
        return f'<joint type="hinge" axis="{axis}"/>'


def crop(image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """Returns a random square part of an image, resized to `size` x `size` pixels."""
    side = int(min(image.size) * rng.uniform(0.2, 0.9))
    x, y = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
    return image.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.LANCZOS)


def encode(image: Image.Image) -> bytes:
    """Encodes an image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def capsule(material: str, start: Sequence[float], end: Sequence[float], radius: float, kind: str = "capsule") -> str:
    """Returns the XML of a capsule between two points."""
    points = " ".join(f"{value:.3f}" for value in (*start, *end))
    return f'<geom type="{kind}" fromto="{points}" size="{radius:.3f}" material="{material}"/>'


def limb(scene: Scene, start: str, parts: Sequence[tuple[str, float, float]], swing: tuple[float, float, float]) -> str:
    """Returns the XML of a limb that hangs from `start`. `parts` are (material, length, radius), from the body outwards."""
    (material, length, radius), *rest = parts
    amplitude, frequency, phase = swing
    axis = " ".join(f"{value:.2f}" for value in (0.15 * scene.rng.normal(), 1, 0.15 * scene.rng.normal()))
    own = scene.joint(axis, amplitude, frequency, phase) + capsule(material, (0, 0, 0), (0, 0, -length), radius)
    below = limb(scene, f"0 0 {-length:.3f}", rest, (0.7 * amplitude, frequency, phase + 0.9)) if rest else ""
    return f'<body pos="{start}">{own}{below}</body>'


def person(scene: Scene, materials: Sequence[str]) -> str:
    """Returns the XML of a person with a height of about 1.8 units and with moving arms and legs."""
    rng, (shirt, trousers, skin) = scene.rng, materials
    pace, wide = rng.uniform(0.03, 0.12), rng.uniform(0.8, 1.3)
    phase = rng.uniform(0, 2 * np.pi)
    torso = (
        capsule(shirt, (0, 0, 1.0), (0, 0, 1.35), 0.17 * wide)
        + f'<geom type="sphere" pos="0 0 1.66" size=".13" material="{skin}"/>'
    )
    if rng.random() < 0.5:  # a skirt or a coat
        torso += f'<geom type="ellipsoid" pos="0 0 0.85" size=".26 .26 .3" material="{trousers}"/>'
    limbs = ""
    for side in (-1, 1):
        swing = (rng.uniform(0.2, 0.9), pace, phase + (side > 0) * np.pi)
        limbs += limb(scene, f"0 {0.1 * side * wide:.2f} 0.9", [(trousers, 0.42, 0.085), (trousers, 0.4, 0.06)], swing)
        swing = (rng.uniform(0.2, 1.5), pace * rng.choice([1, 2]), phase + (side < 0) * np.pi)
        sleeve = shirt if rng.random() < 0.6 else skin
        limbs += limb(scene, f"0 {0.23 * side * wide:.2f} 1.42", [(sleeve, 0.3, 0.055), (skin, 0.28, 0.045)], swing)
    return torso + limbs


def animal(scene: Scene, materials: Sequence[str]) -> str:
    """Returns the XML of an animal with four legs."""
    rng, (fur, other, _) = scene.rng, materials
    long, fat, legs, neck = rng.uniform(0.35, 0.7), rng.uniform(0.13, 0.3), rng.uniform(0.15, 0.45), rng.uniform(0.1, 0.5)
    pace, phase, height = rng.uniform(0.03, 0.12), rng.uniform(0, 2 * np.pi), 2 * legs
    head = (long + 0.5 * neck, 0, height + 0.8 * neck)
    body = f'<geom type="ellipsoid" pos="0 0 {height:.2f}" size="{long:.2f} {fat:.2f} {fat * 1.1:.2f}" material="{fur}"/>'
    body += capsule(fur, (0.8 * long, 0, height), head, 0.5 * fat)
    body += capsule(other if rng.random() < 0.5 else fur, head, (head[0] + rng.uniform(0.1, 0.3), 0, head[2] - 0.1), 0.45 * fat)
    tail = limb(scene, f"{-long:.2f} 0 {height:.2f}", [(other, rng.uniform(0.1, 0.5), 0.03)], (0.8, 2 * pace, phase))
    thick = rng.uniform(0.03, 0.09)
    for front in (-1, 1):
        for side in (-1, 1):
            swing = (rng.uniform(0.2, 0.7), pace, phase + np.pi * (front * side > 0))
            start = f"{front * 0.7 * long:.2f} {side * 0.7 * fat:.2f} {height:.2f}"
            tail += limb(scene, start, [(fur, legs, thick), (other if rng.random() < 0.3 else fur, legs, 0.7 * thick)], swing)
    return body + tail


def bicycle(scene: Scene, materials: Sequence[str]) -> str:
    """Returns the XML of a bicycle: two wheels with spokes, a frame of thin bars, and sometimes a rider."""
    rng, (frame, tyre, skin) = scene.rng, materials
    radius, thin = rng.uniform(0.28, 0.4), rng.uniform(0.012, 0.03)
    half, speed, parts = rng.uniform(0.4, 0.6), rng.uniform(0.1, 1.0), ""
    for x in (-half, half):
        corners = [(radius * np.cos(a), 0, radius * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 19)]
        wheel = "".join(capsule(tyre, a, b, 1.3 * thin) for a, b in itertools.pairwise(corners))
        wheel += "".join(capsule(frame, (0, 0, 0), corner, 0.006) for corner in corners[::2])
        scene.swings.append((np.inf, speed, 0.0))  # the wheel turns continuously
        parts += f'<body pos="{x:.2f} 0 {radius:.2f}"><joint type="hinge" axis="0 1 0"/>{wheel}</body>'
    seat, bars, pedals = (-0.2, 0, radius + 0.5), (half - 0.12, 0, radius + 0.55), (-0.02, 0, radius)
    bones = [((-half, 0, radius), seat), ((-half, 0, radius), pedals), (pedals, seat), (pedals, bars), (seat, bars)]
    bones += [((half, 0, radius), bars), ((bars[0], -0.22, bars[2]), (bars[0], 0.22, bars[2]))]
    parts += "".join(capsule(frame, a, b, thin) for a, b in bones)
    if rng.random() < 0.4:
        parts += capsule(skin, seat, (bars[0] - 0.2, 0, bars[2] + 0.4), 0.12) + capsule(
            skin, seat, (0.0, 0.1, radius - 0.1), 0.06
        )
        parts += f'<geom type="sphere" pos="{bars[0]:.2f} 0 {bars[2] + 0.55:.2f}" size=".11" material="{tyre}"/>'
    return parts


def solid(scene: Scene, materials: Sequence[str]) -> str:
    """Returns the XML of an object that consists of up to three simple solids."""
    rng, parts, height = scene.rng, "", 0.0
    for material in materials[: rng.integers(1, 4)]:
        kind = rng.choice(["sphere", "capsule", "ellipsoid", "cylinder", "box"])
        size = rng.uniform(0.08, 0.4, 3)
        tilt = rng.uniform(0, 90, 3) * (rng.random() < 0.4)
        height += size[2]
        position = f"{0.1 * rng.normal():.2f} {0.1 * rng.normal():.2f} {height:.2f}"
        parts += f'<geom type="{kind}" pos="{position}" euler="{tilt[0]:.0f} {tilt[1]:.0f} {tilt[2]:.0f}" '
        parts += f'size="{size[0]:.2f} {size[1]:.2f} {size[2]:.2f}" material="{material}"/>'
        height += size[2]
    return parts


def mesh(scene: Scene, materials: Sequence[str]) -> str:
    """Returns the XML of a random mesh."""
    rng, file = scene.rng, scene.meshes[scene.rng.integers(len(scene.meshes))]
    name = f"{file.parent.name}{len(scene.assets)}.obj"
    scene.files[name] = file.read_bytes()
    size = rng.uniform(4, 9, 3)
    scene.assets.append(f'<mesh name="{name[:-4]}" file="{name}" scale="{size[0]:.1f} {size[1]:.1f} {size[2]:.1f}"/>')
    return f'<geom type="mesh" mesh="{name[:-4]}" pos="0 0 .3" material="{materials[0]}"/>'


def build(rng: np.random.Generator, photos: list[Path], meshes: list[Path]) -> tuple[mujoco.MjModel, Scene]:
    """Creates a random scene. Returns the MuJoCo model and the `Scene`."""
    scene = Scene(rng, photos, meshes)
    photo = open_photo(photos, rng)
    scene.backdrop = photo if rng.random() < BACKDROP else None
    ground = crop(photo, rng, 2 * TEXTURE)
    floor, wall = scene.add_material(ground), scene.add_material()
    kinds: list[Callable[[Scene, Sequence[str]], str]] = [person, animal, bicycle, solid, mesh]
    shares = (0.25, 0.3, 0.15, 0.15, 0.15) if meshes else (0.3, 0.3, 0.2, 0.2, 0.0)
    labelled = int(rng.integers(1, LABELLED + 1))
    last: tuple[Callable[[Scene, Sequence[str]], str], list[str]] | None = None
    for number in range(labelled + int(rng.integers(0, UNLABELLED + 1))):
        if last and rng.random() < TWINS:
            kind, materials = last
        else:
            kind = kinds[rng.choice(len(kinds), p=shares)]
            same = rng.random() < CAMOUFLAGE
            materials = [scene.add_material(crop(ground, rng, TEXTURE) if same else None) for _ in range(3)]
        last = kind, materials
        scene.bodies.append(f'<body mocap="true" name="o{number}">{kind(scene, materials)}</body>')
        scene.labels.append(number + 1 if number < labelled else 0)
    if rng.random() < 0.4:  # poles in front of the objects
        for _ in range(rng.integers(1, 6)):
            x, y, lean = rng.uniform(-2, 2), rng.uniform(-2.2, -1), rng.normal(0, 0.4, 2)
            pole = capsule(scene.add_material(), (x, y, 0), (x + lean[0], y + lean[1], 3), rng.uniform(0.01, 0.09))
            scene.bodies.append(pole)
    lights = ""
    for _ in range(rng.integers(1, 3)):
        position, lean = rng.uniform((-3, -4, 3), (3, 0, 6)), rng.uniform(-0.5, 0.5)
        bright, shadow = rng.uniform(0.3, 0.8), "true" if rng.random() < 0.7 else "false"
        lights += f'<light pos="{position[0]:.1f} {position[1]:.1f} {position[2]:.1f}" dir="{lean:.1f} .3 -1" '
        lights += f'diffuse="{bright:.2f} {bright:.2f} {bright:.2f}" castshadow="{shadow}"/>'
    xml = f"""<mujoco><compiler angle="degree"/>
    <visual><global offwidth="{WIDTH}" offheight="{HEIGHT}"/><quality shadowsize="1024" offsamples="2"/>
    <headlight ambient=".5 .5 .5" diffuse=".4 .4 .4"/></visual>
    <asset>{"".join(scene.assets)}</asset><worldbody>{lights}
    <geom type="plane" size="12 12 .1" material="{floor}"/>
    <geom type="plane" pos="0 6 0" size="15 15 .1" euler="90 0 0" material="{wall}"/>
    {"".join(scene.bodies)}</worldbody></mujoco>"""
    return mujoco.MjModel.from_xml_string(xml, scene.files), scene


@dataclass
class Paths:
    """The motion of the objects and the camera of a scene. Arrays `[n,...]` have one row for each object.

    Attributes:
        start, speed: position, and its change per frame, `[n,3]`.
        sway, beat, phase: amplitude, frequency (cycles per frame) and phase (rad) of an oscillation around the position,
            `[n,3]`.
        yaw, turn: rotation about the vertical axis in rad, and its change per frame, `[n]`.
        lean: tilt of the vertical axis in rad, `[n,2]`.
        tumbles: whether the object jumps and tumbles, `[n]`.
        view, drift: azimuth and elevation (in degrees) and distance of the camera, and their change per frame.
        look: change of the camera's target point per frame.
    """

    start: np.ndarray
    speed: np.ndarray
    sway: np.ndarray
    beat: np.ndarray
    phase: np.ndarray
    yaw: np.ndarray
    turn: np.ndarray
    lean: np.ndarray
    tumbles: np.ndarray
    view: np.ndarray
    drift: np.ndarray
    look: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int) -> "Paths":
        """Returns random paths. About a third of the objects turn quickly."""
        start = np.stack([rng.uniform(-1.6, 1.6, n), rng.uniform(-1.2, 1.8, n), np.zeros(n)], 1)
        speed = rng.normal(0, 0.07, (n, 3)) * (1, 0.6, 0)
        sway, beat, phase = rng.uniform(0, 0.3, (n, 3)), rng.uniform(0.02, 0.1, (n, 3)), rng.uniform(0, 6.3, (n, 3))
        yaw, turn = rng.uniform(0, 2 * np.pi, n), rng.normal(0, 0.05, n)
        turn = np.where(rng.random(n) < TURNS, rng.normal(0, 0.3, n), turn)
        lean, tumbles = rng.normal(0, 0.1, (n, 2)), rng.random(n) < 0.25
        view = rng.uniform((60, -35, 2.2), (120, -5, 4.8))
        drift, look = rng.normal(0, (0.8, 0.3, 0.04)), rng.normal(0, 0.03, 3)
        return cls(start, speed, sway, beat, phase, yaw, turn, lean, tumbles, view, drift, look)

    def pose(self, model: mujoco.MjModel, data: mujoco.MjData, swings: Sequence[tuple[float, float, float]], time: int) -> None:
        """Sets the positions, rotations and joints of all objects for the frame with the index `time`."""
        position = self.start + self.speed * time + self.sway * np.sin(2 * np.pi * self.beat * time + self.phase) * (1, 1, 0.5)
        jump = np.abs(np.sin(0.25 * time + self.phase[:, 0])) * 0.3 * self.tumbles
        data.mocap_pos[:] = position + np.array([0, 0, 1.0]) * jump[:, None]
        for n, yaw in enumerate(self.yaw + self.turn * time):
            lean = self.lean[n] * (1 + 8 * self.tumbles[n] * np.sin(0.2 * time + self.phase[n, 0]))
            mujoco.mju_euler2Quat(data.mocap_quat[n], np.array([*lean, yaw]), "xyz")
        for joint, (size, frequency, offset) in enumerate(swings):
            wheel = np.isinf(size)
            data.qpos[joint] = frequency * time if wheel else size * np.sin(2 * np.pi * frequency * time + offset)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)

    def camera(self, time: int) -> mujoco.MjvCamera:
        """Returns the camera for the frame with the index `time`."""
        camera = mujoco.MjvCamera()
        camera.azimuth, camera.elevation, camera.distance = self.view + self.drift * time
        camera.lookat[:] = np.array([0, 0.2, 0.7]) + self.look * time
        return camera


def take(renderer: mujoco.Renderer, data: mujoco.MjData, camera: mujoco.MjvCamera) -> tuple[np.ndarray, np.ndarray]:
    """Returns the picture, `uint8 [h,w,3]`, and the geom index of each pixel, `int [h,w]`; -1: no geom."""
    renderer.update_scene(data, camera)
    frame = renderer.render()
    renderer.enable_segmentation_rendering()
    renderer.update_scene(data, camera)
    hits = renderer.render()
    renderer.disable_segmentation_rendering()
    return frame, np.where(hits[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM), hits[..., 0], -1)


def film(rng: np.random.Generator, photos: list[Path], meshes: list[Path]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the frames, `uint8 [h,w,3]`, and the masks, `uint8 [h,w]`, of a random scene."""
    model, scene = build(rng, photos, meshes)
    data, paths = mujoco.MjData(model), Paths.draw(rng, len(scene.labels))
    roots = {model.body(f"o{number}").id: label for number, label in enumerate(scene.labels)}
    ids = [roots.get(int(model.body_rootid[body]), 0) for body in model.geom_bodyid]
    ids = np.array([*ids, 0], np.uint8)  # the last entry, for index -1, is for pixels without a geom
    place = rng.uniform((0.3, 0.3, 0.5), (0.7, 0.7, 0.9))
    pan = rng.normal(0, (0.008, 0.004, 0.004))
    gamma, frames, masks = rng.uniform(0.75, 1.35), [], []
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        for time in range(FRAMES):
            paths.pose(model, data, scene.swings, time)
            frame, geoms = take(renderer, data, paths.camera(time))
            if scene.backdrop is not None:
                behind = geoms < 2  # the ground, the wall, and pixels without a geom
                frame = np.where(behind[..., None], window(scene.backdrop, (WIDTH, HEIGHT), place + pan * time), frame)
            frame = 255 * (frame / 255.0) ** gamma
            frames.append(np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8))
            masks.append(ids[geoms])
    return frames, masks


def main(arguments: Sequence[str] | None = None) -> None:
    """Creates random videos according to the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    photos = list_photos(options.photos)
    package = importlib.util.find_spec("pybullet_data")
    meshes = sorted(Path(str(package.origin)).parent.glob("random_urdfs/*/*.obj")) if package else []
    numbers = range(options.first, options.first + options.videos)
    write_videos(options.output, "scene", numbers, 7, lambda rng: film(rng, photos, meshes))


if __name__ == "__main__":
    main()
