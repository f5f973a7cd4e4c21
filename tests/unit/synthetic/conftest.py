from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from glaucoma.schema import Eye
from glaucoma.synthetic.anatomy import Nerve, draw_anatomy, draw_complexion
from glaucoma.synthetic.cameras import CAMERAS, Camera
from glaucoma.synthetic.fundus import Photograph, render_fundus

HEALTHY = Nerve(vertical_cdr=0.40, notch=0.05, pallor=0.2)
ILL = Nerve(vertical_cdr=0.75, notch=0.8, pallor=0.8)
Shoot = Callable[..., Photograph]


@pytest.fixture
def shoot() -> Shoot:
    """Photographs the eye of a seed: the same seed and arguments, the same eye under the same light."""

    def shoot(
        seed: int = 0,
        *,
        camera: Camera = CAMERAS[0],
        eye: Eye = Eye.OD,
        nerve: Nerve = HEALTHY,
        photo_height_px: int = 240,
    ) -> Photograph:
        rng = np.random.default_rng(seed)
        anatomy = draw_anatomy(rng, eye, draw_complexion(rng))
        return render_fundus(rng, camera, anatomy, nerve, photo_height_px)

    return shoot


@pytest.fixture
def healthy() -> Nerve:
    return HEALTHY


@pytest.fixture
def ill() -> Nerve:
    return ILL
