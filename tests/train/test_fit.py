"""The iterative fit: it lowers its losses, keeps what is locked, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sdk.schema import REFERENCE
from train import bisenet, checkpoint, fit, imitator_network, recogniser
from train.bisenet import Segmentation
from train.both_sides import BothSides
from train.face_files import read_faces
from train.fit import Faces, Fitted, Fitter, FitWeights, Options, best_of, colour_loss
from train.networks import build
from train.networks import describe as describe_network
from train.self_supervision import Parameters
from train.slider_prior import SliderPrior


def options(shards: dict[str, Path], fixed_networks: dict[str, Path], out: Path, **changes: object) -> Options:
    return Options(photos=str(shards["photos"]), out=out, **{"steps": 4, "batch": 4, **fixed_networks, **changes})


@pytest.fixture
def fitter(fixed_networks: dict[str, Path]) -> Fitter:
    imitator = imitator_network.rebuild(checkpoint.load(fixed_networks["imitator"]))
    segmenter = bisenet.rebuild(checkpoint.load(fixed_networks["segmenter"]))
    fitter = Fitter(imitator, segmenter, recogniser.load(fixed_networks["recogniser"]), SliderPrior.of_people())
    fitter.meet(torch.rand(3, 3, 256, 256), torch.arange(3))
    return fitter


def test_every_loss_reaches_what_it_should(fitter: Fitter) -> None:
    torch.manual_seed(0)
    photos = fitter.look(torch.rand(2, 3, 256, 256), 60 + 130 * torch.rand(2, 468, 2), torch.tensor([0, 5]))
    faces = fitter.beginning(2, 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        faces.expression += 0.2
        faces.code += 0.1
    cheap = fitter.cheap_losses(faces, photos, torch.zeros_like(faces.code))
    second, fourth = (turn(fitter, faces, photos, 1.0) for turn in fitter.TURNS)
    assert set(cheap | second) == set(vars(FitWeights()))
    assert set(fourth) < set(second)
    for losses in (cheap, second, fourth):
        for name, value in losses.items():
            assert value.shape == (2,) and value.isfinite().all() and (value > 0).all(), name
            gradients = torch.autograd.grad(value.sum(), list(faces.parameters()), retain_graph=True, allow_unused=True)
            assert any(g is not None and g.any() for g in gradients), name
    assert torch.autograd.grad(second["colours"].sum(), [faces.style])[0].any()
    (of_expression,) = torch.autograd.grad(fourth["who"].sum(), [faces.expression], allow_unused=True)
    assert of_expression is None, "the fourth picture is at rest"


def test_each_face_of_a_batch_is_fitted_by_itself(fitter: Fitter) -> None:
    """Whoever stands beside it."""
    torch.manual_seed(0)
    crops, landmarks = torch.rand(3, 3, 256, 256), 60 + 130 * torch.rand(3, 468, 2)
    fitted = []
    for other in (1, 2):
        both = fitter.look(crops[[0, other]], landmarks[[0, other]], torch.tensor([7, 7 + other]))
        fitted.append(fitter.fit(fitter.beginning(2, 1, torch.Generator()), both, 6, 0.05, 0.5))
    (first, second), (first_loss, second_loss) = (f.parameters.identity for f in fitted), (f.loss for f in fitted)
    assert torch.equal(first[0], second[0]) and first_loss[0] == second_loss[0]
    assert not torch.equal(first[1], second[1])


def test_a_face_of_the_game_is_found_again(fitter: Fitter) -> None:
    """Landmarks of a known face bring the rig there; the picture of a style brings the style."""
    truth = fitter.beginning(1, 1, torch.Generator())
    with torch.no_grad():
        truth.code.normal_(generator=torch.Generator().manual_seed(1))
        truth.expression[0, REFERENCE.expression.index("mouth_open")] = 0.6
        values = fitter.values(truth)
        drawn = fitter.rig(values.identity, values.expression, truth.pose)
        landmarks = 128 + 40 * (drawn - drawn.mean(1, keepdim=True))
    photos = fitter.look(torch.rand(1, 3, 256, 256), landmarks, torch.tensor([9]))
    origin = torch.zeros_like(truth.code)
    before = fitter.cheap_losses(fitter.beginning(1, 1, torch.Generator()), photos, origin)["photo_rig"]
    fitted = fitter.fit(fitter.beginning(1, 1, torch.Generator()), photos, 60, 0.05, 0.95)
    after = fitter.rig(*fitted.parameters[:2], fitted.parameters.pose / 30)
    assert fitted.parameters.expression[0, REFERENCE.expression.index("mouth_open")] > 0.3
    distance = (fit.fit_similarity(after, landmarks) - landmarks).norm(dim=2).mean()
    assert before > 10 * fit.robust_distance(fit.fit_similarity(after, landmarks), landmarks)
    assert distance < 1.0


def test_styles_get_sharper_and_are_decided() -> None:
    temperatures = [Fitter.temperature(p, 0.25) for p in (0.25, 0.4, 0.59, 0.6, 1.0)]
    assert temperatures[0] == 1 and temperatures[3:] == [0, 0]
    assert temperatures[0] > temperatures[1] > temperatures[2] > 0.19


def test_colours_are_compared_where_heads_are() -> None:
    crops, made = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256)
    made[..., :128] = 1.0
    logits = torch.full((1, 12, 128, 128), -20.0)
    logits[:, 0, :, :64], logits[:, 1, :, 64:] = 20.0, 20.0  # background on the left, skin on the right
    seen = Segmentation(logits, (logits, logits), logits, (logits,) * 3)
    photos = fit.Photos(crops, crops, seen, crops, crops)
    assert colour_loss(made, seen, photos) < 1e-6 < 0.5 < colour_loss(1 - made, seen, photos)


def test_the_best_start_is_kept() -> None:
    loss = torch.tensor([3.0, 1.0, 2.0, 5.0])
    number = torch.arange(4.0)[:, None]
    best = best_of(Fitted(Parameters(number, number, number), number.long(), loss), 2)
    assert best.loss.tolist() == [1, 2] and best.style.flatten().tolist() == [1, 2]


def test_expression_and_pose_stay_within_the_game() -> None:
    faces = Faces(torch.zeros(1, 3), torch.tensor([[-1.0, 2.0]]), torch.tensor([[9.0, -9.0]]), torch.zeros(1, 2))
    faces.keep_in_range()
    assert faces.expression.tolist() == [[0, 1]]
    torch.testing.assert_close(30 * faces.pose.detach(), torch.tensor([[20.0, -40.0]]))


def test_a_stopped_run_goes_on(shards: dict[str, Path], fixed_networks: dict[str, Path], tmp_path: Path) -> None:
    whole = fit.main(
        options(shards, fixed_networks, tmp_path / "whole.jsonl", locked="nose_tip.ty=0.2", sheet=tmp_path / "s.png")
    )
    faces = list(read_faces(whole))
    assert len({face.photo for face in faces}) == 12 and (tmp_path / "s.png").is_file()
    assert all(face.identity[REFERENCE.identity.index("nose_tip.ty")] == pytest.approx(0.2) for face in faces)
    lines = whole.read_text().splitlines(keepends=True)
    stopped = tmp_path / "stopped.jsonl"
    stopped.write_text("".join(lines[:4]) + lines[4][:100])
    fit.main(options(shards, fixed_networks, stopped, locked="nose_tip.ty=0.2"))
    again = list(read_faces(stopped))
    assert stopped.read_text().startswith("".join(lines[:4])) and [f.photo for f in again] == [f.photo for f in faces]


def test_refining_goes_on_from_the_answer(shards: dict[str, Path], fixed_networks: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("tiny")
    network.spaces.identity_basis.normal_(std=0.1)
    checkpoint.save(tmp_path / "r.pt", {"description": describe_network(network), "average": network.state_dict()})
    arguments = {"regressor": tmp_path / "r.pt", "people": 2}
    near = fit.main(options(shards, fixed_networks, tmp_path / "near.jsonl", refine=1, learning_rate=1e-6, **arguments))
    photos = fit.PhotoShards(str(shards["photos"]))
    keys = photos.arrays["key"].tolist()
    for face in read_faces(near):
        index = np.array([keys.index(face.photo)])
        with torch.no_grad():
            served = BothSides(checkpoint.rebuild(checkpoint.load(tmp_path / "r.pt")))
            said = served(*photos.inputs(index))
        np.testing.assert_allclose(face.expression, said.expression[0].clamp(0, 1), atol=1e-3)


def test_options_that_cannot_be() -> None:
    needed = {name: Path("x") for name in ("segmenter", "recogniser", "imitator", "out")}
    with pytest.raises(ValueError, match="--regressor"):
        Options(photos="x", refine=20, **needed)
    with pytest.raises(ValueError, match="--starts 3"):
        Options(photos="x", starts=3, **needed)
