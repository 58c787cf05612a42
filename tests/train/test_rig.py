"""The torch rig against the numpy rig."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from game.camera import Camera
from game.rig import Rig
from train.rig import TorchRig


@pytest.fixture(scope="module")
def torch_rig() -> TorchRig:
    return TorchRig()


def draws(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = ((244, -1, 1), (23, 0, 1), (2, -40, 40), (2, -1, 1))
    identity, expression, pose, gaze = (rng.uniform(low, high, (count, size)).astype(np.float32) for size, low, high in sizes)
    return identity, expression, pose, gaze


def test_same_vertices_and_landmarks_as_numpy(torch_rig: TorchRig) -> None:
    rig = Rig.load()
    parameters = draws(12, seed=0)
    vertices = torch_rig.vertices(*map(torch.from_numpy, parameters))
    landmarks = torch_rig.landmarks(vertices)
    for index, one in enumerate(zip(*parameters, strict=True)):
        expected = rig.vertices(*one)
        np.testing.assert_allclose(vertices[index].numpy(), expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(landmarks[index].numpy(), rig.landmarks(expected), atol=1e-5, rtol=0)


def test_same_projection_as_the_camera(torch_rig: TorchRig) -> None:
    points = Rig.load().landmarks(Rig.load().base)
    camera = replace(Camera.portrait(256), roll=12.0)
    projected = torch_rig.project(torch.from_numpy(points), camera)
    np.testing.assert_allclose(projected.numpy(), camera.project(points), atol=1e-3)


def test_what_is_not_given_is_zero(torch_rig: TorchRig) -> None:
    base = torch.from_numpy(Rig.load().base.copy())
    torch.testing.assert_close(torch_rig.vertices()[0], base)
    torch.testing.assert_close(torch_rig.vertices(expression=torch.zeros(2, 23))[1], base, atol=1e-6, rtol=0)


def test_batch_is_the_same_as_one_by_one(torch_rig: TorchRig) -> None:
    parameters = [torch.from_numpy(array) for array in draws(3, seed=1)]
    together = torch_rig.vertices(*parameters)
    single = torch.cat([torch_rig.vertices(*(p[i : i + 1] for p in parameters)) for i in range(3)])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0])
def test_gradients_are_finite_and_reach_every_parameter(torch_rig: TorchRig, amount: float) -> None:
    parameters = [amount * torch.from_numpy(array) for array in draws(4, seed=2)]
    for parameter in parameters:
        parameter.requires_grad_()
    vertices = torch_rig.vertices(*parameters)
    # A sum of squares would hide sliders whose effects on the two halves of the face cancel out.
    (vertices * torch.randn(vertices.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    for parameter in parameters:
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
    # Gaze has a kink at 0, and there a zero gradient is right.
    for parameter in parameters[: 3 if amount == 0 else 4]:
        assert (parameter.grad.abs().sum(0) > 0).all()


def test_gradient_matches_finite_differences(torch_rig: TorchRig) -> None:
    rig = TorchRig().double()
    identity, expression, pose, gaze = (0.3 * torch.from_numpy(array).double() for array in draws(1, seed=3))
    direction = torch.randn(1, 244, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.randn(len(rig.base), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def energy(step: float) -> torch.Tensor:
        return (rig.vertices(identity + step * direction, expression, pose, gaze) * weights).sum()

    identity.requires_grad_()
    energy(0.0).backward()
    assert identity.grad is not None
    analytic = float((identity.grad * direction).sum())
    identity.requires_grad_(False)
    numeric = float(energy(1e-6) - energy(-1e-6)) / 2e-6
    assert analytic == pytest.approx(numeric, rel=1e-3)


def test_the_rig_has_buffers_only(torch_rig: TorchRig) -> None:
    assert not list(torch_rig.parameters())
    assert not torch_rig.state_dict(), "the asset is the one place of the rig; checkpoints do not carry it"
