"""Precision, place and strategy; several processes: test_several_processes.py."""

import functools
import sys

import pytest
import torch

from glaucoma.errors import SettingsError
from glaucoma.training.checkpoints import Checkpoints
from glaucoma.training.device import choose_device, memory_mb, placed, utilization_percent
from glaucoma.training.engine import Engine, Place, chosen_precision, find_place, make_engine
from glaucoma.training.loop import StoppedError
from glaucoma.training.settings import Device, Precision, Strategy
from glaucoma.workspace import Workspace
from tests.unit.training.running import run, stop_after

CPU = torch.device("cpu")
TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


def test_one_process_in_32_bits_needs_no_lightning(execution):
    assert type(make_engine(execution, CPU, Place())) is Engine
    assert make_engine(execution, CPU, Place()).facts() == {"precision": "fp32", "devices": 1, "lightning": None}


def test_on_a_cpu_auto_means_32_bits():
    assert chosen_precision(Precision.AUTO, CPU) is Precision.FP32
    assert chosen_precision(Precision.FP16, CPU) is Precision.FP16


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_a_run_in_16_bits_keeps_weights_in_32_and_is_resumed_bit_for_bit(
    precision, make_spec, workspace, tmp_path, prepare, execution
):
    half = execution.model_copy(update={"precision": precision})
    spec = make_spec(epochs=2, ema_decay=0.5)
    prepare(tmp_path / "other")
    undisturbed = run(spec, Workspace.at(tmp_path / "other"), half)
    with pytest.raises(StoppedError):
        run(spec, workspace, half, stop_after(3))
    resumed = run(spec, workspace, half)
    one, two = (Checkpoints(experiment.checkpoints).load_last(pytest.fail) for experiment in (undisturbed, resumed))
    for key, value in one["model"].items():
        assert torch.equal(value, two["model"][key]), key
        assert value.dtype in (torch.float32, torch.int64)
    assert one["scaler"] == two["scaler"]
    assert (one["scaler"] is not None) is (precision is Precision.FP16)
    assert resumed.metadata.training["precision"] == str(precision)
    assert resumed.metadata.training["lightning"]


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_halved():
    from glaucoma.training.fabric_engine import FabricEngine

    engine = FabricEngine(CPU, Place(), Precision.FP16)
    model = torch.nn.Linear(2, 1)
    engine.take(model, torch.optim.SGD(model.parameters(), lr=1.0), compiled=False)
    before = model.weight.detach().clone()
    scale = engine.scaler_state()["scale"]
    engine.backward(engine.forward(torch.full((1, 2), 1e4)).sum() * 1e30)
    engine.update(1.0)
    assert torch.equal(model.weight, before)
    assert engine.scaler_state()["scale"] == scale / 2
    sum_ = engine.forward(torch.ones(1, 2)).sum()
    engine.forget()
    engine.backward(sum_)
    engine.update(1.0)
    assert not torch.equal(model.weight, before)


def test_a_network_with_layers_that_it_never_reaches_is_shared_by_processes():
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    from glaucoma.training.fabric_engine import _strategy

    class WithAHeadOfNoUse(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 1)
            self.head = torch.nn.Linear(2, 1)

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        shared = DistributedDataParallel(WithAHeadOfNoUse(), **_strategy(CPU)._ddp_kwargs)
        for _ in range(2):
            with shared.no_sync():
                shared(torch.ones(1, 2)).sum().backward()
            shared(torch.ones(1, 2)).sum().backward()
        assert shared.module.weight.grad.tolist() == [[4.0, 4.0]]
        assert shared.module.head.weight.grad is None
    finally:
        distributed.destroy_process_group()


def test_clinical_values_keep_their_digits_in_16_bits():
    from glaucoma.training.fabric_engine import FabricEngine

    class Sees(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, images, clinical):
            self.seen = clinical.dtype
            return images.mean() * self.weight + clinical.sum()

    model = Sees()
    engine = FabricEngine(CPU, Place(), Precision.BF16)
    engine.take(model, torch.optim.SGD(model.parameters(), lr=1.0), compiled=False)
    assert engine.forward(torch.zeros(1, 3, 4, 4), torch.tensor([[67.3]])).dtype is torch.float32
    assert model.seen is torch.float32


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_a_compiled_run_writes_the_names_of_the_network_itself(precision, make_spec, workspace, execution, monkeypatch):
    if precision is Precision.BF16:
        import lightning.fabric  # noqa: F401  which notes how torch.compile is called, where it finds the true one

    compiled = []
    true_compile = torch.compile

    def quickly(model, **options):
        compiled.append(model)
        return true_compile(model, **{**options, "backend": "eager"})

    monkeypatch.setattr("glaucoma.training.engine.torch.compile", functools.wraps(true_compile)(quickly))
    spec = make_spec(epochs=1)
    experiment = run(spec, workspace, execution.model_copy(update={"compile": True, "precision": precision}))
    assert compiled
    saved = Checkpoints(experiment.checkpoints).load_best()["model"]
    assert saved.keys() == {"features.0.0.weight", *saved.keys()}
    assert not any("_orig_mod" in name for name in saved)


def test_a_process_that_does_not_know_its_place_is_told(execution, monkeypatch):
    two = execution.model_copy(update={"devices": 2})
    with pytest.raises(SettingsError, match=r"one of 1 \(WORLD_SIZE\), and execution.devices is 2.*torchrun"):
        find_place(two)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="RANK, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set"):
        find_place(two)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert find_place(two) == Place(rank=1, world=2, local_rank=1, local_world=2)
    with pytest.raises(SettingsError, match="one of 2"):
        find_place(execution)


def test_deepspeed_is_refused_where_it_has_no_effect_or_is_not_there(execution, monkeypatch):
    wanted = execution.model_copy(update={"strategy": Strategy.DEEPSPEED})
    with pytest.raises(SettingsError, match=r"no effect on 1 process.*devices of 2 or more.*strategy to ddp"):
        make_engine(wanted, CPU, Place())
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(SettingsError, match=r"not installed.*arc-glaucoma\[deepspeed\]"):
        make_engine(wanted.model_copy(update={"devices": 2}), CPU, Place(0, 2, 0, 2))


def test_a_deepspeed_that_cannot_be_imported_is_told(monkeypatch):
    from glaucoma.training.deepspeed_engine import DeepSpeedEngine

    monkeypatch.setitem(sys.modules, "deepspeed", None)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with pytest.raises(SettingsError, match=r"cannot be imported \(ModuleNotFoundError.*strategy to ddp"):
        DeepSpeedEngine(CPU, Place(0, 2, 0, 2), Precision.FP32)


def test_deepspeeds_loss_scale_follows_the_rule_of_torchs_scaler():
    from glaucoma.training.deepspeed_engine import _rescaled

    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    state = scaler.state_dict()
    for gradient in (1.0, 1.0, 1.0, 1.0, float("inf"), 1.0, 1.0, 1.0, 1.0):
        scaler.scale(torch.zeros(1))
        weight.grad = torch.tensor([gradient])
        scaler.step(optimizer)
        scaler.update()
        state = _rescaled(state, overflow=gradient == float("inf"))
        assert state == scaler.state_dict()


def test_without_a_gpu_cuda_is_refused_and_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device(Device.AUTO, local_rank=1) == CPU
    with pytest.raises(SettingsError, match="No GPU is visible"):
        choose_device(Device.CUDA)


def test_each_process_has_a_gpu_of_its_own_or_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_device(Device.AUTO, local_rank=1) == torch.device("cuda", 1)
    with pytest.raises(SettingsError, match=r"process 3 of this machine, and 2 GPU\(s\)"):
        choose_device(Device.CUDA, local_rank=2)


def test_a_cpu_has_no_gpu_memory_and_no_utilization():
    assert memory_mb(CPU) is None
    assert utilization_percent(CPU) is None


def test_a_segmenter_lies_channels_last(make_spec, segmentation_spec):
    from glaucoma.training.build import build_model

    for spec, expected in ((segmentation_spec, True), (make_spec(), False)):
        model = placed(build_model(spec), CPU, spec.task)
        weight = next(p for p in model.parameters() if p.ndim == 4 and p.shape[2] > 1 and p.shape[1] > 1)
        assert weight.is_contiguous(memory_format=torch.channels_last) is expected
