"""Triton's `focus`: a second look at small faces (:mod:`sdk.closer_look`), and the quality of the face that is solved.

Most faces are large enough, and what `align` said goes through. The region around a small one is cut from the photo's
full resolution and goes through `align` once more; that depends on the data, so it is a call from here (Triton's
business-logic scripting) rather than a step of the ensemble. Without the file (``face_params_canvas``) there is no
second look.

A photo that fails, here or in `align`, fails its own request only."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from sdk import contract
from sdk.closer_look import Aligned, closer_box, look_closer
from sdk.errors import InputError, to_message
from sdk.geometry import compose, invert, magnification, scaling
from sdk.image import decode
from sdk.letterbox import letterbox
from sdk.models import find_models
from sdk.quality import count_faces, measure

SEEN = tuple(tensor for tensor in contract.ALIGN.outputs if tensor.name in contract.FOCUS.output_names)


class TritonPythonModel:
    """Each request holds one or more photos."""

    def initialize(self, args):
        files = find_models(Path(args["model_repository"]).parent)
        self.versions = {"model_version": files.version().encode(), "schema_version": files.schema.version.encode()}

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        rows = []
        for i in range(len(inputs["canvas"])):
            try:
                rows.append(_focus({name: values[i] for name, values in inputs.items()}))
            except InputError as error:
                if len(inputs["canvas"]) > 1:
                    error.photo = i
                return _failed(to_message(error), pb_utils.TritonError.INVALID_ARG)
            except pb_utils.TritonModelException as error:
                return _failed(str(error), pb_utils.TritonError.INTERNAL)
        outputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        outputs |= {name: np.full((len(rows), 1), version, object) for name, version in self.versions.items()}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in outputs.items()])


def _failed(message, code):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _focus(inputs):
    """The outputs for one photo."""
    from_canvas = inputs["from_canvas"].astype(np.float64) if "from_canvas" in inputs else scaling(1.0)
    first = Aligned(inputs["canvas"], from_canvas, {t.name: inputs[t.name].reshape(t.shape) for t in SEEN})
    aligned, count = first, count_faces(first.tensors)
    if "image" in inputs and closer_box(first) is not None:
        photo = decode(inputs["image"].item())
        aligned, count = look_closer(first, lambda box: _align(photo.region(box)))
    quality = measure(aligned.tensors, aligned.canvas, magnification(aligned.from_canvas))
    return {
        **{t.name: aligned.tensors[t.name].reshape(t.served_shape) for t in SEEN},
        "from_canvas": aligned.from_canvas.astype(np.float32),
        "quality": np.array(astuple(quality), np.float32),
        "face_count": np.array([count], np.int32),
    }


def _align(photo):
    """Part of a photo through the model `align`."""
    canvas, to_canvas = letterbox(photo.pixels)
    request = pb_utils.InferenceRequest(
        model_name="align", requested_output_names=[t.name for t in SEEN], inputs=[pb_utils.Tensor("canvas", canvas[None])]
    )
    response = request.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    tensors = {t.name: pb_utils.get_output_tensor_by_name(response, t.name).as_numpy().reshape(t.shape) for t in SEEN}
    return Aligned(canvas, compose(photo.to_photo, invert(to_canvas)), tensors)
