"""Finding the model files: option, environment, installed, source; and what a wrong repository gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sdk import models
from sdk.errors import ModelContractError, ModelNotFoundError
from sdk.models import ENVIRONMENT_VARIABLE, find_models
from sdk.schema import REFERENCE


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def repository(tiny_models, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_models, tmp_path / "repository"))


def test_option(tiny_models):
    files = find_models(tiny_models)
    assert files.root == tiny_models
    assert files.schema == REFERENCE
    assert list(files.paths) == ["align", "regressor", "encoder"]


def test_option_is_relative_to_the_working_directory(repository, monkeypatch):
    monkeypatch.chdir(repository.parent)
    files = find_models("repository")
    monkeypatch.chdir("/")
    assert files.paths["align"].is_file(), "found once, the files stay found"


def test_environment_variable(tiny_models, monkeypatch, repository):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tiny_models))
    assert find_models().root == tiny_models
    assert find_models(repository).root == repository, "the option comes first"


@pytest.mark.parametrize("layout", ["installed", "source"])
def test_defaults_do_not_depend_on_the_working_directory(layout, tiny_models, tmp_path, monkeypatch):
    package = tmp_path / "site" / "sdk"
    package.mkdir(parents=True)
    root = (package if layout == "installed" else package.parent) / "model_repository"
    shutil.copytree(tiny_models, root)
    monkeypatch.setattr(models, "__file__", str(package / "models.py"))
    monkeypatch.chdir("/")
    assert find_models().root == root


def test_no_models_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "__file__", str(tmp_path / "sdk" / "models.py"))
    with pytest.raises(ModelNotFoundError, match=r"looked in .*model_repository.*FACEPARAM_MODELS"):
        find_models()


def test_wrong_folder_is_named_with_its_source(tmp_path, monkeypatch):
    with pytest.raises(ModelNotFoundError, match=r"model_repository names .*nowhere"):
        find_models(tmp_path / "nowhere")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFoundError, match=r"FACEPARAM_MODELS names .*nowhere"):
        find_models()


@pytest.mark.parametrize("missing", ["align", "regressor", "encoder"])
def test_missing_model(repository, missing):
    shutil.rmtree(repository / missing)
    with pytest.raises(ModelNotFoundError, match=f"the model '{missing}' is missing.*pip install"):
        find_models(repository)


def test_missing_or_wrong_schema(repository):
    (repository / "schema.json").write_text("{}")
    with pytest.raises(ModelContractError, match=r"schema\.json.*'version'"):
        find_models(repository)
    (repository / "schema.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"has no schema\.json"):
        find_models(repository)


def test_highest_version_is_taken(repository):
    folder = repository / "align"
    for version in ("2", "10", "3.old", "notes"):
        shutil.copytree(folder / "1", folder / version)
    assert find_models(repository).paths["align"].parent.name == "10"


def test_version_is_that_of_the_bytes(repository):
    version = find_models(repository).version()
    assert len(version) == 12
    assert find_models(repository).version() == version
    with find_models(repository).paths["encoder"].open("ab") as file:
        file.write(b"\0")
    assert find_models(repository).version() != version
