"""Triton's `decode`: picture files onto the canvas (:mod:`sdk.image`, :mod:`sdk.letterbox`).

A file that cannot be decoded fails its own request only; the message is what :func:`sdk.errors.to_message` makes of
the typed error, so the client can raise the same."""

import numpy as np
import triton_python_backend_utils as pb_utils

from sdk.errors import FaceParamError, to_message
from sdk.geometry import compose, invert
from sdk.image import decode
from sdk.letterbox import letterbox


class TritonPythonModel:
    """Each request holds one or more files."""

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        files = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().ravel()
        try:
            photos = [decode(bytes(file)) for file in files]
        except FaceParamError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(to_message(error), pb_utils.TritonError.INVALID_ARG))
        boxed = [letterbox(photo.pixels) for photo in photos]
        from_canvas = [compose(photo.to_photo, invert(to)) for photo, (_, to) in zip(photos, boxed, strict=True)]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("canvas", np.stack([canvas for canvas, _ in boxed])),
                pb_utils.Tensor("from_canvas", np.stack(from_canvas).astype(np.float32)),
                pb_utils.Tensor("photo_size", np.array([[photo.width, photo.height] for photo in photos], np.int32)),
            ]
        )
