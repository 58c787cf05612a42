"""The losses that need no labels: photos against what the game shows of their parameters (CN112200236A [0079]-[0181]).

The flow a)-n) of [0168]-[0181], for photos that :mod:`train.align_photos` has aligned to the base face (b, c):

    a) load the base face, the imitator G, F_seg, F_reg and the regressor R            SelfSupervision, FaceNet
    d) features of the photo: f_gb, T = F_seg(I)                                        FaceNet.look
    e) y' = R(f_gb, T)                                                                  FaceNet.forward
    f) second picture: predicted identity and expression; third: base identity, predicted expression;
       fourth: predicted identity, base expression                                     SelfSupervision.rebuild
    g) identity loss of the fourth picture and the photo                                identity_loss, [0119]
    h) parameter loss towards the base face                                             parameter_loss, [0104]
    i) content loss of the second picture and the photo                                 content_loss, [0129]
    j, k) loop loss: R of the third and fourth picture against what they were made of   SelfSupervision.losses, [0140]
    l, m) mouth loss of the fourth picture and the base face                            content_loss on T_m, [0111]
    n) their weighted sum, [0165]                                                       train.losses.Weights

Beyond the method: *who*, a contrast. A cosine can be had by all faces becoming more like photos in general; of all photos in
the batch, a character's own is to be the one that it is most like."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdk.schema import EXPRESSION
from train.bisenet import Segmentation
from train.face_parts import MOUTH, REBUILT
from train.imitator_network import Decoder, Imitator, one_hot
from train.networks import POSE_UNIT, FaceNet, Predictions, Seen
from train.studio import PITCH, YAW

OPPOSITE = (("jaw_left", "jaw_right"), ("mouth_left", "mouth_right"), ("eye_close_left", "upper_lid_raise"),
            ("eye_close_right", "upper_lid_raise"))  # fmt: skip
"""Action units that cancel: (.5, .9) and (0, .4) of the first are the same face ([0103])."""
TEMPERATURE = 0.1
"""Of the contrast: cosines this far apart make a difference of e."""
MIDDLE_RATE = 0.05
"""Share of a step's rebuilt faces in the running middle of all."""


class Parameters(NamedTuple):
    """What the game is told of B faces: identity (B, 244) in [-1, 1], expression (B, 23) in [0, 1], pose (B, 2) degrees."""

    identity: Tensor
    expression: Tensor
    pose: Tensor


class Rebuilt(NamedTuple):
    """The pictures of [0087], (B, 3, 256, 256) each, and that of the base face in the same style ([0110])."""

    second: Tensor
    third: Tensor
    fourth: Tensor
    base: Tensor


def parameters(network: FaceNet, said: Predictions) -> Parameters:
    """Within what the game takes, with gradients of 0 beyond."""
    limit = said.pose.new_tensor([PITCH, YAW])
    pose = (POSE_UNIT * said.pose).clamp(-limit, limit)
    return Parameters(network.spaces.identity(said.identity_code).clamp(-1, 1), said.expression.clamp(0, 1), pose)


class SelfSupervision(nn.Module):
    """The imitator G, frozen, and the running middle of what F_reg says about its faces at rest."""

    middle: Tensor

    def __init__(self, imitator: Imitator | Decoder, embedding: int) -> None:
        super().__init__()
        self.imitator = imitator.eval().requires_grad_(False)
        self.register_buffer("middle", torch.zeros(embedding))

    def rebuild(self, values: Parameters, style: Tensor) -> Rebuilt:
        """Step f. `style`: (B, O) one-hot."""
        rest, ahead, base = (torch.zeros_like(v) for v in (values.expression, values.pose, values.identity))
        second = self.imitator(values.identity, values.expression, values.pose, style)
        third = self.imitator(base, values.expression, values.pose, style)
        fourth = self.imitator(values.identity, rest, ahead, style)
        with torch.no_grad():
            of_base = self.imitator(base, rest, ahead, style)
        return Rebuilt(second, third, fourth, of_base)

    def losses(
        self,
        regress: Callable[[Tensor, Seen], Predictions],
        network: FaceNet,
        said: Predictions,
        photos: Seen,
        person: Tensor,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> dict[str, Tensor]:
        """Steps f to m for B photos, of which R has `said` something: the first B of `photos`, what the fixed networks say about
        the photos of a batch, without gradients. `person`: (P,) who is on each of those. `regress` is R for more pictures: the
        network as Fabric has wrapped it; `autocast` makes a context of its precision for the others."""
        values = parameters(network, said)
        with torch.no_grad():
            options = torch.stack([said.styles[slot.name].argmax(1) for slot in network.schema.style], 1)
        with autocast():
            pictures = self.rebuild(values, one_hot(options, network.schema))
            segmentation = network.segmenter(torch.cat(pictures))
            embedding = network.recogniser(torch.cat(pictures[:3]))
        count = len(options)
        second, third, fourth, base = (segmentation.rows(k * count, (k + 1) * count) for k in range(4))
        of_second, of_third, of_fourth = embedding.chunk(3)
        again_third, again_fourth = self._again(regress, network, pictures, Seen(third, of_third), Seen(fourth, of_fourth))
        zero = Parameters(*(torch.zeros_like(v) for v in values))
        made = Parameters(*(v.detach() for v in values))
        middle = self._with(of_fourth)
        return {
            "content": content_loss(second, photos.segmentation.rows(0, count)),
            "identity_cosine": identity_loss(of_fourth, photos.identity[:count], middle),
            "who": who_loss(torch.cat([of_fourth, of_second]), photos.identity, person, middle),
            "parameters": parameter_loss(values),
            "loop_identity": parameter_distance(again_fourth, Parameters(made.identity, zero.expression, zero.pose)),
            "loop_expression": parameter_distance(again_third, Parameters(zero.identity, made.expression, made.pose)),
            "mouth": content_loss(fourth, base, MOUTH),
        }

    @staticmethod
    def _again(
        regress: Callable[[Tensor, Seen], Predictions], network: FaceNet, pictures: Rebuilt, third: Seen, fourth: Seen
    ) -> tuple[Parameters, Parameters]:
        """What R says about the third and fourth pictures, as it is served: batch norm does not take its statistics from few
        pictures of one kind."""
        training = network.training
        network.eval()
        try:
            return tuple(  # type: ignore[return-value]
                parameters_said(network, regress(picture, seen))
                for picture, seen in ((pictures.third, third), (pictures.fourth, fourth))
            )
        finally:
            network.train(training)

    @torch.no_grad()
    def _with(self, embedding: Tensor) -> Tensor:
        """The running middle, with these faces taken in."""
        self.middle.lerp_(embedding.float().mean(0), MIDDLE_RATE if self.middle.any() else 1.0)
        return self.middle


def parameters_said(network: FaceNet, said: Predictions) -> Parameters:
    """As R says them, not clamped: a loss beyond the ranges has to lead back."""
    return Parameters(network.spaces.identity(said.identity_code), said.expression, POSE_UNIT * said.pose)


def content_loss(made: Segmentation, real: Segmentation, parts: tuple[int, ...] = REBUILT) -> Tensor:
    """L1 distance of T, features weighted with the probability of some parts ([0129], [0130]; with those of the mouth T_m,
    [0111]); each of the three layers relative to the mean size of the real one's."""
    terms = []
    for mine, other in zip(made.weighted_features(parts), real.weighted_features(parts), strict=True):
        other = other.detach().float()
        terms.append((mine.float() - other).abs().mean() / other.abs().mean().clamp_min(1e-6))
    return torch.stack(terms).mean()


def identity_loss(made: Tensor, photo: Tensor, middle: Tensor) -> Tensor:
    """1 - cosine of F_reg's embeddings (B, D), [0119]; those of rebuilt faces as seen from their `middle` (D,): what all drawn
    faces have in common is nobody's identity."""
    return (1 - functional.cosine_similarity(made - middle, photo, dim=1)).mean()


def who_loss(made: Tensor, photos: Tensor, person: Tensor, middle: Tensor) -> Tensor:
    """Cross-entropy of whose photo it is: embeddings (2 B, D) of rebuilt faces, twice in the order of the first B photos,
    against those of all photos (P, D) of other people, `person` (P,), and the own one."""
    count = len(made) // 2
    own = torch.arange(count, device=made.device)
    alike = functional.normalize(made - middle, dim=1) @ photos.T / TEMPERATURE
    same = (person[own][:, None] == person[None]) & (own[:, None] != torch.arange(len(photos), device=made.device))
    return functional.cross_entropy(alike.masked_fill(same.repeat(2, 1), -torch.inf), own.repeat(2))


def settled(expression: Tensor) -> Tensor:
    """Action units (B, 23) with what cancels taken out of both of each pair ([0103])."""
    units = list(expression.unbind(1))
    for first, second in ((EXPRESSION.index(a), EXPRESSION.index(b)) for a, b in OPPOSITE):
        both = torch.minimum(units[first], units[second])
        units[first], units[second] = units[first] - both, units[second] - both
    return torch.stack(units, 1)


def parameter_loss(values: Parameters) -> Tensor:
    """Squared distance from the base face, whose parameters are all 0 ([0104]); pose in units of 30 degrees. Means over the
    parameters of each kind, where [0104] has sums: 244 sliders would drown 2 angles."""
    pose = values.pose / POSE_UNIT
    return sum(v.square().mean() for v in (pose, values.identity, settled(values.expression)))  # type: ignore[return-value]


def parameter_distance(said: Parameters, truth: Parameters) -> Tensor:
    """L1 distance of parameters ([0140]); pose in units of 30 degrees, means over the parameters of each kind."""
    units = (1.0, 1.0, POSE_UNIT)
    return sum((a - b).abs().mean() / unit for a, b, unit in zip(said, truth, units, strict=True))  # type: ignore[return-value]
