import asyncio
import http.server
import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from deployments import doctor
from deployments.applying import Change, Outcome
from deployments.checks import machine, server
from deployments.checks.finding import Level
from glaucoma.datasets.remote import Remote
from glaucoma.workspace import Workspace

GOOD = {"prefect": "3.8.8", "fastapi": "0.150.0", "sqlalchemy": "2.0.58"}


def test_an_old_python_is_a_fault():
    assert machine.check_python((3, 10, 4)).level is Level.FAULT
    assert machine.check_python().level is Level.OK


@pytest.mark.parametrize(
    ("package", "version"),
    [("fastapi", "0.155.1"), ("sqlalchemy", "2.1.0b1"), ("prefect", "3.9.0"), ("fastapi", None)],
)
def test_a_version_that_is_known_to_break_something_is_a_fault_that_says_what(package, version):
    assert machine.check_known_bad(GOOD.get).level is Level.OK
    found = machine.check_known_bad({**GOOD, package: version}.get)
    assert found.level is Level.FAULT
    assert package in found.found
    assert "scheduler" not in found.found or package == "sqlalchemy"


def test_packages_are_compared_with_the_lock_where_its_marker_speaks_of_this_machine(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "good==1.0 \\\n    --hash=sha256:00\n    # via x\nwin==2 ; sys_platform == 'win32' \\\nbad==1.0 \\\n"
    )
    found = machine.check_lock(lock, {"good": "1.0", "bad": "2.0"}.get)
    assert found.level is Level.WARNING
    assert "bad 2.0 (==1.0)" in found.found
    assert "win" not in found.found
    assert machine.check_lock(lock, {"good": "1.0", "bad": "1.0"}.get).found == "2 packages as locked"


class Nvml:
    """A driver with two GPUs; `broken` names the question that it does not answer."""

    class NVMLError(Exception):
        """As pynvml's."""

    def __init__(self, broken=""):
        self.broken = broken

    def __getattr__(self, question):
        def answer():
            if question == self.broken:
                raise self.NVMLError("Driver/library version mismatch")
            return {"nvmlDeviceGetCount": 2, "nvmlSystemGetDriverVersion": "570.86"}.get(question)

        return answer


def test_a_gpu_of_the_policy_that_the_driver_does_not_show_is_named(tmp_path, monkeypatch):
    assert machine.check_gpus([0, 1], Nvml()).found == "2 GPUs, driver 570.86"
    missing = machine.check_gpus([0, 1, 2], Nvml())
    assert (missing.level, "names GPU 2 too" in missing.found) == (Level.WARNING, True)
    assert machine.check_gpus([0], Nvml("nvmlDeviceGetCount")).level is Level.FAULT
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.check_gpus([0], Nvml("nvmlInit")).level is Level.OK, "a machine without GPUs is no fault"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert machine.check_gpus([0], Nvml("nvmlInit")).level is Level.FAULT, "a driver that is there must answer"


def test_a_disk_is_full_where_less_is_free_than_is_needed(tmp_path):
    assert machine.check_disk("workspace", tmp_path / "not" / "there", 1).level is Level.OK
    assert machine.check_disk("workspace", tmp_path, 1e18).level is Level.FAULT
    free = machine.shutil.disk_usage(tmp_path).free
    assert machine.check_disk("workspace", tmp_path, free / 2).level is Level.WARNING


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_a_fault(tmp_path):
    tmp_path.chmod(0o500)
    assert machine.check_disk("workspace", tmp_path, 1).level is Level.FAULT


def test_weights_are_looked_for_in_the_workspace_and_in_the_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    workspace = Workspace.at(tmp_path / "workspace")
    assert machine.check_weights(workspace).level is Level.WARNING
    (tmp_path / "hub" / "models--timm--efficientnet_b3").mkdir(parents=True)
    assert machine.check_weights(workspace).level is Level.OK


def test_a_remote_that_is_gone_is_a_fault_and_versions_without_a_copy_are_a_warning(tmp_path, monkeypatch):
    from glaucoma.datasets import registry

    workspace, entries = Workspace.at(tmp_path / "workspace"), []
    monkeypatch.setattr(registry, "read_registry", lambda workspace: {"eyes": entries})
    assert machine.check_remotes(workspace, Remote).level is Level.OK
    entries.append(SimpleNamespace(remote=str(tmp_path / "remote"), endpoint_url=None, remote_block=None))
    gone = machine.check_remotes(workspace, Remote)
    assert (gone.level, "is not there" in gone.found) == (Level.FAULT, True)
    (tmp_path / "remote").mkdir()
    assert machine.check_remotes(workspace, Remote).level is Level.OK
    entries.append(SimpleNamespace(remote=None, endpoint_url=None, remote_block=None))
    (workspace.root / ".dvc" / "cache").mkdir(parents=True)
    assert machine.check_remotes(workspace, Remote).level is Level.WARNING


def test_a_server_that_does_not_answer_is_a_fault_and_ends_the_other_questions_to_it(tmp_path, monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    with temporary_settings(updates={PREFECT_API_URL: url}):
        found = doctor.examine(Workspace.at(tmp_path))
    assert found[-1].name == "server"
    assert (found[-1].level, "nothing answers" in found[-1].found) == (Level.FAULT, True)
    assert asyncio.run(server.check_reachable(None)).level is Level.FAULT


def test_a_server_without_its_database_is_a_fault_that_is_said_at_once_and_ends_the_questions(tmp_path, monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    class Sick(http.server.BaseHTTPRequestHandler):
        """Prefect's server while its database is away."""

        def do_GET(self):
            asked.append(self.path)
            self.send_response(503 if self.path.endswith("/ready") else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *said):
            """Says nothing."""

    asked = []
    sick = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sick)
    threading.Thread(target=sick.serve_forever, daemon=True).start()
    try:
        with temporary_settings(updates={PREFECT_API_URL: f"http://127.0.0.1:{sick.server_port}/api"}):
            found = doctor.examine(Workspace.at(tmp_path))
    finally:
        sick.shutdown()
        sick.server_close()
    assert (found[-1].name, found[-1].level) == ("database", Level.FAULT)
    assert "it answers 503" in found[-1].found
    assert asked.count("/api/ready") == 1


def test_the_gpus_for_evaluations_are_looked_for_too(tmp_path, monkeypatch):
    policy = tmp_path / "gpus.yaml"
    policy.write_text("experiment: [0]\ninference: [3]")
    monkeypatch.setenv("ARC_GPU_POLICY", str(policy))
    wanted = []
    monkeypatch.setattr(machine, "check_gpus", lambda gpus: wanted.extend(gpus) or machine.ok("gpus", ""))
    [doctor.looked("machine", check) for check in doctor._of_machine(Workspace.at(tmp_path / "workspace"), 1)]
    assert wanted == [0, 3]


def test_settings_that_a_server_must_not_run_without_are_named():
    closed = {
        "concurrency": {"lease_storage": "prefect.server.concurrency.lease_storage.filesystem"},
        "api": {"csrf_protection_enabled": True, "cors_allowed_origins": "http://127.0.0.1:4200"},
        "analytics_enabled": False,
    }
    assert server.check_settings({"server": closed}).level is Level.OK
    open_to_all = {
        "concurrency": {"lease_storage": "prefect.server.concurrency.lease_storage.memory"},
        "api": {"csrf_protection_enabled": False, "cors_allowed_origins": "*"},
        "analytics_enabled": True,
    }
    found = server.check_settings({"server": open_to_all})
    assert found.level is Level.WARNING
    assert found.found.count("(set PREFECT_SERVER") == 4


def test_what_is_not_as_declared_is_named_and_what_fails_is_a_fault():
    same = Change(kind="deployment", name="a/a", outcome=Outcome.SAME)
    other = Change(kind="work pool", name="arc-gpu", outcome=Outcome.CHANGED)
    broken = Change(kind="automation", name="arc-x", outcome=Outcome.FAILED, detail="no such pool")
    assert server.check_declared([same]).level is Level.OK
    assert "work pool arc-gpu" in server.check_declared([same, other]).found
    assert server.check_declared([same, other, broken]).level is Level.FAULT


@pytest.mark.parametrize(("off_s", "level"), [(0, Level.OK), (4, Level.OK), (-30, Level.WARNING), (3600, Level.FAULT)])
def test_clocks_that_differ_are_found_from_whole_seconds(off_s, level):
    now = datetime(2026, 11, 22, 12, 0, 0, 900_000, UTC)
    said = (now + timedelta(seconds=off_s)).replace(microsecond=0)
    assert server.judge_clock(said, now, now + timedelta(milliseconds=50)).level is level


def test_a_check_that_cannot_look_is_a_fault_and_the_others_go_on(tmp_path):
    found = doctor.looked("lock", lambda: machine.check_lock(tmp_path / "missing.txt"))
    assert (found.level, "could not be looked at" in found.found) == (Level.FAULT, True)
