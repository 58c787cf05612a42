"""A few checks with the model files of the repository. Skipped, saying which, while one is missing."""

from __future__ import annotations

import numpy as np
import pytest

import sdk
from sdk.errors import ModelNotFoundError
from sdk.models import ENVIRONMENT_VARIABLE


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv(ENVIRONMENT_VARIABLE, raising=False)
        try:
            client = sdk.FaceParamClient.embedded()
        except ModelNotFoundError as error:
            pytest.skip(str(error))
    with client:
        yield client


@pytest.fixture(scope="module")
def params(client, astronaut):
    return client.infer(astronaut)


def test_values_lie_in_their_ranges(params):
    assert sdk.FaceParams.from_json(params.to_json()) == params
    for name in ("identity_sigma", "expression_sigma", "pose_sigma"):
        assert (getattr(params, name).array > 0).any()


def test_portrait_of_a_smiling_woman_looking_ahead(params):
    assert params["smile"] > 0.2
    assert abs(params["yaw"]) < 15 and abs(params["pitch"]) < 15
    assert params.style["hair"].option != "bald"
    assert params.style["beard"].option in ("none", "stubble")
    assert params.style["skin"].option not in ("brown", "espresso", "ebony")


def test_same_photo_same_bytes_with_any_number_of_threads(client, params, astronaut):
    assert client.infer(astronaut).to_json() == params.to_json()
    with sdk.FaceParamClient.embedded(threads=2) as other:
        again = other.infer(astronaut)
    assert again.model_version == params.model_version
    assert again.to_json() == params.to_json()


def test_identity_hardly_depends_on_size_and_compression(client, params, astronaut, encode):
    for photo in (encode(astronaut, "JPEG", quality=70), astronaut.repeat(2, 0).repeat(2, 1)):
        other = client.infer(photo)
        assert np.abs(other.identity.array - params.identity.array).mean() < 0.1
        assert np.abs(other.expression.array - params.expression.array).max() < 0.25
        assert np.abs(other.pose.array - params.pose.array).max() < 4


def test_closer_look_gives_the_same_person(client, params, astronaut):
    """The portrait on a large wall: as good as the portrait itself."""
    wall = np.full((3000, 4000, 3), 128, np.uint8)
    wall[1000:1512, 300:812] = astronaut
    other = client.infer(wall)
    assert np.abs(other.identity.array - params.identity.array).mean() < 0.1
    assert other.style["hair"].option == params.style["hair"].option
