"""Which losses there are, what they take, and which option has an effect on which."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from glaucoma.settings import Settings


class ClassificationLoss(StrEnum):
    """Losses of the one glaucoma logit."""

    FOCAL = "focal"
    CROSS_ENTROPY = "cross_entropy"


class SegmentationLoss(StrEnum):
    """Losses of the disc and cup channels; `a_b` is the sum of two, the second by `second_weight`."""

    DICE = "dice"
    DICE_FOCAL = "dice_focal"
    DICE_CE = "dice_ce"
    TVERSKY = "tversky"
    TVERSKY_FOCAL = "tversky_focal"
    LOVASZ = "lovasz"
    LOVASZ_CE = "lovasz_ce"
    DICE_BOUNDARY = "dice_boundary"


class LossOptions(Settings):
    """What the losses take; each says which of them it concerns, and is refused where none of those is chosen."""

    class_weighted: bool = Field(
        default=False,
        description="Classification: weigh both classes by the inverse of their number among the training images; "
        "instead of balanced_sampling.",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="Classification: the targets 0 and 1 are moved this far towards 1/2."
    )
    focal_gamma: float = Field(
        default=2.0, ge=0, le=10, description="focal and sums with it: how little what is easy counts."
    )
    tversky_beta: float = Field(
        default=0.7,
        gt=0,
        lt=1,
        description="tversky and sums with it: weight of what is missed; of what is wrongly found: 1 - beta.",
    )
    second_weight: float = Field(
        default=1.0, gt=0, le=100, description="Segmentation losses of two terms: weight of the second."
    )

    def idle(self, *losses: str) -> list[str]:
        """The options that are set to other than their default and concern none of `losses`, sorted."""
        return sorted(name for name in self._set() if not _CONCERNED[name].intersection(losses))

    def used_by(self, loss: str) -> LossOptions:
        """These options, those that do not concern `loss` at their defaults."""
        return LossOptions.model_validate({name: getattr(self, name) for name in self._set() - set(self.idle(loss))})

    def _set(self) -> set[str]:
        return {name for name, field in LossOptions.model_fields.items() if getattr(self, name) != field.default}


_ALL_CLASSIFICATION = frozenset[str](ClassificationLoss)
_CONCERNED: dict[str, frozenset[str]] = {
    "class_weighted": _ALL_CLASSIFICATION,
    "label_smoothing": _ALL_CLASSIFICATION,
    "focal_gamma": frozenset({ClassificationLoss.FOCAL, SegmentationLoss.DICE_FOCAL, SegmentationLoss.TVERSKY_FOCAL}),
    "tversky_beta": frozenset({SegmentationLoss.TVERSKY, SegmentationLoss.TVERSKY_FOCAL}),
    "second_weight": frozenset(name for name in SegmentationLoss if "_" in name),
}
"""Option of `LossOptions` to the losses that it has an effect on."""


def require_effect(options: LossOptions, losses: tuple[str, ...], *, balanced_sampling: bool) -> None:
    """ValueError where an option has no effect on any of `losses`, or does again what the sampling does."""
    if idle := options.idle(*losses):
        raise ValueError(f"{', '.join(idle)} of loss_options would have no effect on {' or '.join(losses)}")
    if options.class_weighted and balanced_sampling:
        raise ValueError(
            "class_weighted evens out the classes, and so does balanced_sampling: both together would count the rarer "
            "one twice; switch one of them off"
        )
