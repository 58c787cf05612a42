"""What the face network is trained for.

On renders everything is known. On photos FaceMesh's landmarks are known, and who is who; the rig, which is linear in
its sliders, carries landmark errors back to the parameters, and priors keep it from explaining a face by a
caricature. Every loss is a mean over its batch and every weight stands in :class:`Weights` with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sdk.schema import EXPRESSION
from train.geometry import LandmarkRig, Metric, fit_similarity
from train.networks import LIDS, LIPS, POSE_UNIT, FaceNet, Predictions

OPPOSITE = (
    ("jaw_left", "jaw_right"), ("mouth_left", "mouth_right"), ("eye_close_left", "upper_lid_raise"),
    ("eye_close_right", "upper_lid_raise"),
)  # fmt: skip
"""Pairs of action units that cancel: (.5, .9) and (0, .4) of the first are the same face (CN112200236A [0103])."""
EXCLUSIVE = (*OPPOSITE, ("mouth_open", "lip_press"), ("smile", "lip_corner_depress"))
"""Pairs of action units of which a face shows one at a time."""
FEATURES = (*LIDS, *LIPS)
"""Landmarks of lids and lips: few among many, but what eyes and mouth do is what people look at."""
FEATURES_WEIGHT = 4.0
COMMON = ("smile", "mouth_open", "upper_lip_raise", "eye_close_left", "eye_close_right")
"""What faces on photos do often; all other units are rare on them."""
DOUBTFUL = ("upper_lid_raise", "upper_lip_close", "lower_lip_close", "pucker")
"""What people's own lids and lips look like most: large eyes are taken for raised lids, thin lips for closed ones, narrow mouths
for puckered ones."""
UNREST = {name: 0.1 for name in COMMON} | {name: 4.0 for name in DOUBTFUL}
"""What the size of a unit counts on photos; that of the others counts 1."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses. Errors are in units that make 1 a large error, so weights compare."""

    first_landmarks: float = 3.0  # where the network looks closely
    landmarks: float = 4.0  # largest single gain on photos: the intermediate target
    expression: float = 20.0  # units are mostly 0, their mean square is small (about .03): 20 makes it count
    agreement: float = 0.6  # 1 - concordance per unit: the mean square alone shrinks rare units towards 0
    pose: float = 40.0  # units of 30 degrees, so that a degree is .03 and its square a thousandth
    gaze: float = 0.5  # auxiliary: parts lids from eyes
    identity: float = 2.0  # in squared mm relative to the variance, partly whitened
    photo_first: float = 2.0
    photo_landmarks: float = 3.0  # below the exact ones: FaceMesh has its own errors
    photo_rig: float = 10.0  # robust px^2: geometry of photos; 12 met landmarks better, 9 was more alike
    photo_prior: float = 0.02  # Mahalanobis: about one landmark pixel per standard deviation
    photo_bounds: float = 0.5  # action units outside [0, 1] are no faces
    photo_quiet: float = 0.5  # most units of most photos rest: what identity can explain is identity
    photo_exclusive: float = 0.1  # [0103]
    photo_same: float = 0.25  # two photos of one person, one identity; others, others
    photo_mirror: float = 1.0  # a mirrored photo has mirrored expression and pose: free consistency
    # The method's losses, [0165], on photos that are rebuilt (train.self_supervision).
    content: float = 0.5
    identity_cosine: float = 3.5  # w_id
    who: float = 2.0
    parameters: float = 0.5  # w_pr
    loop_identity: float = 0.5  # w_lp
    loop_expression: float = 0.5  # w_lp times the balance factor
    mouth: float = 0.25  # w_adv
    uncertainty: float = 0.1  # reads detached features, so it disturbs nothing


def render_losses(network: FaceNet, said: Predictions, batch: dict[str, Tensor], metric: Metric) -> dict[str, Tensor]:
    """Losses of R renders against their exact labels (fields of :class:`train.data.Batches`)."""
    spaces = network.spaces
    expression, pose = batch["expression"], batch["pose"] / POSE_UNIT
    code, landmark_code = metric.encode(batch["identity"], spaces), spaces.landmark_code(batch["landmarks"])
    truth = torch.cat([code, expression, pose], 1)
    means = torch.cat([said.identity_code, said.expression, said.pose], 1).detach()
    return {
        "first_landmarks": landmark_loss(said.first_code, landmark_code, metric.landmark_weight),
        "landmarks": landmark_loss(said.landmark_code, landmark_code, metric.landmark_weight),
        "expression": functional.mse_loss(said.expression, expression),
        "agreement": (1 - concordance(said.expression, expression)).mean(),
        "pose": functional.mse_loss(said.pose, pose),
        "gaze": functional.mse_loss(said.gaze, batch["gaze"]),
        "identity": ((said.identity_code - code).square() * metric.identity_weight).sum(1).mean(),
        "uncertainty": gaussian_nll(truth, means, said.log_sigma),
    }


def photo_losses(
    network: FaceNet,
    said: Predictions,
    batch: dict[str, Tensor],
    metric: Metric,
    rig: LandmarkRig,
    mirror: MirrorMap,
) -> dict[str, Tensor]:
    """Losses of P photos against FaceMesh's landmarks, priors and each other. The rig takes what the game would take: what lies
    beyond would bring landmarks near that no face of the game has."""
    spaces, target = network.spaces, batch["photo_landmarks"]
    landmark_code = spaces.landmark_code(target)
    identity = spaces.identity(said.identity_code)
    drawn = fit_similarity(rig(identity.clamp(-1, 1), said.expression.clamp(0, 1), said.pose), target)
    return {
        "photo_first": landmark_loss(said.first_code, landmark_code, metric.landmark_weight),
        "photo_landmarks": landmark_loss(said.landmark_code, landmark_code, metric.landmark_weight),
        "photo_rig": robust_distance(drawn, target),
        "photo_prior": said.identity_code.square().mean(),
        "photo_bounds": out_of_range(said.expression),
        "photo_quiet": unrest(said.expression),
        "photo_exclusive": exclusive(said.expression),
        "photo_same": same_person(identity, batch["person"], 2 * spaces.identity_basis.square().sum()),
        "photo_mirror": mirror.disagreement(said, batch),
    }


def total(losses: dict[str, Tensor], weights: Weights) -> Tensor:
    """Weighted sum."""
    return torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()


def landmark_loss(said: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Squared error of a landmark code (B, L), each coefficient bounded at 3 standard deviations (a lost face must not
    shout)."""
    return ((said - truth).square().clamp(max=9) * weight).sum(1).mean()


def concordance(said: Tensor, truth: Tensor) -> Tensor:
    """Lin's concordance per column of (B, N): 1 for agreement in pattern, level and spread; what ICC measures."""
    a, b = said - said.mean(0), truth - truth.mean(0)
    covariance = (a * b).mean(0)
    spread = a.square().mean(0) + b.square().mean(0) + (said.mean(0) - truth.mean(0)).square()
    return (2 * covariance + 1e-3) / (spread + 1e-3)


def gaussian_nll(truth: Tensor, means: Tensor, log_sigma: Tensor) -> Tensor:
    """Negative log likelihood of ``truth`` (B, N) with standard deviations exp(log_sigma), those kept above e^-5."""
    log_sigma = log_sigma.clamp(min=-5, max=3)
    return (0.5 * ((truth - means) * torch.exp(-log_sigma)).square() + log_sigma).mean()


def robust_distance(points: Tensor, target: Tensor) -> Tensor:
    """Pseudo-Huber distance of (B, 468, 2) px, quadratic under about 3 px; FEATURES weigh FEATURES_WEIGHT."""
    distance = torch.sqrt(1 + (points - target).square().sum(2) / 8) - 1
    weight = distance.new_ones(distance.shape[1])
    weight[list(FEATURES)] = FEATURES_WEIGHT
    return (distance * weight).mean()


def out_of_range(expression: Tensor) -> Tensor:
    """How far action units (B, 23) leave [0, 1], squared."""
    return (functional.relu(-expression) + functional.relu(expression - 1)).square().sum(1).mean()


def unrest(expression: Tensor) -> Tensor:
    """Mean size of the action units (B, 23), each weighted as UNREST says."""
    cost = expression.new_tensor([UNREST.get(name, 1.0) for name in EXPRESSION])
    return (expression.abs() * cost).mean()


def exclusive(expression: Tensor) -> Tensor:
    """Product of units that exclude each other (CN112200236A [0103])."""
    first, second = zip(*((EXPRESSION.index(a), EXPRESSION.index(b)) for a, b in EXCLUSIVE), strict=True)
    return (functional.relu(expression[:, list(first)]) * functional.relu(expression[:, list(second)])).sum(1).mean()


def same_person(identity: Tensor, person: Tensor, spread: Tensor, temperature: float = 0.1) -> Tensor:
    """Contrast of identities (B, 244): each photo should be nearer to those of its person than to others.

    Distances are squared and relative to ``spread``, that of two random people of the game: relative to the batch's own
    they would give gradients without bound while all answers are still alike. ``person`` (B,) numbers; photos come in
    pairs, so each has at least one partner.
    """
    squared = (identity[:, None] - identity[None]).square().sum(2)
    self_pair = torch.eye(len(identity), dtype=torch.bool, device=identity.device)
    logits = (-squared / (spread * temperature)).masked_fill(self_pair, -1e9)
    partner = (person[:, None] == person[None]) & ~self_pair
    likelihood = logits.log_softmax(1)
    return -((likelihood * partner).sum(1) / partner.sum(1).clamp_min(1)).mean()


@dataclass(frozen=True, eq=False)
class MirrorMap:
    """units: (23,) index of each action unit's mirror image."""

    units: Tensor

    def disagreement(self, said: Predictions, batch: dict[str, Tensor]) -> Tensor:
        """Mean squared difference of expression and pose between the two members of a pair that are one photo, once
        mirrored."""
        even, odd = batch["photo"][0::2], batch["photo"][1::2]
        pair = ((even == odd) & (batch["mirrored"][0::2] != batch["mirrored"][1::2])).float()
        expression = said.expression[0::2] - said.expression[1::2][:, self.units]
        pose = said.pose[0::2] - said.pose[1::2] * said.pose.new_tensor([1.0, -1.0])
        error = 5 * expression.square().mean(1) + pose.square().mean(1)
        return (error * pair).sum() / pair.sum().clamp_min(1)
