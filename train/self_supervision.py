"""The losses that need no labels: photos against what the game shows of their parameters (CN112200236A [0079]-[0181]).

The flow a)-n) of [0168]-[0181], for photos that :mod:`train.align_photos` has aligned to the base face (b, c):

    a) load the base face, the imitator G, F_seg, F_reg and the regressor R            SelfSupervision, FaceNet
       (and the encoder, for hair and colours of the faces that G draws)
    d) features of the photo: f_gb, T = F_seg(I)                                        FaceNet.look
    e) y' = R(f_gb, T)                                                                  FaceNet.forward
    f) second picture: predicted identity and expression; third: base identity, predicted expression;
       fourth: predicted identity, base expression                                     SelfSupervision.rebuild
    g) identity loss of the fourth picture and the photo, by F_reg                      identity_loss, [0119]
    h) parameter loss towards the base face                                             parameter_loss, [0104]
    i) content loss of the second picture and the photo                                 content_loss, [0129]
    j, k) loop loss: R of the third and fourth picture against what they were made of   SelfSupervision.losses, [0140]
    l, m) mouth loss of the fourth picture and the base face                            content_loss on T_m, [0111]
    n) their weighted sum, [0165]                                                       train.losses.Weights

Beyond the method: *who*, a contrast. A cosine can be had by all faces becoming more like photos in general; of all photos in
the batch, a character's own is to be the one that it is most like. And the *critic* that compares faces for g) and the contrast
may be another network than F_reg, which R reads itself: F_reg's teacher, who sees more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from game.rig import Rig
from sdk.schema import EXPRESSION
from train.bisenet import Segmentation
from train.encoder_network import Encoder
from train.face_parts import MOUTH, REBUILT
from train.imitator_network import Decoder, Imitator, at_rest, one_hot
from train.layers import as_served
from train.losses import OPPOSITE
from train.networks import POSE_UNIT, FaceNet, Predictions, Seen
from train.studio import PITCH, YAW, StudioView

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


def within_range(identity: Tensor, expression: Tensor, pose: Tensor) -> Parameters:
    """What the game takes of it, with gradients of 0 beyond; pose in degrees."""
    limit = pose.new_tensor([PITCH, YAW])
    return Parameters(identity.clamp(-1, 1), expression.clamp(0, 1), pose.clamp(-limit, limit))


def parameters(network: FaceNet, said: Predictions) -> Parameters:
    """What R said, :func:`within_range`."""
    return within_range(network.spaces.identity(said.identity_code), said.expression, POSE_UNIT * said.pose)


class Critics(nn.Module):
    """Several critics at once: what is like the photo to one of them alone is no likeness."""

    def __init__(self, *critics: nn.Module) -> None:
        super().__init__()
        self.critics = nn.ModuleList(critics)

    def forward(self, crop: Tensor) -> Tensor:
        """Crops (B, 3, 256, 256) -> (B, D of all) float32, each one's part of length 1."""
        return torch.cat([functional.normalize(critic(crop).float(), dim=1) for critic in self.critics], 1)


class SelfSupervision(nn.Module):
    """The imitator G, the encoder and the critic, frozen, and the running middles of what the critic says: what all photos have
    in common, and all drawn faces, is nobody's identity."""

    photo_middle: Tensor
    drawn_middle: Tensor

    def __init__(self, imitator: Imitator | Decoder, encoder: Encoder, embedding: int, critic: nn.Module | None = None) -> None:
        """`encoder` says the styles in which faces are drawn; `critic`: crops (B, 3, 256, 256) in [0, 1] -> (B, `embedding`);
        None: F_reg, whose words are known already."""
        super().__init__()
        self.imitator, self.encoder = imitator.eval().requires_grad_(False), encoder.eval().requires_grad_(False)
        self.critic = critic and critic.eval().requires_grad_(False)
        self.view = StudioView(Rig.load())
        for kind in ("photo_middle", "drawn_middle"):
            self.register_buffer(kind, torch.zeros(embedding))

    @torch.no_grad()
    def styles(self, crops: Tensor, mesh: Tensor) -> Tensor:
        """(B, O) one-hot: the likeliest option of every slot of photos (B, 3, 256, 256) with landmarks (B, 468, 2), as it would
        be drawn."""
        return one_hot(self.encoder.both_sides(crops, mesh).options, self.encoder.schema)

    def rebuild(self, values: Parameters, style: Tensor) -> Rebuilt:
        """Step f. `style`: (B, O) one-hot."""
        base = torch.zeros_like(values.identity)
        second = self.imitator(values.identity, values.expression, values.pose, style)
        third = self.imitator(base, values.expression, values.pose, style)
        fourth = at_rest(self.imitator, values.identity, style)
        with torch.no_grad():
            of_base = at_rest(self.imitator, base, style)
        return Rebuilt(second, third, fourth, of_base)

    def losses(
        self,
        regress: Callable[[Tensor, Tensor, Seen], Predictions],
        network: FaceNet,
        said: Predictions,
        crops: Tensor,
        mesh: Tensor,
        photos: Seen,
        person: Tensor,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> dict[str, Tensor]:
        """Steps f to m for B photos, of which R has `said` something: the first B of the photos of a batch, `crops` (P, 3, 256,
        256) with FaceMesh's landmarks `mesh` (P, 468, 2). `photos`: what the fixed networks say about them; `person`: (P,) who is
        on each. `regress` is R for more pictures: the network as Fabric has wrapped it; `autocast` makes a context of its
        precision for the others."""
        values = parameters(network, said)
        with autocast():
            pictures = self.rebuild(values, self.styles(crops[: len(said.pose)], mesh[: len(said.pose)]))
            segmentation = network.segmenter(torch.cat(pictures))
            if self.critic is None:
                seen_again = torch.cat([pictures.third, pictures.fourth, pictures.second])
                of_third, of_fourth, of_second = network.recogniser(seen_again).chunk(3)
                drawn, of_photos = torch.cat([of_fourth, of_second]), photos.identity
            else:
                of_third, of_fourth = network.recogniser(torch.cat([pictures.third, pictures.fourth])).chunk(2)
                drawn = self.critic(torch.cat([pictures.fourth, pictures.second]))
                with torch.no_grad():
                    of_photos = self.critic(crops)
        drawn, of_photos, count = drawn.float(), of_photos.float(), len(said.pose)
        second, third, fourth, base = (segmentation.rows(k * count, (k + 1) * count) for k in range(4))
        zero = Parameters(*(torch.zeros_like(v) for v in values))
        made = Parameters(*(v.detach() for v in values))
        third_made = Parameters(zero.identity, made.expression, made.pose)
        fourth_made = Parameters(made.identity, zero.expression, zero.pose)
        again_third = self._again(regress, network, pictures.third, third_made, Seen(third, of_third))
        again_fourth = self._again(regress, network, pictures.fourth, fourth_made, Seen(fourth, of_fourth))
        drawn = functional.normalize(drawn - self._moved(self.drawn_middle, drawn[:count]), dim=1)
        of_photos = functional.normalize(of_photos - self._moved(self.photo_middle, of_photos), dim=1)
        return {
            "content": content_loss(second, photos.segmentation.rows(0, count)),
            "identity_cosine": identity_loss(drawn[:count], of_photos[:count]),
            "who": who_loss(drawn, torch.arange(count, device=drawn.device).repeat(2), of_photos, person),
            "parameters": parameter_loss(values),
            "loop_identity": parameter_distance(again_fourth, fourth_made),
            "loop_expression": parameter_distance(again_third, third_made),
            "mouth": content_loss(fourth, base, MOUTH),
        }

    def comparing(self, network: FaceNet) -> nn.Module:
        """Who compares photos and rebuilt faces: the critic, or F_reg where there is no other."""
        return self.critic or network.recogniser

    @torch.no_grad()
    def compared(self, crops: Tensor, mesh: Tensor, network: FaceNet) -> Tensor:
        """What is to be known of photos (B, 3, 256, 256) with landmarks (B, 468, 2) for :meth:`recognised`: (B, O + D), the
        styles in which they are drawn, and what the critic says."""
        return torch.cat([self.styles(crops, mesh), self.comparing(network)(crops).float()], 1)

    def recognised(
        self,
        network: FaceNet,
        said: Predictions,
        compared: Tensor,
        person: Tensor,
        rebuilt: int,
        drawn_as: Callable[[Parameters, Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """The losses of step g and the contrast alone, which take one picture of a face and not four: of `rebuilt` of P photos,
        by :meth:`rehearsed`. `said` of all photos, `compared` (P, O + D) by :meth:`compared`; `drawn_as`: a
        :func:`drawing`, or what stands in for it."""
        own, values, style = self.rehearsed(parameters(network, said), compared, rebuilt)
        of_photos = compared[:, -len(self.photo_middle) :]
        drawn = drawn_as(values, style)
        drawn = functional.normalize(drawn - self._moved(self.drawn_middle, drawn), dim=1)
        of_photos = functional.normalize(of_photos - self._moved(self.photo_middle, of_photos), dim=1)
        return {
            "identity_cosine": identity_loss(drawn, of_photos[own]),
            "who": who_loss(drawn, own, of_photos, person),
        }

    def rehearsed(self, values: Parameters, compared: Tensor, count: int) -> tuple[Tensor, Parameters, Tensor]:
        """Of P photos, `compared` (P, O + D), every second, which are two of a person each, `count` in all: their numbers (B,),
        faces and styles (B, O). The first half of them as photographed, the others at rest."""
        own = torch.arange(0, len(compared), 2, device=compared.device)[:count]
        moves = (torch.arange(len(own), device=own.device) < len(own) // 2)[:, None]
        identity, expression, pose = (value[own] for value in values)
        return own, Parameters(identity, expression * moves, pose * moves), compared[own, : -len(self.photo_middle)]

    def _again(
        self,
        regress: Callable[[Tensor, Tensor, Seen], Predictions],
        network: FaceNet,
        picture: Tensor,
        made: Parameters,
        seen: Seen,
    ) -> Parameters:
        """What R says about pictures that were `made` of parameters, as it is served: batch norm does not take its statistics
        from few pictures of one kind."""
        with as_served(network):
            return parameters_said(network, regress(picture, self.landmarks(made), seen))

    @torch.no_grad()
    def landmarks(self, values: Parameters) -> Tensor:
        """(B, 468, 2) crop px: where the landmarks are on the imitator's pictures, known from the rig."""
        return self.view.rig.landmarks(self.view(*values)[1])[..., :2]

    @staticmethod
    @torch.no_grad()
    def _moved(middle: Tensor, embedding: Tensor) -> Tensor:
        """A running middle, with these faces taken in."""
        return middle.lerp_(embedding.mean(0), MIDDLE_RATE if middle.any() else 1.0)


def drawing(
    imitator: Imitator | Decoder, critic: nn.Module, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Callable[[Parameters, Tensor], Tensor]:
    """A function of faces and their styles (B, O): what the critic says of their pictures, (B, D) float32."""

    def said(values: Parameters, style: Tensor) -> Tensor:
        with autocast():
            return critic(imitator(*values, style)).float()

    return said


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


def identity_loss(drawn: Tensor, photo: Tensor) -> Tensor:
    """1 - cosine of the embeddings (B, D), of length 1, of rebuilt faces and photos, [0119]."""
    return 1 - (drawn * photo).sum(1).mean()


def who_loss(made: Tensor, own: Tensor, photos: Tensor, person: Tensor) -> Tensor:
    """Cross-entropy of whose photo it is: embeddings (B, D) of rebuilt faces, of the photos numbered `own` (B,), against those of
    all photos (P, D) of other people, `person` (P,), and the own one; all of length 1."""
    alike = made @ photos.T / TEMPERATURE
    same = (person[own][:, None] == person[None]) & (own[:, None] != torch.arange(len(photos), device=made.device))
    return functional.cross_entropy(alike.masked_fill(same, -torch.inf), own)


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
