"""Finding the model files and knowing which they are.

A *model repository* is a folder as tritonserver loads it: ``<model>/<version>/model.onnx`` for each model of
:mod:`sdk.contract`, and ``schema.json`` beside them. It is taken from, in this order:

1. the option ``model_repository``;
2. the environment variable ``FACEPARAM_MODELS``;
3. ``sdk/model_repository``: inside an installed wheel (the build puts the files there);
4. ``model_repository`` beside the ``sdk`` folder: in a clone of the source.

None depends on the working directory. The first two are never fallen back from: a wrong path is an error.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sdk import contract
from sdk.errors import ModelContractError, ModelNotFoundError, SchemaError
from sdk.schema import Schema

ENVIRONMENT_VARIABLE = "FACEPARAM_MODELS"
SCHEMA_FILE = "schema.json"
MODEL_FILE = "model.onnx"
_HOW_TO_GET_THEM = (
    "They come with the wheel (pip install 'faceparam[embedded]') and with a clone of the source (model_repository/). "
    f"To use others, pass model_repository=... (command line: --models DIR) or set {ENVIRONMENT_VARIABLE}."
)


@dataclass(frozen=True)
class ModelFiles:
    """One model repository: its folder, its schema, and the file of each model by the model's name."""

    root: Path
    schema: Schema
    paths: dict[str, Path]

    def version(self) -> str:
        """12 hexadecimal digits that change with any byte of the model files or the schema."""
        digest = hashlib.sha256()
        for path in (self.root / SCHEMA_FILE, *self.paths.values()):
            with path.open("rb") as file:
                while chunk := file.read(2**20):
                    digest.update(chunk)
        return digest.hexdigest()[:12]


def find_models(model_repository: str | os.PathLike[str] | None = None) -> ModelFiles:
    """Find the model files.

    Raises:
        ModelNotFoundError: there is no repository, or a file is missing from it; says where it looked.
        ModelContractError: its schema is not valid.
    """
    root = _root(model_repository)
    schema_path = root / SCHEMA_FILE
    if not schema_path.is_file():
        raise ModelNotFoundError(f"the model repository {str(root)!r} has no {SCHEMA_FILE}. {_HOW_TO_GET_THEM}")
    try:
        schema = Schema.load(schema_path)
    except SchemaError as error:
        raise ModelContractError(str(error)) from error
    return ModelFiles(root, schema, {name: _model_file(root, name) for name in contract.models(schema)})


def _root(option: str | os.PathLike[str] | None) -> Path:
    named = {"model_repository": option, ENVIRONMENT_VARIABLE: os.environ.get(ENVIRONMENT_VARIABLE)}
    for source, path in named.items():
        if path:
            root = Path(path).expanduser().resolve()
            if not root.is_dir():
                raise ModelNotFoundError(f"{source} names {str(root)!r}, which is not a folder. {_HOW_TO_GET_THEM}")
            return root
    package = Path(__file__).resolve().parent
    defaults = (package / "model_repository", package.parent / "model_repository")
    for root in defaults:
        if (root / SCHEMA_FILE).is_file():
            return root
    looked = " and ".join(str(root) for root in defaults)
    raise ModelNotFoundError(f"there are no model files (looked in {looked}). {_HOW_TO_GET_THEM}")


def _model_file(root: Path, name: str) -> Path:
    """The file of a model's highest version, which is the one that tritonserver loads too."""
    folder = root / name
    versions = sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
    path = folder / str(versions[-1] if versions else 1) / MODEL_FILE
    if not path.is_file():
        raise ModelNotFoundError(f"the model {name!r} is missing: there is no file {str(path)!r}. {_HOW_TO_GET_THEM}")
    return path
