"""A solved face as a ``.glb`` file: head with morph targets, hair, textures and a head joint. Core glTF 2.0, no
extension.

    from game.gltf import write_glb
    write_glb("face.glb", character)

Metres, y up, facing +Z; the origin is the pivot of the neck. The base geometry is the character's resting face, so
the identity is baked in; the expression is in the weights of the 23 morph targets (or of the 52 ARKit ones) and the
pose in the head joint. The same character gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from game.character import Character
from game.gltf import document
from game.gltf.container import GlbBuilder
from game.gltf.geometry import face_shapes
from game.gltf.parts import FaceParts
from game.materials import Textures
from game.pigments import paint
from game.rig import Rig
from game.scene import Scene
from game.styles import Styles

__all__ = ["to_glb", "write_glb"]


def write_glb(path: str | Path, character: Character, *, arkit: bool = False) -> None:
    """Write a character to a ``.glb`` file; see :func:`to_glb`. OSError where the file cannot be written."""
    Path(path).write_bytes(to_glb(character, arkit=arkit))


def to_glb(character: Character, *, arkit: bool = False) -> bytes:
    """A character as the bytes of a ``.glb`` file; with ``arkit`` the morph targets are the 52 ARKit shapes."""
    rig, styles, style = Rig.load(), Styles.load(), character.style
    nowhere, up = np.zeros(3, np.float32), np.array([0, 1, 0], np.float32)  # eyeballs have pictures of their own
    colours = paint(style, Scene.studio(), styles.palettes, (nowhere, nowhere), up, mouth_line=0.0, mouth_light=1.0)
    pictures = Textures(
        styles.detail, styles.freckles, styles.lips,
        styles.brow[style["brow"]], styles.beard[style["beard"]], styles.scalp[style["hair"]],
    )  # fmt: skip
    builder = GlbBuilder()
    skin = document.add_rig_nodes(builder, character.pose)
    shapes = face_shapes(rig, character, arkit)
    parts = FaceParts(builder, rig, shapes, colours, pictures)
    roots = [0, document.add_mesh(builder, "face", parts.primitives(), skin, shapes)]
    hair = styles.hair[style["hair"]]
    if hair is not None:
        primitive, moves = parts.hair(hair)
        roots.append(document.add_mesh(builder, "hair", [primitive], skin, shapes if moves else None))
    scene = builder.add("scenes", name="character", nodes=roots)
    return builder.to_bytes(asset={"version": "2.0", "generator": "faceparam"}, scene=scene)
