import stat
import warnings

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_PROFILES_PATH,
    Profile,
    ProfilesCollection,
    load_profiles,
    save_profiles,
    temporary_settings,
)

from deployments import profile
from deployments.profile import (
    PROFILE,
    activate_profile,
    client_environment,
    deactivate_profile,
    password,
    password_file,
    server_environment,
    speaking_to_server,
)
from glaucoma.errors import SettingsError
from glaucoma.workspace import Workspace

URL = "http://127.0.0.1:4999/api"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "4999")
    monkeypatch.delenv("PREFECT_SERVER_API_HOST", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    with temporary_settings(updates={PREFECT_PROFILES_PATH: tmp_path / "home" / "profiles.toml"}):
        yield Workspace.at(tmp_path / "workspace")


def profiles():
    return load_profiles(include_defaults=False)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_password_is_made_once_and_is_for_its_owner_alone(workspace):
    first = password(workspace)
    assert len(first) >= 32
    assert password(workspace) == first
    assert mode(password_file(workspace)) == 0o600
    assert [path.name for path in password_file(workspace).parent.iterdir()] == ["password"]
    password_file(workspace).chmod(0o644)
    password(workspace)
    assert mode(password_file(workspace)) == 0o600


def test_a_host_of_ipv6_stands_in_brackets_in_an_address(workspace, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_HOST", "::1")
    assert profile.api_url() == "http://[::1]:4999/api"
    server = server_environment(workspace)
    assert server["PREFECT_SERVER_API_HOST"] == "::1"
    assert "http://[::1]:4999" in server["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"].split(",")


def test_another_user_is_told_whose_the_password_is(workspace, monkeypatch):
    password(workspace)

    def not_yours(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(profile.Path, "chmod", not_yours)
    password(workspace)  # closed already: nothing to change
    password_file(workspace).parent.joinpath("password").unlink()
    password_file(workspace).write_text("x" * 20)
    with pytest.raises(SettingsError, match="as that user"):
        password(workspace)
    monkeypatch.undo()
    monkeypatch.setattr(profile.Path, "read_text", not_yours)
    with pytest.raises(SettingsError, match="as that user"):
        password(workspace)


@pytest.mark.parametrize("what", ["status", "drain", "down"])
def test_only_up_makes_a_password(what, workspace, monkeypatch, capsys):
    from deployments import local

    monkeypatch.setenv("ARC_WORKSPACE", str(workspace.root))
    assert local.main([what]) == 0
    assert not password_file(workspace).exists()
    assert ("server: not running" in capsys.readouterr().out) is (what == "status")


def test_a_password_that_another_start_made_in_the_same_moment_stays(workspace):
    there = password(workspace)
    profile._make_password(password_file(workspace))
    assert password(workspace) == there


@pytest.mark.parametrize("content", ["", "short", "with a blank in it", "with:a:colon:in:it", "x" * 201])
def test_a_file_that_holds_no_password_is_refused(workspace, content):
    password_file(workspace).parent.mkdir(parents=True)
    password_file(workspace).write_text(content)
    with pytest.raises(SettingsError, match="password"):
        password(workspace)


def test_the_server_is_closed_and_every_variable_is_one_that_prefect_knows(workspace):
    server, client = server_environment(workspace), client_environment(workspace)
    assert server["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == f"arc:{password(workspace)}"
    assert server["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4999,http://localhost:4999"
    assert "PREFECT_SERVER_API_AUTH_STRING" not in client, "a worker's runs need not know how the server checks"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Prefect warns of a setting that it does not know
        checked = Profile(name="all", settings=server)
    checked.validate_settings()
    assert len(checked.settings) == len(server)


def test_the_profile_becomes_active_where_nobody_chose_one_and_is_taken_away_again(workspace):
    assert "active" in activate_profile(workspace)
    assert profiles().active_name == PROFILE
    assert profiles()[PROFILE].to_environment_variables()["PREFECT_API_URL"] == URL
    assert mode(PREFECT_PROFILES_PATH.value()) == 0o600
    assert "active" in activate_profile(workspace), "safe to do again"
    assert "taken away" in deactivate_profile()
    assert (profiles().active_name, profiles().names) == ("ephemeral", set())
    assert deactivate_profile() is None


def test_a_profile_that_a_person_chose_stays_active_and_is_kept(workspace):
    mine = Profile(name="mine", settings={"PREFECT_API_URL": "http://elsewhere/api"})
    save_profiles(ProfilesCollection([mine], active="mine"))
    assert "mine stays active" in activate_profile(workspace)
    assert (profiles().active_name, profiles().names) == ("mine", {"mine", PROFILE})
    deactivate_profile()
    assert (profiles().active_name, profiles().names) == ("mine", {"mine"})


def test_a_default_profile_that_a_person_changed_is_a_choice_too(workspace):
    changed = Profile(name="ephemeral", settings={"PREFECT_API_URL": "http://elsewhere/api"})
    save_profiles(ProfilesCollection([changed], active="ephemeral"))
    assert "ephemeral stays active" in activate_profile(workspace)


def test_the_profile_of_another_server_that_runs_is_left_alone(workspace, monkeypatch):
    activate_profile(workspace)
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "4998")
    monkeypatch.setattr(profile, "_answers", lambda url: url == URL)
    assert f"belongs to the server at {URL}" in activate_profile(workspace)
    assert deactivate_profile() is None
    assert profiles()[PROFILE].to_environment_variables()["PREFECT_API_URL"] == URL
    monkeypatch.setattr(profile, "_answers", lambda url: False)
    activate_profile(workspace)
    assert profiles()[PROFILE].to_environment_variables()["PREFECT_API_URL"] == "http://127.0.0.1:4998/api"


def test_within_it_this_process_is_a_client_of_the_server_and_not_after(workspace, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    before = PREFECT_API_URL.value()
    with speaking_to_server(workspace):
        assert PREFECT_API_URL.value() == URL
        assert PREFECT_API_AUTH_STRING.value() == f"arc:{password(workspace)}"
        assert profile.os.environ["PREFECT_API_URL"] == URL
    assert PREFECT_API_URL.value() == before
    assert "PREFECT_API_URL" not in profile.os.environ
