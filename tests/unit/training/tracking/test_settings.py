"""Every setting has an effect, or is refused; a key is shown nowhere."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from glaucoma.errors import SettingsError
from glaucoma.schema import Task
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import experiment_id, spec_from
from glaucoma.training.tracking import tracker
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.settings import TrackingSettings

KEY = "0123456789abcdef" * 3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"project": "mine"}, "project"),
        ({"log_checkpoint": False}, "log_checkpoint"),
        ({"kind": "mlflow", "mode": "online", "account_block": "lab"}, "account_block"),
        ({"kind": "mlflow", "account_block": "lab"}, "account_block"),
        ({"kind": "wandb", "mode": "online"}, "account_block"),
        ({"kind": "wandb", "account_block": "lab"}, "account_block"),
        ({"kind": "wandb", "log_dataset": False, "log_photographs": True}, "log_photographs"),
        ({"kind": "wandb", "project": "a/b"}, "project"),
    ],
)
def test_what_could_have_no_effect_is_refused_by_name(given, named):
    with pytest.raises(ValidationError, match=named):
        TrackingSettings.model_validate(given)


def test_the_defaults_of_a_form_serve():
    settings = TrackingSettings()
    assert settings.kind == "none"
    assert TrackingSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_tracking_changes_no_experiments_id():
    ids = set()
    for kind in ("none", "wandb", "mlflow"):
        settings = TrainSettings(execution=ExecutionSettings(tracking=TrackingSettings(kind=kind)))
        ids.add(experiment_id(spec_from(settings, Task.CLASSIFICATION, "tiny", "0" * 16)))
    assert len(ids) == 1


def test_an_account_shows_no_key():
    account = Account(KEY, "https://wandb.hospital.local", "lab")
    assert KEY not in f"{account!r} {account}"
    assert account.redact(f"failed with {KEY}!") == "failed with ***!"


@pytest.mark.parametrize("url", ["wandb.local", "ftp://wandb.local", "https://me:secret@wandb.local", "https://"])
def test_an_account_needs_an_address_without_a_password(url):
    with pytest.raises(SettingsError) as caught:
        Account(KEY, url)
    assert "secret" not in str(caught.value)


def test_an_account_needs_a_key():
    with pytest.raises(SettingsError, match="API key"):
        Account(" ")


@pytest.mark.parametrize(("kind", "remedy"), [("mlflow", r"arc-glaucoma\[mlflow\]"), ("wandb", "pip install wandb")])
def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(monkeypatch, kind, remedy):
    monkeypatch.setattr(tracker.importlib.util, "find_spec", lambda name: None if name == kind else object())
    with pytest.raises(SettingsError, match=remedy):
        tracker.require_installed(TrackingSettings(kind=kind))
    tracker.require_installed(TrackingSettings())


def test_online_without_an_account_is_refused_before_anything_begins(workspace, spec):
    online = TrackingSettings(kind="wandb", mode="online", account_block="lab")
    told = []
    with pytest.raises(SettingsError, match="account"), tracker.tracked(spec, workspace, online, None, told.append):
        pytest.fail("it began")
    assert not workspace.experiments.exists()
