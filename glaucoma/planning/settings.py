"""The settings of planning: how many experiments, how bold, and the rules that no proposal may break."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError, model_validator

from glaucoma.errors import InputError, SettingsError, problems
from glaucoma.settings import Settings, by_preset
from glaucoma.training.spec import ExperimentSpec

_BOUNDED = ("learning_rate", "weight_decay", "augment", "batch_size", "input_px", "epochs")


class RuleBrokenError(InputError):
    """An experiment lies outside the rules; it was not run."""


class PlanSettings(Settings):
    """How a cycle chooses what to try."""

    experiments_per_task: int = by_preset(
        smoke=2, base=6, large=12, ge=1, le=200, description="Experiments a cycle proposes for each task."
    )
    exploit_share: float = Field(default=0.6, ge=0, le=1, description="Share of experiments near the best so far.")
    explore_share: float = Field(default=0.3, ge=0, le=1, description="Share where the least is known.")
    wildcat_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share outside the search space, at half the epochs; never promoted directly.",
    )
    seed_repeats: int = by_preset(
        smoke=0,
        base=5,
        large=5,
        ge=0,
        le=50,
        description="The best settings are run with this many seeds, one more a cycle, so that seed noise is known.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the proposals.")

    @model_validator(mode="after")
    def _shares(self) -> Self:
        total = self.exploit_share + self.explore_share + self.wildcat_share
        if abs(total - 1) > 1e-6:
            raise ValueError(f"exploit_share, explore_share and wildcat_share sum to {total:g}, not to 1")
        return self


class Rules(Settings):
    """What no experiment may exceed and no promoted model may fall below: data, out of the proposer's reach."""

    learning_rate: tuple[float, float] = Field(default=(1e-6, 0.1), description="Lowest and highest learning rate.")
    weight_decay: tuple[float, float] = Field(default=(0.0, 0.5), description="Lowest and highest weight decay.")
    augment: tuple[float, float] = Field(default=(0.0, 1.0), description="Weakest and strongest augmentation.")
    batch_size: tuple[int, int] = Field(default=(2, 256), description="Smallest and largest batch.")
    input_px: tuple[int, int] = Field(default=(32, 1024), description="Smallest and largest input side.")
    epochs: tuple[int, int] = Field(default=(1, 500), description="Fewest and most epochs.")
    max_step_megapixels: float = Field(
        default=64.0, gt=0, description="Batch size x input side squared, in millions: a bound on memory."
    )
    models: tuple[str, ...] = Field(default=(), description="Models that may be trained; none named: any.")
    min_sensitivity: float = Field(
        default=0.0, ge=0, le=1, description="A classifier below this sensitivity (validation) is not promoted."
    )
    min_dri_lift: float = Field(
        default=0.0,
        ge=0,
        description="A classifier that looks at the disc less than this many times chance is not promoted.",
    )
    min_disc_dice: float = Field(
        default=0.0, ge=0, le=1, description="A segmenter below this disc Dice (validation) is not promoted."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in _BOUNDED:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the lowest, {low:g}, is above the highest, {high:g}")
        return self

    def broken_by(self, spec: ExperimentSpec) -> list[str]:
        """A sentence for each rule that `spec` breaks; empty where it keeps all."""
        broken = []
        for name in _BOUNDED:
            low, high = getattr(self, name)
            value = getattr(spec, name)
            if not low <= value <= high:
                broken.append(f"{name} {value:g} lies outside {low:g} to {high:g}")
        megapixels = spec.batch_size * spec.input_px**2 / 1e6
        if megapixels > self.max_step_megapixels:
            broken.append(f"a step of {megapixels:.1f} megapixels is more than {self.max_step_megapixels:g}")
        if self.models and spec.model not in self.models:
            broken.append(f"model {spec.model} is none of {', '.join(self.models)}")
        return broken

    def require(self, spec: ExperimentSpec) -> None:
        """`RuleBrokenError` with every rule that `spec` breaks."""
        if broken := self.broken_by(spec):
            raise RuleBrokenError(
                f"The experiment breaks the rules: {'; '.join(broken)}",
                consequence="It was not run",
                remedy="change its settings, or the rules file if the rule itself is wrong",
            )


def load_rules(path: Path | None) -> Rules:
    """The rules in a YAML file; the defaults where no file is named. `SettingsError` where it does not hold."""
    if path is None:
        return Rules()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Rules.model_validate(content or {})
    except (OSError, ValidationError, yaml.YAMLError) as error:
        raise SettingsError(
            f"The rules file {path} does not hold ({problems(error)})",
            remedy="correct it, or name none to use the defaults",
        ) from error
