"""Settings of the explanation."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from glaucoma.settings import Settings, by_preset


class CamMethod(StrEnum):
    """How a class activation map weighs the channels of the target layer."""

    GRAD_CAM = "grad_cam"
    """By the mean of their gradient (Selvaraju et al. 2017)."""
    GRAD_CAM_PP = "grad_cam_pp"
    """By the weighted mean of their positive gradient, Grad-CAM++ (Chattopadhyay et al. 2018)."""


class ExplainedClass(StrEnum):
    """Whose evidence a map shows."""

    PREDICTED = "predicted"
    """Glaucoma where the logit is above 0, else normal."""
    GLAUCOMA = "glaucoma"
    """Glaucoma, whatever the model says."""


class ExplainSettings(Settings):
    """How a trained model is explained."""

    max_images: int = by_preset(
        smoke=24, base=200, large=1000, ge=1, le=1_000_000, description="Images that maps are made of."
    )
    overlays: int = by_preset(smoke=8, base=16, large=24, ge=0, le=1000, description="Images drawn for people.")
    method: CamMethod = Field(
        default=CamMethod.GRAD_CAM, description="The map whose relevance is summed up and drawn; both are measured."
    )
    explained_class: ExplainedClass = Field(
        default=ExplainedClass.PREDICTED, description="Evidence for the predicted class, or always for glaucoma."
    )
    target_layer: str = Field(
        default="auto", min_length=1, description="Name of the layer to explain; auto: the last one with a spatial map."
    )
    replicates: int = by_preset(
        smoke=500, base=2000, large=2000, ge=100, le=20_000, description="Bootstrap replicates for intervals."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="Coverage of the intervals.")
    controls: bool = Field(
        default=True,
        description="Measure two controls: the same maps of an untrained network, and hiding the disc from the model.",
    )
    batch_size: int = Field(default=16, ge=1, le=1024, description="Images a step.")
    panel_px: int = Field(default=320, ge=128, le=512, description="Side of one panel of an overlay.")
    max_overlay_kb: int = Field(default=200, ge=40, le=10_000, description="Largest size of one overlay.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the choice of images, bootstrap and control.")
