from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.manifest import manifest_columns, read_manifest, write_manifest
from glaucoma.errors import DatasetError, NotFoundError
from glaucoma.schema import Label, Split


def row(image_id: str, **given: Any) -> dict[str, Any]:
    columns = dict.fromkeys(manifest_columns(), "")
    return columns | {
        "image_id": image_id,
        "image": f"images/{image_id}.jpg",
        "label": Label.NORMAL,
        "split": Split.TRAIN,
        "group": image_id,
        "sha256": "0" * 64,
        "width": 30,
        "height": 20,
        "disc_state": "present",
        "cup_state": "not_visible",
        **given,
    }


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_what_is_written_is_read_back_with_its_types(tmp_path: Path) -> None:
    write_manifest(tmp_path, frame(row("a", patient_id="007", source='Ünicode, "quoted"/x\ny.jpg', site="NA")))
    table = read_manifest(tmp_path)
    assert list(table.columns) == manifest_columns()
    assert table.loc[0, "patient_id"] == "007"
    assert table.loc[0, "source"] == 'Ünicode, "quoted"/x\ny.jpg'
    assert table.loc[0, "site"] == "NA"
    assert table.loc[0, "mask"] == ""
    assert table["width"].dtype == np.int64
    assert table.loc[0, "label"] == "normal"


def test_the_same_rows_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    write_manifest(tmp_path / "1.csv", frame(row("b"), row("a")))
    write_manifest(tmp_path / "2.csv", frame(row("a"), row("b"))[manifest_columns()[::-1]])
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert list(read_manifest(tmp_path / "1.csv")["image_id"]) == ["a", "b"]


def test_a_prepared_manifest_keeps_its_geometry_to_the_last_bit(tmp_path: Path) -> None:
    geometry = {name: 1 / 3 for name in manifest_columns(prepared=True) if name not in manifest_columns()}
    write_manifest(tmp_path / "m.csv", frame(row("a", **geometry)))
    table = read_manifest(tmp_path / "m.csv")
    assert list(table.columns) == manifest_columns(prepared=True)
    assert table["scale_x"].dtype == np.float64
    assert table.loc[0, "scale_x"] == 1 / 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"label": "sick"}, "label is 'sick', none of normal, glaucoma, suspect, unknown"),
        ({"split": ""}, "split is empty"),
        ({"eye": "left"}, "eye is 'left'"),
        ({"width": 0}, "width is not a whole number"),
        ({"height": 2.5}, "height is not a whole number"),
        ({"width": None}, "width is not a whole number"),
        ({"image": "../../etc/passwd"}, "not a path inside the dataset"),
        ({"mask": "/etc/passwd"}, "not a path inside the dataset"),
        ({"sha256": "xyz"}, "sha256 is not 64 hexadecimal digits"),
        ({"image_id": "A b"}, "image_id is not"),
        ({"group": None}, "group is empty"),
    ],
)
def test_a_wrong_value_is_refused_with_its_image_and_nothing_written(
    wrong: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=said):
        write_manifest(tmp_path / "m.csv", frame(row("good"), row("bad") | wrong))
    assert not (tmp_path / "m.csv").exists()


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"label is .*; split is") as caught:
        write_manifest(tmp_path / "m.csv", frame(row("a", label="x"), row("a", split="y")))
    assert "image_id stands more than once: a, a" in str(caught.value)


def test_long_lists_of_images_are_cut_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="and 5 more"):
        write_manifest(tmp_path / "m.csv", frame(*(row(f"i{n}", label="x") for n in range(15))))


def test_missing_and_unknown_columns_are_named(tmp_path: Path) -> None:
    table = frame(row("a")).drop(columns=["split", "eye"]).assign(colour="red")
    with pytest.raises(DatasetError, match="lacks the columns eye, split and has the unknown columns colour"):
        write_manifest(tmp_path / "m.csv", table)


def test_an_empty_table_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no rows"):
        write_manifest(tmp_path / "m.csv", frame(row("a")).iloc[:0])


def test_a_missing_file_and_a_broken_one_say_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="normalize the archive first"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b'"a,b\n1')
    with pytest.raises(DatasetError, match="not a readable CSV table"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"")
    with pytest.raises(DatasetError, match="not a readable CSV table"):
        read_manifest(tmp_path)
