"""A layout that nobody knows: the error shows how to describe it, and a described one works."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.example import example_mapping
from glaucoma.datasets.layouts.mapped import Mapped
from glaucoma.datasets.layouts.mapping import PLACES, LayoutMapping, read_mapping
from glaucoma.datasets.layouts.patterns import Pattern
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.recognition import choose_layout
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.tree import Tree
from glaucoma.errors import LayoutError, SettingsError
from glaucoma.provenance import StageOutput
from glaucoma.schema import Eye, Label, SourcePart, Split
from glaucoma.workspace import Workspace

Bytes = Callable[..., bytes]
Unpacked = Callable[[Mapping[str, bytes]], StageOutput]
X = b"no layout opens a photograph"


def tree_of(root: Path, files: Mapping[str, bytes]) -> Tree:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Tree.of(root, files)


def mapped(text: str, root: Path, files: Mapping[str, bytes]) -> dict[str, SourceImage]:
    path = root / "mapping.yaml"
    path.write_text(text)
    layout, _ = choose_layout(tree_of(root / "tree", files), "auto", read_mapping(path)[0])
    return {str(image.source): image for image in layout.read(tree_of(root / "tree", files))}


def refused(text: str | bytes, tmp_path: Path) -> str:
    path = tmp_path / "mapping.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as error:
        read_mapping(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("pattern", "path", "places"),
    [
        ("*.jpg", "a/b/c.JPG", {}),
        ("b/*.jpg", "a/b/c.jpg", {}),
        ("b/*.jpg", "a/c.jpg", None),
        ("{patient}_{eye}*.jpg", "x/P_01_OD_2.jpg", {"patient": "P_01", "eye": "OD"}),
        ("{split}/{label}/*", "data/train/GON/7.png", {"split": "train", "label": "GON"}),
        ("a/**/*.png", "a/b/c/d.png", {}),
        ("a/**/*.png", "a/d.png", {}),
        ("{site}-{patient}.bmp", "North-12-3.bmp", {"site": "North", "patient": "12-3"}),
        ("Bilder/*.TIF", "bilder/1.tif", {}),
        ("STRASSE/*.jpg", "Straße/1.jpg", None),
    ],
)
def test_patterns_match_the_end_of_a_path(pattern: str, path: str, places: dict[str, str] | None) -> None:
    def accept(place: str, word: str) -> bool:
        return word in ("OD", "OS") if place == "eye" else True

    assert Pattern.of(pattern, PLACES).match(PurePosixPath(path), accept) == places


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "../a", "a/../b", "{patient", "}{", "{}", "{age}.jpg", "{eye}{eye}", "a/**", "**/**/**/**/a", "a" * 301],
)
def test_patterns_that_are_none_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|brace"):
        Pattern.of(pattern, PLACES)


@given(st.lists(st.text(alphabet="ab/_.", min_size=1, max_size=12), min_size=1, max_size=4).map("/".join))
def test_a_path_is_its_own_pattern(path: str) -> None:
    pure = PurePosixPath(path.strip("/") or "a")
    if ".." not in pure.parts and pure.parts:
        assert Pattern.of(str(pure), ()).match(pure) == {}


def test_a_pattern_that_would_ruin_a_regular_expression_takes_no_time() -> None:
    pattern = Pattern.of("*a" * 40 + "*b{patient}c", PLACES)
    started = time.process_time()
    assert pattern.match(PurePosixPath("a" * 250)) is None
    assert time.process_time() - started < 2


def test_a_described_layout_gives_labels_people_sites_splits_and_masks(tmp_path: Path) -> None:
    disc = np.zeros((20, 20), np.uint8)
    disc[4:16, 4:16], disc[8:12, 8:12] = 70, 140
    files = {
        "Klinik/Bilder/Nord/train/P1-OD.jpg": X,
        "Klinik/Bilder/Sued/test/P2-OS.jpg": X,
        "Klinik/Bilder/Sued/test/thumb_P2-OS.jpg": X,
        "Klinik/Masken/P1-OD_seg.png": bytes(cv2.imencode(".png", disc)[1]),
        "Klinik/Befunde.csv": b"Ein Titel;;;\nBild;Befund;Alter;Druck\nP1-OD;POAG;61,5;24\nP2-OS;o.B.;;\nP9-OD;POAG\n",
    }
    text = """
images: "Bilder/{site}/{split}/{patient}-{eye}.jpg"
exclude: "thumb_*"
labels: {POAG: glaucoma, o.B.: normal}
origin: klinik
table:
  file: befunde.csv
  columns: {image: Bild, label: Befund, age_years: Alter, iop_mmhg: Druck}
masks:
  file: "Masken/{patient}-{eye}_*.png"
  values: {disc: 70, cup: [140]}
"""
    images = mapped(text, tmp_path, files)
    assert set(images) == {"Klinik/Bilder/Nord/train/P1-OD.jpg", "Klinik/Bilder/Sued/test/P2-OS.jpg", "P9-OD"}
    first, second = images["Klinik/Bilder/Nord/train/P1-OD.jpg"], images["Klinik/Bilder/Sued/test/P2-OS.jpg"]
    assert (first.label, first.source_label, first.patient_id, first.eye) == (Label.GLAUCOMA, "POAG", "P1", Eye.OD)
    assert (first.site, first.split, first.origin, first.age_years, first.iop_mmhg) == (
        "Nord", Split.TRAIN, "klinik", 61.5, 24.0,
    )  # fmt: skip
    assert first.mask is not None
    values = first.mask.read().values
    assert (int((values == 1).sum()), int((values == 2).sum())) == (144 - 16, 16)
    assert (second.label, second.eye, second.split, second.mask) == (Label.NORMAL, Eye.OS, Split.TEST, None)


def test_a_table_by_patient_and_eye_tells_of_every_photograph(tmp_path: Path) -> None:
    files = dict.fromkeys(["7_OD_1.jpg", "7_OD_2.jpg", "7_OS_1.jpg", "8_OD_1.jpg"], X)
    files["info.csv"] = b"id,side,dx\n7,right,1\n7,left,0\n8,,1\n"
    text = """
images: "{patient}_{eye}_*.jpg"
table: {file: info.csv, columns: {patient: id, eye: side, label: dx}}
"""
    images = mapped(text, tmp_path, files)
    assert {path: str(image.label) for path, image in images.items()} == {
        "7_OD_1.jpg": "glaucoma", "7_OD_2.jpg": "glaucoma", "7_OS_1.jpg": "normal", "8_OD_1.jpg": "glaucoma",
    }  # fmt: skip


def test_a_word_for_an_eye_that_nobody_knows_is_named(tmp_path: Path) -> None:
    files = {"1.jpg": X, "2.jpg": X, "info.csv": b"id,side,dx\n1,droit,1\n2,unknown,0\n"}
    text = "images: '*.jpg'\ntable: {file: info.csv, columns: {image: id, eye: side, label: dx}}\n"
    with pytest.raises(
        LayoutError, match=r"words for the eye have no meaning: 'droit' \(1 photographs\)\. Expected: OD"
    ):
        mapped(text, tmp_path, files)


def test_soft_and_inverted_maps_of_disc_and_cup_are_read(tmp_path: Path) -> None:
    soft = np.full((20, 20), 255, np.uint8)
    soft[2:18, 2:18], soft[4:16, 4:16] = 128, 20
    cup = np.where(soft == 20, 0, 255).astype(np.uint8)
    png = {"d": bytes(cv2.imencode(".png", soft)[1]), "c": bytes(cv2.imencode(".png", cup)[1])}
    files = {"eyes/a.jpg": X, "d/a_disc.png": png["d"], "d/a_cup.png": png["c"]}
    text = """
images: eyes/*.jpg
stereo_half: left
masks: {disc: "d/{stem}_disc.png", cup: "d/{stem}_cup.png", threshold: 0.75, inverted: true}
"""
    image = mapped(text, tmp_path, files)["eyes/a.jpg"]
    assert image.part is SourcePart.LEFT
    assert image.mask is not None
    assert np.array_equal(image.mask.read().values, np.where(soft == 20, 2, 0))


def test_masks_of_the_same_names_pair_within_their_split(tmp_path: Path) -> None:
    files = dict.fromkeys([f"{split}/eyes/1.png" for split in ("dev", "test")], X)
    files |= {f"{split}/marks/1.png": X for split in ("dev", "test")}
    text = 'images: "{split}/eyes/*.png"\nsplits: {dev: train}\nmasks: {file: "{split}/marks/{stem}.png"}\n'
    images = mapped(text, tmp_path, files)
    for split in ("dev", "test"):
        mask = images[f"{split}/eyes/1.png"].mask
        assert mask is not None
        assert mask.sources == (PurePosixPath(f"{split}/marks/1.png"),)
    assert images["dev/eyes/1.png"].split is Split.TRAIN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: photos/*.jpg", r"No image matches .*photos/\*\.jpg.*to begin with"),
        ("images: '{label}/*.jpg'", r"words for the label mean: 'AMD' \(1 photographs\).*labels: \{AMD: unknown\}"),
        ("images: '*.jpg'\ntable: {file: no.csv, columns: {image: a}}", r"0 tables match.*the tables are: l\.csv"),
        ("images: '*.jpg'\ntable: {file: l.csv, columns: {image: imgae, label: dx}}", r"'imgae'; did you mean 'image'"),
        ("images: '*.jpg'\nmasks: {file: 'm/{stem}.png'}", r"No file matches the mapping's masks pattern"),
        ("images: 'AMD/*.jpg'\nmasks: {file: 'a.*'}", r"Two files match|No file matches"),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_was_seen(text: str, said: str, tmp_path: Path) -> None:
    files = {"AMD/a.jpg": X, "glaucoma/b.jpg": X, "l.csv": b"image,dx\na,1\nb,0\n", "x/a.png": X, "y/a.png": X}
    with pytest.raises(LayoutError, match=f"(?s){said}"):
        mapped(text, tmp_path, files)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imagse: '*.jpg'", "imagse is no key; did you mean images"),
        ("images: '*.jpg'\ntable: {file: a.csv, columns: {image: a, lable: b}}", "table.columns.lable.*label"),
        ("images: '*.jpg'\nmasks: {fil: a}", "masks.fil is no key; did you mean file"),
        ("images: '*.jpg'\nlabels: {a: sick}", "labels.a: Input should be 'normal', 'glaucoma'"),
        ("images: '*.jpg'\nmasks: {file: a, cup: b}", "go with `disc`"),
        ("images: '*.jpg'\nmasks: {file: a, values: {disc: 1, cup: 1}}", "none stands twice"),
        ("images: '*.jpg'\nmasks: {disc: a, inverted: true}", "needs a `threshold`"),
        ("images: '{age}.jpg'", r"known are \{eye\}"),
        ("images: []", "at least 1 item"),
        ("", "images"),
        ("- a", "valid dictionary|valid dict"),
        ("images: {{patient}: a}", "a key is a list or a mapping"),
        ("images: a\nimages: b", "stands twice"),
        ("a: &x [1]\nimages: *x", "alias"),
        ("images: !!python/object/apply:os.system ['true']", "tag"),
        ("images: " + "[" * 500 + "]" * 500, "nests too deep"),
        ("images: 'a'\nsite: '" + "x" * 70_000 + "'", "longer than 65536 bytes"),
        (b"images: \xff\xfe", "cannot be used"),
        ("images: 'a\x00b'", "cannot be used"),
        ("images: [a", "cannot be used"),
    ],
)
def test_a_wrong_or_hostile_mapping_is_refused_by_name(text: str | bytes, said: str, tmp_path: Path) -> None:
    assert re.search(said, refused(text, tmp_path))


def test_a_missing_mapping_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_mapping(tmp_path / "none.yaml")


def test_words_in_yaml_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("images: a\nlabels: {no: normal, yes: glaucoma, 0: normal, 1.0: glaucoma, 2020-01-01: unknown}")
    assert set(read_mapping(path)[0].labels) == {"no", "yes", "0", "1.0", "2020-01-01"}


def test_settings_refuse_a_mapping_beside_another_layout(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="contradict each other"):
        NormalizeSettings(layout="acrima", mapping=tmp_path / "m.yaml")
    with pytest.raises(ValidationError, match="needs a mapping"):
        NormalizeSettings(layout="mapped")


UNKNOWN_TREES = {
    "classes in words that nobody knows": [f"data/{word}/{n}.jpg" for word in ("GON_pos", "HC") for n in range(6)],
    "a table in words that nobody knows": [f"p/{n}.jpg" for n in range(12)],
    "hostile names": [f"a, {{b}} &! #/{n}.jpg" for n in range(12)],
    "masks beside": [f"{kind}/{n}.png" for kind in ("aufnahmen", "umrisse") for n in range(6)],
}


@pytest.mark.parametrize("kind", UNKNOWN_TREES)
def test_the_error_holds_a_mapping_that_works_once_it_is_completed(
    kind: str, unpacked: Unpacked, photo: Bytes, mask_file: Bytes, workspace: Workspace, tmp_path: Path
) -> None:
    files = {
        name: mask_file() if "umrisse" in name else photo(number) for number, name in enumerate(UNKNOWN_TREES[kind])
    }
    if "table" in kind:
        files["p/Befund.csv"] = (
            "Nr,Dx\n" + "".join(f"{n},{'krank' if n % 2 else 'gesund'}\n" for n in range(12))
        ).encode()
    source = unpacked(files)
    with pytest.raises(LayoutError) as error:
        normalize(source, "unknown", workspace)
    found = re.search(r"to be completed: (\{.*\}) \(docs/", " ".join(str(error.value).split()))
    assert found
    mapping = yaml.safe_load(found[1])
    if "labels" in mapping:
        words = sorted(mapping["labels"])
        mapping["labels"] = dict(zip(words, ["glaucoma", "normal"], strict=True))
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml.safe_dump(mapping))
    output = normalize(source, "known", workspace, NormalizeSettings(mapping=path))
    labelled = "labels" in mapping
    assert output.record.details["layout"] == "mapped"
    assert set(output.record.details["counts_by_label"]) == ({"glaucoma", "normal"} if labelled else {"unknown"})
    assert output.record.counts["with_mask"] == (6 if "masks" in kind else 0)
    assert output.record.counts["set_aside"] == 0


def test_the_key_follows_what_a_mapping_says_and_not_where_it_lies(
    unpacked: Unpacked, photo: Bytes, workspace: Workspace, tmp_path: Path
) -> None:
    source = unpacked({f"{word}/{n}.png": photo(n + 50 * (word == "b")) for word in "ab" for n in range(6)})
    first, moved, other = (tmp_path / name for name in ("one.yaml", "two.yaml", "three.yaml"))
    for path in (first, moved):
        path.write_text("images: '{label}/*.png'\nlabels: {a: normal, b: glaucoma}\n")
    other.write_text("images: '{label}/*.png'\nlabels: {a: glaucoma, b: normal}\n")
    outputs = [normalize(source, "trial", workspace, NormalizeSettings(mapping=path)) for path in (first, moved, other)]
    assert outputs[0].key == outputs[1].key != outputs[2].key
    assert outputs[1].reused
    assert outputs[0].record.details["mapping"]["labels"] == {"a": "normal", "b": "glaucoma"}
    assert set(read_manifest(outputs[0].folder)["origin"]) == {"mapped"}


def test_an_example_is_always_a_mapping(tmp_path: Path) -> None:
    for kind, names in UNKNOWN_TREES.items():
        tree = tree_of(tmp_path / kind.replace(" ", "-"), dict.fromkeys(names, X))
        LayoutMapping.model_validate(yaml.load(example_mapping(tree), Loader=yaml.BaseLoader))  # noqa: S506


def test_an_example_for_a_folder_a_patient_takes_them_all(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {f"clinic/p{patient:02d}/{eye}.jpg": X for patient in range(30) for eye in "ab"})
    mapping = LayoutMapping.model_validate(yaml.load(example_mapping(tree), Loader=yaml.BaseLoader))  # noqa: S506
    images = Mapped(mapping).read(tree)
    assert len(images) == len(tree.images)
    assert len({image.patient_id for image in images}) == 30


def test_an_example_keeps_patients_and_eyes_together(tmp_path: Path) -> None:
    rows = [["Datei", "Auge", "Befund"]]
    files: dict[str, bytes] = {}
    for patient in range(9):
        for side, eye in (("R", "OD"), ("L", "OS")):
            files[f"Bilder/P{patient}-{eye}.jpg"] = X
            rows.append([f"P{patient}-{eye}.jpg", side, "POAG" if patient % 2 else "o.B."])
    tree = tree_of(tmp_path, files | {"befunde.csv": "\n".join(";".join(row) for row in rows).encode()})
    mapping = LayoutMapping.model_validate(yaml.load(example_mapping(tree), Loader=yaml.BaseLoader))  # noqa: S506
    assert mapping.labels == {"POAG": Label.UNKNOWN, "o.B.": Label.UNKNOWN}
    images = Mapped(mapping).read(tree)
    assert [(image.patient_id, image.eye) for image in images[:2]] == [("P0", Eye.OD), ("P0", Eye.OS)]
    assert len({image.patient_id for image in images}) == 9


_SCALARS = st.sampled_from(
    ["a", "*.jpg", "{stem}", "{{", "0", "~", "normal", "left", "1.5", "&x b", "*x", "!t c", "[", ": "]
)
_LINES = st.tuples(st.sampled_from([*LayoutMapping.model_fields, "- a", "file", "? b"]), _SCALARS).map(": ".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(_LINES, max_size=6).map("\n".join), st.text(max_size=80)))
def test_whatever_stands_in_the_file_is_a_mapping_or_a_wrong_setting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(SettingsError):
        assert read_mapping(path)[0].images
