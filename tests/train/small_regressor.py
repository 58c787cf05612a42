"""A regressor that has learnt nothing, but says something."""

from __future__ import annotations

import torch
from torch import nn

from train.networks import FaceNet, build


def small_regressor(*fixed: nn.Module) -> FaceNet:
    """Of the smallest preset, around a segmenter and a recogniser, or without; its answers reach all sliders and
    landmarks."""
    network = build("tiny", *fixed).eval()
    spaces = network.spaces
    spaces.identity_basis.normal_(std=0.1)
    landmark_basis = torch.randn_like(spaces.landmark_basis)
    spaces.landmark_basis.copy_(torch.linalg.qr(landmark_basis.T)[0].T)
    spaces.landmark_scale.fill_(30)
    return network
