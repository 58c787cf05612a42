"""The measures of the accuracy benchmark, against cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.likeness import Options, Subject, at_rest, baselines, drawn_as, identification, made_elsewhere
from benchmarks.measures import PortraitPoints, calibration, icc, laid_over
from game.sampling import sample_character
from sdk.schema import REFERENCE
from train.face_files import UNKNOWN, MadeFace


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


def test_some_characters_look_for_their_photo_among_those_of_all() -> None:
    rng = np.random.default_rng(6)
    photos, people = rng.normal(size=(120, 16)), np.array([7, 80, 33])
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    near = photos[people] + 0.1 * rng.normal(size=(3, 16))
    some, every = identification(near, photos, 100, people=people), identification(photos, photos, 100)
    assert every["first"] == 1 and some["among the first 10"] == 1
    rolled = identification(near, photos, 100, people=np.roll(people, 1))
    assert rolled["among the first 10"] < 1 and rolled["similarity"] < some["similarity"]


def test_faces_made_elsewhere_are_those_of_the_same_photos(tmp_path: Path) -> None:
    own = sample_character(np.random.default_rng(0))
    subject = Subject("train/Ada_0001", np.zeros((8, 8, 3)), np.zeros((468, 3)), own, 0.1)
    style = np.full(len(REFERENCE.style), UNKNOWN)
    style[0] = 4
    zero = (np.zeros(len(REFERENCE.expression), np.float32), np.zeros(len(REFERENCE.pose), np.float32))
    face = MadeFace("Ada_0001.jpg", np.full(len(REFERENCE.identity), 0.5, np.float32), *zero, style, 3.0)
    (tmp_path / "fit.jsonl").write_text(face.line() + "\n")
    options = Options(Path("photos.tar"), Path("judge.onnx"), made=(f"fit={tmp_path / 'fit.jsonl'}",))
    found = made_elsewhere(options, [subject])["fit"]["train/Ada_0001"]
    drawn = drawn_as(found, own)
    assert (drawn.style["hair"], drawn.style["brow"]) == (4, own.style["brow"]) and drawn.identity[0] == 0.5
    with pytest.raises(ValueError, match="NAME=FILE"):
        made_elsewhere(replace(options, made=("fit",)), [subject])
    with pytest.raises(ValueError, match="none of its faces"):
        made_elsewhere(options, [replace(subject, key="Bob_0001")])


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
