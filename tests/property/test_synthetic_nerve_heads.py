"""What holds of every generated eye, whatever its shape, its camera and its illness."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.schema import Eye, MaskValue
from glaucoma.synthetic.anatomy import Nerve, cup_radii, draw_anatomy, draw_complexion
from glaucoma.synthetic.cameras import CAMERAS, Camera
from glaucoma.synthetic.fundus import render_fundus

seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1)
nerves = st.builds(Nerve, vertical_cdr=st.floats(0.05, 0.93), notch=shares, pallor=shares)


@given(seed=seeds, nerve=nerves)
@settings(max_examples=100, deadline=None)
def test_the_cup_lies_inside_the_disc_and_has_the_asked_height(seed: int, nerve: Nerve) -> None:
    rng = np.random.default_rng(seed)
    disc = draw_anatomy(rng, Eye.OD, draw_complexion(rng)).disc_radii_deg
    cup = cup_radii(rng, disc, nerve)
    sine = np.sin(np.linspace(0, 2 * np.pi, 360, endpoint=False))
    assert (cup < disc).all()
    assert (cup > 0).all()
    assert abs(np.ptp(cup * sine) / np.ptp(disc * sine) - nerve.vertical_cdr) < 1e-3


@given(seed=seeds, nerve=nerves, camera=st.sampled_from(CAMERAS), eye=st.sampled_from([Eye.OD, Eye.OS]))
@settings(max_examples=25, deadline=None)
def test_the_mask_shows_the_asked_ratio_to_within_its_pixels(seed: int, nerve: Nerve, camera: Camera, eye: Eye) -> None:
    rng = np.random.default_rng(seed)
    photograph = render_fundus(rng, camera, draw_anatomy(rng, eye, draw_complexion(rng)), nerve, 300)
    disc_rows = (photograph.mask >= MaskValue.DISC).any(axis=1).sum()
    cup_rows = (photograph.mask == MaskValue.CUP).any(axis=1).sum()
    assert abs(cup_rows - nerve.vertical_cdr * disc_rows) <= 2
    assert photograph.vertical_cdr == cup_rows / disc_rows
    assert disc_rows > 15
