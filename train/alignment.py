"""Face alignment: a letterboxed photo to an upright 256-pixel crop, 468 landmarks and scores, as one static graph.

:class:`Aligner` runs BlazeFace on the whole canvas, FaceMesh on the best candidate, FaceMesh again on the region that the
first landmarks give (close-ups gain most), solves the similarity transform from the landmarks in closed form, and warps.
Training, tests and clients all use this one definition, exported by :mod:`export.build_engines`.

It is written so that ONNX Runtime and TensorRT both run its graph well: static shapes but for the batch, no loops over data, no
non-maximum suppression node. Its conditions only skip work that no picture of the batch needs; a batch gives the same
results as its pictures one by one.

Frames: *canvas* pixels (640), *crop* pixels (256). The centre of the first pixel is (0.5, 0.5), x to the right, y down.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdk.contract import CROP_EYE_DISTANCE, CROP_EYE_LINE, CROP_SIZE, LANDMARKS
from train import facemesh
from train.face_detector import FaceDetector
from train.mediapipe_weights import load_facemesh
from train.warp import Pyramid, PyramidBuilder, Warp

RIGHT_EYE = (33, 133, 159, 145)
LEFT_EYE = (263, 362, 386, 374)
MOUTH = (61, 291, 13, 14)
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263
"""FaceMesh landmarks. Right and left are the person's own."""
MOUTH_DROP = 1.08
"""Height of the mouth below the eye line, in eye distances, of the face that the crop is fitted to."""
REGION = 1.5
"""Side of FaceMesh's input region, in sides of the box around the face."""


class Aligner(nn.Module):
    """The whole of alignment as one module.

    Input: ``canvas`` uint8 (B, 640, 640, 3) RGB. Output: the tensors of :data:`sdk.contract.ALIGN`, in its order:
    ``crop`` (B, 3, 256, 256) RGB in [0, 1], zero outside the canvas; ``mask`` (B, 1, 256, 256), the share of each crop pixel
    inside the canvas; ``landmarks`` (B, 468, 3) in crop pixels, z in the same unit and smaller towards the camera;
    ``transform`` (B, 2, 3), canvas pixels -> crop pixels; ``detector_score``, ``mesh_score`` (B,) probabilities; ``roll`` (B,)
    degrees, > 0 when the head leans to the person's own right; ``faces`` (B, 4, 5), distinct candidates x0, y0, x1, y1
    in canvas pixels and score, the main face first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = PyramidBuilder()
        self.detector = FaceDetector()
        self.mesh = MeshRegion()
        self.fit = SimilarityFit()
        self.warp = Warp(CROP_SIZE)

    def forward(self, canvas: Tensor) -> tuple[Tensor, ...]:
        pyramid = self.pyramid(canvas)
        main, faces = self.detector(pyramid)
        landmarks, _ = self.mesh(pyramid, *region_of_detection(main), half=True)
        landmarks, logit = self.mesh(pyramid, *region_of_landmarks(landmarks))
        transform, roll = self.fit(landmarks)
        crop, mask = self.warp(pyramid, *invert(transform))
        scale = torch.sqrt(transform[:, 0, 0] ** 2 + transform[:, 1, 0] ** 2)[:, None, None]  # crop px per canvas px
        xy = torch.matmul(landmarks[..., :2], transform[:, :, :2].transpose(1, 2)) + transform[:, None, :, 2]
        landmarks = torch.cat((xy, landmarks[..., 2:] * scale), -1)
        return crop, mask, landmarks, transform, faces[:, 0, 4], torch.sigmoid(logit), roll, faces


def region_of_detection(main: Tensor) -> tuple[Tensor, Tensor]:
    """The detector's main face (B, 16) to FaceMesh's region: centre (B, 2) and the vector (B, 2) along its upper side."""
    along = unit(main[:, 6:8] - main[:, 4:6])
    return main[:, :2], along * (REGION * main[:, 2:4].amax(1, keepdim=True))


def region_of_landmarks(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Landmarks (B, 468, 3) to the region of another pass, as :func:`region_of_detection`."""
    along = unit(landmarks[:, LEFT_EYE_CORNER, :2] - landmarks[:, RIGHT_EYE_CORNER, :2])
    turn = torch.stack((along, perpendicular(along)), 2)  # (B, 2, 2): canvas axes -> the face's axes
    turned = torch.matmul(landmarks[..., :2], turn)
    low, high = turned.amin(1), turned.amax(1)
    centre = torch.matmul(((low + high) / 2)[:, None], turn.transpose(1, 2))[:, 0]
    return centre, along * (REGION * (high - low).amax(1, keepdim=True))


def unit(vector: Tensor) -> Tensor:
    """(B, 2) vectors to length 1."""
    return vector / torch.sqrt((vector * vector).sum(1, keepdim=True) + 1e-6)


def perpendicular(vector: Tensor) -> Tensor:
    """(B, 2) vectors turned by 90 degrees, x axis to y axis."""
    return torch.stack((-vector[:, 1], vector[:, 0]), 1)


class MeshRegion(nn.Module):
    """FaceMesh on a square region of the canvas, at half or at full resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_facemesh()
        self.warp = Warp(facemesh.INPUT_SIZE)
        self.warp_half = Warp(facemesh.INPUT_SIZE // 2)

    def forward(self, pyramid: Pyramid, centre: Tensor, side: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
        """Region (centre and upper side, canvas pixels) to landmarks (B, 468, 3) in canvas pixels, and the face's logit (B,)."""
        step = side / facemesh.INPUT_SIZE  # one pixel of the network's input to the right, in canvas pixels
        axes = torch.stack((step, perpendicular(step)), 1)  # (B, 2, 2)
        corner = centre - axes.sum(1) * (facemesh.INPUT_SIZE / 2)
        if half:
            points, logit = self.network.forward_half(self.warp_half(pyramid, 2 * step, corner)[0])
        else:
            points, logit = self.network(self.warp(pyramid, step, corner)[0])
        xy = torch.matmul(points[..., :2], axes) + corner[:, None]
        length = torch.sqrt((step * step).sum(1))[:, None, None]
        return torch.cat((xy, points[..., 2:] * length), 2), logit


class SimilarityFit(nn.Module):
    """The similarity transform that puts a face into the crop, in closed form.

    Rotation and position are those of the least-squares fit of the two eyes and the mouth to the crop's frontal face. The scale
    comes from the distances eye to eye and eyes to mouth in three dimensions: they hardly change when the head turns,
    whereas a scale fitted in the picture drops by 11-15 % at a yaw of 60 degrees.
    """

    def __init__(self) -> None:
        super().__init__()
        mean = torch.zeros(3, LANDMARKS)
        for row, points in enumerate((RIGHT_EYE, LEFT_EYE, MOUTH)):
            mean[row, list(points)] = 1 / len(points)
        half, line = CROP_EYE_DISTANCE / 2, CROP_EYE_LINE * CROP_SIZE
        middle = CROP_SIZE / 2
        drop = MOUTH_DROP * CROP_EYE_DISTANCE
        target = torch.tensor([[middle - half, line], [middle + half, line], [middle, line + drop]])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("target", target - target.mean(0), persistent=False)
        self.register_buffer("target_centre", target.mean(0), persistent=False)
        self.target_size = CROP_EYE_DISTANCE + drop

    def forward(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 468, 3) in canvas pixels to the transform (B, 2, 3) into crop pixels and the roll (B,) in degrees."""
        points = torch.matmul(self.mean, landmarks)  # (B, 3, 3): right eye, left eye, mouth
        flat = points[..., :2]
        centre = flat.mean(1)
        spread = flat - centre[:, None]
        turn = torch.stack(  # cosine and sine, not yet of length 1
            (
                (spread * self.target).sum((1, 2)),
                (spread[..., 0] * self.target[:, 1] - spread[..., 1] * self.target[:, 0]).sum(1),
            ),
            1,
        )
        turn = turn / torch.sqrt((turn * turn).sum(1, keepdim=True) + 1e-6)
        eyes = points[:, 1] - points[:, 0]
        drop = points[:, 2] - (points[:, 0] + points[:, 1]) / 2
        size = torch.sqrt((eyes * eyes).sum(1)) + torch.sqrt((drop * drop).sum(1))
        linear = turn * (self.target_size / (size + 1e-3))[:, None]
        matrix = torch.stack((linear, perpendicular(linear)), 2)  # (B, 2, 2)
        shift = self.target_centre - torch.matmul(matrix, centre[..., None])[..., 0]
        return torch.cat((matrix, shift[..., None]), 2), angle(turn)


def angle(direction: Tensor) -> Tensor:
    """Angle (B,) in degrees, in [-180, 180], of unit vectors (B, 2); ONNX has no atan2."""
    cosine, sine = direction[:, 0], direction[:, 1]
    safe = torch.where(sine.abs() < 1e-6, torch.full_like(sine, 1e-6), sine)
    half = torch.where(cosine >= 0, sine / (1 + cosine.clamp(min=0)), (1 - cosine) / safe)
    return torch.atan(half) * (360 / torch.pi)


def invert(transform: Tensor) -> tuple[Tensor, Tensor]:
    """The similarity (B, 2, 3), canvas -> crop, to: one crop pixel to the right in canvas pixels, and the crop's corner there."""
    cosine, sine = transform[:, 0, 0], transform[:, 1, 0]
    square = cosine * cosine + sine * sine + 1e-12
    step = torch.stack((cosine / square, -sine / square), 1)
    shift = transform[..., 2]
    return step, -(shift[:, :1] * step + shift[:, 1:] * perpendicular(step))
