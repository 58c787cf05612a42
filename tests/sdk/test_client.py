"""The embedded client on tiny models: what it loads, how it maps back to the photo, threads, life and errors."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

import sdk
from sdk import contract
from sdk.errors import (
    ClientClosedError,
    FaceParamError,
    FaceRejected,
    ImageTooLargeError,
    MissingDependencyError,
    ModelContractError,
    ModelError,
    ModelNotFoundError,
    NoFaceError,
    Reason,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client(tiny_models):
    with sdk.FaceParamClient.embedded(tiny_models) as client:
        yield client


@pytest.fixture
def portrait(astronaut) -> np.ndarray:
    """A square picture in which the tiny `align` finds one face: bright above, and dark around its crop."""
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[:160] = 255
    picture[192:448, 192:448] = astronaut[:256, 100:356] // 2
    return picture


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/")


def test_import_loads_numpy_only():
    code = "import sys, sdk; print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {"sdk", "numpy"} <= loaded
    assert not loaded & {
        "torch",
        "onnxruntime",
        "cv2",
        "PIL",
        "tritonclient",
        "grpc",
        "google",
        "tensorrt",
        "game",
        "train",
        "scipy",
        "onnx",
    }


def test_solving_loads_neither_torch_nor_the_game(tiny_models):
    code = """
import sys, numpy, sdk
picture = numpy.random.default_rng(0).integers(150, 256, (320, 320, 3), numpy.uint8)
with sdk.FaceParamClient.embedded() as client:
    print(client.infer(picture).model_version)
assert not {"torch", "game", "train", "PIL"} & set(sys.modules)
"""
    result = run_python(code, FACEPARAM_MODELS=str(tiny_models))
    assert result.returncode == 0, result.stderr
    assert result.stderr == "", "nothing is printed"


def test_tensors_reach_the_right_fields(client, portrait, tiny_models):
    """The answer holds what the models said, slot by slot and slider by slider."""
    import onnxruntime as ort

    params = client.infer(portrait)
    outputs = {}
    tensors = {"canvas": portrait[None]}
    for name in ("align", "regressor", "encoder"):
        session = ort.InferenceSession(tiny_models / name / "1" / "model.onnx")
        names = [node.name for node in session.get_outputs()]
        inputs = {node.name: tensors[node.name] for node in session.get_inputs()}
        outputs[name] = dict(zip(names, session.run(names, inputs), strict=True))
        tensors |= outputs[name]
    for name in ("identity", "expression", "pose"):
        for field in (name, f"{name}_sigma"):
            np.testing.assert_allclose(getattr(params, field).array, outputs["regressor"][field][0], atol=1e-4)
    for slot in client.schema.style:
        choice, probabilities = params.style[slot.name], outputs["encoder"][f"style_{slot.name}"][0]
        np.testing.assert_allclose(choice.probabilities, probabilities, atol=1e-4)
        assert choice.index == probabilities.argmax()
    visible = outputs["encoder"][contract.STYLE_VISIBLE][0]
    np.testing.assert_allclose([params.style[slot.name].visible for slot in client.schema.style], visible, atol=1e-4)
    np.testing.assert_allclose(params.face.landmarks[:, :2], outputs["align"]["landmarks"][0, :, :2] + 192, atol=0.01)
    assert set(params.timings) >= {"decode", "letterbox", "align", "regressor", "encoder", "total"}
    assert params.timings["total"] >= sum(v for k, v in params.timings.items() if k != "total")


@pytest.mark.parametrize("size", [(640, 640), (1280, 1280), (320, 320), (1280, 960), (1050, 1400)])
def test_places_are_in_pixels_of_the_photo(client, size, encode, pattern, tiny_landmarks):
    """Whatever the photo's size and the decoder's reduction, the same place in the picture is found."""
    width, height = size
    params = client.infer(encode(pattern(height, width), "JPEG", quality=95))
    scale = max(size) / 640  # photo pixels per canvas pixel
    black_border = np.array([max(size) - width, max(size) - height, 0]) / 2
    crop_corner = np.array([192, 192, 0])  # of the tiny model, in the canvas
    expected = (tiny_landmarks + crop_corner) * scale - black_border
    np.testing.assert_allclose(params.face.landmarks, expected, atol=0.02)
    x0, y0, x1, y1 = params.face.box
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


def test_exif_and_size_do_not_move_the_landmarks(client, encode, portrait):
    upright = client.infer(portrait).face.landmarks
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(portrait).transpose(Image.Transpose.ROTATE_90)
    sideways = client.infer(encode(turned, "JPEG", quality=95, exif=exif)).face.landmarks
    np.testing.assert_allclose(sideways, upright, atol=0.02)
    large = Image.fromarray(portrait).resize((2560, 2560))
    np.testing.assert_allclose(client.infer(encode(large, "JPEG")).face.landmarks / 4, upright, atol=0.02)


def test_same_photo_same_bytes(client, portrait, tiny_models):
    first = client.infer(portrait)
    assert client.infer(portrait) == first
    with sdk.FaceParamClient.embedded(tiny_models, threads=2) as other:
        assert other.infer(portrait).to_json() == first.to_json()


def test_threads_share_a_client(tiny_models, portrait):
    pictures = [np.roll(portrait, 8 * i, axis=1) for i in range(8)]
    with sdk.FaceParamClient.embedded(tiny_models) as client, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(client.infer, pictures * 3))
        alone = [client.infer(picture) for picture in pictures]
    assert together == alone * 3


def test_number_of_faces(client, pattern):
    for count in (1, 2, 3, 4):
        picture = pattern(640, 640)
        picture[160 * count :] //= 4
        assert client.infer(picture).face.count == count


def test_no_face(client):
    with pytest.raises(NoFaceError) as caught:
        client.infer(np.zeros((300, 400, 3), np.uint8))
    error = caught.value
    assert error.faces == 0
    assert isinstance(error, FaceRejected)
    assert all(isinstance(reason, Reason) and reason.value < reason.limit for reason in error.reasons)
    assert error.to_dict()["reasons"][0].keys() == {"code", "value", "limit", "message"}


def test_closed_client(tiny_models, portrait):
    client = sdk.FaceParamClient.embedded(tiny_models)
    with client:
        client.infer(portrait)
    with pytest.raises(ClientClosedError, match="closed"):
        client.infer(portrait)
    client.close()


def test_a_backend_of_ones_own(portrait, client):
    params = client.infer(portrait)

    class Fake:
        schema = sdk.REFERENCE

        def infer(self, photos):
            return [params for _ in photos]

        def close(self):
            pass

    fake = sdk.FaceParamClient.using(Fake())
    assert fake.infer("anything") is params
    assert fake.infer_batch(["one", "two"]) == [params, params]


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(tiny_models, threads):
    with pytest.raises(ValueError, match="threads must be at least 1"):
        sdk.FaceParamClient.embedded(tiny_models, threads=threads)


def test_missing_models(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"schema\.json"):
        sdk.FaceParamClient.embedded(tmp_path)


@pytest.mark.parametrize("missing", ["onnxruntime", "cv2"])
def test_missing_packages(missing, tiny_models):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import sdk
try:
    sdk.FaceParamClient.embedded()
except sdk.MissingDependencyError as error:
    print(error)
"""
    result = run_python(code, FACEPARAM_MODELS=str(tiny_models))
    assert f"needs {missing}: pip install 'faceparam[embedded]'" in result.stdout, result.stderr


def broken(model: onnx.ModelProto, change: str) -> onnx.ModelProto:
    """A copy of a model that does not keep the contract."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    output = next(value for value in model.graph.output if value.name == "pose")
    if change == "lacks an output":
        model.graph.output.remove(output)
    elif change == "other length":
        output.type.tensor_type.shape.dim[1].ClearField("dim_value")
        output.type.tensor_type.shape.dim[1].dim_value = 2
        expression = next(value for value in model.graph.output if value.name == "expression")
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [{"pose": "expression", "expression": "pose"}.get(name, name) for name in names]
        expression.type.tensor_type.shape.dim[1].dim_value, output.type.tensor_type.shape.dim[1].dim_value = 2, 23
    elif change == "not finite":
        model.graph.node.append(helper.make_node("Log", ["expression_negative"], ["expression"]))
        for node in model.graph.node:
            if node.op_type == "Sigmoid" and node.output[0] == "expression":
                node.op_type, node.output[0] = "Neg", "expression_negative"
    return model


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("lacks an output", ModelContractError, r"has no output 'pose' of float32 \[batch, 2\]"),
        ("other length", ModelContractError, r"\[batch, 23\] expected"),
        ("not finite", ModelError, "output 'expression' of the model 'regressor'"),
        ("damaged", ModelContractError, "cannot load"),
    ],
)
def test_models_that_break_the_contract(tiny_models, write_tiny, tmp_path, portrait, change, error, message):
    for name in ("align", "encoder"):
        write_tiny(tmp_path, onnx.load(tiny_models / name / "1" / "model.onnx"))
    (tmp_path / "schema.json").write_bytes((tiny_models / "schema.json").read_bytes())
    write_tiny(tmp_path, broken(onnx.load(tiny_models / "regressor" / "1" / "model.onnx"), change))
    if change == "damaged":
        (tmp_path / "regressor" / "1" / "model.onnx").write_bytes(b"no model")
    with sdk.FaceParamClient.embedded(tmp_path) as client, pytest.raises(error, match=message):
        client.infer(portrait)


def test_one_tree_of_errors():
    import pickle

    named = [getattr(sdk, name) for name in sdk.__all__]
    errors = [kind for kind in named if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(errors) == 21
    assert all(issubclass(kind, FaceParamError) for kind in errors)
    reason = Reason("dark", 0.1, 0.2, "too dark")
    for error in (
        NoFaceError("no face", reasons=(reason,), faces=0),
        ImageTooLargeError("large", value=2, limit=1, unit="pixels"),
        MissingDependencyError("missing", name="cv2"),
        sdk.ServiceTimeoutError("late", request_id="7"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (again.args, again.__dict__) == (error.args, error.__dict__)


def test_contract_of_the_committed_models():
    """Every model file in the repository has the inputs and outputs that the contract states, in its order."""
    import onnxruntime as ort

    for name, model in contract.models().items():
        path = ROOT / "model_repository" / name / "1" / "model.onnx"
        if not path.is_file():
            pytest.skip(f"{path.relative_to(ROOT)} is not there yet")
        session = ort.InferenceSession(path)
        assert tuple(node.name for node in session.get_inputs()) == model.input_names
        assert tuple(node.name for node in session.get_outputs()) == model.output_names
        for node, tensor in zip(session.get_outputs(), model.outputs, strict=True):
            assert tuple(node.shape) == (contract.BATCH_AXIS, *tensor.shape)
