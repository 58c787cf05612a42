"""The encoder: what it is told, what it learns from it, and that it goes on as if it had never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sdk.errors import SchemaError
from sdk.schema import REFERENCE
from train import bisenet, calibrate, checkpoint, encoder, encoder_data, encoder_network, networks, style_likeness, style_teacher
from train.data import PhotoShards
from train.dlib_resnet import DlibResNet
from train.encoder import Options
from train.encoder_data import Labels, learns
from train.encoder_network import cell_means
from train.face_files import UNKNOWN, MadeFace
from train.style_labels import HIDDEN

SLOTS = [slot.name for slot in REFERENCE.style]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A table of styles, and a file of faces made for photos."""
    styles = tmp_path / "styles.csv"
    rows = [f"person_{k}_0000,{'curly' if k % 2 else ''},{'thick' if k % 2 else 'thin'}" for k in range(5)]
    styles.write_text("\n".join(["photo,hair,brow", *rows]) + "\n")
    made = MadeFace(
        "person_1_0001.jpg", np.full(len(REFERENCE.identity), 0.25, np.float32), np.zeros(len(REFERENCE.expression), np.float32),
        np.zeros(len(REFERENCE.pose), np.float32), np.full(len(REFERENCE.style), UNKNOWN),
    )  # fmt: skip
    faces = tmp_path / "faces.jsonl"
    faces.write_text(made.line() + "\n")
    return {"styles": styles, "faces": faces}


@pytest.fixture
def options(shards: dict[str, Path], fixed_networks: dict[str, Path], files: dict[str, Path], tmp_path: Path) -> Options:
    return Options(
        renders=str(shards["renders"]), photos=str(shards["photos"]), styles=(files["styles"],), faces=(files["faces"],),
        imitator=fixed_networks["imitator"], segmenter=fixed_networks["segmenter"], out=tmp_path / "run",
        photo_shards="people-*.tar", preset="tiny", steps=4, batch_renders=4, batch_photos=4, decoded=2, measured=8, warm_up=2,
        workers=0, log_every=1,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def all_but_one_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the five people the last one is held out."""
    monkeypatch.setattr(encoder_data, "learns", lambda person, share: person != "person_4")


def test_who_is_learnt_from_is_a_matter_of_names() -> None:
    people = [f"Ada_{number}" for number in range(2000)]
    most, more = ([person for person in people if learns(person, share)] for share in (0.7, 0.9))
    assert 0.67 < len(most) / len(people) < 0.73 and 0.88 < len(more) / len(people) < 0.92
    assert set(most) < set(more)


@pytest.fixture(autouse=True)
def another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features are noise."""
    monkeypatch.setattr(
        style_teacher, "features", lambda photos: torch.randn(2 * len(photos), 4, generator=torch.Generator().manual_seed(0))
    )


def test_it_has_the_structure_of_the_method() -> None:
    network = encoder_network.build("tiny")
    convolutions = [m for m in network.trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 16, "VGG19 has sixteen"
    assert len(network.residuals) == 3
    said = network(torch.rand(2, 3, 256, 256), 256 * torch.rand(2, 468, 2))
    assert said.identity.shape == (2, 244)
    assert {name: values.shape[1] for name, values in said.styles.items()} == {s.name: len(s.options) for s in REFERENCE.style}


def test_served_it_says_the_same_of_a_mirror_image() -> None:
    network, crop, mesh = encoder_network.build("tiny").eval(), torch.rand(2, 3, 256, 256), 256 * torch.rand(2, 468, 2)
    turned = mesh[:, network.mirror_images] * torch.tensor([-1, 1]) + torch.tensor([256, 0])
    said, mirrored = network.both_sides(crop, mesh), network.both_sides(crop.flip(3), turned)
    one, other = network(crop, mesh), network(crop.flip(3), turned)
    for name, values in said.styles.items():
        torch.testing.assert_close(values, mirrored.styles[name])
        torch.testing.assert_close(values, (one.styles[name] + other.styles[name]) / 2)
    torch.testing.assert_close(said.visible, mirrored.visible)
    torch.testing.assert_close(said.identity, one.identity)


def test_photos_get_their_labels(shards: dict[str, Path], files: dict[str, Path]) -> None:
    photos = PhotoShards(shards["photos"], "people-*.tar")
    labels = Labels.read(photos, (files["styles"],), (files["faces"],), REFERENCE)
    keys = [str(key) for key in photos.arrays["key"]]
    hair, brow, skin = (SLOTS.index(name) for name in ("hair", "brow", "skin"))
    first = labels.style[keys.index("person_1_0000")]
    assert (first[hair], first[brow]) == (REFERENCE.slot("hair").index("curly"), REFERENCE.slot("brow").index("thick"))
    assert first[skin] == UNKNOWN
    assert labels.style[keys.index("person_0_0000"), hair] == HIDDEN
    assert labels.made.sum() == 1 and labels.identity[keys.index("person_1_0001")] == pytest.approx(0.25)


def test_a_line_that_does_not_fit_is_named(shards: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("photo,hair\nperson_0_0000,mohawk\n")
    with pytest.raises(SchemaError, match=r"odd\.csv, line 2: .*mohawk"):
        Labels.read(PhotoShards(shards["photos"], "people-*.tar"), (tmp_path / "odd.csv",), (), REFERENCE)


def test_half_of_the_photos_are_labelled_ones_and_mirrored_faces_are_mirrored(options: Options) -> None:
    task = encoder.EncoderTask(options)
    batches = task.batches(0, 1)
    signs = torch.from_numpy(batches.identity_signs)
    seen = 0
    for step in range(40):
        batch = batches[step]
        assert torch.equal(batch["photo"][0::2], batch["photo"][1::2]), "two views of one photo"
        np.testing.assert_array_equal(batch["taught"], task.taught[batch["photo"]])
        for k in batch["made"].nonzero()[:, 0]:
            wanted = 0.25 * (signs if batch["mirrored"][k] else torch.ones_like(signs))
            torch.testing.assert_close(batch["photo_identity"][k], wanted.float())
            seen += 1
    assert seen


def test_losses_count_what_is_known_only() -> None:
    logits = {name: torch.randn(4, len(REFERENCE.slot(name).options), requires_grad=True) for name in SLOTS}
    nothing = torch.full((4, len(SLOTS)), UNKNOWN)
    assert encoder.told_loss(logits, nothing) == 0
    assert encoder.visible_loss(torch.randn(4, len(SLOTS)), nothing) == 0
    style = nothing.clone()
    style[1, 0], style[2, 0] = 3, HIDDEN
    expected = functional.cross_entropy(logits["hair"][1:2], torch.tensor([3]), label_smoothing=encoder.SMOOTHING)
    torch.testing.assert_close(encoder.told_loss(logits, style), expected)
    visible = torch.zeros(4, len(SLOTS))
    visible[1, 0], visible[2, 0] = 20, -20
    assert encoder.visible_loss(visible, style) < 1e-6
    taught = torch.zeros(4, sum(len(slot.options) for slot in REFERENCE.style))
    assert encoder.taught_loss(logits, taught) == 0
    taught[1, 2:4] = torch.tensor([0.25, 0.75])
    expected = functional.cross_entropy(logits["hair"][1:2], taught[1:2, : len(REFERENCE.slot("hair").options)]) / 4
    torch.testing.assert_close(encoder.taught_loss(logits, taught), expected)


def test_rules_teach_what_they_measure_where_nobody_looked() -> None:
    slots, nobody = REFERENCE.style, [False] * len(SLOTS)
    style = torch.full((4, len(SLOTS)), UNKNOWN)
    evidence = torch.rand(4, sum(len(slot.options) for slot in slots)) + 0.03
    logits = dict(zip(SLOTS, torch.zeros_like(evidence).split([len(s.options) for s in slots], 1), strict=True))
    for values in logits.values():
        values.requires_grad_()
    encoder.rule_loss(logits, evidence, style, nobody).backward()
    iris = evidence[:, -sum(len(s.options) for s in slots[-2:]) : -len(slots[-1].options)]
    expected = (1 / iris.shape[1] - iris / iris.sum(1, keepdim=True)) / 4
    torch.testing.assert_close(logits["iris"].grad, expected)
    assert not logits["hair"].grad.any(), "shapes are not told by rules"  # type: ignore[union-attr]
    assert encoder.rule_loss(logits, evidence, torch.zeros_like(style), nobody) == 0, "what somebody saw needs no rule"
    assert encoder.rule_loss(logits, evidence, style, [True] * len(SLOTS)) == 0, "nor does what people saw on other photos"


def test_sure_answers_teach_the_other_view() -> None:
    logits = {name: torch.zeros(2, len(REFERENCE.slot(name).options)) for name in SLOTS}
    logits["hair"][0, 4] = 20
    logits["hair"].requires_grad_()
    told, looked_at = torch.full((2, len(SLOTS)), UNKNOWN), [True] * len(SLOTS)
    encoder.agreement_loss(logits, told, looked_at).backward()
    gradient = logits["hair"].grad
    assert gradient is not None and gradient[0].abs().max() < 1e-6, "who is sure learns nothing from who is not"
    assert gradient[1, 4] < 0
    told[1, 0] = 2
    assert encoder.agreement_loss(logits, told, looked_at) == 0, "what somebody saw needs no guess"
    told[1, 0] = UNKNOWN
    assert encoder.agreement_loss(logits, told, [False] * len(SLOTS)) == 0, "nobody ever looked: nothing to agree on"


def test_colours_of_hair_that_is_not_there_are_hidden() -> None:
    style = torch.zeros(2, len(SLOTS), dtype=torch.long)
    style[0, SLOTS.index("hair")] = REFERENCE.slot("hair").index("bald")
    style[1, SLOTS.index("hair")] = REFERENCE.slot("hair").index("bob")
    assert encoder.seen_on_renders(style, REFERENCE)[:, SLOTS.index("hair_colour")].tolist() == [HIDDEN, 0]


def test_every_loss_reaches_the_network_and_it_learns(options: Options) -> None:
    torch.manual_seed(0)
    loop = encoder.training(replace(options, steps=25, learning_rate=3e-3))
    batch = loop.task.batches(0, 1)[0]
    first = {name: float(value) for name, value in loop.learn([batch]).items()}
    for _ in range(20):
        last = loop.learn([batch])
    assert set(first) == {"styles", "pixels", "shape", "told", "taught", "visible", "rules", "agreement", "parts", "loss"}
    for name in ("styles", "shape", "told", "taught", "visible", "parts"):
        assert last[name] < first[name], name


def test_it_resumes_as_if_it_had_never_stopped_and_is_calibrated(options: Options) -> None:
    whole = encoder.train(options)
    part = replace(options, out=options.out.with_name("part"), stop_after=2)
    encoder.train(part)
    resumed = encoder.train(replace(part, stop_after=0))
    expected, found = (checkpoint.load(path)["average"] for path in (whole, resumed))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    network = encoder_network.rebuild(checkpoint.load(whole))
    assert (network.temperature != 1).any()


def test_it_begins_as_another_run_ended(options: Options, tmp_path: Path) -> None:
    first = checkpoint.load(encoder.train(options))["average"]
    second = encoder.training(replace(options, out=tmp_path / "second", start_from=options.out / checkpoint.LAST))
    for name, value in second.task.network.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_likeness_weighs_what_photos_are_taught(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DRAWN", 32), ("LESSONS", 10)):
        monkeypatch.setattr(style_likeness, name, value)
    monkeypatch.setattr(encoder, "load_teacher", lambda path: DlibResNet().eval())
    regressor = networks.build("tiny", bisenet.build("tiny"))
    checkpoint.save(tmp_path / "r.pt", {"average": regressor.state_dict(), "description": networks.describe(regressor)})
    weighed = replace(options, likeness=4.0, regressor=tmp_path / "r.pt", start_from=tmp_path / "e.pt")
    plain, other = encoder.EncoderTask(options).taught, encoder.EncoderTask(weighed).taught
    np.testing.assert_allclose(other.sum(1), plain.sum(1), rtol=1e-5)
    assert np.abs(plain - other).max() > 1e-3
    with pytest.raises(ValueError, match="--likeness"):
        replace(options, likeness=4.0)


def test_it_begins_with_the_trunk_of_the_regressor(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regressor = networks.build("tiny", bisenet.build("tiny"))
    checkpoint.save(tmp_path / "r.pt", {"average": regressor.state_dict(), "description": networks.describe(regressor)})
    sizes = regressor.preset
    small = replace(
        encoder_network.PRESETS["cpu"], widths=(sizes.stem, *sizes.widths), depths=(0, *sizes.depths), identity_codes=12
    )
    monkeypatch.setitem(encoder_network.PRESETS, "small", small)
    found = encoder.EncoderTask(replace(options, preset="small", regressor=tmp_path / "r.pt")).network
    for name, value in found.trunk.state_dict().items():
        assert torch.equal(value, regressor.trunk.state_dict()[name]), name
    assert [grid.shape[-1] for grid in found.trunk(torch.rand(1, 3, 256, 256))] == [64, 32, 16, 8, 4]
    with pytest.raises(ValueError, match=r"--regressor: the preset 'tiny' has a trunk of its own"):
        encoder.EncoderTask(replace(options, regressor=tmp_path / "r.pt"))


class Shouting(torch.nn.Module):
    """Sure of option 0 everywhere."""

    def both_sides(self, crop: torch.Tensor, mesh: torch.Tensor) -> encoder_network.Encoded:
        first = torch.zeros(len(crop), dtype=torch.long)
        styles = {s.name: 10 * functional.one_hot(first, len(s.options)).float() for s in REFERENCE.style}
        return encoder_network.Encoded(torch.zeros(len(crop), 244), styles, torch.zeros(len(crop), 7), torch.zeros(len(crop)))


def test_temperatures_make_doubt_as_large_as_error(options: Options) -> None:
    """Answers that are ten times too sure get a temperature of about ten."""
    faces = encoder_data.Faces.read(options)
    nobody = np.zeros(len(faces.photos), bool)
    faces = replace(faces, held_out_photos=faces.photos.part(nobody), held_out_labels=faces.labels.part(nobody))
    faces.held_out.arrays["style"][:, SLOTS.index("lip")] = [0, 0, 0, 0, 0, 0, 0, 1]
    found = dict(calibrate.temperatures(Shouting(), faces, torch.device("cpu"), REFERENCE))  # type: ignore[arg-type]
    assert found["lip"] == pytest.approx(10 / np.log(7 * 5), rel=0.05), "7 of 8 right among 6 options"


def test_what_is_calibrated_stays(options: Options) -> None:
    path = encoder.train(options)
    first = checkpoint.load(path)["average"]["temperature"]
    calibrate.calibrate(path, encoder_data.Faces.read(options), torch.device("cpu"))
    found = (first > 0.11) & (first < 9)  # not at the end of what is tried
    assert found.any()
    torch.testing.assert_close(checkpoint.load(path)["average"]["temperature"][found], first[found], rtol=0.03, atol=0)


def test_another_checkpoint_is_refused(fixed_networks: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint of train\.encoder"):
        encoder_network.rebuild(checkpoint.load(fixed_networks["imitator"]))


def test_colours_are_read_at_landmarks_and_between_lids() -> None:
    """Of a picture whose red grows to the right and whose green grows downwards colours are places."""
    ramp = (torch.arange(256) + 0.5) / 256
    picture = torch.stack([ramp.expand(256, 256), ramp[:, None].expand(256, 256), torch.zeros(256, 256)])[None]
    mesh = 20 + 200 * torch.rand(1, 468, 2)
    points = encoder_network.colour_points(mesh)
    colours = networks.read_at(picture, points).view(-1, 3)
    torch.testing.assert_close(256 * colours[:, :2], points[0], atol=1e-2, rtol=0)
    torch.testing.assert_close(points[0, 1], mesh[0, encoder_network.EVERY])
    middle = (mesh[0, 159] + mesh[0, 145]) / 2  # of the right eye
    assert (points[0] - middle).norm(dim=1).min() < 1e-3


def test_cells_have_the_mean_of_their_pixels() -> None:
    picture = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(cell_means(picture, 4), functional.avg_pool2d(picture, 16))
