"""Where to search: the settings that a proposal may change, how far, and how far apart two experiments are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from glaucoma.planning.settings import Rules
from glaucoma.schema import Task
from glaucoma.settings import Settings
from glaucoma.training.loss_settings import ClassificationLoss, SegmentationLoss
from glaucoma.training.spec import ExperimentSpec

Value = float | int | str | bool
_CHANGES = 0.2
_WIDER = 4.0
"""How many times further a wildcat may go on a logarithmic range."""


class Range(Settings):
    """A number between two bounds."""

    kind: Literal["range"] = "range"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"no range from {self.low:g} to {self.high:g}" + (" on a logarithmic scale" * self.log))
        return self

    def to_unit(self, value: Value) -> float:
        """0 at the lower bound, 1 at the upper one; beyond them less than 0 or more than 1."""
        number = float(value)
        if not self.log:
            return (number - self.low) / (self.high - self.low)
        return math.log(max(number, 1e-12) / self.low) / math.log(self.high / self.low)

    def from_unit(self, unit: float) -> float:
        """The number at `unit`, with two significant digits: more would feign a precision that no search has."""
        span = self.high - self.low
        number = self.low * (self.high / self.low) ** unit if self.log else self.low + unit * span
        rounded = float(f"{number:.2g}")
        return min(max(rounded, self.low), self.high) if 0 <= unit <= 1 else rounded

    def holds(self, value: Value) -> bool:
        return self.low <= float(value) <= self.high

    def distance(self, one: Value, other: Value) -> float:
        """Share of the range between the two, at most 1."""
        return min(abs(self.to_unit(one) - self.to_unit(other)), 1.0)


class Choice(Settings):
    """One of a few values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Value, ...] = Field(min_length=1)

    def from_unit(self, unit: float) -> Value:
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def holds(self, value: Value) -> bool:
        return value in self.values

    def distance(self, one: Value, other: Value) -> float:
        return float(one != other)


Dimension = Annotated[Range | Choice, Field(discriminator="kind")]


class SearchSpace(Settings):
    """The fields of an `ExperimentSpec` that a proposal may change, each with its range or choices."""

    dimensions: dict[str, Dimension] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        fixed = {"task", "dataset", "prepared_key", "seed", "weights_path", "weights_sha256"}
        wrong = [name for name in self.dimensions if name not in ExperimentSpec.model_fields or name in fixed]
        if wrong:
            raise ValueError(f"a search cannot change {', '.join(wrong)}")
        return self

    def point(self, spec: ExperimentSpec | Mapping[str, Any]) -> dict[str, Value]:
        """What `spec` has in the dimensions of this space."""
        values = spec.model_dump(mode="json") if isinstance(spec, ExperimentSpec) else spec
        return {name: values[name] for name in self.dimensions}

    def holds(self, point: Mapping[str, Value]) -> bool:
        """True where every value lies inside its range or choices."""
        return all(dimension.holds(point[name]) for name, dimension in self.dimensions.items())

    def from_units(self, units: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Value]:
        """The point at `units`, one number of 0 to 1 for each dimension."""
        return {name: d.from_unit(float(unit)) for (name, d), unit in zip(self.dimensions.items(), units, strict=True)}

    def near(self, centre: Mapping[str, Value], spread: float, rng: np.random.Generator) -> dict[str, Value]:
        """A random point around `centre`, inside the space: `spread` as a share of each range."""
        point: dict[str, Value] = {}
        for name, dimension in self.dimensions.items():
            if isinstance(dimension, Range):
                unit = dimension.to_unit(centre[name]) + rng.normal(0.0, spread)
                point[name] = dimension.from_unit(min(max(unit, 0.0), 1.0))
            else:
                unit, stays = float(rng.random()), rng.random() > _CHANGES and dimension.holds(centre[name])
                point[name] = centre[name] if stays else dimension.from_unit(unit)
        return point

    def distance(self, one: Mapping[str, Value], other: Mapping[str, Value]) -> float:
        """Gower's distance, 0 to 1: the mean over dimensions of the share of the range, or of unlike choices.

        Source: Gower 1971, A general coefficient of similarity and some of its properties.
        """
        return float(np.mean([d.distance(one[name], other[name]) for name, d in self.dimensions.items()]))


def default_space(base: ExperimentSpec, rules: Rules | None = None) -> SearchSpace:
    """The space around `base`: a decade of learning rate each way, weight decay, augmentation, batch, loss.

    Batch sizes are half, the same and double; the losses are all of the task's that take the base's loss options, which
    at their defaults are all. No value in it breaks a rule by itself.
    """
    rules = rules or Rules()
    low, high = rules.learning_rate
    smallest, largest = rules.batch_size
    losses = ClassificationLoss if base.task is Task.CLASSIFICATION else SegmentationLoss
    around = {base.batch_size // 2, base.batch_size, base.batch_size * 2}
    sizes = tuple(sorted(size for size in around if max(2, smallest) <= size <= largest))
    rates = max(low, base.learning_rate / 10), min(high, base.learning_rate * 10)
    decays = max(rules.weight_decay[0], 1e-4), min(rules.weight_decay[1], 0.1)
    found: dict[str, Range | Choice] = {}
    if rules.augment[0] < rules.augment[1]:
        found["augment"] = Range(low=rules.augment[0], high=rules.augment[1])
    if rates[0] < rates[1]:
        found["learning_rate"] = Range(low=rates[0], high=rates[1], log=True)
    if decays[0] < decays[1]:
        found["weight_decay"] = Range(low=decays[0], high=decays[1], log=True)
    if sizes:
        found["batch_size"] = Choice(values=sizes)
    found["loss"] = Choice(values=tuple(str(loss) for loss in losses if not base.loss_options.idle(loss)))
    return SearchSpace(dimensions=found)


def widened(space: SearchSpace, rules: Rules) -> SearchSpace:
    """The space of wildcats: ranges reach further, as far as the rules allow; choices get their neighbours."""
    return SearchSpace(dimensions={name: _wider(name, d, rules) for name, d in space.dimensions.items()})


def _wider(name: str, dimension: Range | Choice, rules: Rules) -> Range | Choice:
    bounds = getattr(rules, name, None)
    if isinstance(dimension, Choice):
        numbers = [v for v in dimension.values if isinstance(v, int) and not isinstance(v, bool)]
        if len(numbers) != len(dimension.values) or not isinstance(bounds, tuple):
            return dimension
        more = [n for n in (min(numbers) // 2, max(numbers) * 2) if bounds[0] <= n <= bounds[1]]
        return Choice(values=(*dimension.values, *more))
    if dimension.log:
        low, high = dimension.low / _WIDER, dimension.high * _WIDER
    else:
        reach = (dimension.high - dimension.low) / 2
        low, high = dimension.low - reach, dimension.high + reach
    least, most = bounds if isinstance(bounds, tuple) else (dimension.low, dimension.high)
    return Range(low=max(low, least), high=min(high, most), log=dimension.log)
