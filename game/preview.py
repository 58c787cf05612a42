"""One picture that shows what came out: photo | character as photographed | neutral, front | neutral, three-quarter.

All three renders have the light and the camera of the studio; the photo is turned, scaled and shifted so that its
landmarks fall on those of the first render, so the two can be compared at a glance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from game.character import Character
from game.renderer import Renderer
from game.scene import Scene

PANEL = 512
MARGIN, GAP, CAPTION_HEIGHT, RADIUS = 24, 14, 44, 14
THREE_QUARTER_YAW = 35.0
PAPER, INK = (245, 244, 241), (70, 72, 76)
CAPTIONS = ("photo", "as photographed", "neutral, front", "neutral, three-quarter")
SIZE = (2 * MARGIN + 4 * PANEL + 3 * GAP, MARGIN + PANEL + CAPTION_HEIGHT)
"""Width and height of a preview in pixels."""


def preview(
    photo: NDArray[np.uint8], character: Character, *, landmarks: NDArray[np.floating] | None = None
) -> NDArray[np.uint8]:
    """The four panels side by side, sRGB uint8 (580, 2138, 3); the same arguments give the same bytes.

    ``photo``: sRGB uint8 (height, width, 3) of any size and shape. ``landmarks`` (468, 2 or more): the face's
    landmarks in pixels of the photo; without them the photo's middle square is shown. Raises ValueError on other
    shapes or dtypes.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(f"photo must be uint8 (height, width, 3), not {photo.dtype} {photo.shape}")
    scene = Scene.studio(PANEL)
    renderer = Renderer(size=PANEL)
    neutral = replace(character, expression=np.zeros_like(character.expression), pose=np.zeros_like(character.pose))
    aside = replace(neutral, pose=np.array([0.0, THREE_QUARTER_YAW], np.float32))
    first, front, three_quarter = (renderer.render(face, scene) for face in (character, neutral, aside))
    to_panel = _middle_square(photo) if landmarks is None else similarity(landmarks, first.landmarks)
    framed = frame_photo(photo, to_panel, scene.background)
    return _sheet([framed, first.image, front.image, three_quarter.image])


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rotation, scale and shift (2, 3) that takes points ``source`` (N, 2 or more) closest to ``target``, least
    squares.

    Raises ValueError if the shapes differ or the source points coincide.
    """
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target) or min(source.shape[1], target.shape[1]) < 2:
        raise ValueError(f"cannot match landmarks {source.shape} to {target.shape}")
    p = source[:, 0].astype(np.float64) + 1j * source[:, 1]
    q = target[:, 0].astype(np.float64) + 1j * target[:, 1]
    centred = p - p.mean()
    spread = np.vdot(centred, centred).real
    if not spread > 0:
        raise ValueError("the landmarks coincide or are not finite")
    turn = np.vdot(centred, q - q.mean()) / spread
    shift = q.mean() - turn * p.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def frame_photo(photo: NDArray[np.uint8], to_panel: NDArray[np.floating], backdrop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo moved by the similarity ``to_panel`` (2, 3), photo to panel pixels, over a backdrop: (512, 512, 3)."""
    image = Image.fromarray(photo)
    scale = float(np.hypot(to_panel[0, 0], to_panel[1, 0]))
    shrink = max(1, int(0.75 / scale))  # averages over blocks first: the warp itself reads only the nearest pixels
    if shrink > 1:
        image = image.reduce(shrink)
    inverse = np.linalg.inv(np.vstack([to_panel, [0, 0, 1]]))[:2] / shrink
    image.putalpha(255)
    warped = image.transform((PANEL, PANEL), Image.Transform.AFFINE, tuple(inverse.ravel().tolist()), Image.Resampling.BICUBIC)
    sheet = Image.fromarray(backdrop).resize((PANEL, PANEL), Image.Resampling.BILINEAR)
    sheet.paste(warped, mask=warped.getchannel("A"))
    return np.asarray(sheet)


def _middle_square(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width = photo.shape[:2]
    scale = PANEL / min(height, width)
    return np.array([[scale, 0, (PANEL - scale * width) / 2], [0, scale, (PANEL - scale * height) / 2]])


def _sheet(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    sheet = Image.new("RGB", SIZE, PAPER)
    corners = _rounded_corners()
    for index, (panel, caption) in enumerate(zip(panels, CAPTIONS, strict=True)):
        left = MARGIN + index * (PANEL + GAP)
        sheet.paste(Image.fromarray(panel), (left, MARGIN), corners)
        sheet.paste(INK, (left, MARGIN + PANEL), _caption(caption))
    return np.asarray(sheet)


def _caption(text: str) -> Image.Image:
    """The mask (44, 512) of a centred line of text; drawn at twice its size, for even spacing."""
    fine = Image.new("L", (2 * PANEL, 2 * CAPTION_HEIGHT), 0)
    draw = ImageDraw.Draw(fine)
    draw.text((PANEL, CAPTION_HEIGHT), text, 255, ImageFont.load_default(40), anchor="mm")
    return fine.reduce(2)


def _rounded_corners() -> Image.Image:
    """The mask (512, 512) of a panel with round corners, smooth at the edges."""
    fine = Image.new("L", (4 * PANEL, 4 * PANEL), 0)
    ImageDraw.Draw(fine).rounded_rectangle((0, 0, 4 * PANEL - 1, 4 * PANEL - 1), 4 * RADIUS, 255)
    return fine.reduce(4)
