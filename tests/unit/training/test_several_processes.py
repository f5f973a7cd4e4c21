"""Two processes that share each step, started as torchrun starts them, on the CPU."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score

from glaucoma.schema import Split
from glaucoma.training.checkpoints import Checkpoints
from glaucoma.training.experiment import create_experiment
from glaucoma.training.loop import run_training
from glaucoma.training.losses import make_loss
from glaucoma.training.predict import predict_classification
from glaucoma.training.progress_log import ProgressWriter, read_progress
from glaucoma.workspace import Workspace

_SCRIPT = Path(__file__).with_name("two_processes.py")


def in_two_processes(jobs, out, *allowed):
    """Runs the jobs one after the other in two processes; how each of them ended, by rank.

    Args:
        allowed: Options of `python -W` for warnings that are no errors.
    """
    with contextlib.ExitStack() as held:  # one each: who is early would else join those who are not yet gone
        places = [held.enter_context(socket.socket()) for _ in jobs]
        for place in places:
            place.bind(("127.0.0.1", 0))
        jobs = [{**job, "port": place.getsockname()[1]} for job, place in zip(jobs, places, strict=True)]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    common |= {"TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    strides = "ignore:Grad strides do not match bucket view strides"  # of depthwise kernels: slower, not wrong
    options = [part for one in ("error", strides, *allowed) for part in ("-W", one)]
    command = [sys.executable, *options, str(_SCRIPT), json.dumps(jobs), str(out)]
    processes = [
        subprocess.Popen(command, env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        assert [process.wait(280) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(2)]


def test_two_processes_share_a_step_stop_together_and_end_the_same_whether_stopped_or_not(
    tmp_path, prepare, make_spec, execution
):
    # 14 images in batches of 7: shares of 4 and 3; 7 images to validate
    spec = make_spec(epochs=2, batch_size=7, ema_decay=0.9)
    without_batch_statistics = make_spec(model="test_convnext", epochs=1, batch_size=7, augment=0.5)
    two = execution.model_copy(update={"devices": 2})
    experiments = {}
    for name in ("undisturbed", "stopped", "convnext", "alone"):
        prepare(tmp_path / name)
        chosen = without_batch_statistics if name in ("convnext", "alone") else spec
        experiments[name] = create_experiment(chosen, Workspace.at(tmp_path / name))

    def job(name, **more):
        common = {"workspace": str(tmp_path / name), "experiment": experiments[name].experiment_id}
        return {**common, "execution": two.model_dump(mode="json"), **more}

    jobs = [job("undisturbed"), job("stopped", stop_rank=1, stop_call=3), job("stopped"), job("convnext")]
    ends = in_two_processes(jobs, tmp_path / "ends")
    assert ends == [["complete", "stopped", "complete", "complete"]] * 2

    first, resumed = (Checkpoints(experiments[name].checkpoints).load_best() for name in ("undisturbed", "stopped"))
    for key, value in first["model"].items():
        assert torch.equal(value, resumed["model"][key]), key
    assert first["state"] == resumed["state"]
    training = experiments["undisturbed"].metadata.training
    assert training == experiments["stopped"].metadata.training
    assert training["devices"] == 2
    assert [p.event for p in read_progress(experiments["stopped"].progress_path) if p.event] == [
        "start",
        "resume",
        "end",
    ]

    workspace = Workspace.at(tmp_path / "undisturbed")
    table = predict_classification(experiments["undisturbed"], workspace, Split.VAL)
    assert training["images"]["val"] == len(table) == 7
    assert training["best_scores"]["auc"] == pytest.approx(roc_auc_score(table["label"], table["logit"]))
    logits, labels = (torch.tensor(table[name].to_numpy())[:, None].float() for name in ("logit", "label"))
    loss = float(make_loss(spec, None)(logits, labels))
    assert training["best_scores"]["loss"] == pytest.approx(loss, rel=1e-4)

    alone = experiments["alone"]
    progress = ProgressWriter(alone.progress_path)
    run_training(alone, Workspace.at(tmp_path / "alone"), execution, progress, lambda _: False)
    progress.close()
    one, shared = (e.metadata.training["best_scores"]["loss"] for e in (alone, experiments["convnext"]))
    assert shared == pytest.approx(one, rel=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="the extra deepspeed is not installed")
def test_deepspeed_learns_what_ddp_learns_and_each_goes_on_from_the_others_checkpoint(
    tmp_path, prepare, make_spec, execution
):
    spec = make_spec(epochs=2, batch_size=7, ema_decay=0.9, clip_norm=0.05)
    common = {**execution.model_dump(mode="json"), "devices": 2, "micro_batch_size": 2}
    jobs, experiments = [], {}

    def add(name, strategy, precision, **more):
        if name not in experiments:
            prepare(tmp_path / name)
            experiments[name] = create_experiment(spec, Workspace.at(tmp_path / name))
        chosen = {**common, "strategy": strategy, "precision": precision}
        where = {"workspace": str(tmp_path / name), "experiment": experiments[name].experiment_id}
        jobs.append({**where, "execution": chosen, **more})

    stop = {"stop_rank": 1, "stop_call": 3}
    for precision in ("fp32", "bf16", "fp16"):
        add(f"ddp_{precision}", "ddp", precision)
        add(f"deepspeed_{precision}", "deepspeed", precision)
    for name, first, second, precision in (
        ("stopped", "deepspeed", "deepspeed", "fp16"),
        ("to_ddp", "deepspeed", "ddp", "fp32"),
        ("to_deepspeed", "ddp", "deepspeed", "fp32"),
    ):
        add(name, first, precision, **stop)
        add(name, second, precision)
    ends = in_two_processes(jobs, tmp_path / "ends", "default")
    assert ends == [["complete"] * 6 + ["stopped", "complete"] * 3] * 2

    saved = {name: Checkpoints(one.checkpoints).load_last(pytest.fail) for name, one in experiments.items()}
    assert_same(saved["deepspeed_fp16"], saved["stopped"], rtol=0, atol=0)
    assert experiments["stopped"].metadata.training["deepspeed"]
    for name in ("deepspeed_fp32", "to_ddp", "to_deepspeed"):
        assert_same(saved["ddp_fp32"], saved[name], rtol=1e-3, atol=1e-5)
    for precision in ("bf16", "fp16"):  # AdamW makes a whole step of a gradient that is rounding alone: all together
        one, other = (weights(saved[f"{strategy}_{precision}"]) for strategy in ("ddp", "deepspeed"))
        assert (one - other).norm() < 0.01 * one.norm(), precision
        assert saved[f"ddp_{precision}"]["scaler"] == saved[f"deepspeed_{precision}"]["scaler"]


def weights(payload):
    return torch.cat([value.double().reshape(-1) for name, value in payload["ema"].items() if "num" not in name])


def assert_same(one, other, **tolerance):
    for part in ("model", "ema", "optimizer", "scaler"):
        torch.testing.assert_close(other[part], one[part], **tolerance, msg=lambda text, part=part: f"{part}: {text}")
