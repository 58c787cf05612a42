"""More photos than a server can take, and photos that cannot wait."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from export.serve import Running, serving
from sdk import FaceParamClient, ServiceOverloadedError, contract, wire
from tests.serving.conftest import Solved
from tests.serving.local_server import HANG_SECONDS, local_options, metric, wait_until, with_queues
from tests.serving.same_answer import assert_same


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the same models in whose first queue, where photos are refused, few may wait.

    Not in the queues behind it: one that is full stalls an ensemble for good, until a Triton of 2026
    (triton-inference-server/core, pull requests 466 and 483).
    """
    repository = with_queues(tmp_path_factory.mktemp("narrow"), contract.DECODE.name, max_queue_size=2)
    with serving(local_options(model_repository=repository)) as running:
        yield running


def test_more_than_the_queue_holds_is_refused_and_the_rest_is_solved(narrow: Running, faces: list[Solved]) -> None:
    photos = [face.photo for face in faces] * 16
    with FaceParamClient(narrow.grpc, timeout=HANG_SECONDS, max_retries=0) as client:
        outcomes = list(client.infer_many(photos, concurrency=48))
        assert sorted(outcome.index for outcome in outcomes) == list(range(len(photos)))
        for outcome in outcomes:
            if outcome.error is None:
                assert_same(outcome.unwrap(), faces[outcome.index % len(faces)].answer)
            else:
                assert isinstance(outcome.error, ServiceOverloadedError), outcome.error
        assert {outcome.error is None for outcome in outcomes} == {True, False}
        for face in faces:  # afterwards all is well
            assert_same(client.infer(face.photo), face.answer)


def test_what_has_waited_beyond_its_deadline_is_dropped_by_the_server(narrow: Running, faces: list[Solved]) -> None:
    """The client would wait; it is the server that gives up, before it has decoded anything."""
    request = wire.infer_request([faces[0].photo], wire.Deadline(HANG_SECONDS))
    request.parameters["timeout"].int64_param = 1  # microsecond
    dropped = metric(narrow, "nv_inference_request_failure", 'model="decode"', 'reason="REJECTED"')
    with grpc.insecure_channel(narrow.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=HANG_SECONDS)
    error = wire.error_from(caught.value.code().name, caught.value.details(), request.id, HANG_SECONDS)
    assert isinstance(error, ServiceOverloadedError)
    assert "waited too long" in str(error)
    wait_until(lambda: metric(narrow, "nv_inference_request_failure", 'model="decode"', 'reason="REJECTED"') == dropped + 1)
