"""The .glb export: valid, complete, exact, the same bytes every time, and readable by other software."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from game.character import Character
from game.gltf import to_glb, write_glb
from game.gltf.atlas import skin_atlas
from game.gltf.container import GlbBuilder
from game.gltf.document import quaternion
from game.gltf.texels import Atlas, fill_gaps
from game.rig import PARTS, Rig, rotation
from sdk.schema import REFERENCE

trimesh = pytest.importorskip("trimesh")

NPM_PACKAGES = ("gltf-validator@2.0.0-dev.3.10", "three@0.187.0")
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
const raw = new Uint8Array(fs.readFileSync(process.argv[1]));
validator.validateBytes(raw, {maxIssues: 20}).then(report => console.log(JSON.stringify(report)));
"""
LOAD_IN_THREE = """
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({width: 1, height: 1, close() {}});
const fs = await import('node:fs');
const {GLTFLoader} = await import('three/addons/loaders/GLTFLoader.js');
const raw = fs.readFileSync(process.argv[1]);
const gltf = await new GLTFLoader().parseAsync(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength), '');
const meshes = [];
gltf.scene.traverse(o => { if (o.isMesh) meshes.push({
  name: o.material.name, vertices: o.geometry.attributes.position.count, bones: o.skeleton.bones.map(bone => bone.name),
  targets: Object.keys(o.morphTargetDictionary ?? {}), weights: o.morphTargetInfluences ?? []}); });
console.log(JSON.stringify(meshes));
"""


def character(hair: str = "bob", **style: str) -> Character:
    """A face with every kind of parameter away from zero."""
    rng = np.random.default_rng(5)
    expression = np.zeros(len(REFERENCE.expression), np.float32)
    expression[[REFERENCE.expression.index(unit) for unit in ("smile", "mouth_open", "brow_lower")]] = 0.7, 0.3, 0.5
    options = {"hair": hair, "skin": "tan", "iris": "green", "beard": "none", **style}
    return Character(
        identity=np.clip(rng.normal(0, 0.3, len(REFERENCE.identity)), -1, 1),
        expression=expression,
        pose=(6.0, -20.0),
        style={slot: REFERENCE.slot(slot).index(option) for slot, option in options.items()},
    )


class Glb:
    """The few parts of glTF that these tests look at, read independently of the exporter."""

    def __init__(self, raw: bytes) -> None:
        magic, version, length = struct.unpack_from("<III", raw)
        assert (magic, version, length) == (0x46546C67, 2, len(raw))
        size, kind = struct.unpack_from("<II", raw, 12)
        assert kind == 0x4E4F534A
        self.json: dict[str, Any] = json.loads(raw[20 : 20 + size])
        self.binary = raw[28 + size :]

    def mesh(self, name: str) -> dict[str, Any] | None:
        return next((mesh for mesh in self.json["meshes"] if mesh["name"] == name), None)

    def primitive(self, material: str) -> dict[str, Any]:
        materials = [entry["name"] for entry in self.json["materials"]]
        primitives = [primitive for mesh in self.json["meshes"] for primitive in mesh["primitives"]]
        return next(primitive for primitive in primitives if materials[primitive["material"]] == material)

    def view(self, index: int) -> bytes:
        view = self.json["bufferViews"][index]
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def accessor(self, index: int) -> np.ndarray:
        accessor = self.json["accessors"][index]
        dtype = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        if "bufferView" in accessor:
            values = np.frombuffer(self.view(accessor["bufferView"]), dtype).reshape(-1, width).copy()
        else:
            values = np.zeros((accessor["count"], width), dtype)
        if sparse := accessor.get("sparse"):
            index_type = {5123: np.uint16, 5125: np.uint32}[sparse["indices"]["componentType"]]
            where = np.frombuffer(self.view(sparse["indices"]["bufferView"]), index_type)
            values[where] = np.frombuffer(self.view(sparse["values"]["bufferView"]), dtype).reshape(-1, width)
        assert len(values) == accessor["count"]
        return values / np.iinfo(dtype).max if accessor.get("normalized") else values

    def morphed(self, primitive: dict[str, Any], weights: list[float]) -> np.ndarray:
        """Positions (N, 3) in metres with the morph targets at these weights."""
        positions = self.accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
        for weight, target in zip(weights, primitive["targets"], strict=True):
            positions += weight * self.accessor(target["POSITION"])
        return positions


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


@pytest.fixture(scope="module")
def raw() -> bytes:
    return to_glb(character())


@pytest.fixture(scope="module")
def arkit() -> bytes:
    return to_glb(character("bald"), arkit=True)


def nearest(rig: Rig, glb: Glb, primitive: dict[str, Any], neutral: np.ndarray) -> np.ndarray:
    """For the vertices of a primitive the rig's vertices; fails where one is not a vertex of the resting face."""
    from scipy.spatial import cKDTree

    rest = (neutral - rig.pose_pivot) * 0.1
    distance, index = cKDTree(rest).query(glb.accessor(primitive["attributes"]["POSITION"]))
    assert distance.max() < 1e-6
    return index


@pytest.fixture(scope="module")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with Khronos' validator and three.js, installed by npm once and kept in pytest's cache."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("npm and node are not installed")
    cache = request.config.cache
    if cache is None:
        pytest.skip("needs pytest's cache")
    folder = Path(cache.mkdir("gltf-npm"))
    if not all((folder / "node_modules" / name.split("@")[0] / "package.json").is_file() for name in NPM_PACKAGES):
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
            str(folder),
            *NPM_PACKAGES,
        ]
        try:
            installed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm install took too long")
        if installed.returncode:
            pytest.skip(f"npm cannot install {NPM_PACKAGES}: {installed.stderr[-200:]}")
    return folder


def run_node(folder: Path, program: str, path: Path, *options: str) -> Any:
    command = ["node", *options, "-e", program, str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("which", ["raw", "arkit"])
def test_khronos_validator_finds_nothing(which: str, node_modules: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "face.glb"
    path.write_bytes(request.getfixturevalue(which))
    issues = run_node(node_modules, VALIDATE, path)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_opens_in_three(raw: bytes, node_modules: Path, tmp_path: Path) -> None:
    path = tmp_path / "face.glb"
    path.write_bytes(raw)
    meshes = {mesh["name"]: mesh for mesh in run_node(node_modules, LOAD_IN_THREE, path, "--input-type=module")}
    assert set(meshes) == {"skin", "eyes", "mouth", "lashes", "hair"}
    assert all(mesh["bones"] == ["neck", "head"] for mesh in meshes.values())
    assert meshes["skin"]["targets"] == list(REFERENCE.expression)
    np.testing.assert_allclose(meshes["skin"]["weights"], character().expression, atol=1e-6)


def test_loads_in_trimesh(raw: bytes) -> None:
    glb = Glb(raw)
    scene = trimesh.load(io.BytesIO(raw), file_type="glb", process=False)
    primitives = [primitive for mesh in glb.json["meshes"] for primitive in mesh["primitives"]]
    assert len(scene.geometry) == len(primitives)
    for mesh, primitive in zip(scene.geometry.values(), primitives, strict=True):
        np.testing.assert_array_equal(mesh.vertices, glb.accessor(primitive["attributes"]["POSITION"]))
        np.testing.assert_array_equal(mesh.faces.ravel(), glb.accessor(primitive["indices"]).ravel())
    low, high = scene.bounds
    assert 0.2 < high[1] - low[1] < 0.6, "a head and bust in metres"
    assert high[2] > abs(low[2]) * 0.5, "faces +Z"


def test_targets_are_the_schema_and_weights_the_expression(raw: bytes, rig: Rig, arkit: bytes) -> None:
    for mesh in Glb(raw).json["meshes"]:
        if "weights" in mesh:
            assert mesh["extras"]["targetNames"] == list(REFERENCE.expression)
            assert all(len(primitive["targets"]) == len(REFERENCE.expression) for primitive in mesh["primitives"])
    np.testing.assert_array_equal(Glb(raw).mesh("face")["weights"], character().expression)
    face = Glb(arkit).mesh("face")
    assert face["extras"]["targetNames"] == list(rig.arkit_names) and len(rig.arkit_names) == 52
    np.testing.assert_array_equal(face["weights"], rig.arkit_from_expression(character().expression))


@pytest.mark.parametrize("which", ["raw", "arkit"])
def test_morph_targets_rebuild_the_rigs_face(which: str, rig: Rig, request: pytest.FixtureRequest) -> None:
    glb, face = Glb(request.getfixturevalue(which)), character()
    expected = (rig.vertices(face.identity, face.expression) - rig.pose_pivot) * 0.1
    neutral = rig.vertices(face.identity)
    for material in ("skin", "eyes", "mouth", "lashes"):
        primitive = glb.primitive(material)
        source = nearest(rig, glb, primitive, neutral)
        error = np.linalg.norm(glb.morphed(primitive, glb.mesh("face")["weights"]) - expected[source], axis=1)
        # Not zero: the rig keeps lips apart after adding the units up, glTF cannot.
        assert np.percentile(error, 99) < 4e-4 and error.max() < 2e-3, (material, error.max())


def test_head_joint_bends_the_neck_as_the_rig_does(raw: bytes, rig: Rig) -> None:
    glb, face = Glb(raw), character()
    primitive, neutral = glb.primitive("skin"), rig.vertices(face.identity)
    source = nearest(rig, glb, primitive, neutral)
    attributes = primitive["attributes"]
    rest, weights = glb.accessor(attributes["POSITION"]), glb.accessor(attributes["WEIGHTS_0"])
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    turn = trimesh.transformations.quaternion_matrix(np.roll(glb.json["nodes"][1]["rotation"], 1))[:3, :3]
    bent = weights[:, :1] * rest + weights[:, 1:2] * (rest @ turn.T)
    expected = (rig.vertices(face.identity, pose=face.pose) - rig.pose_pivot) * 0.1
    np.testing.assert_allclose(bent, expected[source], atol=1e-5)


@pytest.mark.parametrize("pose", [(0.0, 0.0), (25.0, 0.0), (0.0, -40.0), (-10.0, 30.0)])
def test_quaternion_is_the_rigs_rotation(pose: tuple[float, float]) -> None:
    x, y, z, w = quaternion(*pose)
    matrix = trimesh.transformations.quaternion_matrix((w, x, y, z))[:3, :3]
    np.testing.assert_allclose(matrix, rotation(*pose), atol=1e-6)


def test_same_character_same_bytes(raw: bytes, tmp_path: Path) -> None:
    write_glb(tmp_path / "face.glb", character())
    assert (tmp_path / "face.glb").read_bytes() == raw


def test_bald_has_no_hair(arkit: bytes) -> None:
    assert Glb(arkit).mesh("hair") is None


@pytest.mark.parametrize("hair", ["curly", "long", "spiky"])
def test_hair_is_there_and_small(hair: str) -> None:
    raw = to_glb(character(hair))
    glb = Glb(raw)
    assert len(raw) < 8e6
    (primitive,) = glb.mesh("hair")["primitives"]
    material = glb.json["materials"][primitive["material"]]
    assert material["doubleSided"] and material["alphaMode"] == "MASK"
    colours = glb.accessor(primitive["attributes"]["COLOR_0"])
    assert 0.05 < colours[:, :3].mean() < 1 and (colours[:, 3] == 1).all()


def test_hair_follows_identity_and_faces_outwards(raw: bytes, rig: Rig) -> None:
    glb = Glb(raw)
    primitive = glb.primitive("hair")
    positions, normals = (glb.accessor(primitive["attributes"][name]) for name in ("POSITION", "NORMAL"))
    triangles = glb.accessor(primitive["indices"]).reshape(-1, 3)
    a, b, c = (positions[triangles[:, corner]] for corner in range(3))
    front = np.einsum("tc,tc->t", np.cross(b - a, c - a), normals[triangles].sum(1))
    assert (front >= 0).mean() > 0.97
    other = Glb(to_glb(Character(style=character().style)))
    assert np.abs(positions - other.accessor(other.primitive("hair")["attributes"]["POSITION"])).max() > 1e-3


def picture(glb: Glb, material: str) -> np.ndarray:
    """The base colour picture of a material, uint8 (H, W, 3 or 4)."""
    entry = next(entry for entry in glb.json["materials"] if entry["name"] == material)
    texture = glb.json["textures"][entry["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    return np.asarray(Image.open(io.BytesIO(glb.view(glb.json["images"][texture["source"]]["bufferView"]))))


def hex_colour(slot: str, option: str) -> np.ndarray:
    chosen = REFERENCE.slot(slot)
    return np.array([int(chosen.colours[chosen.index(option)][i : i + 2], 16) for i in (1, 3, 5)])


def on_skin(rig: Rig, glb: Glb, chosen: np.ndarray) -> np.ndarray:
    """The skin texture's colours (N, 3) at those of its vertices that are among the chosen rig vertices (V,)."""
    primitive = glb.primitive("skin")
    source = nearest(rig, glb, primitive, rig.vertices(character().identity))
    skin = picture(glb, "skin")
    uv = glb.accessor(primitive["attributes"]["TEXCOORD_0"])[chosen[source]]
    column, row = np.minimum((uv * skin.shape[0]).astype(int), skin.shape[0] - 1).T
    return skin[row, column].astype(float)


def test_textures_show_the_styles_colours(raw: bytes, rig: Rig) -> None:
    glb = Glb(raw)
    x, y, z = rig.base.T
    cheek = (rig.vertex_part == PARTS.index("skin")) & (abs(abs(x) - 0.45) < 0.12) & (abs(y - 6.85) < 0.12) & (z > 0.9)
    assert cheek.sum() > 5
    difference = np.median(on_skin(rig, glb, cheek), axis=0) - hex_colour("skin", "tan")
    assert np.abs(difference).max() < 30, difference
    eye = picture(glb, "eyes").astype(float)
    middle, size = eye.shape[0] // 2, eye.shape[0]
    assert eye[middle - 3 : middle + 3, middle - 3 : middle + 3].max() < 60, "the pupil is dark"
    iris = eye[middle, middle + int(0.14 * size)]
    assert iris[1] == iris.max(), "the iris is green"
    bearded = Glb(to_glb(character(beard="full")))
    chin = (rig.vertex_part == PARTS.index("skin")) & (abs(x) < 0.2) & (abs(y - 6.3) < 0.1) & (z > 0.9)
    assert on_skin(rig, bearded, chin).mean() < on_skin(rig, glb, chin).mean() - 20


def test_skin_atlas_has_no_overlaps(rig: Rig) -> None:
    skin = rig.part == PARTS.index("skin")
    uv = skin_atlas(rig.uv[skin])
    assert uv.min() >= 0 and uv.max() <= 1
    a, b, c = (uv[:, corner].astype(float) for corner in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    covered = Atlas(uv, rig.triangles[skin], 1024).covered.mean()
    assert covered > 0.7
    np.testing.assert_allclose(area.sum(), covered, rtol=0.01)


def test_fill_gaps_keeps_what_is_covered_and_continues_it() -> None:
    image = np.zeros((64, 64, 1), np.float32)
    covered = np.zeros((64, 64), bool)
    covered[10:20, 10:20] = True
    image[covered] = 0.7
    np.testing.assert_allclose(fill_gaps(image, covered), 0.7, atol=1e-6)


def test_sparse_accessor_without_indices_is_zero_and_shared() -> None:
    builder = GlbBuilder()
    none = np.zeros((0, 3), np.float32)
    assert builder.add_sparse(7, np.zeros(0, int), none, none) == [0, 0]
    assert builder.add_sparse(7, np.zeros(0, int), none) == [0]
    (moved,) = builder.add_sparse(7, np.array([2, 5]), np.array([[1, 2, 3], [-1, 0, 0]], np.float32))
    glb = Glb(builder.to_bytes(asset={"version": "2.0"}))
    assert not glb.accessor(0).any()
    np.testing.assert_array_equal(glb.accessor(moved)[[2, 5, 0]], [[1, 2, 3], [-1, 0, 0], [0, 0, 0]])
    assert (glb.json["accessors"][moved]["min"], glb.json["accessors"][moved]["max"]) == ([-1, 0, 0], [1, 2, 3])
