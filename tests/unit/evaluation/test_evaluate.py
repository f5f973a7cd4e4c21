from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.evaluation.evaluate import evaluate, join_predictions
from glaucoma.evaluation.files import link_split, read_evaluation, read_metrics
from glaucoma.evaluation.measure_classifier import Scored, by_site, measure_classifier
from glaucoma.evaluation.measure_segmenter import measure_segmenter, score_image
from glaucoma.evaluation.result import Metric, ThresholdChoice
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.evaluation.thresholds import choose_threshold
from glaucoma.schema import Split
from glaucoma.training.experiment import Experiment
from glaucoma.workspace import Workspace

SETTINGS = EvaluateSettings.for_preset("smoke", replicates=200, min_positives=2)


def test_a_classifiers_metrics_are_those_of_its_predictions_file(workspace: Workspace, classifier: Experiment) -> None:
    found = evaluate(classifier, workspace, SETTINGS, device="cpu")
    folder = classifier.results / "val"
    table = pd.read_csv(folder / "predictions.csv")
    assert found.metrics["auc"].value == pytest.approx(sk.roc_auc_score(table["label"], table["probability"]))
    assert found.metrics["accuracy"].value == pytest.approx((table["label"] == table["predicted"]).mean())
    assert found.metrics["f1"].value == pytest.approx(sk.f1_score(table["label"], table["predicted"]))
    assert found.metrics["brier_error"].value == pytest.approx(((table["probability"] - table["label"]) ** 2).mean())
    curve = pd.read_csv(folder / "roc.csv")
    area = np.trapezoid(curve["sensitivity"], curve["false_positive_rate"])
    assert area == pytest.approx(found.metrics["auc"].value)
    assert pd.read_csv(folder / "calibration.csv")["images"].sum() == len(table)
    assert read_evaluation(classifier) == found
    assert classifier.metadata.metrics["val"]["auc"]["value"] == found.metrics["auc"].value
    json.loads((folder / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


def test_a_network_that_sees_clinical_values_is_measured_with_them(
    workspace: Workspace, fused_classifier: Experiment
) -> None:
    import torch

    from glaucoma.training.data import clinical_values, model_input, open_prepared
    from glaucoma.training.predict import load_model

    evaluate(fused_classifier, workspace, SETTINGS, device="cpu")
    table = pd.read_csv(fused_classifier.results / "val" / "predictions.csv").set_index("image_id")
    model, spec = load_model(fused_classifier)
    data = open_prepared(spec, workspace)
    rows = np.flatnonzero(data.manifest["image_id"].isin(table.index))
    ages = clinical_values(data.manifest, rows, spec)
    assert np.isnan(ages).any()
    assert not np.isnan(ages).all()
    with torch.inference_mode():
        inputs = model_input(data.images[rows], spec)
        said = torch.sigmoid(model(inputs, torch.from_numpy(ages)))[:, 0].numpy()
        other = torch.sigmoid(model(inputs, torch.from_numpy(ages + 20)))[:, 0].numpy()
    found = table.loc[data.manifest["image_id"].iloc[rows], "probability"].to_numpy()
    np.testing.assert_allclose(found, said, atol=1e-5)
    assert np.abs(found - other)[~np.isnan(ages[:, 0])].min() > 1e-6


def test_every_metric_has_an_interval_that_holds_it_or_says_why_not(
    workspace: Workspace, classifier: Experiment
) -> None:
    for name, metric in evaluate(classifier, workspace, SETTINGS, device="cpu").metrics.items():
        if metric.low is not None and metric.value is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high, name
        assert metric.value is not None or metric.reason, name
        assert metric.n <= metric.n_expected


def test_the_threshold_of_test_is_the_one_of_validation(workspace: Workspace, classifier: Experiment) -> None:
    test = evaluate(classifier, workspace, SETTINGS, split=Split.TEST, device="cpu")
    validation = read_evaluation(classifier, Split.VAL)
    assert test.threshold == validation.threshold
    assert test.threshold is not None
    assert test.threshold.chosen_on is Split.VAL
    table = pd.read_csv(classifier.results / "test" / "predictions.csv")
    assert (table["predicted"] == (table["probability"] >= test.threshold.value)).all()
    assert set(classifier.metadata.metrics) == {"val", "test"}
    assert any("same images" in note for note in validation.notes)
    assert not any("same images" in note for note in test.notes)


def test_suspects_are_left_out_and_counted(workspace: Workspace, classifier: Experiment) -> None:
    counts = {
        s: evaluate(classifier, workspace, SETTINGS, split=s, device="cpu").counts for s in (Split.VAL, Split.TEST)
    }
    for value in counts.values():
        assert value["evaluated"] + value["left_out"] == value["images"]
        assert value["glaucoma"] + value["normal"] == value["evaluated"]
    manifest = pd.read_csv(workspace.prepared("eyes") / "0123456789abcdef" / "manifest.csv")
    suspects = manifest[manifest["label"] == "suspect"]["split"].value_counts()
    assert {s: v["left_out"] for s, v in counts.items()} == {s: int(suspects.get(str(s), 0)) for s in counts}


def test_the_same_question_is_answered_from_the_folder_and_another_one_gets_its_own(
    workspace: Workspace, classifier: Experiment
) -> None:
    first = evaluate(classifier, workspace, SETTINGS, device="cpu")
    stamp = (classifier.results / first.key / "metrics.json").stat().st_mtime_ns
    again = evaluate(classifier, workspace, SETTINGS, device="cpu")
    assert again.reused
    assert again.model_dump() == first.model_dump()
    assert (classifier.results / first.key / "metrics.json").stat().st_mtime_ns == stamp
    other = evaluate(classifier, workspace, SETTINGS.model_copy(update={"replicates": 150}), device="cpu")
    assert other.key != first.key
    assert (classifier.results / "val").readlink().name == other.key
    assert not other.reused
    assert read_metrics(classifier.results / first.key).model_dump() == first.model_dump()
    assert evaluate(classifier, workspace, SETTINGS, device="cpu").key == (classifier.results / "val").readlink().name


def test_a_segmenters_metrics_are_the_means_of_its_predictions_file(
    workspace: Workspace, segmenter: Experiment
) -> None:
    found = evaluate(segmenter, workspace, SETTINGS, device="cpu")
    table = pd.read_csv(segmenter.results / "val" / "predictions.csv")
    for name in ("disc_dice", "cup_dice", "disc_iou", "cup_iou"):
        assert found.metrics[name].value == pytest.approx(table[f"{name}_score"].mean())
    expected = (table["disc_dice_score"].mean() + table["cup_dice_score"].mean()) / 2
    assert found.primary_metric.value == pytest.approx(expected)
    both = table.dropna(subset=["vcdr_predicted", "vcdr_true"])
    assert found.metrics["vcdr_mae"].value == pytest.approx((both["vcdr_predicted"] - both["vcdr_true"]).abs().mean())
    assert found.metrics["disc_dice"].value > 0.5
    assert found.threshold is None


def test_an_experiment_that_is_not_trained_is_not_evaluated(workspace: Workspace, classifier: Experiment) -> None:
    from glaucoma.training.experiment import create_experiment

    bare = create_experiment(classifier.spec.model_copy(update={"seed": 7}), workspace)
    with pytest.raises(NotFoundError, match="no trained model"):
        evaluate(bare, workspace, SETTINGS)
    with pytest.raises(NotFoundError, match="No evaluation"):
        read_evaluation(bare)


def test_a_damaged_result_is_named_with_the_remedy(workspace: Workspace, classifier: Experiment) -> None:
    settings = SETTINGS.model_copy(update={"seed": 99})
    found = evaluate(classifier, workspace, settings, device="cpu")
    (classifier.results / found.key / "metrics.json").write_text("{}")
    with pytest.raises(IntegrityError, match="remove"):
        evaluate(classifier, workspace, settings, device="cpu")


def test_predictions_that_do_not_fit_the_manifest_are_refused() -> None:
    manifest = pd.DataFrame(
        [{"image_id": n, "group": n, "patient_id": "", "eye": "", "site": "", "label": "normal"} for n in "ab"]
    )
    good = pd.DataFrame({"image_id": ["a"], "label": [0], "logit": [0.1], "probability": [0.5]})
    assert join_predictions(good, manifest)["group"].tolist() == ["a"]
    wrong = (good.assign(image_id="c"), good.assign(label=1), pd.concat([good, good], ignore_index=True))
    for frame in wrong:
        with pytest.raises(IntegrityError, match="do not fit"):
            join_predictions(frame, manifest)


def frame(labels: list[int], scores: list[float], sites: list[str] | None = None) -> pd.DataFrame:
    n = len(labels)
    return pd.DataFrame(
        {"label": labels, "probability": scores, "group": [f"g{i}" for i in range(n)], "site": sites or ["s"] * n}
    )


def test_a_perfect_model_on_few_images_has_a_wide_interval_and_not_none() -> None:
    scored = Scored.from_frame(frame([0] * 6 + [1] * 6, [0.1] * 6 + [0.9] * 6))
    metrics, _ = measure_classifier(scored, choose_threshold(scored.labels, scored.probabilities), SETTINGS)
    assert metrics["auc"].value == 1
    assert metrics["auc"].low is not None
    assert 0.5 < metrics["auc"].low < 0.9
    assert metrics["sensitivity"].low is not None
    assert metrics["sensitivity"].low < 0.7
    assert metrics["calibration_slope"].value is None


def test_one_class_gives_reasons_and_what_can_still_be_had() -> None:
    scored = Scored.from_frame(frame([0] * 8, list(np.linspace(0, 1, 8))))
    chosen = choose_threshold(scored.labels, scored.probabilities)
    metrics, _ = measure_classifier(scored, chosen, SETTINGS)
    assert metrics["auc"].value is None
    assert "glaucoma" in (metrics["auc"].reason or "")
    assert metrics["brier_error"].value is not None
    given = ThresholdChoice(value=0.5, rule="youden")
    metrics, _ = measure_classifier(scored, given, SETTINGS)
    assert metrics["specificity"].value == 0.5
    assert metrics["sensitivity"].value is None
    assert metrics["balanced_accuracy"].value is None


def test_a_prediction_that_is_no_number_is_counted_and_not_dropped_in_silence() -> None:
    scored = Scored.from_frame(frame([0, 1, 0, 1], [0.1, float("nan"), 0.3, 0.9]))
    metrics, _ = measure_classifier(scored, ThresholdChoice(value=0.5, rule="youden"), SETTINGS)
    assert (metrics["auc"].n, metrics["auc"].n_expected) == (3, 4)
    assert "1 of 4" in (metrics["auc"].reason or "")
    assert (metrics["sensitivity"].n, metrics["sensitivity"].n_expected) == (1, 2)


def test_a_site_with_few_of_a_class_is_insufficient_and_one_site_makes_no_subgroups() -> None:
    table = frame([0, 1] * 6 + [0] * 5, list(np.linspace(0, 1, 17)), ["a"] * 12 + ["b"] * 5)
    chosen = ThresholdChoice(value=0.5, rule="youden")
    found = by_site(table, chosen, SETTINGS)
    assert found["a"]["auc"].value is not None
    assert found["b"]["auc"].value is None
    assert "insufficient: 0 glaucoma" in (found["b"]["auc"].reason or "")
    assert by_site(table.assign(site="a"), chosen, SETTINGS) == {}


def row(**changes: str) -> dict[str, str]:
    plain = {"image_id": "a", "group": "g", "site": "s", "label": "normal"}
    return plain | {"disc_state": "present", "cup_state": "present"} | changes


def test_a_structure_that_no_reader_spoke_of_is_not_scored_and_a_missed_one_is() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    probability = np.zeros((2, 40, 40), np.float32)
    probability[0, 10:30, 10:30] = 0.9
    probability[1, 15:20, 15:20] = 0.9
    silent = score_image(probability, truth, row(cup_state="not_visible"), 0.5)
    assert np.isnan(silent["cup_dice_score"])
    assert silent["cup_outcome"] == ""
    assert silent["disc_dice_score"] == 1
    assert np.isnan(silent["vcdr_true"])
    spoken = score_image(probability, truth, row(cup_state="absent"), 0.5)
    assert (spoken["cup_outcome"], spoken["cup_dice_score"]) == ("spurious", 0)
    missed = score_image(np.zeros((2, 40, 40), np.float32), truth, row(), 0.5)
    assert (missed["disc_outcome"], missed["disc_dice_score"]) == ("missed", 0)
    assert missed["disc_hd95_px"] == pytest.approx(np.hypot(40, 40))
    assert missed["cup_outcome"] == "absent"
    table = pd.DataFrame([silent | {"group": "a"}, spoken | {"group": "b"}, missed | {"group": "c"}])
    metrics = measure_segmenter(table, 4, SETTINGS)
    assert metrics["disc_dice"].value == pytest.approx(2 / 3)
    assert (metrics["disc_dice"].n, metrics["disc_dice"].n_expected) == (3, 4)
    assert metrics["disc_found"].value == pytest.approx(2 / 3)
    assert (metrics["cup_dice"].n, metrics["cup_dice"].value) == (1, 0)
    assert metrics["vcdr_mae"].value is None
    assert metrics["vcdr_mae"].reason
    assert metrics["vcdr_true_auc"].value is None


def test_an_undefined_metric_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="reason"):
        Metric(value=None, n=0, n_expected=3)
    with pytest.raises(ValueError, match="more than"):
        Metric(value=0.5, n=4, n_expected=3)
    assert str(Metric(value=0.5, low=0.4, high=0.6, n=3, n_expected=3)) == "0.500 (0.400 to 0.600)"


def test_a_link_moves_in_one_step_and_leaves_nothing_beside_it(tmp_path) -> None:
    for key in ("a", "b", "b"):
        (tmp_path / key).mkdir(exist_ok=True)
        link_split(tmp_path, Split.VAL, key)
        assert (tmp_path / "val").resolve() == tmp_path / key
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "val"}
