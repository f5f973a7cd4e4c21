from __future__ import annotations

import numpy as np

from glaucoma.schema import Eye
from glaucoma.synthetic.anatomy import Anatomy, draw_anatomy, draw_complexion
from glaucoma.synthetic.vessels import Vessel, grow_vessels, paint_vessels
from glaucoma.synthetic.view import View


def anatomy(seed: int) -> Anatomy:
    rng = np.random.default_rng(seed)
    return draw_anatomy(rng, Eye.OD, draw_complexion(rng))


def test_no_vessel_crosses_the_fovea() -> None:
    for seed in range(10):
        for vessel in grow_vessels(np.random.default_rng(seed), anatomy(seed)):
            assert np.hypot(*vessel.points_deg.T).min() > 1.2


def test_both_kinds_grow_and_veins_are_the_wider() -> None:
    trees = [vessel for seed in range(5) for vessel in grow_vessels(np.random.default_rng(seed), anatomy(seed))]
    widest = {kind: max(v.widths_deg.max() for v in trees if v.artery is kind) for kind in (True, False)}
    assert widest[False] > widest[True]


def test_arcades_run_above_and_below_the_macula() -> None:
    trees = [vessel for seed in range(5) for vessel in grow_vessels(np.random.default_rng(seed), anatomy(seed))]
    wide = np.concatenate([v.points_deg[v.widths_deg > 0.2] for v in trees])
    over_macula = wide[np.abs(wide[:, 0]) < 3]
    assert (over_macula[:, 1] > 4).any()
    assert (over_macula[:, 1] < -4).any()


def test_a_ribbon_is_as_wide_as_asked() -> None:
    view = View(200, 1000, 20.0, (0.0, 0.0), float("inf"), 1)
    points = np.stack([np.zeros(40), np.linspace(-15, 15, 40)], axis=1).astype(np.float32)
    layers = paint_vessels([Vessel(points, np.full(40, 0.5, np.float32), artery=False)], view)
    middle = layers.veins[450:550]
    np.testing.assert_allclose(middle.sum(axis=1), 0.5 * 20, atol=1.2)
    assert not layers.arteries.any()
