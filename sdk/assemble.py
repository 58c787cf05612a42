"""From the models' output tensors to `FaceParams`: pure functions, the same for every kind of client.

Values are rounded to 4 decimals (landmarks and boxes to 0.01 pixels), far below their uncertainty: equal photos then
give equal bytes although sums in floating point may differ in the last bits with the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.contract import STYLE_VISIBLE, sigma_name, style_name
from sdk.errors import FaceRejected, NoFaceError, Reason
from sdk.face_params import DetectedFace, FaceParams, Parameters, StyleChoice, Styles, frozen_array
from sdk.geometry import Affine, apply, compose, invert, magnification
from sdk.quality import Quality
from sdk.schema import Schema

DECIMALS = 4
PIXEL_DECIMALS = 2

Tensors = Mapping[str, NDArray[Any]]
"""A model's outputs for one photo by name, without the batch axis."""


def reject(reasons: tuple[Reason, ...], count: int) -> None:
    """Raise :class:`FaceRejected` if there are reasons to, :class:`NoFaceError` if no face was found at all."""
    if not reasons:
        return
    what = "; ".join(reason.message for reason in reasons)
    if count == 0:
        raise NoFaceError(f"there is no face in the photo: {what}", reasons=reasons, faces=0)
    raise FaceRejected(f"the face in the photo cannot be solved: {what}", reasons=reasons, faces=count)


def face_in_photo(align: Tensors, size: tuple[int, int], from_canvas: Affine, count: int, quality: Quality) -> DetectedFace:
    """The main face in pixels of the photo.

    Args:
        align: outputs of `align`.
        size: width and height of the photo.
        from_canvas: (2, 3), canvas pixels -> pixels of the photo.
        count: number of faces found.
        quality: its measures.
    """
    from_crop = compose(from_canvas, invert(align["transform"]))
    depth = align["landmarks"][:, 2:] * magnification(from_crop)
    landmarks = np.concatenate([apply(from_crop, align["landmarks"][:, :2]), depth], 1)
    corners = apply(from_canvas, align["faces"][0, :4].reshape(2, 2))
    x0, y0, x1, y1 = _rounded(corners.clip(0, size), PIXEL_DECIMALS).ravel().tolist()
    return DetectedFace(
        box=(x0, y0, x1, y1),
        roll=round(float(align["roll"]), PIXEL_DECIMALS),
        landmarks=frozen_array(_rounded(landmarks, PIXEL_DECIMALS)),
        count=count,
        quality=replace(quality, **{name: round(value, DECIMALS) for name, value in asdict(quality).items()}),
    )


def face_params(
    schema: Schema,
    regressor: Tensors,
    encoder: Tensors,
    face: DetectedFace,
    model_version: str,
    timings: Mapping[str, float],
    request_id: str = "",
) -> FaceParams:
    """The answer from the outputs of `regressor` and `encoder`; values are clipped to their ranges."""

    def parameters(name: str, tensor: str, low: float, high: float = np.inf) -> Parameters:
        return Parameters(getattr(schema, name), _rounded(regressor[tensor].clip(low, high), DECIMALS))

    return FaceParams(
        identity=parameters("identity", "identity", -1, 1),
        expression=parameters("expression", "expression", 0, 1),
        pose=parameters("pose", "pose", -90, 90),
        identity_sigma=parameters("identity", sigma_name("identity"), 0),
        expression_sigma=parameters("expression", sigma_name("expression"), 0),
        pose_sigma=parameters("pose", sigma_name("pose"), 0),
        style=_styles(schema, encoder),
        face=face,
        schema_version=schema.version,
        model_version=model_version,
        request_id=request_id,
        timings=timings,
    )


def _styles(schema: Schema, encoder: Tensors) -> Styles:
    choices = []
    visible = _rounded(encoder[STYLE_VISIBLE].clip(0, 1), DECIMALS)
    for k, slot in enumerate(schema.style):
        probabilities = _rounded(encoder[style_name(slot.name)].clip(0, 1), DECIMALS)
        choices.append(StyleChoice(slot, int(probabilities.argmax()), frozen_array(probabilities), float(visible[k])))
    return Styles(tuple(choices))


def _rounded(values: NDArray[Any], decimals: int) -> NDArray[np.float64]:
    return np.asarray(np.round(values.astype(np.float64), decimals) + 0.0, np.float64)  # + 0.0: no negative zeros
