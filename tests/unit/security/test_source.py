"""What stands nowhere in the source: ways to run what data says, and settings that reach past the checks."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel

import flows
from flows.configs import FlowConfig
from glaucoma.settings import PATH_CHECK

PROJECT = Path(__file__).parents[3]
ROOMS = ("glaucoma", "flows", "tasks", "blocks", "deployments")
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "yaml.full_load",
    "yaml.unsafe_load", "yaml.load_all", "pickle.load", "pickle.loads", "torch.hub.load", "pd.read_pickle",
    "torch.hub.load_state_dict_from_url", "joblib.load", "subprocess.getoutput", "dill.load", "runpy.run_path",
}  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp", "runpy"}
SAFE_LOADERS = {"_PlainLoader": "glaucoma.datasets.pair_judgements", "_LOADER": "glaucoma.datasets.registry"}
IMPORTERS = {
    "deployments/deploy.py": "the entry points of prefect.yaml, a file of the project",
    "glaucoma/training/compiler.py": "a constant",
    "glaucoma/models/registry.py": "the names stand in its own table",
    "glaucoma/training/deepspeed_engine.py": "a constant",
}


@cache
def sources() -> dict[str, ast.Module]:
    found = {p.relative_to(PROJECT).as_posix(): p for room in ROOMS for p in sorted((PROJECT / room).rglob("*.py"))}
    assert len(found) > 200
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in found.items()}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield f"{path}:{node.lineno}", ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> Any:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


def test_nothing_runs_what_data_says() -> None:
    assert [(where, name) for where, name, _ in calls() if name in CALLS] == []


def test_tensors_are_loaded_as_tensors_only() -> None:
    loads = [(where, call) for where, name, call in calls() if name == "torch.load"]
    assert loads
    assert [where for where, call in loads if given(call, "weights_only") != "True"] == []
    pickles = [where for where, _, call in calls() if given(call, "allow_pickle") not in (None, "False")]
    assert pickles == []


def test_pickle_is_named_for_its_error_alone() -> None:
    for path, tree in sources().items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            bad = {name.partition(".")[0] for name in names} & (MODULES - {"pickle"})
            assert not bad, path
            assert not (isinstance(node, ast.ImportFrom) and node.module == "pickle"), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle":
                assert node.attr == "UnpicklingError", path


def test_yaml_is_read_by_safe_loaders() -> None:
    for where, name, call in calls():
        if name in ("yaml.load", "yaml.parse", "yaml.compose"):
            loader = given(call, "Loader") or ""
            if loader in SAFE_LOADERS:
                kind = getattr(importlib.import_module(SAFE_LOADERS[loader]), loader)
                assert issubclass(kind, yaml.SafeLoader | getattr(yaml, "CSafeLoader", yaml.SafeLoader)), where
            else:
                assert loader == "yaml.SafeLoader", where


def test_no_shell_reads_a_command() -> None:
    assert [where for where, _, call in calls() if given(call, "shell") not in (None, "False")] == []


def test_modules_are_imported_by_names_that_stand_in_the_source() -> None:
    importing = {where.partition(":")[0] for where, name, _ in calls() if name.endswith("import_module")}
    assert importing == set(IMPORTERS)


def configs() -> list[type[BaseModel]]:
    """The settings of every flow, whichever file they stand in."""
    for module in pkgutil.iter_modules(flows.__path__):
        importlib.import_module(f"flows.{module.name}")

    def below(kind: type[BaseModel]) -> list[type[BaseModel]]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    return [kind for kind in below(FlowConfig) if kind.__module__.startswith("flows.")]


def parts(annotation: Any, checked: bool = False) -> Iterator[tuple[Any, bool]]:
    """The plain types in an annotation, each with whether the path's check stands around it."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from parts(inner, checked or PATH_CHECK in metadata)
    elif get_args(annotation):
        for one in get_args(annotation):
            yield from parts(one, checked)
    else:
        yield annotation, checked


def fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, Any, bool]]:
    """Every field that a value of `model` can hold, nested ones too."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        for kind, checked in parts(field.annotation, PATH_CHECK in field.metadata):
            yield f"{model.__name__}.{name}", kind, checked
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields(kind, seen)


def test_every_path_in_the_settings_of_a_flow_is_of_the_type_that_is_held_to_the_roots() -> None:
    seen: set[type[BaseModel]] = set()
    found = [one for config in configs() for one in fields(config, seen)]
    paths = {name: checked for name, kind, checked in found if isinstance(kind, type) and issubclass(kind, Path)}
    assert {"UnpackConfig.archive", "FlowConfig.workspace", "TrainSettings.weights_path"} <= set(paths)
    assert [name for name, checked in paths.items() if not checked] == []


def test_no_text_in_the_settings_of_a_flow_is_a_path_or_an_address_by_another_name() -> None:
    seen: set[type[BaseModel]] = set()
    looks = re.compile(r"path|folder|file|dir(ectory)?$|ur[il]|address|endpoint|entrypoint|module|command")
    texts = {
        name
        for config in configs()
        for name, kind, _ in fields(config, seen)
        if kind is str and looks.search(name.partition(".")[2])
    }
    assert texts <= {"RemoteSettings.remote_url", "RegisterSettings.remote_url"}, "each has a check of its own"
