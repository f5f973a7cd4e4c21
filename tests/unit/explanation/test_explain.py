from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from glaucoma.errors import IntegrityError, NotFoundError, SettingsError
from glaucoma.explanation.controls import elsewhere, hide, untrained
from glaucoma.explanation.explain import explain, read_explanation, read_fields
from glaucoma.explanation.maps import choose_rows
from glaucoma.explanation.settings import CamMethod, ExplainedClass, ExplainSettings
from glaucoma.schema import Split
from glaucoma.training.data import open_prepared
from glaucoma.training.experiment import Experiment
from glaucoma.workspace import Workspace

SETTINGS = ExplainSettings.for_preset("smoke", replicates=200, overlays=3, panel_px=160)


def test_the_means_are_those_of_the_table_and_the_shares_add_up(workspace: Workspace, classifier: Experiment) -> None:
    found = explain(classifier, workspace, SETTINGS, device="cpu")
    table = pd.read_csv(classifier.visualizations / "val" / "dri.csv", keep_default_na=False, na_values=[""])
    assert found.counts["explained"] == len(table) == 12
    assert found.dri.value == pytest.approx(table["dri"].mean())
    assert found.dri.n == int(table["dri"].notna().sum())
    shares = table[["cup_share", "rim_share", "peripapillary_share", "rest_share"]].sum(axis=1, min_count=4).dropna()
    np.testing.assert_allclose(shares, 1)
    np.testing.assert_allclose(table["dri"].dropna(), (table["cup_share"] + table["rim_share"]).dropna())
    np.testing.assert_allclose(table["lift"].dropna(), (table["dri"] / table["disc_area_share"]).dropna())
    assert (table["dri"].dropna() <= table["ceiling"][table["dri"].notna()] + 1e-12).all()
    assert found.layer == "features"
    assert found.mask_source == "gt"
    assert read_explanation(classifier) == found
    text = (classifier.visualizations / "val" / "explanation.json").read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


def test_overlays_are_small_pngs_that_are_there(workspace: Workspace, classifier: Experiment) -> None:
    found = explain(classifier, workspace, SETTINGS, device="cpu")
    assert len(found.overlays) == 3
    for overlay in found.overlays:
        path = classifier.visualizations / "val" / overlay.file
        assert path.stat().st_size <= 200_000
        with Image.open(path) as opened:
            assert opened.size[0] > 3 * 160
        assert overlay.image_id in overlay.title


def test_hiding_the_disc_changes_the_logit_by_what_the_table_says(workspace: Workspace, classifier: Experiment) -> None:
    from glaucoma.training.data import model_input
    from glaucoma.training.predict import load_model

    explain(classifier, workspace, SETTINGS, device="cpu")
    table = pd.read_csv(classifier.visualizations / "val" / "dri.csv")
    model, spec = load_model(classifier)
    data = open_prepared(spec, workspace)
    one = table.iloc[0]
    index = data.manifest.index[data.manifest["image_id"] == one["image_id"]][0]
    field = np.load(workspace.prepared("eyes") / spec.prepared_key / "fields.npy")[index]
    image = hide(np.asarray(data.images[index]), (data.masks[index] >= 1) & field, field)
    with torch.no_grad():
        logit = float(model(model_input(image[None], spec)))
    sign = 1 if one["explained_class"] == "glaucoma" else -1
    assert one["evidence_lost_disc"] == pytest.approx(sign * (one["logit"] - logit), abs=1e-4)


def test_a_network_that_sees_clinical_values_is_explained_with_them_held_fixed(
    workspace: Workspace, fused_classifier: Experiment
) -> None:
    from glaucoma.models.fusion import ClinicalFusion
    from glaucoma.training.data import clinical_input, model_input
    from glaucoma.training.predict import load_model, predict_classification

    found = explain(fused_classifier, workspace, SETTINGS, device="cpu")
    table = pd.read_csv(fused_classifier.visualizations / "val" / "dri.csv").set_index("image_id")
    assert found.layer == "image.features"
    assert found.dri.value == pytest.approx(table["dri"].mean())
    assert any("age_years" in note for note in found.notes)
    predicted = predict_classification(fused_classifier, workspace, Split.VAL).set_index("image_id")
    np.testing.assert_allclose(table["logit"], predicted.loc[table.index, "logit"], atol=1e-4)
    assert table["dri_untrained"].notna().any()

    model, spec = load_model(fused_classifier)
    assert isinstance(model, ClinicalFusion)
    fresh = untrained(spec, 0, scaled_as=model)
    assert torch.equal(fresh.get_buffer("clinical_mean"), model.clinical_mean)
    data = open_prepared(spec, workspace)
    name = table.index[-1]
    index = data.manifest.index[data.manifest["image_id"] == name][0]
    field = np.load(workspace.prepared("eyes") / spec.prepared_key / "fields.npy")[index]
    image = hide(np.asarray(data.images[index]), (data.masks[index] >= 1) & field, field)
    with torch.no_grad():
        logit = float(model(model_input(image[None], spec), clinical_input(data.manifest, [index], spec)))
    sign = 1 if table.loc[name, "explained_class"] == "glaucoma" else -1
    assert table.loc[name, "evidence_lost_disc"] == pytest.approx(sign * (table.loc[name, "logit"] - logit), abs=1e-4)


def test_without_masks_the_maps_are_made_and_the_share_says_why_it_is_missing(
    without_masks: tuple[Workspace, Callable[[], Experiment]],
) -> None:
    workspace, make = without_masks
    experiment = make()
    found = explain(experiment, workspace, SETTINGS, device="cpu")
    assert found.dri.value is None
    assert "no disc mask" in (found.dri.reason or "")
    assert found.mask_source is None
    assert len(found.overlays) == 3
    assert any("no disc masks" in note for note in found.notes)


def test_the_same_question_is_answered_from_the_folder(workspace: Workspace, classifier: Experiment) -> None:
    first = explain(classifier, workspace, SETTINGS, device="cpu")
    stamp = (classifier.visualizations / first.key / "dri.csv").stat().st_mtime_ns
    again = explain(classifier, workspace, SETTINGS, device="cpu")
    assert again.reused
    assert again.model_dump() == first.model_dump()
    assert (classifier.visualizations / first.key / "dri.csv").stat().st_mtime_ns == stamp


def test_settings_change_what_they_say(workspace: Workspace, classifier: Experiment) -> None:
    changes = {"method": CamMethod.GRAD_CAM_PP, "explained_class": ExplainedClass.GLAUCOMA, "controls": False}
    found = explain(
        classifier, workspace, SETTINGS.model_copy(update={**changes, "overlays": 0, "max_images": 6}), device="cpu"
    )
    table = pd.read_csv(classifier.visualizations / found.key / "dri.csv", keep_default_na=False)
    assert set(table["explained_class"]) == {"glaucoma"}
    assert found.counts["explained"] == 6
    assert found.overlays == []
    assert "dri_grad_cam" in found.metrics
    assert found.metrics["dri_untrained"].value is None
    assert any("6 of 12" in note for note in found.notes)
    with pytest.raises(SettingsError, match="no layer"):
        explain(classifier, workspace, SETTINGS.model_copy(update={"target_layer": "feature"}), device="cpu")


def test_a_segmenter_gets_overlays_and_says_why_it_has_no_share(workspace: Workspace, segmenter: Experiment) -> None:
    found = explain(segmenter, workspace, SETTINGS, device="cpu")
    assert found.dri.value is None
    assert "Dice" in (found.dri.reason or "")
    assert len(found.overlays) == 3
    assert all((segmenter.visualizations / "val" / one.file).is_file() for one in found.overlays)
    assert "Dice: disc 0." in found.overlays[0].detail


def test_what_is_not_trained_not_explained_or_damaged_is_said(workspace: Workspace, classifier: Experiment) -> None:
    from glaucoma.training.experiment import create_experiment

    bare = create_experiment(classifier.spec.model_copy(update={"seed": 8}), workspace)
    with pytest.raises(NotFoundError, match="no trained model"):
        explain(bare, workspace, SETTINGS)
    with pytest.raises(NotFoundError, match="No explanation"):
        read_explanation(bare)
    found = explain(classifier, workspace, SETTINGS.model_copy(update={"seed": 3, "overlays": 0}), device="cpu")
    (classifier.visualizations / found.key / "explanation.json").write_text("[]")
    with pytest.raises(IntegrityError, match="remove"):
        read_explanation(classifier, Split.VAL)


def test_fields_that_do_not_fit_the_images_are_refused(workspace: Workspace, classifier: Experiment, tmp_path) -> None:
    data = open_prepared(classifier.spec, workspace)
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_fields(tmp_path, data)
    np.save(tmp_path / "fields.npy", np.zeros((1, 2, 3), np.uint8))
    with pytest.raises(IntegrityError, match="preprocess again"):
        read_fields(tmp_path, data)


def test_a_choice_keeps_each_labels_share_and_follows_from_its_seed(
    workspace: Workspace, classifier: Experiment
) -> None:
    data = open_prepared(classifier.spec, workspace)
    rows = np.arange(len(data.manifest))
    chosen = choose_rows(data, rows, 16, seed=1)
    counts = data.manifest["label"].iloc[chosen].value_counts()
    assert counts["glaucoma"] == 8
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, choose_rows(data, rows, 16, seed=1))
    assert not np.array_equal(chosen, choose_rows(data, rows, 16, seed=2))
    np.testing.assert_array_equal(choose_rows(data, rows, 1000, seed=1), rows)


def test_a_place_elsewhere_has_the_discs_shape_lies_in_the_field_and_off_the_disc() -> None:
    y, x = np.mgrid[:80, :80]
    field, disc = np.hypot(y - 40, x - 40) < 38, np.hypot(y - 42, x - 60) < 9
    place = elsewhere(disc, field)
    assert place is not None
    assert place.sum() >= 0.9 * disc.sum()
    assert not (place & disc).any()
    assert not (place & ~field).any()
    assert elsewhere(np.hypot(y - 40, x - 40) < 20, field) is None  # in the middle every turn stays on the disc
    assert elsewhere(np.zeros_like(disc), field) is None


def test_hiding_changes_the_place_alone_and_takes_the_colour_around_it() -> None:
    image = np.full((40, 40, 3), 90, np.uint8)
    place = np.zeros((40, 40), bool)
    place[10:20, 10:20] = True
    image[place] = 250
    hidden = hide(image, place, np.ones((40, 40), bool))
    assert (hidden == 90).all()
    assert (image[place] == 250).all()


def test_an_untrained_network_follows_from_its_seed_and_leaves_the_random_state_alone(classifier: Experiment) -> None:
    state = torch.get_rng_state()
    networks = [untrained(classifier.spec, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    weights = [next(n.parameters()) for n in networks]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not networks[0].training


def test_a_network_without_a_spatial_map_is_explained_by_saying_so(
    workspace: Workspace, classifier: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glaucoma.explanation import cam

    def tokens_alone(*_: object) -> None:
        raise cam.NoSpatialMapError("VisionTransformer ends in no map", remedy="explain a convolutional network")

    monkeypatch.setattr(cam, "find_layer", tokens_alone)
    found = explain(classifier, workspace, SETTINGS.model_copy(update={"seed": 44}), device="cpu")
    assert found.dri.value is None
    assert found.dri.reason == "VisionTransformer ends in no map"
    assert found.overlays == []
    assert found.layer is None
