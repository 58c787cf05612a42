"""Finding faces on the canvas: BlazeFace at one or two resolutions, and the choice among its candidates."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdk.contract import CANVAS_SIZE, MAX_FACES
from train import blazeface
from train.mediapipe_weights import load_blazeface
from train.warp import QUARTER, Pyramid, branch

COARSE_SIZE, FINE_SIZE = QUARTER, blazeface.INPUT_SIZE
"""Sides of the two pictures of the canvas that the detector looks at."""
SURE_SCORE = 0.75
"""The detector looks at the finer picture only if its score on the coarse one is lower. For no face of LFW is it."""
AREA_EXPONENT = 0.15
"""The main face is that of the largest score x area^0.15; by score alone the smaller of two faces often wins."""
SAME_FACE_IOU = 0.3
"""Boxes whose intersection over union is larger are of one face."""


class FaceDetector(nn.Module):
    """BlazeFace on the whole canvas.

    It looks at the canvas at a quarter of its size first (160 pixels, which finds the faces of portraits more surely than
    BlazeFace's own 256), and again at 256 pixels only if that finds no sure face: small faces cost time where there are some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = load_blazeface()
        self.register_buffer("coarse_anchors", _canvas_anchors(COARSE_SIZE), persistent=False)
        self.register_buffer("fine_anchors", _canvas_anchors(FINE_SIZE), persistent=False)

    def forward(self, pyramid: Pyramid) -> tuple[Tensor, Tensor]:
        """The pyramid to: the main face (B, 16) as :data:`train.blazeface.VALUES`, in canvas pixels; and ``faces`` (B, 4, 5)."""

        def look_closer(half: Tensor, main: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
            image = functional.interpolate(half, size=(FINE_SIZE, FINE_SIZE), mode="bilinear")
            fine_main, fine_faces = self._detect(image, self.fine_anchors)
            score = faces[:, :1, 4]
            better = (score < SURE_SCORE) & (fine_faces[:, :1, 4] > score)  # (B, 1)
            return torch.where(better, fine_main, main), torch.where(better[..., None], fine_faces, faces)

        def enough(half: Tensor, main: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
            return main.clone(), faces.clone()

        main, faces = self._detect(pyramid.quarter, self.coarse_anchors)
        unsure = (faces[:, 0, 4] < SURE_SCORE).any()
        return branch(unsure, look_closer, enough, (pyramid.half, main, faces))

    def _detect(self, image: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Picture of the canvas (B, 3, s, s) in [0, 255] to the main face and ``faces``, as :meth:`forward`."""
        values, logits = self.network(image * (2 / 255) - 1)
        return choose_faces(values * (CANVAS_SIZE / image.shape[-1]) + anchors, torch.sigmoid(logits))


def _canvas_anchors(size: int) -> Tensor:
    """(N, 16): what turns BlazeFace's relative values into canvas pixels by addition; width and height stay."""
    anchors = blazeface.anchors(size) * (CANVAS_SIZE / size)
    anchors = anchors.repeat(1, blazeface.VALUES // 2)
    anchors[:, 2:4] = 0
    return anchors


def choose_faces(candidates: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (B, N, 16) in canvas pixels and scores (B, N) to the main face (B, 16) and ``faces`` (B, 4, 5).

    Greedy suppression, unrolled for the few faces that are reported: TensorRT and a static graph have no better.
    """
    centre, extent = candidates[..., :2], candidates[..., 2:4]
    boxes = torch.cat((centre - extent / 2, centre + extent / 2, scores[..., None]), 2)  # (B, N, 5)
    x0, y0, x1, y1 = (plane.squeeze(-1) for plane in boxes[..., :4].split(1, 2))
    area = (x1 - x0) * (y1 - y0)
    rank = scores * (area / CANVAS_SIZE**2).clamp(1e-4, 1.0) ** AREA_EXPONENT
    main = candidates[:, 0]
    faces = []
    for number in range(MAX_FACES):
        best_rank, best = rank.topk(1, 1)  # (B, 1)
        box = torch.gather(boxes, 1, best[..., None].expand(-1, 1, 5))[:, 0]  # (B, 5)
        left, top, right, bottom, score = box.split(1, 1)
        width = (torch.minimum(x1, right) - torch.maximum(x0, left)).relu()
        height = (torch.minimum(y1, bottom) - torch.maximum(y0, top)).relu()
        # intersection / union > t, without the division
        threshold = SAME_FACE_IOU / (1 + SAME_FACE_IOU)
        same = width * height > threshold * (area + (right - left) * (bottom - top))
        if number == 0:
            # The mean of all good candidates of the main face is steadier than the best one alone.
            weight = scores * (same & (scores >= score.clamp(max=0.5)))
            main = torch.matmul(weight[:, None], candidates)[:, 0] / weight.sum(1, keepdim=True)
            box = torch.cat((main[:, :2] - main[:, 2:4] / 2, main[:, :2] + main[:, 2:4] / 2, score), 1)
        faces.append(torch.cat((box[:, :4], score * (best_rank > 0)), 1))
        rank = torch.where(same, 0.0, rank)
    return main, torch.stack(faces, 1)
