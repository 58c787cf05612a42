"""The measures of the accuracy benchmark, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.likeness import at_rest, baselines, identification
from benchmarks.measures import PortraitPoints, calibration, icc, laid_over
from game.sampling import sample_character


def test_icc_is_one_for_agreement_and_ignores_a_constant() -> None:
    truth = np.random.default_rng(0).random((500, 2))
    assert icc(truth, truth) == pytest.approx(1)
    assert icc(truth + 0.3, truth) == pytest.approx(1)  # ICC(3,1) measures consistency


def test_icc_is_the_correlation_where_spreads_are_equal_and_punishes_shrinking() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20000, 1))
    said = 0.6 * truth + 0.8 * rng.normal(size=truth.shape)
    assert icc(said, truth) == pytest.approx(0.6, abs=0.02)
    assert icc(0.3 * said, truth) < 0.4


def test_calibration_of_what_is_said_truly_and_of_what_is_too_sure() -> None:
    rng = np.random.default_rng(2)
    truth, sigma = np.zeros((4000, 3)), np.exp(rng.normal(size=(4000, 3)))
    said = sigma * rng.normal(size=sigma.shape)
    true = calibration({"x": said}, {"x": sigma}, {"x": truth})["x"]
    assert true["spread"] == pytest.approx(1, abs=0.05) and true["within one sigma"] == pytest.approx(0.683, abs=0.02)
    assert true["rank correlation"] > 0.4
    assert calibration({"x": said}, {"x": sigma / 3}, {"x": truth})["x"]["spread"] == pytest.approx(3, abs=0.15)


def test_points_are_laid_over_by_a_similarity_only() -> None:
    points = np.random.default_rng(3).normal(size=(30, 2))
    turned = 2.5 * points @ np.array([[0.6, 0.8], [-0.8, 0.6]]) + [10, -4]
    np.testing.assert_allclose(laid_over(points, turned), turned)
    stretched = points * [1, 1.5]
    assert np.linalg.norm(laid_over(points, stretched) - stretched, axis=1).mean() > 0.1


def test_portrait_points_are_found_where_they_are_on_the_mean_face() -> None:
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 26), np.linspace(-1, 1, 18)), 2).reshape(468, 2)
    stretch, shift = rng.uniform(80, 120, (20, 1, 2)), rng.uniform(0, 300, (20, 1, 2))
    inside, far = np.array([[[0.31, -0.22], [0.013, 0.5]]]), np.array([[[3.0, 3.0]]])
    points = PortraitPoints(np.concatenate([inside, far], 1) * stretch + shift, grid * stretch + shift)
    assert points.kept.tolist() == [0, 1]  # what is far from all landmarks is left out
    for width, place in zip(stretch, shift, strict=True):
        np.testing.assert_allclose(points.of(grid * width + place), inside[0] * width + place, atol=1e-6)


def test_likeness_finds_ones_own_photo() -> None:
    faces = np.eye(30)
    own = identification(faces, faces, 20)
    assert own["first"] == own["among the first 10"] == own["own before another"] == own["similarity"] == 1
    assert identification(faces, np.roll(faces, 1, 0), 20)["first"] < 0.2
    noise = np.random.default_rng(3).normal(size=(2, 600, 16))
    chance = identification(*noise, 100)
    assert chance["own before another"] == pytest.approx(0.5, abs=0.04)
    assert chance["among the first 10"] == pytest.approx(0.1, abs=0.04)


def test_who_always_shows_the_same_face_is_at_chance() -> None:
    rng = np.random.default_rng(5)
    always = np.repeat(rng.normal(size=(1, 16)), 400, 0)
    assert identification(always, rng.normal(size=(400, 16)), 100)["first"] < 0.03
    assert identification(always, always, 100)["first"] == 0  # nothing is told apart by it


def test_baselines_know_nothing_of_a_person_but_expression_and_pose() -> None:
    own = [sample_character(np.random.default_rng(k)) for k in range(6)]
    methods = baselines(own, 0)
    for name, faces in methods.items():
        assert len(faces) == 6
        for face, mine in zip(faces, own, strict=True):
            assert np.array_equal(face.expression, mine.expression) and np.array_equal(face.pose, mine.pose)
            assert not np.array_equal(face.identity, mine.identity), name
    assert all(
        face.style == own[0].style or face.style != mine.style for face, mine in zip(methods["base face"], own, strict=True)
    )
    assert [face.style for face in methods["own styles on the base face"]] == [face.style for face in own]
    assert not at_rest(own[0]).expression.any() and not at_rest(own[0]).pose.any()
