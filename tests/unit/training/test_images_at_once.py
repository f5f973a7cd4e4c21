"""Steps that do not fit the memory: real training processes, with a loop or a network that says so."""

from __future__ import annotations

import textwrap

import pytest

from glaucoma.errors import GpuMemoryError, TransientError
from glaucoma.training.experiment import Status, create_experiment
from glaucoma.training.images_at_once import images_at_once
from glaucoma.training.progress_log import read_progress
from glaucoma.training.supervise import is_complete, train

FITS = """
    from glaucoma.errors import GpuMemoryError
    with (experiment.folder / "tried").open("a") as tried:
        tried.write(f"{execution.micro_batch_size}\\n")
    if execution.micro_batch_size is None or execution.micro_batch_size > LIMIT:
        raise GpuMemoryError("The GPU's memory does not hold them")
    if (experiment.folder / "tried").read_text().count("\\n") < STOP_BEFORE:
        os.kill(os.getpid(), signal.SIGKILL)
    finish(experiment)
"""


def tried(experiment):
    return [None if n == "None" else int(n) for n in (experiment.folder / "tried").read_text().split()]


def test_a_step_that_does_not_fit_is_halved_until_it_does_and_the_next_attempt_begins_there(
    make_spec, workspace, execution, stand_in
):
    stand_in(FITS.replace("LIMIT", "5").replace("STOP_BEFORE", "4"))
    spec, told = make_spec(batch_size=16), []
    with pytest.raises(TransientError, match="killed by signal 9"):
        train(spec, workspace, execution, report=told.append)
    experiment = create_experiment(spec, workspace)
    assert tried(experiment) == [None, 8, 4]
    assert experiment.metadata.micro_batch_size == 4
    assert experiment.metadata.attempts == 1, "a new start for want of memory is no attempt of its own"
    assert [p.message.split(",")[0] for p in told if p.event == "memory"] == [
        "16 images at once do not fit the memory: from here 8 at once",
        "8 images at once do not fit the memory: from here 4 at once",
    ]
    assert [p for p in read_progress(experiment.progress_path) if p.event == "memory"]
    assert "its statistics are over fewer images" in experiment.metadata.notes[0].text

    assert is_complete(train(spec, workspace, execution))
    assert tried(experiment) == [None, 8, 4, 4]


def test_where_two_images_do_not_fit_the_training_has_failed_with_the_remedy(make_spec, workspace, execution, stand_in):
    stand_in(FITS.replace("LIMIT", "1").replace("STOP_BEFORE", "0"))
    spec = make_spec(batch_size=5)
    with pytest.raises(GpuMemoryError, match=r"does not hold even 2 images at once.*Remedy: lower the input's side"):
        train(spec, workspace, execution)
    experiment = create_experiment(spec, workspace)
    assert tried(experiment) == [None, 2]
    assert experiment.status is Status.FAILED
    assert experiment.metadata.micro_batch_size is None, "another attempt, on another GPU, begins as the settings say"


def test_a_network_that_holds_two_images_at_once_is_trained_by_the_real_loop_two_at_once(
    make_spec, workspace, execution, stand_in
):
    stand_in("pass")  # makes the folder; the loop of this test is the real one
    folder = workspace.root.parent / "stand_in"
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            from glaucoma.models.registry import OWN_MODELS, OwnModel
            OWN_MODELS["hungry"] = OwnModel(OWN_MODELS["small_cnn"].task, "hungry:build")
            """
        )
    )
    (folder / "hungry.py").write_text(
        textwrap.dedent(
            """
            import torch
            class Hungry(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = torch.nn.Linear(3, 1)
                def forward(self, images):
                    if torch.is_grad_enabled() and len(images) > 2:
                        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                    return self.layer(images.mean((2, 3)))
            def build():
                return Hungry()
            """
        )
    )
    experiment = train(make_spec(model="hungry", batch_size=4, epochs=1), workspace, execution)
    assert is_complete(experiment)
    assert experiment.metadata.micro_batch_size == 2


@pytest.mark.parametrize(
    ("batch", "devices", "micro", "expected"), [(32, 1, None, 32), (32, 1, 8, 8), (33, 4, None, 9), (32, 4, 64, 8)]
)
def test_at_once_is_the_micro_batch_and_at_most_the_devices_share(
    make_spec, execution, batch, devices, micro, expected
):
    chosen = execution.model_copy(update={"devices": devices, "micro_batch_size": micro})
    assert images_at_once(make_spec(batch_size=batch), chosen) == expected
