import pytest

from deployments.gpus import (
    Driver,
    GpuNotShownError,
    GpuPolicy,
    ask_driver,
    is_worker_of,
    left_out,
    load_policy,
    queue_targets,
    spec_of,
    worker_specs,
)
from flows.queues import parse_queue
from glaucoma.errors import SettingsError

POLICY = GpuPolicy(experiment=(0, 1), inference=(2,))


def by_role(policy, present):
    return {spec.role: spec for spec in worker_specs(policy, present, "eye")}


def targets(spec):
    return {parse_queue(queue)[1] for queue in spec.queues}


def test_the_policy_that_ships_is_the_one_of_a_machine_with_three_gpus(monkeypatch):
    monkeypatch.delenv("ARC_GPU_POLICY", raising=False)
    policy = load_policy()
    assert (policy.experiment, policy.inference, policy.detect) == ((0, 1), (2,), True)
    assert list(by_role(policy, [0, 1, 2])) == ["control", "cpu", "cycles", "gpu0", "gpu1", "gpu-all", "inference"]
    assert queue_targets(policy) == ["any", "gpu0", "gpu1", "all"]


def test_each_gpu_has_one_worker_that_sees_it_alone_and_takes_one_run():
    specs = by_role(POLICY, [0, 1, 2])
    assert (specs["gpu1"].name, specs["gpu1"].pool, specs["gpu1"].limit) == ("arc-gpu1-eye", "arc-gpu", 1)
    assert specs["gpu1"].environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert specs["gpu1"].environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert specs["gpu1"].environment["ARC_GPUS"] == "1"
    assert targets(specs["gpu1"]) == {"any", "gpu1"}
    assert specs["inference"].environment["CUDA_VISIBLE_DEVICES"] == "2"
    assert (specs["gpu-all"].environment["CUDA_VISIBLE_DEVICES"], targets(specs["gpu-all"])) == ("0,1", {"all"})


def test_what_waits_looks_or_takes_in_data_sees_no_gpu():
    specs = by_role(POLICY, [0, 1, 2])
    for role in ("control", "cpu", "cycles"):
        assert specs[role].environment["CUDA_VISIBLE_DEVICES"] == ""
        assert specs[role].gpus == ()


def test_cycles_that_wait_for_gpus_leave_the_places_of_intake_free():
    specs = by_role(GpuPolicy(cpu_runs=3, cycles=5), [])
    assert (specs["cpu"].pool, specs["cpu"].queues, specs["cpu"].limit) == ("arc-cpu", ("default",), 3)
    assert (specs["cycles"].pool, specs["cycles"].queues, specs["cycles"].limit) == ("arc-cpu", ("cycles",), 5)


def test_without_a_gpu_the_same_pools_are_served_on_the_cpu():
    specs = by_role(POLICY, [])
    assert list(specs) == ["control", "cpu", "cycles", "gpu-cpu", "inference"]
    assert targets(specs["gpu-cpu"]) == set(queue_targets(POLICY)), "a run that asks for gpu1 is not left waiting"
    assert {spec.environment["CUDA_VISIBLE_DEVICES"] for spec in specs.values()} == {""}
    assert left_out(POLICY, []) == [
        "GPU 0 (trainings): left out, the driver does not show it",
        "GPU 1 (trainings): left out, the driver does not show it",
        "GPU 2 (evaluations): left out, the driver does not show it",
        "no GPU for trainings: they run on the CPU",
        "no GPU for evaluations: they run on the CPU",
    ]


def test_a_single_gpu_is_the_whole_machine_and_inference_never_gets_it():
    specs = by_role(POLICY, [0])
    assert list(specs) == ["control", "cpu", "cycles", "gpu0", "inference"]
    assert targets(specs["gpu0"]) == {"any", "gpu0", "gpu1", "all"}
    assert specs["inference"].environment["CUDA_VISIBLE_DEVICES"] == ""


def test_the_first_gpu_serves_those_that_ask_for_one_that_is_not_there():
    policy = GpuPolicy(experiment=(0, 1, 2))
    specs = by_role(policy, [0, 1])
    assert targets(specs["gpu0"]) == {"any", "gpu0", "gpu2"}
    assert targets(specs["gpu1"]) == {"any", "gpu1"}
    assert "trainings that ask for gpu2 run on GPU 0" in left_out(policy, [0, 1])
    for there in ([], [0], [0, 1], [0, 1, 2]):
        served = [targets(spec) for spec in worker_specs(policy, there, "eye") if spec.pool == "arc-gpu"]
        assert set().union(*served) == set(queue_targets(policy)), there


def test_the_file_is_believed_where_it_says_so():
    believed = POLICY.model_copy(update={"detect": False})
    assert by_role(believed, []).keys() == by_role(POLICY, [0, 1, 2]).keys()
    assert left_out(believed, []) == []


def test_of_several_gpus_for_inference_each_has_a_worker():
    specs = by_role(GpuPolicy(experiment=(0,), inference=(1, 2)), [0, 1, 2])
    assert [specs[role].gpus for role in ("inference", "inference2")] == [(1,), (2,)]
    assert len({spec.name for spec in specs.values()}) == len(specs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiment: [0, 1]\ninference: [1]", "GPU 1 is named twice"),
        ("experiment: [0, 0]", "GPU 0 is named twice"),
        ("experiment: [-1]", "experiment.0: Input should be greater than or equal to 0"),
        ("experiment: [100]", "experiment.0"),
        ("experiment: [true]", "experiment.0"),
        ("experiment: [1.0]", "experiment.0"),
        ("experiment: [GPU-5a1b]", "write the GPU's number"),
        ("inference: [MIG-5a1b]", "write the GPU's number"),
        ("cpu_runs: 0", "cpu_runs"),
        ("experiments: [0]", "experiments: Extra inputs are not permitted"),
        ("[0, 1]", "valid dictionary"),
        ("experiment: [0", "expected ',' or ']'"),
    ],
)
def test_a_wrong_policy_is_refused_with_what_is_wrong_and_what_to_do(tmp_path, text, said):
    path = tmp_path / "gpus.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="Remedy: correct it") as refused:
        load_policy(path)
    assert said in str(refused.value)


def test_a_policy_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ARC_GPU_POLICY", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match="No such file"):
        load_policy()


def test_an_empty_policy_is_a_machine_without_gpus(tmp_path):
    path = tmp_path / "gpus.yaml"
    path.write_text("# nothing\n")
    assert list(by_role(load_policy(path), [0])) == ["control", "cpu", "cycles", "gpu-cpu", "inference"]


def test_a_role_that_this_machine_lacks_is_refused_with_those_it_has():
    with pytest.raises(SettingsError, match="one of control, cpu, cycles, gpu-cpu, inference"):
        spec_of("gpu7", POLICY, Driver([]), "eye")


@pytest.mark.parametrize("role", ["gpu0", "gpu1", "gpu-all"])
def test_a_gpu_that_the_driver_does_not_show_yet_is_waited_for(role):
    with pytest.raises(GpuNotShownError, match="Driver Not Loaded") as refused:
        spec_of(role, POLICY, Driver([], "Driver Not Loaded"), "eye")
    assert refused.value.exit_code != SettingsError.exit_code, "systemd starts nothing again that ended with that one"
    with pytest.raises(GpuNotShownError, match="it shows GPU 0 only"):
        spec_of("gpu1", POLICY, Driver([0]), "eye")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("arc-gpu0-retina", True),
        ("arc-gpu17-retina", True),
        ("arc-gpu-all-retina", True),
        ("arc-inference2-retina", True),
        ("arc-cycles-retina", True),
        ("arc-gpu0-big-retina", False),
        ("arc-cpu-cpu-retina", False),
        ("arc-cpu-retina2", False),
        ("somebody-retina", False),
    ],
)
def test_a_worker_is_of_the_machine_whose_whole_name_it_bears(name, ours):
    assert is_worker_of(name, "retina") is ours


def test_every_worker_is_known_for_one_of_its_machine():
    policy = GpuPolicy(experiment=(0, 1), inference=(2, 3))
    for present in ([], [0], [0, 1, 2, 3]):
        for spec in worker_specs(policy, present, "big-eye"):
            assert is_worker_of(spec.name, "big-eye")
            assert not is_worker_of(spec.name, "eye")


def test_no_driver_is_no_gpu_and_its_own_words_are_kept(monkeypatch):
    import pynvml

    def none():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", none)
    assert ask_driver() == Driver([], "NVML Shared Library Not Found")
