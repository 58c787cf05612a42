"""What to do with solved faces on disk: JSON, a glTF character and a preview picture.

glTF and previews come from the reference game, an optional package: it is imported when one of them is written.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sdk.errors import MissingDependencyError
from sdk.face_params import FaceParams

if TYPE_CHECKING:
    from sdk.photo_input import PhotoInput


def write_json(path: Path, params: FaceParams) -> None:
    """Write the parameters as readable JSON."""
    path.write_text(params.to_json(indent=1) + "\n", encoding="utf-8")


def to_glb(params: FaceParams, *, arkit: bool = False) -> bytes:
    """See :meth:`sdk.face_params.FaceParams.to_glb`."""
    glb: bytes = _game("gltf").to_glb(character(params), arkit=arkit)
    return glb


def write_preview(path: Path, params: FaceParams, photo: PhotoInput) -> None:
    """Write one PNG: photo | character as photographed | neutral, front | neutral, three-quarter.

    Raises:
        MissingDependencyError: the reference game is not installed.
    """
    import cv2

    from sdk.geometry import apply, invert
    from sdk.image import decode

    picture = decode(photo)
    landmarks = apply(invert(picture.to_photo), params.face.landmarks[:, :2])
    sheet = _game("preview").preview(picture.pixels, character(params), landmarks=landmarks)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())


def character(params: FaceParams) -> Any:
    """The `game.character.Character` of these parameters.

    Raises:
        MissingDependencyError: the reference game is not installed.
    """
    return _game("character").Character(
        identity=params.identity.array,
        expression=params.expression.array,
        pose=params.pose.array,
        style=params.style.indices(),
    )


def require_game() -> None:
    """Raise :class:`MissingDependencyError` now rather than after the first photo if the reference game is missing."""
    _game("gltf")
    _game("preview")


def _game(module: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(f"game.{module}")
    except ImportError as error:
        raise MissingDependencyError(
            f"previews and glTF files need the reference game ({error}): pip install 'faceparam[game]'", name=error.name
        ) from error
