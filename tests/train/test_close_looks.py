"""Close looks: that they see what they are named after, and both sides of a face alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from game.character import Character
from game.labels import LABELS
from game.renderer import Rendering
from game.rig import Rig
from sdk.schema import REFERENCE
from train.close_looks import LOOKS, TOLD, CloseLook, CloseLooks
from train.geometry import mirrored_landmarks
from train.layers import mirrored, mirrored_points
from train.studio import Studio

ORDER = torch.from_numpy(mirrored_landmarks(Rig.load()))
SEEN = {"brow": ("brow_right", "brow_left"), "eye": ("eye_right", "eye_left"), "mouth": ("upper_lip", "lower_lip")}


@pytest.fixture(scope="module", params=[-20, 0, 20])
def rendering(request: pytest.FixtureRequest) -> Rendering:
    """The base face with its head turned."""
    style = {slot.name: 0 for slot in REFERENCE.style}
    pose = np.array([5, request.param], np.float32)
    return Studio().render(Character(np.zeros(244, np.float32), np.zeros(23, np.float32), pose, style))


def landmarks(rendering: Rendering) -> Tensor:
    return torch.from_numpy(rendering.landmarks[None, :, :2]).float()


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_sees_all_of_what_it_is_named_after(rendering: Rendering, name: str) -> None:
    look = CloseLook(LOOKS[name])
    meshes = landmarks(rendering), landmarks(rendering)[:, ORDER]
    for side, mesh in enumerate(meshes[: 1 + look.look.paired]):
        parts = [SEEN[name][side]] if look.look.paired else SEEN[name]
        rows, columns = np.isin(rendering.labels, [LABELS.index(part) for part in parts]).nonzero()
        pixels = torch.from_numpy(np.stack([columns, rows], 1) + 0.5).float()
        assert len(pixels) > 30
        nearest = torch.cdist(pixels, look.points(mesh)[0]).min(1).values
        assert (nearest < 2).float().mean() > 0.95, parts


@pytest.mark.parametrize("name", [name for name, look in LOOKS.items() if look.paired])
def test_the_other_side_is_seen_as_if_it_were_this_one(rendering: Rendering, name: str) -> None:
    """What a look sees on a picture and its mirror image are the same two pictures, exchanged."""
    look, seen = CloseLook(LOOKS[name]).eval(), []
    look.layers.register_forward_pre_hook(lambda _, pictures: seen.append(pictures[0]))
    crop, mesh = torch.from_numpy(rendering.image).permute(2, 0, 1)[None].float() / 255, landmarks(rendering)
    for picture, points in ((crop, mesh), (mirrored(crop), mirrored_points(mesh, ORDER))):
        look(look.cut(picture, (points, points[:, ORDER])))
    torch.testing.assert_close(seen[1], seen[0].flip(0), atol=1e-3, rtol=0)
    assert seen[0].std() > 0.1


def test_dimmer_light_is_told_apart_from_what_is_seen() -> None:
    look, seen = CloseLook(LOOKS["mouth"]).eval(), []
    look.layers.register_forward_pre_hook(lambda _, pictures: seen.append(pictures[0]))
    crop, mesh = 0.3 + 0.7 * torch.rand(1, 3, 256, 256), 120 + 16 * torch.rand(1, 468, 2)
    told = [look(look.cut(light * (crop + 0.02) - 0.02, (mesh, mesh))) for light in (1.0, 0.5)]
    torch.testing.assert_close(seen[1], seen[0], atol=1e-4, rtol=0)
    assert (told[0] - told[1]).abs().max() > 1e-3


def test_each_face_is_looked_at_by_itself() -> None:
    looks = CloseLooks().eval()
    crop, mesh = torch.rand(3, 3, 256, 256), 256 * torch.rand(3, 468, 2)
    told = looks(looks.cut(crop, mesh, ORDER))
    assert told.shape == (3, TOLD * len(LOOKS))
    torch.testing.assert_close(looks(looks.cut(crop[1:2], mesh[1:2], ORDER)), told[1:2], atol=1e-5, rtol=0)
