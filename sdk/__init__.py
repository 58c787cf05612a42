"""faceparam's client: a player's photo in, the parameters of a game character's face out.

::

    from sdk import FaceParamClient

    with FaceParamClient.embedded() as client:
        params = client.infer("me.jpg")
    print(params["nose_tip.ty"], params.expression["smile"], params.style["hair"].option)

Importing this package loads NumPy and nothing else; ONNX Runtime and OpenCV are loaded when an embedded client is made.
"""

from sdk.client import Backend, FaceParamClient
from sdk.errors import (
    ClientClosedError,
    FaceParamError,
    FaceRejected,
    ImageDecodeError,
    ImageReadError,
    ImageTooLargeError,
    InputError,
    MissingDependencyError,
    ModelContractError,
    ModelError,
    ModelNotFoundError,
    NoFaceError,
    Reason,
    SchemaError,
    UnsupportedImageError,
)
from sdk.face_params import DetectedFace, FaceParams, Parameters, StyleChoice, Styles
from sdk.quality import Quality
from sdk.schema import REFERENCE, Schema, Slot

__all__ = [
    "FaceParamClient",
    "Backend",
    "FaceParams",
    "Parameters",
    "StyleChoice",
    "Styles",
    "DetectedFace",
    "Quality",
    "Schema",
    "Slot",
    "REFERENCE",
    "FaceParamError",
    "InputError",
    "ImageReadError",
    "ImageDecodeError",
    "UnsupportedImageError",
    "ImageTooLargeError",
    "FaceRejected",
    "NoFaceError",
    "Reason",
    "ModelError",
    "ModelNotFoundError",
    "ModelContractError",
    "MissingDependencyError",
    "ClientClosedError",
    "SchemaError",
]
