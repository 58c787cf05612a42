"""Smoothing over frames, several photos into one, one face's expression on another, and ARKit's coefficients."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import sdk
from sdk import AsyncFaceParamClient, FaceParamClient, FaceParams, OneEuro, Smoothing, arkit, errors
from sdk.contract import LANDMARKS
from sdk.face_params import DetectedFace, Parameters, StyleChoice, Styles
from sdk.quality import Quality
from sdk.stream import Track


def face(
    identity: Any = 0.0, expression: Any = 0.0, pose: Any = 0.0, sigma: Any = 0.1, hair: int = 2, left: float = 100.0,
    visible: float = 1.0,
) -> FaceParams:  # fmt: skip
    """A face with these values; scalars are for all parameters."""
    schema = sdk.REFERENCE

    def parameters(names: tuple[str, ...], value: Any) -> Parameters:
        return Parameters(names, np.broadcast_to(np.asarray(value, np.float32), len(names)))

    choices = []
    for slot in schema.style:
        index = hair if slot.name == "hair" else 0
        probabilities = np.full(len(slot.options), 0.3 / (len(slot.options) - 1))
        probabilities[index] = 0.7
        choices.append(StyleChoice(slot, index, probabilities, visible))
    landmarks = np.full((LANDMARKS, 3), left)
    return FaceParams(
        identity=parameters(schema.identity, identity),
        expression=parameters(schema.expression, expression),
        pose=parameters(schema.pose, pose),
        identity_sigma=parameters(schema.identity, sigma),
        expression_sigma=parameters(schema.expression, 0.1),
        pose_sigma=parameters(schema.pose, 1.0),
        style=Styles(tuple(choices)),
        face=DetectedFace((left, 50.0, left + 80, 150.0), 0.0, landmarks, 1, Quality(1, 1, 80, 0.2, 0.5, 0.5, 0, 0)),
        schema_version=schema.version,
        model_version="abc",
    )


# Smoothing


def test_the_first_frame_is_itself_and_a_still_face_stays() -> None:
    track, still = Track(), face(0.3, 0.2, 5.0)
    for frame in range(10):
        smoothed = track.update(still, frame / 30)
        np.testing.assert_allclose(smoothed.identity.array, 0.3, atol=1e-6)
        np.testing.assert_allclose(smoothed.face.landmarks, still.face.landmarks, rtol=1e-6)
        assert smoothed.style.indices() == still.style.indices()


def test_a_resting_face_trembles_less() -> None:
    rng, track = np.random.default_rng(0), Track()
    trembling = [face(rng.normal(0, 0.1, 244), 0.5 + rng.normal(0, 0.02, 23), rng.normal(0, 0.5, 2)) for _ in range(150)]
    smoothed = [track.update(params, frame / 30) for frame, params in enumerate(trembling)]
    for name, share in (("identity", 0.2), ("expression", 0.6), ("pose", 0.5)):
        before, after = (np.std([getattr(p, name).array for p in some[60:]], 0).mean() for some in (trembling, smoothed))
        assert after < share * before, name


def test_a_blink_is_not_late() -> None:
    """Shut within 0.1 s: half of it must be seen one frame later at the latest."""
    track = Track()
    closed = [*[0.0] * 20, 0.33, 0.67, 1.0, 1.0, 1.0]
    smoothed = [track.update(face(expression=value), frame / 30).expression.array[0] for frame, value in enumerate(closed)]
    assert smoothed[22] > 0.5 and smoothed[24] > 0.9
    assert max(smoothed) <= 1.0 and min(smoothed) >= 0.0


def test_the_filter_is_that_of_the_paper() -> None:
    """Casiez et al. 2012, algorithm 1, by hand for three samples."""
    settings, values, rate = OneEuro(1.0, 0.5), [0.0, 1.0, 0.4], 50.0

    def alpha(cutoff: float) -> float:
        return 1.0 / (1.0 + rate / (2 * np.pi * cutoff))

    value, speed, expected = values[0], 0.0, [values[0]]
    for x in values[1:]:
        speed = alpha(1.0) * (x - value) * rate + (1 - alpha(1.0)) * speed
        a = alpha(1.0 + 0.5 * abs(speed))
        value = a * x + (1 - a) * value
        expected.append(value)
    track = Track(Smoothing(expression=settings))
    got = [track.update(face(expression=x), frame / rate).expression.array[0] for frame, x in enumerate(values)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("how", ["gap", "jump"])
def test_another_face_begins_anew(how: str) -> None:
    track = Track()
    track.update(face(0.9), 0.0)
    after = {"gap": (face(-0.9), 1.5), "jump": (face(-0.9, left=300.0), 0.03)}[how]
    np.testing.assert_allclose(track.update(*after).identity.array, -0.9, atol=1e-6)
    if how == "gap":
        short = Track()
        short.update(face(0.9), 0.0)
        assert short.update(face(-0.9), 0.9).identity.array[0] > -0.9


def test_a_flickering_style_settles() -> None:
    track = Track()  # the first frame is one of the wrong ones
    hair = [track.update(face(hair=3 if frame % 3 == 0 else 5), frame / 30).style["hair"] for frame in range(60)]
    assert {choice.index for choice in hair[30:]} == {5}
    assert all(abs(choice.probabilities.sum() - 1) < 1e-5 for choice in hair)


def test_hair_that_comes_out_of_a_hat_is_seen_more_and_more() -> None:
    track = Track(Smoothing(identity=0.5))
    visible = [track.update(face(visible=float(frame >= 30)), frame / 30).style["hair"].visible for frame in range(90)]
    assert visible[29] == 0 and all(a <= b for a, b in pairwise(visible)) and visible[-1] > 0.9


def test_frames_must_come_in_order() -> None:
    track = Track()
    track.update(face(), 1.0)
    with pytest.raises(ValueError, match="in order"):
        track.update(face(), 1.0)
    with pytest.raises(ValueError, match="cutoff"):
        OneEuro(0.0)
    with pytest.raises(ValueError, match="above 0 seconds"):
        Smoothing(identity=0.0)


class Camera:
    """A backend that answers with one face after the other; None is a frame without one."""

    schema = sdk.REFERENCE

    def __init__(self, *faces: FaceParams | None) -> None:
        self.faces = iter(faces)

    def infer(self, photos: Any) -> list[FaceParams]:
        found = next(self.faces)
        if found is None:
            raise errors.NoFaceError("no face", reasons=(), faces=0)
        return [found]


def test_streams_keep_their_faces_apart_and_bear_a_missing_frame() -> None:
    client = FaceParamClient.using(Camera(face(0.0), face(0.8), None, face(1.0), face(0.8)))  # type: ignore[arg-type]
    one, other = client.stream(), client.stream(Smoothing(identity=1e3))
    assert one.infer("frame", 0.0)["head.scale"] == 0.0
    assert other.infer("frame", 0.0)["head.scale"] == pytest.approx(0.8)
    with pytest.raises(errors.NoFaceError):
        one.infer("frame", 0.1)
    assert 0.0 < one.infer("frame", 0.2)["head.scale"] < 1.0
    assert other.infer("frame")["head.scale"] == pytest.approx(0.8)


def test_stream_in_asyncio() -> None:
    class Slow(Camera):
        async def infer(self, photos: Any) -> list[FaceParams]:  # type: ignore[override]
            return Camera.infer(self, photos)

    async def main() -> None:
        stream = AsyncFaceParamClient.using(Slow(face(0.0), face(1.0))).stream()  # type: ignore[arg-type]
        assert (await stream.infer("frame", 0.0))["head.scale"] == 0.0
        assert (await stream.infer("frame", 0.1))["head.scale"] == 0.5

    asyncio.run(main())


# Several photos


def test_fusing_weighs_by_uncertainty() -> None:
    sure, unsure = face(0.2, 0.1, sigma=0.1), face(0.8, 0.9, sigma=0.3, hair=4)
    fused = sdk.fuse([unsure, sure])
    np.testing.assert_allclose(fused.identity.array, (0.2 / 0.01 + 0.8 / 0.09) / (1 / 0.01 + 1 / 0.09), rtol=1e-5)
    assert (fused.expression, fused.face) == (sure.expression, sure.face)
    assert fused == sdk.fuse([unsure, sure]) and sdk.fuse([sure]) is sure
    assert fused.style["hair"].probabilities[[2, 4]] == pytest.approx([0.365, 0.365])


def test_a_photo_with_a_hat_does_not_say_which_hair() -> None:
    with_hat, without = face(hair=4, visible=0.0), face(hair=2)
    for photos in ([with_hat, without], [without, with_hat]):
        hair = sdk.fuse(photos).style["hair"]
        assert (hair.index, hair.visible) == (2, 1.0)
        np.testing.assert_allclose(hair.probabilities, without.style["hair"].probabilities, atol=2e-3)
    assert sdk.fuse([with_hat, face(hair=4, visible=0.25)]).style["hair"].visible == 0.25


def test_photos_that_agree_make_sure_and_photos_that_do_not_do_not() -> None:
    rng = np.random.default_rng(0)
    agree = sdk.fuse([face(0.1 * rng.standard_normal(244), sigma=0.1) for _ in range(4)])
    np.testing.assert_allclose(agree.identity_sigma.array, 0.05, rtol=0.15)
    differ = sdk.fuse([face(0.5 * rng.standard_normal(244), sigma=0.1) for _ in range(4)])
    np.testing.assert_allclose(differ.identity_sigma.array, 0.25, rtol=0.15)


def test_fusing_brings_the_truth_nearer() -> None:
    rng = np.random.default_rng(0)
    truth, sigmas = rng.uniform(-0.5, 0.5, 244), rng.uniform(0.05, 0.4, (5, 244))
    photos = [face(truth + sigma * rng.standard_normal(244), sigma=sigma) for sigma in sigmas]
    error = [np.abs(params.identity.array - truth).mean() for params in photos]
    fused = sdk.fuse(photos)
    assert np.abs(fused.identity.array - truth).mean() < 0.6 * min(error)
    within = np.abs(fused.identity.array - truth) < 2 * fused.identity_sigma.array
    assert within.mean() > 0.9


def test_what_cannot_be_fused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sdk.fuse([])
    for change, message in (({"model_version": "def"}, "different models"), ({"schema_version": "2"}, "different schemas")):
        with pytest.raises(ValueError, match=message):
            sdk.fuse([face(), replace(face(), **change)])  # type: ignore[arg-type]


def test_transfer_takes_the_expression_only() -> None:
    me, actor = face(0.3, 0.0, 5.0), face(-0.9, 0.8, -20.0, hair=4)
    puppet = me.transfer(expression_from=actor)
    assert puppet.expression == actor.expression and puppet.expression_sigma == actor.expression_sigma
    assert replace(puppet, expression=me.expression, expression_sigma=me.expression_sigma) == me
    other = replace(actor, expression=Parameters(("grin",), [1.0]))
    with pytest.raises(errors.SchemaError, match="other action units"):
        me.transfer(expression_from=other)


# ARKit


def test_there_are_52_coefficients_with_arkits_names() -> None:
    coefficients = face(expression=0.5).to_arkit()
    assert list(coefficients) == sorted(coefficients) and len(coefficients) == 52
    assert all(0 <= value <= 1 for value in coefficients.values())
    assert coefficients["eyeBlinkLeft"] == 0.5 and coefficients["tongueOut"] == 0.0
    assert coefficients["mouthSmileLeft"] == pytest.approx(0.6)  # smile, and a fifth of lip_stretch
    assert set(face().to_arkit().values()) == {0.0}


def test_arkit_and_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        units = rng.uniform(0, 0.7, 23) * (rng.random(23) < 0.4)
        params = face(expression=units)
        back = params.with_arkit(params.to_arkit())
        np.testing.assert_allclose(back.expression.array, units, atol=0.02)
        assert back.identity == params.identity
    assert face().with_arkit({"jawOpen": 0.25}).expression.strongest(2) == [("mouth_open", 0.25)]
    assert face(expression=0.5).with_arkit(np.zeros(52)).expression.strongest(1) == []


def test_the_game_moves_what_arkit_says() -> None:
    """The rig's own table is the vocabulary's."""
    from game.rig import Rig

    rig = Rig.load()
    assert rig.arkit_names == arkit.NAMES
    np.testing.assert_array_equal(rig.expression_mix, arkit.mix_table())


def test_what_is_not_arkit() -> None:
    with pytest.raises(errors.SchemaError, match="no shape 'smile'"):
        face().with_arkit({"smile": 1.0})
    with pytest.raises(errors.SchemaError, match=r"\(52,\)"):
        face().with_arkit(np.zeros(51))
    own = replace(face(), expression=Parameters(("grin",), [1.0]))
    with pytest.raises(errors.SchemaError, match="'grin' has no ARKit mix"):
        own.to_arkit()


def test_glb_is_the_games() -> None:
    glb = face().to_glb()
    assert glb[:4] == b"glTF" and glb != face(expression=0.5).to_glb()
    assert b"mouthSmileLeft" in face().to_glb(arkit=True)
