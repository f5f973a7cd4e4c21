import importlib.util

import pytest

from deployments.entry import with_secrets
from deployments.server import server_environment
from glaucoma.errors import SettingsError

DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def test_without_settings_prefect_keeps_its_own_database():
    assert server_environment({}) == {}
    assert server_environment({"ARC_DATABASE_URL": "", "ARC_REDIS_URL": ""}) == {}


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_a_postgres_address_gets_the_driver_that_prefect_needs(scheme):
    made = server_environment({"ARC_DATABASE_URL": f"{scheme}://arc:p%40ss@db:5432/arc"})
    assert made == {DATABASE: "postgresql+asyncpg://arc:p%40ss@db:5432/arc"}
    assert importlib.util.find_spec("asyncpg"), "comes with Prefect"


def test_a_sqlite_file_can_be_named():
    url = "sqlite+aiosqlite:////srv/arc/prefect.db"
    assert server_environment({"ARC_DATABASE_URL": url}) == {DATABASE: url}


@pytest.mark.parametrize(
    "url", ["mysql://arc:secret@db/arc", "secret", "postgresql://", "postgresql://arc:secret@/arc"]
)
def test_another_database_is_refused_and_no_password_is_shown(url):
    with pytest.raises(SettingsError, match="ARC_DATABASE_URL") as refused:
        server_environment({"ARC_DATABASE_URL": url})
    assert "secret" not in str(refused.value)


def test_redis_without_its_package_is_refused_with_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"arc-glaucoma\[redis\]"):
        server_environment({"ARC_REDIS_URL": "redis://:secret@cache:6379/0"})


def test_redis_carries_messages_order_leases_and_tasks_of_several_servers(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    made = server_environment({"ARC_REDIS_URL": "redis://cache:6379/0"})
    assert made["PREFECT_MESSAGING_BROKER"] == made["PREFECT_MESSAGING_CACHE"] == "prefect_redis.messaging"
    assert made["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == "prefect_redis.lease_storage"
    assert made["PREFECT_SERVER_DOCKET_URL"] == made["PREFECT_REDIS_MESSAGING_URL"] == "redis://cache:6379/0"


def test_every_setting_that_redis_needs_is_one_that_prefect_knows(monkeypatch):
    from prefect.settings.models.server.events import ServerEventsSettings
    from prefect.settings.models.server.root import ServerSettings

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for name, value in server_environment({"ARC_REDIS_URL": "redis://cache:6379/0"}).items():
        monkeypatch.setenv(name, value)
    server = ServerSettings()
    assert server.concurrency.lease_storage == "prefect_redis.lease_storage"
    assert server.docket.url == "redis://cache:6379/0"
    assert server.worker_channel.cleanup_queue_storage == "prefect_redis.cleanup_queue"
    events = ServerEventsSettings()
    assert events.messaging_broker == events.messaging_cache == "prefect_redis.messaging"
    assert events.causal_ordering == "prefect_redis.ordering"


@pytest.mark.parametrize("url", ["cache:6379", "http://cache:6379", "redis://"])
def test_what_is_no_address_of_redis_is_refused(url):
    with pytest.raises(SettingsError, match="no address of Redis"):
        server_environment({"ARC_REDIS_URL": url})


def test_a_secret_comes_from_its_file_and_the_files_name_goes(tmp_path):
    path = tmp_path / "url"
    path.write_text("postgresql://arc:secret@db/arc\n")
    made = with_secrets({"ARC_DATABASE_URL_FILE": str(path), "OTHER_FILE": "kept"})
    assert made == {"ARC_DATABASE_URL": "postgresql://arc:secret@db/arc", "OTHER_FILE": "kept"}


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("\n", "is empty")])
def test_a_secret_that_is_not_there_is_refused(tmp_path, content, said):
    path = tmp_path / "auth"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=said):
        with_secrets({"PREFECT_API_AUTH_STRING_FILE": str(path)})


def test_a_secret_that_is_not_wanted_has_an_empty_file(tmp_path):
    path = tmp_path / "redis_url"
    path.write_text("")
    assert with_secrets({"ARC_REDIS_URL_FILE": str(path)}) == {}
    path.write_text("redis://:secret@redis:6379/0\n")
    assert with_secrets({"ARC_REDIS_URL_FILE": str(path)}) == {"ARC_REDIS_URL": "redis://:secret@redis:6379/0"}


def test_a_secret_that_is_given_twice_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="both set"):
        with_secrets({"ARC_REDIS_URL": "redis://a", "ARC_REDIS_URL_FILE": str(tmp_path / "b")})
