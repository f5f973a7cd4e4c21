import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from glaucoma.errors import GpuMemoryError, SettingsError
from glaucoma.schema import Task
from glaucoma.training import limits
from glaucoma.training.build import build_model
from glaucoma.training.host_memory import group_free_bytes
from glaucoma.training.limits import TOLERANCE, free_bytes, require_fits

CPU = torch.device("cpu")


def fits(spec, execution, model=None, **changes):
    return require_fits(spec, execution.model_copy(update=changes), CPU, model or build_model(spec))


def test_parameters_are_counted_on_the_model_itself(spec, execution):
    counted = sum(p.numel() for p in build_model(spec).parameters())
    assert fits(spec, execution).parameters == counted == 79_281


def test_a_model_with_more_parameters_than_allowed_is_refused_with_the_numbers(spec, execution):
    with pytest.raises(SettingsError, match=r"0\.1 million.*at most 0\.05 million.*max_parameters_millions"):
        fits(spec, execution, max_parameters_millions=0.05)
    fits(spec, execution, max_parameters_millions=0.08)


def test_a_step_that_needs_more_than_allowed_is_refused_with_what_would_fit(make_spec, execution):
    spec = make_spec(input_px=96, batch_size=64)
    needed = fits(spec, execution)
    allowed_gb = needed.step_bytes / 2e9
    with pytest.raises(SettingsError, match="64 images of 96 px needs about") as caught:
        fits(spec, execution, max_memory_gb=allowed_gb)
    fitting = int(str(caught.value).split("micro_batch_size to ")[1].split(",")[0])
    assert 8 < fitting < 64
    # what the message proposes is allowed, but for the gradients of the micro batches before
    assert fits(spec, execution, micro_batch_size=fitting - 2).step_bytes < allowed_gb * 1e9


def test_the_estimate_grows_with_images_devices_and_what_is_kept(make_spec, execution):
    base = fits(make_spec(batch_size=32), execution).step_bytes
    assert fits(make_spec(batch_size=64), execution).step_bytes > 1.7 * base
    assert fits(make_spec(batch_size=64), execution, micro_batch_size=32).images == 32
    assert fits(make_spec(batch_size=64), execution, devices=2).images == 32
    weights = 79_281 * 4
    more = fits(make_spec(batch_size=32, ema_decay=0.9), execution).step_bytes - base
    assert weights <= more <= weights + 5_000, "the average of the weights and of the buffers"
    assert fits(make_spec(batch_size=64), execution, micro_batch_size=32).step_bytes - base == weights


def test_what_is_clearly_not_free_is_told_as_memory_that_a_smaller_micro_batch_may_spare(
    make_spec, execution, monkeypatch
):
    spec = make_spec(batch_size=64, input_px=96)
    needed = fits(spec, execution).step_bytes
    monkeypatch.setattr(limits, "free_bytes", lambda device: needed // 2)
    with pytest.raises(GpuMemoryError, match="This machine has"):
        fits(spec, execution)
    monkeypatch.setattr(limits, "free_bytes", lambda device: int(needed * 0.9))
    fits(spec, execution)  # within the estimate's tolerance: tried


def test_processes_of_one_machine_share_what_is_free(make_spec, execution, monkeypatch):
    spec = make_spec(batch_size=64, input_px=96)
    needed = fits(spec, execution, devices=2).step_bytes
    monkeypatch.setattr(limits, "free_bytes", lambda device: int(needed * 1.2))
    with pytest.raises(GpuMemoryError, match="each of 2 process"):
        fits(spec, execution, devices=2)


def test_the_model_is_left_as_it_was_and_no_random_number_is_drawn(spec, execution):
    model = build_model(spec)
    model.features[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    drawn = torch.get_rng_state()
    fits(spec, execution, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None and p.device == CPU for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


class _Undecided(nn.Module):
    """Looks at its input's content, which the estimate cannot give it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scale = 2.0 if images.mean().item() > 0 else 1.0
        return scale * self.head(images.mean(dim=(2, 3)))


def test_a_network_that_cannot_be_estimated_trains_unless_a_limit_is_set(spec, execution):
    estimate = fits(spec, execution, _Undecided())
    assert estimate.step_bytes is None
    assert estimate.reason
    with pytest.raises(SettingsError, match="cannot be estimated"):
        fits(spec, execution, _Undecided(), max_memory_gb=10.0)


def test_a_control_group_limits_what_is_free_and_so_does_the_one_around_it(tmp_path):
    groups, membership = tmp_path / "cgroup", tmp_path / "membership"
    inner = groups / "outer" / "inner"
    inner.mkdir(parents=True)
    membership.write_text("0::/outer/inner\n")
    for folder, limit, used, cached in ((inner, "max", 5, 1), (inner.parent, "1000", 400, 150)):
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\n")
    assert list(group_free_bytes(membership, groups)) == [750]


def test_a_control_group_of_version_1_counts_too(tmp_path):
    group = tmp_path / "memory" / "docker"
    group.mkdir(parents=True)
    (tmp_path / "membership").write_text("12:cpu,cpuacct:/docker\n4:memory:/docker\n")
    for name, value in (("limit_in_bytes", 900), ("usage_in_bytes", 300)):
        (group / f"memory.{name}").write_text(str(value))
    (group / "memory.stat").write_text("total_inactive_file 100\n")
    assert list(group_free_bytes(tmp_path / "membership", tmp_path)) == [700]


def test_without_control_groups_the_machine_counts(tmp_path):
    assert list(group_free_bytes(tmp_path / "none", tmp_path)) == []
    assert free_bytes(CPU) > 0


_MEASURE = """
import ctypes, gc, json, sys
import torch
from pathlib import Path
from glaucoma.training.build import build_model
from glaucoma.training.compiler import spare_compiler
from glaucoma.training.limits import require_fits
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def train(spec, images):
    model = build_model(spec).train()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        logits = model(torch.randn(images, 3, spec.input_px, spec.input_px))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        del logits, loss

spare_compiler()
torch.set_num_threads(1)
found = {}
for text in json.loads(sys.argv[1]):
    spec = ExperimentSpec.model_validate_json(text)
    needed = require_fits(spec, ExecutionSettings(device="cpu", threads=1), torch.device("cpu"), build_model(spec))
    train(spec, 2)  # code and kernels are loaded once
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train(spec, spec.batch_size)
    found[spec.model] = needed.step_bytes / (status("VmHWM") - before)
print(json.dumps(found))
"""


def test_the_estimate_is_what_real_steps_take_within_the_tolerance(make_spec):
    specs = [
        make_spec(input_px=128, batch_size=128),
        make_spec(Task.SEGMENTATION, input_px=128, batch_size=32),
        make_spec(model="resnet10t", input_px=128, batch_size=32),
    ]
    texts = json.dumps([one.model_dump_json() for one in specs])
    root = Path(limits.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, texts], cwd=root, capture_output=True, text=True, timeout=200, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    ratios = json.loads(run.stdout.splitlines()[-1])
    assert len(ratios) == 3
    assert all(1 - TOLERANCE < ratio < 1 + TOLERANCE for ratio in ratios.values()), ratios
