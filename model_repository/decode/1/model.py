"""Triton's `decode`: picture files onto the canvas (:mod:`sdk.gpu_image`, :mod:`sdk.letterbox`).

A file that cannot be decoded fails its own request only; the message is what :func:`sdk.errors.to_message` makes of
the typed error, so the client can raise the same."""

import numpy as np
import triton_python_backend_utils as pb_utils

from sdk.errors import InputError, to_message
from sdk.geometry import compose, invert
from sdk.gpu_image import GpuDecoder, NoGpuDecoderError, decode_all
from sdk.letterbox import letterbox


class TritonPythonModel:
    """Each request holds one or more files. All that wait are decoded together, where there is a GPU."""

    def initialize(self, args):
        try:
            self.gpu = GpuDecoder.find()
            pb_utils.Logger.log_info("JPEGs are decoded on the GPU")
        except NoGpuDecoderError as error:
            self.gpu = None
            pb_utils.Logger.log_info(f"pictures are decoded on the CPU: {error}")

    def execute(self, requests):
        files = [pb_utils.get_input_tensor_by_name(request, "image").as_numpy().ravel() for request in requests]
        boxed = (_box(photo) for photo in decode_all([bytes(file) for group in files for file in group], self.gpu))
        return [_answer([next(boxed) for _ in group]) for group in files]


def _box(photo):
    """Canvas, canvas -> photo and the photo's size; or the error that came instead of the photo."""
    if isinstance(photo, InputError):
        return photo
    canvas, to_canvas = letterbox(photo.pixels)
    return canvas, compose(photo.to_photo, invert(to_canvas)), (photo.width, photo.height)


def _answer(boxed):
    for i, error in enumerate(boxed):
        if isinstance(error, InputError):
            if len(boxed) > 1:
                error.photo = i
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(to_message(error), pb_utils.TritonError.INVALID_ARG))
    canvas, from_canvas, size = zip(*boxed, strict=True)
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("canvas", np.stack(canvas)),
            pb_utils.Tensor("from_canvas", np.stack(from_canvas).astype(np.float32)),
            pb_utils.Tensor("photo_size", np.array(size, np.int32)),
        ]
    )
