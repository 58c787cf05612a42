"""faceparam's client: a player's photo in, the parameters of a game character's face out.

::

    from sdk import FaceParamClient

    with FaceParamClient("faces.example.com:8001") as client:  # or FaceParamClient.embedded(): no server
        params = client.infer("me.jpg")
    print(params["nose_tip.ty"], params.expression["smile"], params.style["hair"].option)

Importing this package loads NumPy and nothing else: gRPC is loaded when a client of a server is made, ONNX Runtime and
OpenCV when an embedded one is.
"""

from sdk.async_client import AsyncBackend, AsyncFaceParamClient
from sdk.client import Backend, FaceParamClient
from sdk.errors import (
    ClientClosedError,
    ContractMismatchError,
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
    ServerError,
    ServiceConnectionError,
    ServiceError,
    ServiceNotReadyError,
    ServiceOverloadedError,
    ServiceTimeoutError,
    UnsupportedImageError,
)
from sdk.face_params import DetectedFace, FaceParams, Parameters, StyleChoice, Styles
from sdk.fusion import fuse
from sdk.outcome import Outcome
from sdk.quality import Quality
from sdk.schema import REFERENCE, Schema, Slot
from sdk.stream import AsyncFaceStream, FaceStream, OneEuro, Smoothing

__all__ = [
    "FaceParamClient",
    "AsyncFaceParamClient",
    "Backend",
    "AsyncBackend",
    "Outcome",
    "fuse",
    "FaceStream",
    "AsyncFaceStream",
    "Smoothing",
    "OneEuro",
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
    "ServiceError",
    "ServiceConnectionError",
    "ServiceTimeoutError",
    "ServiceOverloadedError",
    "ServiceNotReadyError",
    "ContractMismatchError",
    "ServerError",
    "MissingDependencyError",
    "ClientClosedError",
    "SchemaError",
]
