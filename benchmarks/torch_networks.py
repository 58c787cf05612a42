"""What is served, in eager torch, for benchmarks that compare with it."""

from __future__ import annotations

from torch import nn

from export import graphs
from train import bisenet, encoder_network, light_cnn
from train.alignment import Aligner
from train.networks import build


def served() -> dict[str, nn.Module]:
    """`align`, `regressor` and `encoder`. Weights do not change the time: the last two keep their random ones."""
    regressor = build("cpu", bisenet.build("cpu"), light_cnn.build("cpu"))
    return {
        "align": Aligner().eval(),
        "regressor": graphs.regressor(regressor),
        "encoder": graphs.encoder(encoder_network.build("cpu").eval()),
    }
