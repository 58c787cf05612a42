"""Pictures, labels, depth and landmarks of :mod:`game.renderer` belong together, and the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from game import labels
from game.camera import Camera
from game.character import Character
from game.kernels import source_stamp
from game.renderer import Renderer, Rendering
from game.scene import Light, Look, Scene, gradient
from game.styles import EYEWEAR
from sdk.schema import REFERENCE

SIZE = 128
EXPRESSION = REFERENCE.expression


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(SIZE)


@pytest.fixture(scope="module")
def studio(renderer: Renderer) -> Rendering:
    return renderer.render(character(hair="short"), Scene.studio(SIZE))


def character(pose: tuple[float, float] = (0, 0), expression: dict[str, float] | None = None, **style: str) -> Character:
    units = [(expression or {}).get(name, 0.0) for name in EXPRESSION]
    options = {slot: REFERENCE.slot(slot).index(option) for slot, option in style.items()}
    return Character(expression=np.array(units), pose=np.array(pose), style=options)


def label_at(rendering: Rendering, *points: int) -> int:
    """The label at the mean of some of the 468 landmarks."""
    x, y = rendering.landmarks[list(points)].mean(0)
    return int(rendering.labels[int(y), int(x)])


def share(rendering: Rendering, *classes: int) -> float:
    return float(np.isin(rendering.labels, classes).mean())


def test_shapes_types_and_ranges(studio: Rendering) -> None:
    assert studio.image.shape == (SIZE, SIZE, 3) and studio.image.dtype == np.uint8
    assert studio.labels.shape == (SIZE, SIZE) and studio.labels.dtype == np.uint8
    assert studio.depth.shape == (SIZE, SIZE) and studio.depth.dtype == np.float32
    assert studio.landmarks.shape == (468, 2) and studio.landmarks.dtype == np.float32
    assert studio.labels.max() < len(labels.LABELS)


def test_same_bytes_in_another_process(renderer: Renderer) -> None:
    code = (
        "import hashlib, numpy as np; from game.renderer import Renderer; from game.render_dataset import Settings, draw;"
        f"r = draw(Settings(count=1, seed=5, size={SIZE}), 3, Renderer({SIZE}), [])[2];"
        "print(hashlib.sha256(r.image.tobytes() + r.labels.tobytes() + r.depth.tobytes()).hexdigest())"
    )
    from game.render_dataset import Settings, draw

    here = draw(Settings(count=1, seed=5, size=SIZE), 3, renderer, [])[2]
    digest = hashlib.sha256(here.image.tobytes() + here.labels.tobytes() + here.depth.tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == digest


def test_a_picture_does_not_depend_on_the_one_before(renderer: Renderer, studio: Rendering) -> None:
    renderer.render(character(pose=(10, 30), hair="long", beard="full"), replace(Scene.studio(SIZE), glasses=1))
    again = renderer.render(character(hair="short"), Scene.studio(SIZE))
    assert np.array_equal(again.image, studio.image) and np.array_equal(again.labels, studio.labels)


def test_background_is_exactly_where_depth_is_infinite(renderer: Renderer) -> None:
    rendering = renderer.render(character(pose=(5, -25), hair="curly"), Scene.studio(SIZE))
    assert np.array_equal(rendering.labels == labels.BACKGROUND, np.isinf(rendering.depth))
    assert 0.2 < share(rendering, labels.BACKGROUND) < 0.8


def test_background_is_shown_as_it_is(renderer: Renderer) -> None:
    picture = gradient((200, 20, 40), (200, 20, 40))
    rendering = renderer.render(character(hair="bald"), replace(Scene.studio(SIZE), background=picture))
    assert np.all(rendering.image[:4] == (200, 20, 40))


def test_depth_is_the_distance_of_the_nose(renderer: Renderer, studio: Rendering) -> None:
    nose = renderer.rig.landmarks(renderer.rig.vertices())[1]
    x, y, distance = studio.camera.project(nose)
    assert abs(studio.depth[int(y), int(x)] - distance) < 0.03
    assert studio.depth[int(y), int(x)] == pytest.approx(studio.depth.min(), abs=0.05)


def test_landmarks_fall_on_their_labels(studio: Rendering) -> None:
    assert label_at(studio, 0, 13) == labels.UPPER_LIP
    assert label_at(studio, 14, 17) == labels.LOWER_LIP
    assert label_at(studio, 1) == labels.NOSE
    assert label_at(studio, 33, 133, 159, 145) == labels.EYE_RIGHT
    assert label_at(studio, 263, 362, 386, 374) == labels.EYE_LEFT
    assert label_at(studio, 105, 52) == labels.BROW_RIGHT
    assert label_at(studio, 334, 282) == labels.BROW_LEFT
    assert label_at(studio, 50) == labels.SKIN
    assert label_at(studio, 152) in (labels.SKIN, labels.NECK)


@pytest.mark.parametrize(("left", "right"), [("EYE_LEFT", "EYE_RIGHT"), ("BROW_LEFT", "BROW_RIGHT")])
def test_the_persons_left_is_on_the_right_of_the_picture(studio: Rendering, left: str, right: str) -> None:
    columns = [np.nonzero(studio.labels == getattr(labels, name))[1] for name in (left, right)]
    assert columns[0].min() > columns[1].max()


def test_every_class_is_drawn(renderer: Renderer) -> None:
    laughing = character(expression={"mouth_open": 0.5, "smile": 0.7, "upper_lip_raise": 0.6}, hair="short")
    seen = np.unique(renderer.render(laughing, replace(Scene.studio(SIZE), glasses=1)).labels)
    assert sorted(seen) == list(range(len(labels.LABELS)))


def test_closed_eyes_and_open_mouths_show_in_the_labels(renderer: Renderer, studio: Rendering) -> None:
    asleep = renderer.render(character(expression={"eye_close_left": 1, "eye_close_right": 1}), Scene.studio(SIZE))
    winking = renderer.render(character(expression={"eye_close_left": 1}), Scene.studio(SIZE))
    shouting = renderer.render(character(expression={"mouth_open": 1}), Scene.studio(SIZE))
    open_eye = share(studio, labels.EYE_LEFT)
    assert share(asleep, labels.EYE_LEFT) < 0.6 * open_eye  # lashes remain
    assert share(winking, labels.EYE_LEFT) < 0.6 * open_eye < share(winking, labels.EYE_RIGHT)
    inside = (labels.MOUTH_INTERIOR, labels.TEETH)
    assert share(studio, *inside) < 0.001 < 0.004 < share(shouting, *inside)


def test_a_smile_shows_white_teeth_and_shut_lips_none(renderer: Renderer, studio: Rendering) -> None:
    smiling = renderer.render(character(expression={"smile": 0.9, "mouth_open": 0.3, "upper_lip_raise": 0.3}), Scene.studio(SIZE))
    teeth, skin = (smiling.image[smiling.labels == k].astype(float).mean(1) for k in (labels.TEETH, labels.SKIN))
    assert len(teeth) > 45
    assert np.median(teeth) > 0.8 * np.median(skin)
    between = studio.image[studio.labels == labels.TEETH].astype(float)
    assert not len(between) or between.max() < 0.6 * np.median(skin)


def test_the_mirrored_character_has_the_mirrored_labels(renderer: Renderer) -> None:
    rng = np.random.default_rng(2)
    person = Character(
        identity=np.clip(rng.normal(size=244) * 0.15, -1, 1),
        expression=np.array([0.7 if name in ("mouth_left", "eye_close_left", "mouth_open") else 0 for name in EXPRESSION]),
        pose=np.array([4, 22]),
        style={"beard": 3},
    )
    scene = replace(Scene.studio(SIZE), camera=replace(Camera.portrait(SIZE, target=(0.05, 7.1)), roll=7.0))
    drawn = renderer.render(person, scene)
    mirrored = renderer.render(person.mirrored(), scene.mirrored(SIZE))
    expected = np.asarray(labels.MIRRORED)[drawn.labels[:, ::-1]]
    assert (mirrored.labels == expected).mean() > 0.985
    face = expected != labels.BACKGROUND
    difference = np.abs(mirrored.image[face].astype(int) - drawn.image[:, ::-1][face])
    assert difference.mean() < 4
    flipped = (SIZE - mirrored.landmarks[:, 0], mirrored.landmarks[:, 1])
    assert np.abs(np.stack(flipped, 1)[renderer.rig.landmark_mirror] - drawn.landmarks).max() < 0.5


def test_skin_palette_runs_from_light_to_dark(renderer: Renderer) -> None:
    brightness = []
    for option in REFERENCE.slot("skin").options:
        rendering = renderer.render(character(skin=option), Scene.studio(SIZE))
        brightness.append(rendering.image[rendering.labels == labels.SKIN].mean())
    assert np.all(np.diff(brightness) < 0)


def test_light_comes_from_where_the_scene_says(renderer: Renderer) -> None:
    from_left = replace(Scene.studio(SIZE), key=Light.at(70, 20, (1, 1, 1)), fill=Light.at(-70, 20, (0, 0, 0)))
    rendering = renderer.render(character(), from_left)
    skin = rendering.labels == labels.SKIN
    left, right = skin.copy(), skin.copy()
    left[:, : SIZE // 2], right[:, SIZE // 2 :] = False, False
    assert rendering.image[left].mean() > 1.2 * rendering.image[right].mean()


def test_sunglasses_hide_the_eyes(renderer: Renderer, studio: Rendering) -> None:
    scene = replace(Scene.studio(SIZE), glasses=EYEWEAR.index("sunglasses"))
    dark = renderer.render(character(hair="short"), scene)
    eyes = np.isin(studio.labels, (labels.EYE_LEFT, labels.EYE_RIGHT))
    assert dark.image[eyes].mean() < 0.75 * studio.image[eyes].mean()
    assert share(dark, labels.GLASSES) > 0.005


def test_lipstick_and_freckles_show(renderer: Renderer, studio: Rendering) -> None:
    lips = np.isin(studio.labels, (labels.UPPER_LIP, labels.LOWER_LIP))
    red = renderer.render(character(hair="short", lip="red"), Scene.studio(SIZE))
    redness = [rendering.image[lips][:, 0].mean() / rendering.image[lips][:, 1].mean() for rendering in (red, studio)]
    assert redness[0] > 1.25 * redness[1]
    freckled = renderer.render(character(hair="short"), replace(Scene.studio(SIZE), look=Look(freckles=1.0)))
    assert not np.array_equal(freckled.image, studio.image)


def test_a_background_that_is_no_picture_is_refused(renderer: Renderer) -> None:
    with pytest.raises(ValueError, match="background"):
        renderer.render(character(), replace(Scene.studio(SIZE), background=np.zeros((4, 4), np.uint8)))


def test_camera_projects_as_the_kernel_does(renderer: Renderer) -> None:
    camera = replace(Camera.portrait(SIZE), roll=12.0)
    assert camera.project(np.array([0.0, 7.14, 0.3]))[:2] == pytest.approx([SIZE / 2, SIZE / 2], abs=1e-3)
    point = camera.project(np.array([1.0, 7.14, 0.3]))
    assert point[1] > SIZE / 2  # positive roll is clockwise in the picture
    nose = np.array([0.0, 6.9, 1.6])
    assert camera.scaled(2).project(nose)[:2] == pytest.approx(2 * camera.project(nose)[:2])


def test_source_stamp_is_stable() -> None:
    assert source_stamp() == source_stamp() != 0
