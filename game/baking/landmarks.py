"""MediaPipe's 468 FaceMesh points on the game's mesh, and the 68 usual ones among them.

The bindings come from ``landmark_map.json``, which ``python -m train.landmark_map`` measures; they are vertex numbers
and barycentric weights, hence follow the surface under every identity and expression.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

_MAP = Path(__file__).with_name("landmark_map.json")

# The 68 points of the iBUG convention in FaceMesh's numbers: from the picture's left to its right (the person's right
# to left).
LANDMARKS_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107,  # right brow
    336, 296, 334, 293, 301,  # left brow
    168, 197, 5, 4,  # bridge of the nose
    75, 97, 2, 326, 305,  # base of the nose
    33, 160, 158, 133, 153, 144,  # right eye
    362, 385, 387, 263, 373, 380,  # left eye
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)  # fmt: skip


def bake_landmarks() -> dict[str, npt.NDArray]:
    """Bindings (468, 3) and weights, each point's mirror image, and the 68-point subset."""
    fields = json.loads(_MAP.read_text(encoding="utf-8"))
    weights = np.array(fields["weights"], np.float32)
    return {
        "landmark_vertices": np.array(fields["vertices"], np.int32),
        "landmark_weights": weights / weights.sum(1, keepdims=True),
        "landmark_mirror": np.array(fields["mirror"], np.int32),
        "landmarks68": np.array(LANDMARKS_68, np.int32),
    }
