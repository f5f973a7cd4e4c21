"""A step of the learner against the same worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from glaucoma.errors import IntegrityError
from glaucoma.training.batching import Batch
from glaucoma.training.ema import Average, decay_at
from glaucoma.training.engine import Engine, Place
from glaucoma.training.learner import Learner

PX = 8


class _Recording(Engine):
    """Keeps the gradients of each step."""

    def update(self, clip_norm):
        self.gradients = [parameter.grad.clone() for parameter in self._parameters]
        super().update(clip_norm)


def network(*, normalised=False):
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)] if normalised else [nn.Conv2d(3, 4, 3)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(4 * (PX - 2) ** 2, 1))


def batch(n, seed=0, n_step=None):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 3, PX, PX, generator=generator)
    targets = (torch.rand(n, 1, generator=generator) > 0.5).float()
    return Batch(inputs, None, targets, np.arange(n), n_step or n)


def learner(spec, place=None, **kwargs):
    engine = _Recording(torch.device("cpu"), place or Place())
    made = Learner(network(**kwargs), spec, binary_cross_entropy_with_logits, engine, steps=100)
    made.ready(compiled=False)
    return made, engine


def by_hand(whole):
    model = network()
    binary_cross_entropy_with_logits(model(whole.inputs), whole.targets).backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("size", [None, 2, 3, 4, 7])
def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(make_spec, size):
    whole = batch(7)
    one, engine = learner(make_spec())
    one.step(whole, 0, size)
    for found, expected in zip(engine.gradients, by_hand(whole), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        expected_loss = binary_cross_entropy_with_logits(network()(whole.inputs), whole.targets)
    assert float(one.loss_sum) / one.images_seen == pytest.approx(float(expected_loss), rel=1e-5)


@pytest.mark.parametrize("size", [None, 3])
def test_a_steps_gradient_holds_nothing_of_the_step_before(make_spec, size):
    one, engine = learner(make_spec())
    one.step(batch(7), 0, size)
    copied = network()
    copied.load_state_dict(one.model.state_dict())
    second = batch(7, seed=1)
    one.step(second, 1, size)
    binary_cross_entropy_with_logits(copied(second.inputs), second.targets).backward()
    for found, expected in zip(engine.gradients, copied.parameters(), strict=True):
        torch.testing.assert_close(found, expected.grad, rtol=1e-5, atol=1e-7)


def test_unequal_shares_of_two_processes_average_to_the_gradient_of_the_whole_step(make_spec):
    whole = batch(7)
    found = []
    for rank, here in enumerate((slice(0, 4), slice(4, 7))):
        one, engine = learner(make_spec(), Place(rank, 2, rank, 2))
        one.step(Batch(whole.inputs[here], None, whole.targets[here], whole.indices[here], 7), 0, 2)
        found.append(engine.gradients)
    for first, second, expected in zip(*found, by_hand(whole), strict=True):
        torch.testing.assert_close((first + second) / 2, expected, rtol=1e-5, atol=1e-7)


def test_a_gradient_longer_than_clip_norm_is_shortened_and_none_leaves_it_and_forgotten_when_told():
    for clip_norm, expected in ((0.5, 0.5), (None, 5.0), (50.0, 5.0)):
        model = nn.Linear(2, 1, bias=False)
        before = model.weight.detach().clone()
        engine = Engine(torch.device("cpu"), Place())
        engine.take(model, torch.optim.SGD(model.parameters(), lr=1.0), compiled=False)
        model.weight.grad = torch.tensor([[3.0, 4.0]])
        engine.update(clip_norm)
        assert float((model.weight.detach() - before).norm()) == pytest.approx(expected, rel=1e-4)
        engine.forget()
        assert model.weight.grad is None


def test_the_average_is_the_one_worked_out_by_hand_and_counters_are_copied(make_spec):
    one, _ = learner(make_spec(ema_decay=0.9), normalised=True)
    names = [name for name, value in one.model.state_dict().items() if value.is_floating_point()]
    expected = {name: one.model.state_dict()[name].double().numpy().copy() for name in names}
    for step in range(12):
        one.step(batch(6, seed=step), step, None)
        decay = min(0.9, (1 + step) / (10 + step))
        for name in names:
            expected[name] = decay * expected[name] + (1 - decay) * one.model.state_dict()[name].double().numpy()
    kept = one.kept.state_dict()
    for name in names:
        assert kept[name].numpy() == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    assert int(kept["1.num_batches_tracked"]) == 12
    assert not torch.equal(kept["0.weight"], one.model.state_dict()["0.weight"])


def test_with_a_full_decay_the_average_is_that_of_timm():
    model = network(normalised=True)
    own, theirs = Average(model, 0.9), ModelEmaV3(model, decay=0.9)
    for step in range(100, 105):  # past the first steps, in which the own one forgets more
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        own.follow(step)
        theirs.update(model)
    for name, value in theirs.module.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_the_first_steps_forget_the_random_start():
    assert [round(decay_at(0.999, step), 3) for step in (0, 1, 10, 10_000)] == [0.1, 0.182, 0.55, 0.999]


def test_another_networks_state_is_refused_before_anything_is_changed(make_spec):
    one, _ = learner(make_spec())
    other, _ = learner(make_spec(), normalised=True)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    with pytest.raises(IntegrityError, match="its model does not fit"):
        one.load(other.payload())
    assert not one.touched
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())


def test_an_optimizers_state_that_does_not_fit_is_refused_before_the_weights_are_changed(make_spec):
    one, _ = learner(make_spec())
    other, _ = learner(make_spec())
    for made in (one, other):
        made.step(batch(4), 0, None)
    saved = other.payload()
    saved["model"] = {name: value + 1 for name, value in saved["model"].items()}
    saved["optimizer"]["state"][0]["exp_avg"] = torch.full((), float("nan"))
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    with pytest.raises(IntegrityError, match="its optimizer has exp_avg that does not fit weight 0"):
        one.load(saved)
    assert not one.touched
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())


def test_dropout_is_a_function_of_step_and_rank(make_spec):
    def mask(step, rank):
        one, engine = learner(make_spec(), Place(rank, 2, rank, 2))
        drawn = []
        engine._network = nn.Sequential(one.model, nn.Dropout(0.5))
        engine._network.register_forward_hook(lambda _, __, out: drawn.append((out == 0).flatten().tolist()))
        one.step(batch(32), step, None)
        return drawn

    torch.manual_seed(99)
    assert mask(5, 0) == mask(5, 0)
    assert mask(5, 0) != mask(6, 0)
    assert mask(5, 0) != mask(5, 1)
