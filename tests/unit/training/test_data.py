import numpy as np
import pytest
from numpy.testing import assert_array_equal

from glaucoma.datasets.manifest import read_manifest, write_manifest
from glaucoma.errors import DatasetError
from glaucoma.schema import Column, Split, Task
from glaucoma.training import data
from glaucoma.training.data import clinical_values, load_arrays, open_prepared, prepared_folder, require_trainable


def state(spec, workspace, **columns):
    """Writes values into columns of the manifest, row by row."""
    path = prepared_folder(spec, workspace) / "manifest.csv"
    manifest = read_manifest(path)
    for name, values in columns.items():
        manifest[name] = [values[row % len(values)] for row in range(len(manifest))]
    write_manifest(path, manifest)
    return open_prepared(spec, workspace)


@pytest.mark.parametrize("input_px", [32, 64])  # of 48: smaller and larger
@pytest.mark.parametrize("task", list(Task))
def test_images_read_for_each_batch_are_those_kept_in_memory(task, input_px, make_spec, workspace, monkeypatch):
    spec = make_spec(task, input_px=input_px)
    kept = load_arrays(open_prepared(spec, workspace), spec, Split.TRAIN)
    monkeypatch.setattr(data, "free_memory_bytes", lambda: 1000)
    read = load_arrays(open_prepared(spec, workspace), spec, Split.TRAIN)
    assert (kept.in_memory, read.in_memory, len(read)) == (True, False, len(kept))
    for threads in (1, 2):
        for one, other in zip(kept.gather([3, 0, 3], input_px), read.gather([3, 0, 3], input_px, threads), strict=True):
            assert_array_equal(one, other)


def test_processes_that_load_the_same_must_all_fit_into_memory(spec, workspace, monkeypatch):
    opened = open_prepared(spec, workspace)
    bytes_once = len(opened.rows(spec.task, Split.TRAIN)) * spec.input_px**2 * 3
    monkeypatch.setattr(data, "free_memory_bytes", lambda: 3 * bytes_once)
    assert load_arrays(opened, spec, Split.TRAIN).in_memory
    assert not load_arrays(opened, spec, Split.TRAIN, copies=2).in_memory


def test_there_is_free_memory_and_no_more_than_the_machine_has():
    import psutil

    assert 0 < data.free_memory_bytes() <= psutil.virtual_memory().total


def test_clinical_values_stand_in_the_order_of_the_spec_and_are_nan_where_the_manifest_is_empty(make_spec, workspace):
    spec = make_spec(clinical=("iop_mmhg", "age_years"))
    opened = state(spec, workspace, age_years=["61", "", "70.5"], iop_mmhg=["14", "21.5", ""])
    expected = np.array([[21.5, np.nan], [14, 61], [np.nan, 70.5]], np.float32)
    values = clinical_values(opened.manifest, [4, 0, 2], spec)
    assert values.dtype == np.float32
    assert_array_equal(values, expected)
    arrays = load_arrays(opened, spec, Split.TRAIN)
    assert_array_equal(arrays.clinical, clinical_values(opened.manifest, opened.rows(spec.task, Split.TRAIN), spec))


def test_without_clinical_values_in_the_spec_there_are_none(spec, workspace):
    opened = state(spec, workspace, age_years=["61"])
    assert load_arrays(opened, spec, Split.TRAIN).clinical is None
    assert clinical_values(opened.manifest, [0, 1], spec).shape == (2, 0)


def test_a_clinical_column_without_any_value_for_training_is_refused_by_name(make_spec, workspace):
    spec = make_spec(clinical=("age_years", "iop_mmhg"))
    opened = open_prepared(spec, workspace)
    rows = opened.rows(spec.task, Split.TRAIN)
    pressure = ["" if row in rows else "15" for row in range(len(opened.manifest))]
    opened = state(spec, workspace, age_years=["", "50"], iop_mmhg=pressure)
    train, val = (load_arrays(opened, spec, split) for split in (Split.TRAIN, Split.VAL))
    with pytest.raises(DatasetError, match=r"No image for training .* has a value of iop_mmhg") as caught:
        require_trainable(train, val, spec, {})
    assert "age_years" not in str(caught.value)


def test_a_clinical_column_with_some_values_serves(make_spec, workspace):
    spec = make_spec(clinical=("age_years",))
    opened = state(spec, workspace, **{Column.AGE_YEARS: ["", "50", "60"]})
    train, val = (load_arrays(opened, spec, split) for split in (Split.TRAIN, Split.VAL))
    assert np.isnan(train.clinical).any()
    require_trainable(train, val, spec, {})
