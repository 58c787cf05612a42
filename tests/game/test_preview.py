"""The preview: four panels, the photo framed as the character is, whatever the photo's shape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from game.character import Character
from game.preview import GAP, MARGIN, PANEL, SIZE, frame_photo, preview, similarity
from game.renderer import Renderer
from game.scene import Scene
from sdk.schema import REFERENCE

EXPRESSION = np.zeros(len(REFERENCE.expression), np.float32)
EXPRESSION[REFERENCE.expression.index("mouth_open")] = 0.8
SMILING = Character(expression=EXPRESSION, pose=(5.0, 15.0), style={"hair": REFERENCE.slot("hair").index("short")})
BACKDROP = np.full((4, 4, 3), 90, np.uint8)


def panel(sheet: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    left = MARGIN + index * (PANEL + GAP)
    return sheet[MARGIN : MARGIN + PANEL, left : left + PANEL]


@pytest.fixture(scope="module")
def first() -> NDArray[np.float32]:
    """The landmarks (468, 2) of the first render, in its pixels."""
    return Renderer(size=PANEL).render(SMILING, Scene.studio(PANEL)).landmarks


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """A photo wider than high, with a gradient in it."""
    ramp = np.linspace(0, 255, 900)[None, :, None] * np.ones((600, 1, 3))
    return ramp.astype(np.uint8)


def test_four_different_panels_and_the_same_bytes_again(photo: NDArray[np.uint8], first: NDArray[np.float32]) -> None:
    sheet = preview(photo, SMILING, landmarks=first * 1.5 + 40)
    assert sheet.dtype == np.uint8 and sheet.shape == (SIZE[1], SIZE[0], 3)
    panels = [panel(sheet, index).astype(int) for index in range(4)]
    for one in range(4):
        for other in range(one):
            assert np.abs(panels[one] - panels[other]).mean() > 2, "panels differ"
    captions = sheet[MARGIN + PANEL :].astype(int)
    assert (captions.max() - captions.min()) > 100, "there are captions"
    np.testing.assert_array_equal(preview(photo, SMILING, landmarks=first * 1.5 + 40), sheet)


def test_photo_lands_on_the_first_render(first: NDArray[np.float32]) -> None:
    angle = np.deg2rad(25)
    turn = 3.1 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    in_photo = first @ turn.T + (900, 300)
    to_panel = similarity(in_photo, first)
    np.testing.assert_allclose(in_photo @ to_panel[:, :2].T + to_panel[:, 2], first, atol=1e-3)
    photo = np.full((2400, 2600, 3), 200, np.uint8)
    x, y = np.round(in_photo[4]).astype(int)
    photo[y - 12 : y + 12, x - 12 : x + 12] = (255, 0, 0)
    framed = frame_photo(photo, to_panel, BACKDROP).astype(int)
    red = np.argwhere(framed[..., 0] - framed[..., 1] > 128).mean(0)[::-1] + 0.5
    np.testing.assert_allclose(red, first[4], atol=0.7)


@pytest.mark.parametrize("shape", [(1, 1), (3000, 40), (40, 3000), (256, 256), (3000, 4000)])
def test_photos_of_any_shape(shape: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), (10, 200, 30), np.uint8)
    scale = PANEL / max(shape)
    fitted = np.array([[scale, 0, 0], [0, scale, 0]])
    framed = frame_photo(photo, fitted, BACKDROP)
    assert framed.shape == (PANEL, PANEL, 3)
    inside = (slice(0, max(1, int(shape[0] * scale) - 2)), slice(0, max(1, int(shape[1] * scale) - 2)))
    assert np.abs(framed[inside].astype(int) - (10, 200, 30)).max() <= 1
    if shape[0] < shape[1]:
        assert np.abs(framed[-5:].astype(int) - 90).max() <= 1, "the backdrop shows beside the photo"


def test_without_landmarks_the_middle_of_the_photo() -> None:
    photo = np.zeros((100, 300, 3), np.uint8)
    photo[:, 100:200] = (0, 0, 255)
    middle = panel(preview(photo, Character.base()), 0)
    assert np.median(middle, axis=(0, 1)).tolist() == [0, 0, 255]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"photo must be uint8"):
        preview(np.zeros((10, 10, 3), np.float32), Character.base())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"photo must be uint8 .* \(10, 10\)"):
        preview(np.zeros((10, 10), np.uint8), Character.base())
    with pytest.raises(ValueError, match="cannot match landmarks"):
        similarity(np.zeros((467, 2)), np.zeros((468, 2)))
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.zeros((468, 2)), np.zeros((468, 2)))
