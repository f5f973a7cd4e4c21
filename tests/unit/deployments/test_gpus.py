import pytest

from deployments.gpus import GpuPolicy, left_out, load_policy, present_gpus, queue_targets, spec_of, worker_specs
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
    assert list(by_role(policy, [0, 1, 2])) == ["control", "cpu", "gpu0", "gpu1", "gpu-all", "inference"]
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
    for role in ("control", "cpu"):
        assert specs[role].environment["CUDA_VISIBLE_DEVICES"] == ""
        assert specs[role].gpus == ()
    assert specs["cpu"].queues == ("default", "cycles")
    assert specs["cpu"].limit == POLICY.cpu_runs + POLICY.cycles


def test_without_a_gpu_the_same_pools_are_served_on_the_cpu():
    specs = by_role(POLICY, [])
    assert list(specs) == ["control", "cpu", "gpu-cpu", "inference"]
    assert targets(specs["gpu-cpu"]) == {"any", "all"}
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
    assert list(specs) == ["control", "cpu", "gpu0", "inference"]
    assert targets(specs["gpu0"]) == {"any", "gpu0", "all"}
    assert specs["inference"].environment["CUDA_VISIBLE_DEVICES"] == ""


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
    assert list(by_role(load_policy(path), [0])) == ["control", "cpu", "gpu-cpu", "inference"]


def test_a_role_that_this_machine_lacks_is_refused_with_those_it_has():
    with pytest.raises(SettingsError, match="one of control, cpu, gpu-cpu, inference"):
        spec_of("gpu0", POLICY, [], "eye")


def test_no_driver_is_no_gpu(monkeypatch):
    import pynvml

    def none():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", none)
    assert present_gpus() == []
