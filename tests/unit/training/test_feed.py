import contextlib
import multiprocessing
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from glaucoma.errors import DatasetError, SettingsError
from glaucoma.schema import Split, Task
from glaucoma.training import data
from glaucoma.training.data import Arrays, load_arrays, model_input, open_prepared
from glaucoma.training.feed import Feed
from glaucoma.training.gathering import Gatherer, Recipe, by_thread
from glaucoma.training.gpu_errors import lost_worker_error
from glaucoma.training.processes import ASK
from glaucoma.training.settings import AugmentSettings
from glaucoma.training.stopping import stopping_held_back

CPU = torch.device("cpu")
EVERYTHING = AugmentSettings(gamma=0.3, blur_px=1.0, noise=0.05)


@pytest.fixture
def arrays(workspace):
    return lambda spec, split=Split.TRAIN: load_arrays(open_prepared(spec, workspace), spec, split)


@pytest.fixture
def feed(arrays, execution):
    """A feed of the tiny dataset's images for training; `workers` and `threads` are those of its execution."""
    with contextlib.ExitStack() as stack:

        def make(spec, *, of=None, device=CPU, rank=0, world=1, **settings):
            chosen = execution.model_copy(update=settings)
            given = arrays(spec) if of is None else of
            return stack.enter_context(Feed(given, spec, chosen, device, rank=rank, world=world))

        yield make


def numbered(n, px=32):
    """Images of one colour each, their number; labels alternate."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, px, px, 3)).copy()
    return Arrays([str(i) for i in range(n)], images, None, (np.arange(n) % 2).astype(np.uint8))


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
        assert one.indices.tolist() == other.indices.tolist()
        assert one.n_step == other.n_step


@pytest.mark.parametrize("task", list(Task))
def test_batches_hold_what_a_network_takes(task, feed, make_spec, arrays):
    spec = make_spec(task)
    whole = arrays(spec)
    batches = list(feed(spec).epoch(0))
    assert len(batches) == feed(spec).batches_per_epoch
    for batch in batches:
        assert batch.inputs.shape == (len(batch), 3, 32, 32)
        assert batch.targets.shape == ((len(batch), 2, 32, 32) if task is Task.SEGMENTATION else (len(batch), 1))
        assert batch.inputs.dtype == batch.targets.dtype == torch.float32
        assert batch.indices.dtype == np.int64
        assert set(batch.targets.unique().tolist()) <= {0.0, 1.0}
        assert batch.clinical is None
        if task is Task.CLASSIFICATION:
            assert batch.targets[:, 0].tolist() == whole.labels[batch.indices].tolist()


@pytest.mark.parametrize("task", list(Task))
def test_batches_are_equal_bit_for_bit_with_any_number_of_workers_and_threads(task, feed, make_spec):
    spec = make_spec(task, augmentation=EVERYTHING)
    before = torch.get_num_threads()
    alone = list(feed(spec).epoch(1))
    assert_same(alone, feed(spec, workers=2).epoch(1))
    try:
        torch.set_num_threads(2)
        assert_same(alone, feed(spec, threads=2).epoch(1))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("task", list(Task))
def test_a_few_images_at_a_time_are_finished_as_all_at_once(task, feed, make_spec, monkeypatch):
    spec = make_spec(task, augmentation=EVERYTHING)
    all_at_once = list(feed(spec).epoch(1))
    monkeypatch.setattr("glaucoma.training.gathering._CACHED_PIXELS", 3 * 32**2)
    assert_same(all_at_once, feed(spec).epoch(1))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_taken_up_again_gives_the_batches_that_were_left(workers, feed, make_spec):
    spec = make_spec(augmentation=EVERYTHING)
    whole = list(feed(spec).epoch(2))
    assert_same(whole[2:], feed(spec, workers=workers).epoch(2, first_batch=2))
    assert_same([], feed(spec, workers=workers).epoch(2, first_batch=len(whole)))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_read_from_the_disk_are_those_from_memory(workers, feed, segmentation_spec, arrays, monkeypatch):
    from_memory = feed(segmentation_spec)
    monkeypatch.setattr(data, "free_memory_bytes", lambda: 0)
    from_disk = feed(segmentation_spec, of=arrays(segmentation_spec), workers=workers)
    assert "in memory" in from_memory.place
    assert "read from the disk" in from_disk.place
    assert_same(from_memory.epoch(0), from_disk.epoch(0))
    assert_same(from_memory.in_order(3), from_disk.in_order(3))


def test_epochs_and_steps_are_augmented_differently_and_seeds_too(feed, make_spec):
    of = Arrays(["a", "b"], np.full((2, 32, 32, 3), 90, np.uint8), None, np.array([0, 1], np.uint8))
    first, second = (next(feed(make_spec(seed=0), of=of).epoch(epoch)).inputs for epoch in (0, 1))
    other_seed = next(feed(make_spec(seed=1), of=of).epoch(0)).inputs
    assert len({tensor.numpy().tobytes() for tensor in (*first, *second, *other_seed)}) == 6


class DrawnBy(random.Random):
    """Keeps which threads draw: those of libraries, which other tests have started, may."""

    def __init__(self):
        super().__init__(7)
        self.threads = set()

    def random(self):
        self.threads.add(threading.get_ident())
        return super().random()

    def getrandbits(self, k):
        self.threads.add(threading.get_ident())
        return super().getrandbits(k)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_drawn_from_the_global_generators(workers, feed, make_spec, monkeypatch):
    python = DrawnBy()
    for name in ("random", "getrandbits", "uniform", "randrange", "randint", "choice", "choices", "sample", "shuffle"):
        monkeypatch.setattr(random, name, getattr(python, name))
    torch.manual_seed(7), np.random.seed(7)
    expected = (torch.rand(1).item(), np.random.random())
    torch.manual_seed(7), np.random.seed(7)
    made = feed(make_spec(augmentation=EVERYTHING), workers=workers)
    list(made.epoch(0)), list(made.in_order(4))
    assert (torch.rand(1).item(), np.random.random()) == expected
    assert threading.get_ident() not in python.threads
    random.shuffle([1, 2, 3])
    assert threading.get_ident() in python.threads, "this test would have seen it"


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [24, 26, 30, 31])
def test_processes_share_each_step_and_see_the_images_that_one_process_sees(world, n, feed, make_spec):
    spec = make_spec(batch_size=8, balanced_sampling=False)
    alone = list(feed(spec, of=numbered(n)).epoch(3))
    shares = [list(feed(spec, of=numbered(n), rank=rank, world=world).epoch(3)) for rank in range(world)]
    steps = list(zip(*shares, strict=True))
    left_out = n % 8 if n % 8 < 2 * world else 0
    assert sum(len(batch) for step in steps for batch in step) == n - left_out
    for whole, step in zip(alone, steps, strict=False):
        assert min(map(len, step)) >= 2
        assert [batch.n_step for batch in step] == [len(whole)] * world
        assert np.concatenate([batch.indices for batch in step]).tolist() == whole.indices.tolist()
        assert torch.equal(torch.cat([batch.inputs for batch in step]), whole.inputs)


@pytest.mark.parametrize("world", [1, 2, 5])
def test_in_order_shows_every_image_once_over_all_processes_as_it_is(world, feed, make_spec):
    spec, of = make_spec(batch_size=10), numbered(7)
    batches = [b for rank in range(world) for b in feed(spec, of=of, rank=rank, world=world).in_order(2)]
    assert np.concatenate([batch.indices for batch in batches]).tolist() == list(range(7))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), model_input(of.images, spec))
    assert all(len(batch) == batch.n_step <= 2 for batch in batches)


def test_a_process_may_have_no_images_to_validate(feed, make_spec):
    spec = make_spec(batch_size=8)
    counts = [len(list(feed(spec, of=numbered(2), rank=rank, world=4).in_order(4))) for rank in range(4)]
    assert sum(counts) == 2


def test_a_batch_that_cannot_be_shared_is_refused(feed, make_spec):
    with pytest.raises(SettingsError, match="A batch of 6 images cannot be shared by 4 processes"):
        feed(make_spec(batch_size=6), world=4)


def test_too_few_images_to_share_are_refused(feed, make_spec):
    with pytest.raises(DatasetError, match="5 images for training cannot be shared by 3 processes"):
        feed(make_spec(batch_size=8), of=numbered(5), world=3).epoch(0)


def test_balanced_epochs_show_both_classes_as_often(feed, make_spec):
    targets = torch.cat([batch.targets for batch in feed(make_spec(balanced_sampling=True)).epoch(0)])
    assert abs(float(targets.mean()) - 0.5) <= 1 / len(targets)


def test_clinical_values_come_with_their_images(feed, make_spec):
    of = numbered(8)
    values = np.array([[index, np.nan if index % 3 else 10 * index] for index in range(8)], np.float32)
    given = Arrays(of.image_ids, of.images, None, of.labels, values)
    made = feed(make_spec(clinical=("age_years", "iop_mmhg")), of=given)
    for batch in (*made.epoch(0), *made.in_order(3)):
        assert torch.equal(batch.clinical.nan_to_num(-1), torch.from_numpy(values[batch.indices]).nan_to_num(-1))


def test_no_worker_is_left_after_an_epoch_or_when_it_is_broken_off(feed, spec):
    made = feed(spec, workers=2)
    list(made.epoch(0))
    assert multiprocessing.active_children() == []
    batches = made.epoch(0)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_no_worker_outlives_the_feed(feed, spec):
    made = feed(spec, workers=2)
    batches = made.epoch(0)
    next(batches)
    made.close()
    assert multiprocessing.active_children() == []
    with pytest.raises(RuntimeError, match="the feed was closed"):
        next(batches)


def test_workers_leave_a_signal_to_the_process_group_to_their_parent(feed, spec):
    batches = feed(spec, workers=2).epoch(0)
    seen = [next(batches)]  # of the first worker; the second may not have reached its first line yet
    for worker in multiprocessing.active_children():
        for number in (ASK, signal.SIGTERM, signal.SIGINT):
            os.kill(worker.pid, number)
    assert_same(feed(spec).epoch(0), [*seen, *batches])


def test_the_parent_hears_what_it_is_asked_while_workers_start(feed, spec):
    heard = []
    before = signal.signal(ASK, lambda number, frame: heard.append(number))
    try:
        with stopping_held_back():
            signal.raise_signal(ASK)  # to this thread: another one, such as the test runner's, would hear it
            assert heard == []
        assert heard == [ASK]
    finally:
        signal.signal(ASK, before)


def test_workers_end_well_whatever_is_registered_for_the_end_of_the_parent(feed, spec, monkeypatch):
    def fails_in_a_fork():
        raise RuntimeError("as Prefect's sending of the last logs does")

    monkeypatch.setattr(threading, "_threading_atexits", [fails_in_a_fork])
    made = feed(spec, workers=2)
    assert len(list(made.epoch(0))) == made.batches_per_epoch


def test_a_worker_that_is_killed_ends_the_epoch_with_an_error_and_the_other_worker(feed, make_spec):
    batches = feed(make_spec(batch_size=2), workers=2).epoch(0)
    next(batches)
    worker = multiprocessing.active_children()[0]

    def kill_and_go_on():  # the news of its end may come at any moment
        os.kill(worker.pid, signal.SIGKILL)
        list(batches)  # eight in all, of which four may lie ready

    with pytest.raises(RuntimeError, match="DataLoader worker") as lost:
        kill_and_go_on()
    assert lost_worker_error(lost.value) is not None, "a retry goes on"
    batches.close()
    assert multiprocessing.active_children() == []


def test_workers_begin_where_opencv_has_threads_of_its_own(feed, arrays, make_spec, monkeypatch):
    monkeypatch.setattr(data, "free_memory_bytes", lambda: 0)
    spec, before = make_spec(), cv2.getNumThreads()
    made = feed(spec, of=arrays(spec), workers=2)
    cv2.setNumThreads(4)
    try:
        for epoch in range(4):
            cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (999, 999), interpolation=cv2.INTER_AREA)  # starts them
            assert len(list(made.epoch(epoch))) == made.batches_per_epoch
            assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_an_error_in_a_worker_is_told_here(feed, make_spec):
    of = numbered(8)
    broken = Arrays(of.image_ids, of.images[:4], None, of.labels)
    with pytest.raises(IndexError, match="out of bounds"):
        list(feed(make_spec(), of=broken, workers=2).epoch(0))
    assert multiprocessing.active_children() == []


def starts_workers_and_waits(spec, execution, pids):
    batches = Feed(numbered(8), spec, execution, CPU).epoch(0)
    next(batches)
    pids.send([worker.pid for worker in multiprocessing.active_children()])
    signal.pause()


def test_workers_die_with_a_parent_that_is_killed(spec, execution):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    settings = execution.model_copy(update={"workers": 2})
    process = context.Process(target=starts_workers_and_waits, args=(spec, settings, sender))
    process.start()
    ends = [os.pidfd_open(pid) for pid in receiver.recv()]
    process.kill()
    process.join()
    assert len(ends) == 2
    for end in ends:
        assert select.select([end], [], [], 60)[0], "a worker outlived its parent"
        os.close(end)


FORGETFUL = """
import sys, numpy as np, torch
from glaucoma.training.data import Arrays
from glaucoma.training.feed import Feed
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
arrays = Arrays(["a"] * 8, np.zeros((8, 32, 32, 3), np.uint8), None, np.array([0, 1] * 4, np.uint8))
spec = ExperimentSpec.model_validate_json(sys.argv[1])
batches = Feed(arrays, spec, ExecutionSettings(workers=2), torch.device("cpu")).epoch(0)
next(batches)
print("begun", flush=True)
"""


def test_a_program_that_forgets_to_close_the_feed_ends(spec):
    command = [sys.executable, "-c", FORGETFUL, spec.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.stdout, done.returncode) == ("begun\n", 0), done.stderr


def test_workers_are_refused_where_they_cannot_share_memory(feed, spec, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SettingsError, match=r"2 workers keep .* MB of batches ready"):
        next(feed(spec, workers=2).epoch(0))


def test_a_thread_gathers_the_same_in_the_same_order(arrays, segmentation_spec):
    of = arrays(segmentation_spec)
    gatherer = Gatherer(of, segmentation_spec, finishes=False, threads=1)
    recipes = [Recipe(np.array([index, 0]), 2) for index in range(5)]
    gathered = list(by_thread(gatherer, recipes, CPU))
    assert len(gathered) == 5
    for recipe, (images, masks) in zip(recipes, gathered, strict=True):
        assert np.array_equal(images.numpy(), of.images[recipe.indices])
        assert np.array_equal(masks.numpy(), of.masks[recipe.indices])


def test_the_share_waited_is_that_of_the_time_since_the_last_call(feed, spec, monkeypatch):
    now = iter(
        [0.0, 1.0, 4.0, 4.0, 5.0, 6.0, 10.0, 12.0]
    )  # start; 1 to 4 waited; asked at 4; 5 to 6 waited; asked; asked
    monkeypatch.setattr("glaucoma.training.waiting.time", SimpleNamespace(perf_counter=lambda: next(now)))
    made = feed(spec)
    batches = made.epoch(0)
    next(batches)
    assert made.wait_share() == pytest.approx(3 / 4)
    next(batches)
    assert made.wait_share() == pytest.approx(1 / 6)
    assert made.wait_share() == 0.0


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_the_gpu_and_through_pinned_memory_are_equal_and_near_those_of_a_cpu(
    workers, feed, make_spec, monkeypatch
):
    spec = make_spec(Task.SEGMENTATION)
    device = torch.device("cuda", 0)
    resident = feed(spec, device=device)
    assert "on the GPU" in resident.place
    monkeypatch.setattr("glaucoma.training.feed.fits", lambda *_: False)
    pinned = feed(spec, device=device, workers=workers)
    assert "in memory" in pinned.place
    here = list(resident.epoch(1))
    assert_same(here, pinned.epoch(1))
    for batch, on_cpu in zip(here, feed(spec).epoch(1), strict=True):
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(batch.inputs.cpu(), on_cpu.inputs, atol=1e-3)
        assert (batch.targets.cpu() == on_cpu.targets).float().mean() > 0.999
    assert 0 <= pinned.wait_share() <= 1
