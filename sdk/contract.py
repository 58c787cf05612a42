"""The contract of the models and ensembles: tensor names, types and shapes.

::

    face_params         image -> decode -> align -> focus -> regressor, encoder
    face_params_canvas  canvas ----------> align -> focus -> regressor, encoder

Whoever exports a model, writes its ``config.pbtxt``, runs it or tests it derives names and shapes from here. Shapes
leave out the first axis, which is always the batch (:data:`BATCH_AXIS`, dynamic).

Pixel coordinates: the centre of the first pixel is (0.5, 0.5), x to the right, y down. *Canvas* pixels are those of the
letterboxed photo, *crop* pixels those of the aligned face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sdk.schema import REFERENCE, Schema

BATCH_AXIS = "batch"
"""Name of the dynamic first axis in the ONNX files."""
OPSET = 20
"""ONNX operator set of the model files."""
CANVAS_SIZE = 640
"""Side of the canvas in pixels: the photo, scaled to fit, on black."""
CROP_SIZE = 256
"""Side of the aligned crop in pixels."""
CROP_EYE_DISTANCE = 54.0
"""Distance between the eye centres of a frontal face in the crop, in pixels: leaves room for hair and chin."""
CROP_EYE_LINE = 0.48
"""Height of the eye line in the crop, as a share of its side from the top."""
LANDMARKS = 468
"""Points of MediaPipe's FaceMesh."""
MAX_BATCH = 32
"""Most photos in one request, and in one batch of a model."""
STYLE_VISIBLE = "style_visible"
"""Name of the tensor (slots,): the probability that each style slot can be seen on the photo."""
MAX_FACES = 4
"""How many candidate faces `align` reports."""
QUALITY = ("detector_score", "mesh_score", "eye_distance", "sharpness", "brightness", "contrast", "yaw", "cut_off")
"""Order of the measures in the tensor `quality`: the fields of :class:`sdk.quality.Quality`."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model. ``dtype`` is a NumPy name, or "bytes"; ``shape`` leaves out the batch axis. An
    ``optional`` input may be left out of a request."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    @property
    def served_shape(self) -> tuple[int, ...]:
        """The shape in Triton, which knows no scalars: (1,) for them."""
        return self.shape or (1,)


@dataclass(frozen=True)
class Model:
    """One model: its name (that of its folder in the model repository), inputs and outputs in order."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(tensor.name for tensor in self.outputs)


CANVAS = Tensor("canvas", "uint8", (CANVAS_SIZE, CANVAS_SIZE, 3))
"""RGB in [0, 255], letterboxed: the photo's centre at the canvas' centre, the rest black."""
CROP = Tensor("crop", "float32", (3, CROP_SIZE, CROP_SIZE))
"""RGB in [0, 1]: output of `align`, input of `regressor` and `encoder`."""
MESH = Tensor("landmarks", "float32", (LANDMARKS, 3))
"""Crop pixels; z in the same unit, smaller is nearer: output of `align`, input of `regressor` and `encoder`."""

IMAGE = Tensor("image", "bytes", (1,))
"""A picture file: JPEG, PNG, WebP or BMP."""
FROM_CANVAS = Tensor("from_canvas", "float32", (2, 3))
"""Canvas pixels -> pixels of the upright photo."""

DECODE = Model(
    "decode",
    inputs=(IMAGE,),
    outputs=(CANVAS, FROM_CANVAS, Tensor("photo_size", "int32", (2,))),  # width and height of the upright photo
)
"""A picture file onto the canvas. A bad file fails its own request, with a message that :mod:`sdk.errors` reads."""

ALIGN = Model(
    "align",
    inputs=(CANVAS,),
    outputs=(
        CROP,
        Tensor("mask", "float32", (1, CROP_SIZE, CROP_SIZE)),  # share of each crop pixel that lies inside the canvas
        MESH,
        Tensor("transform", "float32", (2, 3)),  # canvas pixels -> crop pixels
        Tensor("detector_score", "float32", ()),  # probability, of the main face
        Tensor("mesh_score", "float32", ()),  # probability that the landmarks lie on a face
        Tensor("roll", "float32", ()),  # degrees, in the canvas; > 0: the head leans to the person's own right
        Tensor("faces", "float32", (MAX_FACES, 5)),  # x0, y0, x1, y1 in canvas pixels, score; the main face first
    ),
)


_LOOK = ("landmarks", "transform", "detector_score", "mesh_score", "roll", "faces")
FOCUS = Model(
    "focus",
    inputs=(
        replace(IMAGE, optional=True),
        CANVAS,
        replace(FROM_CANVAS, optional=True),
        *(tensor for tensor in ALIGN.outputs if tensor.name in ("crop", *_LOOK)),
    ),
    outputs=(
        CROP,
        FROM_CANVAS,
        *(tensor for tensor in ALIGN.outputs if tensor.name in _LOOK),
        Tensor("quality", "float32", (len(QUALITY),)),
        Tensor("face_count", "int32", ()),
        Tensor("model_version", "bytes", (1,)),  # of the model files, see sdk.models.ModelFiles.version
        Tensor("schema_version", "bytes", (1,)),
    ),
)
"""Looks again at a small face in a large photo (:mod:`sdk.closer_look`; needs the file), and measures its quality."""


SCHEMA = Model("schema", inputs=(), outputs=(Tensor("schema", "bytes", (1,)),))
"""The text of ``schema.json``: what the parameters are called, for any client to ask. Not batched."""


def regressor(schema: Schema = REFERENCE) -> Model:
    """The model of CN112200236A for this schema: crop and landmarks -> parameters and the standard deviation of each."""
    vectors = {"identity": len(schema.identity), "expression": len(schema.expression), "pose": len(schema.pose)}
    values = tuple(Tensor(name, "float32", (length,)) for name, length in vectors.items())
    sigmas = tuple(Tensor(sigma_name(name), "float32", (length,)) for name, length in vectors.items())
    return Model("regressor", inputs=(CROP, MESH), outputs=values + sigmas)


def encoder(schema: Schema = REFERENCE) -> Model:
    """The model of CN109902767B for this schema: crop and landmarks -> style probabilities, how likely each slot can be seen at
    all, and its own continuous parameters."""
    styles = tuple(Tensor(style_name(slot.name), "float32", (len(slot.options),)) for slot in schema.style)
    visible, identity = ((STYLE_VISIBLE, len(schema.style)), ("identity", len(schema.identity)))
    outputs = (*styles, *(Tensor(name, "float32", (length,)) for name, length in (visible, identity)))
    return Model("encoder", inputs=(CROP, MESH), outputs=outputs)


def models(schema: Schema = REFERENCE) -> Mapping[str, Model]:
    """The three networks by name, in the order in which a photo passes through them."""
    return {model.name: model for model in (ALIGN, regressor(schema), encoder(schema))}


def face_params(schema: Schema = REFERENCE) -> tuple[Model, Model]:
    """The ensembles: a picture file in (and the photo's size out too), or a canvas in."""
    outputs = (
        *(tensor for tensor in FOCUS.outputs if tensor.name != CROP.name),
        *regressor(schema).outputs,
        *(tensor for tensor in encoder(schema).outputs if tensor.name != "identity"),
    )
    return (
        Model("face_params", inputs=(IMAGE,), outputs=(DECODE.outputs[2], *outputs)),
        Model("face_params_canvas", inputs=(CANVAS,), outputs=outputs),
    )


def sigma_name(name: str) -> str:
    """Name of the tensor that holds the standard deviations of `name`."""
    return f"{name}_sigma"


def style_name(slot: str) -> str:
    """Name of the tensor that holds the probabilities of a style slot."""
    return f"style_{slot}"
