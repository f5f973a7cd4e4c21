from datetime import UTC, datetime

from deployments.gpus import GpuPolicy, worker_specs
from deployments.local_workers import describe_workers, shown_queues
from flows.queues import queue_names
from glaucoma.machine.drained import drain
from glaucoma.workspace import Workspace


def test_queues_by_urgency_are_shown_as_what_they_stand_for():
    assert shown_queues(["default", "cycles"]) == "default, cycles"
    assert shown_queues(queue_names(["any", "gpu1"])) == "by urgency: any, gpu1"


def test_status_shows_each_worker_with_its_gpu_and_why_it_is_drained(tmp_path):
    workspace = Workspace.at(tmp_path)
    drain(workspace, 1, "it hangs", datetime(2026, 11, 22, 4, 5, tzinfo=UTC))
    specs = worker_specs(GpuPolicy(experiment=(0, 1)), [0, 1], "eye")
    lines = describe_workers(specs, tmp_path / ".services", workspace, server_answers=False)
    assert "arc-gpu0-eye: not running; arc-gpu (by urgency: any, gpu0), GPU 0, 1 at once" in lines
    gpu1 = lines.index("arc-gpu1-eye: not running; arc-gpu (by urgency: any, gpu1), GPU 1, 1 at once")
    assert lines[gpu1 + 1] == "    GPU 1 is drained since 2026-11-22 04:05 UTC: it hangs"
    assert lines[-1] == "arc-inference-eye: not running; arc-inference (default), CPU, 1 at once"
