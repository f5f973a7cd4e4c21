"""Clinical values on their way from a published dataset's tables to what a network takes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.schema import Column, Split, Task
from glaucoma.training.data import clinical_input, clinical_values, open_prepared
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace
from tests.unit.datasets.lookalikes import LOOKALIKES

BOTH = ("age_years", "iop_mmhg")
MakeSpec = Callable[..., ExperimentSpec]


def test_papilas_ages_and_pressures_reach_the_network(tmp_path: Path, make_spec: MakeSpec) -> None:
    expected = LOOKALIKES["papila"](tmp_path / "tree")
    with zipfile.ZipFile(tmp_path / "papila.zip", "w") as archive:
        for path in sorted((tmp_path / "tree").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tmp_path / "tree"))
    workspace = Workspace.at(tmp_path / "workspace")
    whole = NormalizeSettings.model_validate({"split": {"val_share": 0, "test_share": 0}})  # seven patients
    dataset = normalize(unpack(tmp_path / "papila.zip", workspace), "papila", workspace, whole)
    prepared = preprocess(dataset.folder, "papila", workspace, PreprocessSettings(image_size_px=64))
    spec = make_spec(clinical=BOTH).model_copy(update={"dataset": "papila", "prepared_key": prepared.key})
    data = open_prepared(spec, workspace)
    assert len(data.manifest) == len(expected.images) == 14
    found = clinical_values(data.manifest, np.arange(14), spec)
    wanted = {
        Path(name).name: (one.others["age_years"], one.others["iop_mmhg"]) for name, one in expected.images.items()
    }
    sources = [Path(name).name for name in data.manifest[Column.SOURCE]]
    np.testing.assert_array_equal(found, np.array([wanted[name] for name in sources], np.float32))
    assert np.isnan(found[:, 1]).any()
    assert not np.isnan(found[:, 0]).any()
    assert list(data.manifest[Column.AGE_YEARS]) == list(read_manifest(dataset.folder)[Column.AGE_YEARS])
    rows = data.rows(Task.CLASSIFICATION, Split.TRAIN)
    np.testing.assert_array_equal(clinical_values(data.manifest, rows, spec), found[rows])


@pytest.mark.parametrize("clinical", [BOTH, BOTH[::-1], BOTH[1:]])
def test_columns_stand_in_the_order_of_the_spec_and_what_is_missing_is_nan(
    clinical: tuple[str, ...], make_spec: MakeSpec
) -> None:
    manifest = pd.DataFrame({"age_years": ["61", "", "40.5"], "iop_mmhg": ["", "", "17"]})
    found = clinical_values(manifest, np.array([2, 0, 1]), make_spec(clinical=clinical))
    said = {"age_years": [40.5, 61, np.nan], "iop_mmhg": [17, np.nan, np.nan]}
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([said[name] for name in clinical]).T)


def test_a_network_of_photographs_alone_takes_none(make_spec: MakeSpec) -> None:
    manifest = pd.DataFrame({"age_years": ["61", ""]})
    assert clinical_input(manifest, [0, 1], make_spec()) is None
    assert clinical_values(manifest, [0, 1], make_spec()).shape == (2, 0)
    taken = clinical_input(manifest, [1, 0], make_spec(clinical=("age_years",)))
    assert taken is not None
    torch.testing.assert_close(taken, torch.tensor([[float("nan")], [61.0]]), equal_nan=True)
