"""Hair without the ribbons that nobody sees.

A hair style has as many ribbons as it takes to cover the head; about half of their triangles lie under others and are not seen
from any side that a portrait is taken from. They are found by drawing several people in many poses and left out, once per style,
which halves the time that hair takes in every picture.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from game.assembly import Assembly
from game.camera import Camera
from game.rig import Rig
from game.style_parts import HairStyle
from game.visibility import SampleBuffers

_SIZE = 200
_POSES = tuple((pitch, yaw) for pitch in (-25.0, 0.0, 25.0) for yaw in (-65.0, -35.0, -12.0, 12.0, 35.0, 65.0))
_PER_VERTEX = ("vertices", "normals", "rest", "tangents", "along", "across", "random", "openness")


def pruned(hair: HairStyle, rig: Rig) -> HairStyle:
    """The style without the triangles that are seen in no pose, and whose corners no seen triangle touches."""
    assembly, buffers = Assembly(rig, hair, None), SampleBuffers(_SIZE)
    camera = Camera.portrait(_SIZE, view=4.2, target=(0.0, 6.9))
    seen = np.zeros(len(assembly.packed), bool)
    for person, pose in enumerate(_POSES):
        identity = rig.phenotype_identity[person % len(rig.phenotype_identity)] * (person % 2)
        assembly.place(rig.vertices(identity), np.array(pose, np.float32))
        buffers.draw(assembly, camera)
        drawn = np.unique(buffers.index)
        seen[assembly.triangles[drawn[drawn >= 0]]] = True
    wanted = hair.triangles[seen[assembly.hair_row :][hair.triangles].all(1)]
    used = np.unique(wanted)
    place = np.zeros(len(hair.vertices), np.int32)
    place[used] = np.arange(len(used))
    hung = hair.anchors
    anchors = replace(hung, first=hung.first[used], second=hung.second[used], share=hung.share[used])
    return replace(hair, triangles=place[wanted], anchors=anchors, **{name: getattr(hair, name)[used] for name in _PER_VERTEX})
