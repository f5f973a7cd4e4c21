"""What `deployments/systemd` and `deployments/compose` say is true: commands exist, draining fits, nothing is open."""

import configparser
import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from deployments.entry import SECRETS
from deployments.gpus import GpuNotShownError, GpuPolicy, load_policy, worker_specs
from deployments.worker import SAVE_S, arguments_of, chosen_spec

DEPLOYMENTS = Path(__file__).resolve().parents[3] / "deployments"
UNITS = DEPLOYMENTS / "systemd"
DECLARED = yaml.safe_load((DEPLOYMENTS.parent / "prefect.yaml").read_text())["deployments"]
UNIT_NAMES = ["arc-server.service", "arc-apply.service", "arc-worker@.service", "arc-watch.service"]


def unit(name):
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read_string((UNITS / name).read_text())
    return parsed


def seconds(span):
    """Of `13h`, `1m`, `60`, as systemd and compose write it."""
    number, name = re.fullmatch(r"(\d+)(h|m|s|)", span).groups()
    return timedelta(
        **{{"h": "hours", "m": "minutes", "s": "seconds", "": "seconds"}[name]: int(number)}
    ).total_seconds()


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOYMENTS / "compose" / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def policy():
    return load_policy(DEPLOYMENTS / "gpus.yaml")


def roles(policy):
    return [spec.role for spec in worker_specs(policy, [*policy.experiment, *policy.inference], "eye")]


def workers(compose):
    return {name: one for name, one in compose["services"].items() if "deployments.worker" in one.get("command", [])}


def worker_arguments(one):
    command = one["command"]
    return arguments_of(command[command.index("deployments.worker") + 1 :])


def check_command(words):
    """Of `python -m deployments.X ..`: the module exists and takes those words."""
    assert words[1] == "-m"
    module, rest = words[2], words[3:]
    assert (DEPLOYMENTS.parent / f"{module.replace('.', '/')}.py").is_file(), module
    if module == "deployments.worker":
        arguments_of(rest)
    elif module == "deployments.server":
        from prefect.cli.server import server_app

        server_app.parse_args(["start", *rest], exit_on_error=False, print_error=False)
    else:
        assert (module, rest) in [("deployments.apply", []), ("flows.watch", [])]


# systemd


@pytest.mark.parametrize("name", UNIT_NAMES)
def test_a_units_command_is_one_that_exists(name):
    check_command(shlex.split(unit(name)["Service"]["ExecStart"]))


@pytest.mark.parametrize("name", UNIT_NAMES)
def test_a_unit_runs_as_a_user_of_its_own_and_its_secrets_lie_in_a_file(name):
    service = unit(name)["Service"]
    assert service["User"] == "arc"
    assert service["EnvironmentFile"] == "/etc/arc/arc.env"
    assert "Environment" not in service
    assert service["RestartPreventExitStatus"] == "2", "wrong settings stay wrong"


def test_stopping_a_unit_drains_its_worker_and_leaves_it_the_time():
    service = unit("arc-worker@.service")["Service"]
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    words = shlex.split(service["ExecStart"])
    assert words[3] == "%i"
    assert seconds(service["TimeoutStopSec"]) > arguments_of(words[3:]).drain_timeout_s + SAVE_S
    assert service["OOMPolicy"] == "continue"


def test_the_page_has_workers_drain_before_a_reboot_that_systemd_forces_after_half_an_hour():
    assert seconds(unit("arc-worker@.service")["Service"]["TimeoutStopSec"]) > seconds("30m"), "it would force it"
    page = (DEPLOYMENTS.parent / "docs" / "how-to" / "run-deployed.md").read_text()
    assert "`systemctl stop 'arc-worker@*' && systemctl reboot`" in page


def test_a_worker_waits_for_a_driver_that_is_late_after_a_boot():
    parsed = unit("arc-worker@.service")
    for order in ("After", "Wants"):
        assert "nvidia-persistenced.service" in parsed["Unit"][order].split()
    load = parsed["Service"]["ExecStartPre"]
    assert load.startswith("-+"), "without a driver the worker starts too; the driver is loaded as root"
    assert parsed["Service"]["Restart"] == "always"
    assert GpuNotShownError.exit_code != int(parsed["Service"]["RestartPreventExitStatus"])


def test_a_further_machine_is_looked_at_as_often_as_the_schedule_does():
    (schedule,) = next(one for one in DECLARED if one["name"] == "watch")["schedules"]
    assert seconds(unit("arc-watch.timer")["Timer"]["OnUnitInactiveSec"]) == schedule["interval"]
    assert unit("arc-watch.service")["Service"]["Type"] == "oneshot", "a timer starts nothing that runs already"


def test_workers_stop_before_the_server():
    assert {"arc-server.service", "arc-apply.service"} <= set(unit("arc-worker@.service")["Unit"]["After"].split())
    assert unit("arc-apply.service")["Unit"]["After"] == "arc-server.service"


@pytest.mark.parametrize("name", [*UNIT_NAMES[:-1], "arc-watch.timer"])  # the timer starts its service
def test_the_target_stops_and_starts_every_unit(name):
    assert unit(name)["Unit"]["PartOf"] == unit(name)["Install"]["WantedBy"] == "arc.target"
    assert (UNITS / "arc.target").is_file()


def test_the_example_of_the_environment_listens_on_loopback_and_holds_no_secret():
    lines = (UNITS / "arc.env.example").read_text().splitlines()
    told = dict(line.lstrip("#").split("=", 1) for line in lines if re.match(r"#?[A-Z_]+=", line))
    assert told["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert set(SECRETS) <= told.keys()
    assert {told[name] for name in SECRETS} == {""}


def test_the_roles_that_the_unit_names_as_an_example_exist(policy):
    named = re.findall(r"arc-worker@([a-z0-9-]+)\b", (UNITS / "arc-worker@.service").read_text())
    assert set(named) <= set(roles(policy))


def test_the_page_enables_every_role_of_the_policy_that_ships(policy):
    page = (DEPLOYMENTS.parent / "docs" / "how-to" / "run-deployed.md").read_text()
    (enabled,) = re.findall(r"enable --now (arc-worker@control .*(?:\n  .*)*)", page)
    assert re.findall(r"arc-worker@([a-z0-9-]+)", enabled) == roles(policy)


# compose


def test_every_worker_of_the_policy_that_ships_has_one_container(compose, policy):
    assert [worker_arguments(one).role for one in workers(compose).values()] == roles(policy)


def test_every_command_of_a_container_exists(compose):
    for one in compose["services"].values():
        if one.get("command", [""])[0] == "python":
            assert one["entrypoint"] == ["python", "-m", "deployments.entry"]
            check_command(one["command"])


def test_a_container_gets_the_gpus_of_its_role_and_calls_them_as_it_sees_them(compose, policy):
    specs = {spec.role: spec for spec in worker_specs(policy, [*policy.experiment, *policy.inference], "eye")}
    for one in workers(compose).values():
        given = worker_arguments(one)
        devices = one.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        computing = [device for device in devices if "gpu" in device["capabilities"]]
        ids = [int(number) for device in computing for number in device["device_ids"]]
        assert ids == list(specs[given.role].gpus)
        seen = ",".join(str(position) for position in range(len(ids)))
        assert (given.cuda_visible_devices or "") == seen


def test_the_runs_of_all_containers_are_seen_by_the_one_that_watches_with_the_machines_numbers(compose, monkeypatch):
    monkeypatch.setenv("ARC_GPU_POLICY", str(DEPLOYMENTS / "gpus.yaml"))
    told = {}
    for one in workers(compose).values():
        assert one["pid"] == "host"
        assert one["init"], "and ends of processes that nobody waits for are noticed"
        assert one["environment"]["TINI_SUBREAPER"]
        given = worker_arguments(one)
        told[given.role] = chosen_spec(given.role, given.cuda_visible_devices).environment
    assert (told["gpu1"]["ARC_GPUS"], told["gpu1"]["CUDA_VISIBLE_DEVICES"]) == ("1", "0")
    assert (told["inference"]["ARC_GPUS"], told["gpu-all"]["ARC_GPUS"], told["cpu"]["ARC_GPUS"]) == ("2", "0,1", "")


def test_the_container_that_watches_sees_every_gpu_and_computes_on_none(compose):
    (device,) = compose["services"]["control"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["count"], device["capabilities"]) == ("all", ["utility"])


def test_stopping_a_container_drains_its_worker_and_leaves_it_the_time(compose):
    for one in workers(compose).values():
        assert one["stop_signal"] == "SIGTERM"
        assert seconds(one["stop_grace_period"]) > worker_arguments(one).drain_timeout_s + SAVE_S


def test_nothing_is_published_beyond_loopback(compose):
    published = [port for one in compose["services"].values() for port in one.get("ports", [])]
    assert published == ["127.0.0.1:4200:4200"]


def test_no_container_knows_a_password_but_by_a_file(compose):
    text = (DEPLOYMENTS / "compose" / "compose.yaml").read_text()
    for one in compose["services"].values():
        environment = one.get("environment", {})
        secret = {name for name in environment if re.search("PASSWORD|AUTH_STRING|DATABASE_URL|REDIS_URL", name)}
        assert all(name.endswith("_FILE") for name in secret), secret
        assert {environment[name] for name in secret} <= {f"/run/secrets/{name}" for name in one.get("secrets", [])}
    assert all(secret.keys() == {"file"} for secret in compose["secrets"].values())
    assert not re.search(r"://[^/\s<]+:[^@\s<]+@", text), "an address with a password in it"
    assert "secrets/" in (DEPLOYMENTS / "compose" / ".gitignore").read_text()
    assert "deployments/compose/secrets" in (DEPLOYMENTS / "compose" / "Dockerfile.dockerignore").read_text()


def test_every_image_is_of_one_version(compose):
    images = [one["image"] for one in compose["services"].values()]
    images += re.findall(r"^FROM (\S+)", (DEPLOYMENTS / "compose" / "Dockerfile").read_text(), re.MULTILINE)
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-|$)", image), image


def test_one_waits_for_another_until_it_is_healthy(compose):
    services = compose["services"]
    for one in services.values():
        for needed, how in one.get("depends_on", {}).items():
            assert how["condition"] == "service_completed_successfully" or "healthcheck" in services[needed]
    assert all("healthcheck" in one for name, one in services.items() if name != "apply")


def test_settings_of_prefect_that_containers_and_units_are_told_are_known_to_prefect(compose):
    from prefect.settings import get_current_settings
    from prefect.settings.legacy import _get_valid_setting_names

    told = {name for one in compose["services"].values() for name in one.get("environment", {})}
    told |= set(re.findall(r"^#?([A-Z_]+)=", (UNITS / "arc.env.example").read_text(), re.MULTILINE))
    prefects = {name.removesuffix("_FILE") for name in told if name.startswith("PREFECT_")}
    assert prefects <= _get_valid_setting_names(type(get_current_settings()))


def test_the_policy_that_ships_has_a_use_for_each_gpu(policy):
    assert isinstance(policy, GpuPolicy)
    assert not set(policy.experiment) & set(policy.inference)
