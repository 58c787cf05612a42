"""The segmenter: parts and their labels, the network, T, and training on tiny shards."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from game import labels
from game.rig import Rig
from train import augment, checkpoint, segmenter
from train.bisenet import Segmentation, Segmenter, build, probability_of, rebuild
from train.data import ShardError
from train.face_parts import (
    ANY,
    BACKGROUND,
    BROW_LEFT,
    BROW_RIGHT,
    COLOURS,
    EYE_LEFT,
    EYE_RIGHT,
    HAIR,
    LOWER_LIP,
    MIRRORED,
    MIRRORED_SETS,
    MOUTH,
    NECK_AND_EARS,
    NOSE,
    OF_LABELS,
    PARTS,
    SKIN,
    UPPER_LIP,
    set_of,
)  # fmt: skip
from train.geometry import mirrored_landmarks
from train.landmark_parts import possible_parts
from train.segmenter_data import PART, LabelledPhotos, LabelledRenders, MaskedPhotos, changed, with_backdrop
from train.segmenter_losses import cross_entropy, dice, intersection_over_union, members, set_entropy, shares


@pytest.fixture(scope="module")
def labelled(shards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny render shards, with labels: the skin's oval, drawn parts, background."""
    folder = tmp_path_factory.mktemp("labelled")
    for path in shards["renders"].glob("*.tar"):
        with tarfile.open(path) as source, tarfile.open(folder / path.name, "w") as target:
            for member in source:
                data = source.extractfile(member).read()  # type: ignore[union-attr]
                target.addfile(member, io.BytesIO(data))
                if member.name.endswith("rig_landmarks.npy"):
                    picture = cv2.imencode(".png", _drawn_labels(np.load(io.BytesIO(data))))[1].tobytes()
                    info = tarfile.TarInfo(member.name.replace("rig_landmarks.npy", "png"))
                    info.size = len(picture)
                    target.addfile(info, io.BytesIO(picture))
    return folder


def _drawn_labels(landmarks: np.ndarray) -> np.ndarray:
    """(256, 256) classes of :mod:`game.labels`."""
    drawn = np.full((256, 256), labels.BACKGROUND, np.uint8)
    cv2.fillConvexPoly(drawn, cv2.convexHull(landmarks.astype(np.int32)), labels.SKIN)
    parts = possible_parts(landmarks)
    for part, label in ((NOSE, labels.NOSE), (EYE_LEFT, labels.EYE_LEFT), (EYE_RIGHT, labels.EYE_RIGHT)):
        drawn[parts == set_of(part)] = label
    return drawn


@pytest.fixture
def options(labelled: Path, shards: dict[str, Path], tmp_path: Path) -> segmenter.Options:
    return segmenter.Options(
        renders=labelled, photos=shards["photos"], photo_shards="people-*.tar", out=tmp_path / "run", preset="tiny", steps=4,
        batch_renders=3, batch_photos=1, evaluate_on=2, warm_up=2, workers=0, log_every=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Segmenter:
    torch.manual_seed(0)
    return build("tiny").eval()


# Parts


def test_every_class_of_the_game_has_a_part() -> None:
    assert len(OF_LABELS) == len(labels.LABELS) and set(OF_LABELS) == set(range(len(PARTS)))
    for name, part in zip(labels.LABELS, OF_LABELS, strict=True):
        if name in PARTS:
            assert PARTS[part] == name
    merged = {name: PARTS[part] for name, part in zip(labels.LABELS, OF_LABELS, strict=True) if name not in PARTS}
    assert merged == {
        "ears": "neck_and_ears", "neck": "neck_and_ears", "mouth_interior": "teeth", "cloth": "background", "glasses": "skin",
    }  # fmt: skip
    assert len(set(COLOURS)) == len(PARTS) == len(LabelledPhotos.OF_PARTS)


def test_merging_commutes_with_the_mirror() -> None:
    for label, part in enumerate(OF_LABELS):
        assert OF_LABELS[labels.MIRRORED[label]] == MIRRORED[part]
    assert [MIRRORED[part] for part in MIRRORED] == list(range(len(PARTS)))
    assert MIRRORED_SETS[set_of(EYE_LEFT, NOSE)] == set_of(EYE_RIGHT, NOSE) and MIRRORED_SETS[ANY] == ANY


def test_landmarks_tell_mirrored_parts_of_a_mirrored_face(shards: dict[str, Path], rig: Rig) -> None:
    landmarks = MaskedPhotos(shards["photos"]).arrays["landmarks"][0]
    possible = possible_parts(landmarks)
    sides = [np.nonzero(possible == set_of(part))[1].mean() for part in (BROW_RIGHT, EYE_RIGHT, NOSE, EYE_LEFT, BROW_LEFT)]
    assert max(sides[:2]) < sides[2] < min(sides[3:])  # the person's right is on the left of the picture
    assert {set_of(UPPER_LIP), set_of(LOWER_LIP), set_of(SKIN, HAIR)} < set(possible.ravel().tolist())
    assert possible[0, 0] == set_of(BACKGROUND, SKIN, HAIR, NECK_AND_EARS)
    mirrored = possible_parts(((landmarks * [-1, 1] + [256, 0])[mirrored_landmarks(rig)]).astype(np.float32))
    assert (np.array(MIRRORED_SETS)[possible[:, ::-1]] != mirrored).mean() < 0.01  # mirrored polygons round otherwise


# Data


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are moved and mirrored only."""
    for name in ("looks", "cover", "black_corners"):
        monkeypatch.setattr(augment, name, lambda image, rng: image)


def test_a_head_goes_on_above_its_forehead(shards: dict[str, Path]) -> None:
    """There is hair or a bald head, but neither background nor neck; farther up and beside the head anything may be."""
    landmarks = MaskedPhotos(shards["photos"]).arrays["landmarks"][0]
    possible = possible_parts(landmarks)
    (x, y), height = landmarks[10], landmarks[152, 1] - landmarks[10, 1]
    just_above, far_above = possible[int(y - 0.1 * height), int(x)], possible[int(y - 0.25 * height), int(x)]
    assert not just_above & (set_of(BACKGROUND) | set_of(NECK_AND_EARS))
    assert just_above & set_of(HAIR) and just_above & set_of(SKIN)
    assert far_above & set_of(BACKGROUND)


def test_a_photos_surroundings_replace_the_background_alone() -> None:
    image, photo = np.full((256, 256, 3), 100, np.uint8), np.zeros((256, 256, 3), np.uint8)
    photo[:, :128], photo[:, 128:] = 10, 240
    labels = np.full((256, 256), SKIN, np.uint8)
    labels[:, :64] = labels[:, 192:] = BACKGROUND
    composed = with_backdrop(image, labels, photo)
    assert (composed[:, 66:190] == 100).all()
    assert (composed[:, :62] == 240).all() and (composed[:, 194:] == 10).all()  # borders meet behind the head


@pytest.mark.usefixtures("plain")
def test_labels_move_with_their_picture_and_change_sides_in_the_mirror() -> None:
    parts = np.full((256, 256), BACKGROUND, np.uint8)
    parts[100:140, 60:100], parts[100:140, 160:200] = EYE_RIGHT, EYE_LEFT
    colours = np.array(COLOURS, np.uint8)
    for seed in range(12):
        mirrored = np.random.default_rng(seed).random() < 0.5
        image, moved = changed(colours[parts], parts, PART, np.random.default_rng(seed))
        left, right = colours[[EYE_LEFT, EYE_RIGHT][:: -1 if mirrored else 1]]
        for part, colour in ((EYE_LEFT, left), (EYE_RIGHT, right)):
            seen = image[moved == part]
            assert len(seen) > 400 and (np.abs(seen.astype(int) - colour).max(1) < 8).mean() > 0.9
        assert np.mean(np.nonzero(moved == EYE_LEFT)[1]) > np.mean(np.nonzero(moved == EYE_RIGHT)[1])


@pytest.mark.usefixtures("plain")
def test_what_covers_the_face_is_background(monkeypatch: pytest.MonkeyPatch) -> None:
    def box(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        image[100:150, 100:150] = 7
        return image

    monkeypatch.setattr(augment, "cover", box)
    image, parts = np.full((256, 256, 3), 200, np.uint8), np.full((256, 256), SKIN, np.uint8)
    results = [changed(image, parts, PART, np.random.default_rng(seed)) for seed in range(40)]
    assert {bool((seen == 7).any()) for seen, _ in results} == {True, False}
    for seen, found in results:
        assert np.array_equal(seen[10:240, 10:240, 0] == 7, found[10:240, 10:240] == BACKGROUND)


def test_batches_depend_on_their_number_alone(options: segmenter.Options) -> None:
    batches = segmenter.SegmenterTask(options).batches(0, 1)
    first = batches[3]
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "crop": (4, 256, 256, 3), "parts": (3, 256, 256),
        "possible": (1, 256, 256),
    }  # fmt: skip
    assert all(torch.equal(value, batches[3][name]) for name, value in first.items())
    assert first["parts"].max() < len(PARTS) and first["possible"].min() > 0 and first["possible"].max() <= ANY


def test_shards_without_labels_are_named(shards: dict[str, Path]) -> None:
    with pytest.raises(ShardError, match=r"no labels 000000\.png"):
        LabelledRenders(shards["renders"])
    assert len(MaskedPhotos(shards["photos"])) == 12


def test_painted_colours_snap_to_the_nearest() -> None:
    painted = np.zeros((256, 256, 3), np.uint8)
    painted[:, :128], painted[:, 128:] = (250, 245, 9), (3, 0, 240)
    mask = cv2.imencode(".png", painted[..., ::-1])[1].tobytes()
    parts = LabelledPhotos._warped(mask, np.array([[1.0, 0, 10], [0, 1, 0]]))
    assert (parts[:, :10] == LabelledPhotos.OUTSIDE).all()
    assert [LabelledPhotos.PARTS[parts[5, x]] for x in (20, 137, 138, 250)] == ["skin", "skin", "eyes", "eyes"]


# Network


def test_shapes_and_that_pictures_do_not_mix(network: Segmenter) -> None:
    crops = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        both, one = network(crops), network(crops[1:])
    assert both.logits.shape == (2, 12, 128, 128)
    assert [tuple(x.shape) for x in both.auxiliary] == [(2, 12, 32, 32), (2, 12, 16, 16)]
    assert [tuple(x.shape[1:]) for x in both.features] == [(16, 64, 64), (16, 32, 32), (16, 16, 16)]
    assert both.f_gb.shape == (2, 32)
    torch.testing.assert_close(both.logits[1:], one.logits, rtol=1e-4, atol=1e-4)


def test_untrained_heads_say_how_frequent_parts_are() -> None:
    network = build("tiny").eval()
    frequencies = torch.softmax(torch.arange(len(PARTS), dtype=torch.float32), 0)
    network.expect(frequencies)
    nn.init.zeros_(network.head[1].weight)
    with torch.no_grad():
        said = network(torch.rand(1, 3, 256, 256)).logits.softmax(1)
    torch.testing.assert_close(said, frequencies[None, :, None, None].expand_as(said))


def test_t_is_features_times_probability() -> None:
    """Where the left half of the picture is surely mouth, T of the mouth is the features there, and 0 on the right."""
    logits = torch.zeros(1, len(PARTS), 128, 128)
    logits[:, MOUTH[0], :, :64] = logits[:, MOUTH[1], :, :64] = 50.0
    logits[:, BACKGROUND, :, 64:] = 50.0
    features = tuple(torch.randn(1, 5, size, size) for size in (64, 32, 16))
    said = Segmentation(logits, (logits, logits), torch.zeros(1, 3), features)
    for weighted, plain in zip(said.weighted_features(MOUTH), features, strict=True):
        half = plain.shape[-1] // 2
        torch.testing.assert_close(weighted[..., :half], plain[..., :half])
        torch.testing.assert_close(weighted[..., half:], torch.zeros_like(plain[..., half:]))
    for weighted, plain in zip(said.weighted_features(MOUTH[:1]), features, strict=True):
        torch.testing.assert_close(weighted[..., 0, 0], plain[..., 0, 0] / 2)  # lip and teeth share the probability


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own exporter on newer Python releases
def test_onnx_says_what_torch_says(network: Segmenter, tmp_path: Path) -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
            said = self.network(crop)
            return said.logits, said.f_gb, *said.weighted_features()

    graph, path = Graph().eval(), tmp_path / "segmenter.onnx"
    torch.onnx.export(
        graph, (torch.rand(2, 3, 256, 256),), path, dynamo=True, opset_version=20, verbose=False, input_names=["crop"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    crops = torch.rand(3, 3, 256, 256)
    with torch.no_grad():
        expected = graph(crops)
    for said, wanted in zip(session.run(None, {"crop": crops.numpy()}), expected, strict=True):
        np.testing.assert_allclose(said, wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="tiny, cpu, gpu"):
        build("large")


# Losses and measures


def test_labels_become_shares_and_sets_members() -> None:
    found = shares(torch.tensor([[[SKIN, NOSE], [SKIN, SKIN]]], dtype=torch.uint8), 1)[0, :, 0, 0]
    assert found[SKIN] == 0.75 and found[NOSE] == 0.25 and found.sum() == 1
    sets = torch.tensor([[[ANY, ANY], [ANY, set_of(SKIN, NECK_AND_EARS)]]], dtype=torch.int16)
    assert members(sets, 1)[0, :, 0, 0].nonzero().flatten().tolist() == [SKIN, NECK_AND_EARS]


def test_losses_of_a_right_and_of_a_wrong_answer() -> None:
    weights = torch.ones(len(PARTS))
    target = shares(torch.full((1, 4, 4), NOSE, dtype=torch.uint8), 2)
    right = torch.zeros(1, len(PARTS), 2, 2)
    right[:, NOSE] = 30.0
    assert cross_entropy(right, target, weights) < 1e-4
    assert dice(right, target) < 1e-3 < dice(-right, target)


def test_sets_name_and_exclude() -> None:
    weights = torch.ones(len(PARTS))
    even = torch.zeros(1, len(PARTS), 2, 2, requires_grad=True)
    half = members(torch.full((1, 2, 2), set_of(*range(6)), dtype=torch.int16), 2)
    assert set_entropy(even, half, weights).item() == pytest.approx(np.log(2))
    assert set_entropy(even, torch.ones_like(half), weights).item() == pytest.approx(0, abs=1e-6)
    set_entropy(even, half, weights).backward()
    assert (even.grad[:, :6] < 0).all() and (even.grad[:, 6:] > 0).all()  # type: ignore[index]


def test_weights_do_not_make_rare_parts_likelier() -> None:
    """Where a part has a tenth of the pixels, the best logits say a tenth, whatever the weights."""
    weights = torch.ones(len(PARTS))
    weights[NOSE] = 5.0
    target = torch.zeros(1, len(PARTS), 1, 1)
    target[:, NOSE], target[:, SKIN] = 0.1, 0.9
    best = torch.where(target > 0, target.log(), -30.0).requires_grad_()
    for weighted in (weights, torch.ones(len(PARTS))):
        (gradient,) = torch.autograd.grad(cross_entropy(best, target, weighted), best)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)


def test_intersection_over_union_by_hand() -> None:
    said, truth = np.array([0, 0, 1, 1], np.uint8), np.array([0, 1, 1, 255], np.uint8)
    np.testing.assert_allclose(intersection_over_union([(said, truth)], 3), [1 / 2, 1 / 2, np.nan])


# Training


def test_overfits_a_few_pictures(options: segmenter.Options) -> None:
    loop = segmenter.training(replace(options, steps=20, batch_renders=3, batch_photos=1, learning_rate=1e-2))
    batch = loop.task.batches(0, 1)[0]
    history = [loop.learn([batch]) for _ in range(20)]
    for name, share in (("parts", 0.6), ("dice", 0.95), ("auxiliary", 0.6), ("landmarks", 0.9), ("loss", 0.7)):
        assert history[-1][name] < share * history[0][name], name


def test_resumes_with_identical_weights(options: segmenter.Options, tmp_path: Path) -> None:
    whole = checkpoint.load(segmenter.train(replace(options, out=tmp_path / "whole")))
    part = replace(options, out=tmp_path / "parts")
    segmenter.train(replace(part, stop_after=2))
    parts = checkpoint.load(segmenter.train(part))
    for kind in ("network", "average"):
        for name, value in whole[kind].items():
            torch.testing.assert_close(parts[kind][name], value, rtol=0, atol=0, msg=name)
    network = rebuild(parts)
    assert not network.training and torch.equal(network.head[1].bias, parts["average"]["head.1.bias"])
    with pytest.raises(ValueError, match="no checkpoint of a segmenter"):
        rebuild({"description": {"preset": {}}})


def test_measures_renders(options: segmenter.Options) -> None:
    task = segmenter.SegmenterTask(replace(options, photos=None))
    task.network.eval()
    measured = task.evaluate()
    assert measured["score"] == measured["renders"] and "renders nose" in measured
    assert task.sheet().shape == (256, 768, 3)


def test_probability_of_parts_is_their_share_of_the_softmax() -> None:
    logits = 40 * torch.randn(2, len(PARTS), 4, 4)
    expected = logits.softmax(1)[:, [1, 5]].sum(1, keepdim=True)
    torch.testing.assert_close(probability_of(logits, (1, 5)), expected)
