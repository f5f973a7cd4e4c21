from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from glaucoma.datasets.field_of_view import NoFieldError, find_field
from glaucoma.errors import TransientError
from glaucoma.preprocessing.chain import Made, StepError, prepared_picture, run_chain
from glaucoma.preprocessing.disc import Box, NoDiscError
from glaucoma.preprocessing.geometry import Geometry, cut
from glaucoma.preprocessing.intensity import equalise
from glaucoma.preprocessing.resample import draw_field, resize_mask, resize_photograph
from glaucoma.preprocessing.settings import (
    CentreCrop,
    Clahe,
    DiscCrop,
    FieldCrop,
    Interpolation,
    Normalise,
    PreprocessSettings,
    Resize,
    Step,
)

Pictures = Callable[..., np.ndarray]
BOX = (100, 180, 40, 60)


def run(picture: np.ndarray, *steps: Step, size_px: int = 128, disc: Callable[[], Box] = lambda: BOX) -> Made:
    return run_chain(picture, find_field(picture), PreprocessSettings(image_size_px=size_px, steps=steps), disc)


def failing(error: Exception) -> Callable[[], Box]:
    def locate() -> Box:
        raise error

    return locate


def test_crops_add_up_to_one_square_and_one_resampling(retina_picture: Pictures) -> None:
    picture = retina_picture(400)
    made = run(picture, FieldCrop(), CentreCrop(share=0.2), Resize())
    assert made.geometry.side_px == pytest.approx(0.8 * 361, abs=2)
    expected = resize_photograph(cut(picture, made.geometry), 128)
    assert (made.picture[made.inside == 1] == expected[made.inside == 1]).all()
    assert not made.picture[made.inside == 0].any()


def test_without_a_crop_the_whole_photograph_is_shown(retina_picture: Pictures) -> None:
    assert run(retina_picture(400)[50:350], Resize()).geometry == Geometry(0, -50, 400).scaled_to(128)


def test_the_centre_crop_narrows_whole_retinas_only(retina_picture: Pictures) -> None:
    crop = np.full((300, 300, 3), (160, 90, 40), np.uint8)
    assert run(crop, FieldCrop(), CentreCrop(share=0.5), Resize()).geometry.side_px == 300
    assert run(retina_picture(400), CentreCrop(share=0.5), Resize()).geometry.side_px == 200


def test_a_disc_crop_takes_the_place_of_the_field_s_square(retina_picture: Pictures) -> None:
    made = run(retina_picture(400), FieldCrop(), DiscCrop(side_disc_diameters=3.0), Resize())
    assert made.geometry == Geometry(30, 120, 180).scaled_to(128)
    assert made.no_disc is None


def test_without_a_disc_the_step_says_why_and_keeps_the_square_if_it_may(retina_picture: Pictures) -> None:
    picture, unknown = retina_picture(400), failing(NoDiscError("nobody knows"))
    with pytest.raises(NoDiscError, match="nobody knows"):
        run(picture, FieldCrop(), DiscCrop(), Resize(), disc=unknown)
    made = run(picture, FieldCrop(), DiscCrop(without_disc="keep"), Resize(), disc=unknown)
    assert made.no_disc == "nobody knows"
    assert made.geometry == run(picture, FieldCrop(), Resize()).geometry


def test_a_step_works_on_what_the_steps_before_it_made(retina_picture: Pictures) -> None:
    picture = retina_picture(300)
    small = run(picture, FieldCrop(), Resize())
    after = run(picture, FieldCrop(), Resize(), Clahe())
    lit = small.inside == 1
    assert (after.picture[lit] == equalise(small.picture, small.inside, Clahe())[lit]).all()

    side = small.geometry.side_px
    full = run(picture, FieldCrop(), Resize(), size_px=side)
    before = run(picture, FieldCrop(), Clahe(), Resize())
    assert (
        before.picture[lit] == resize_photograph(equalise(full.picture, full.inside, Clahe()), 128)[lit]
    ).mean() > 0.98


def test_clahe_before_the_resize_is_another_picture_than_after_it(retina_picture: Pictures) -> None:
    picture = retina_picture(400)
    before, after = run(picture, Clahe(), Resize()).picture, run(picture, Resize(), Clahe()).picture
    assert np.abs(before.astype(int) - after).mean() > 1


def test_a_step_between_two_crops_works_on_the_square_so_far(retina_picture: Pictures) -> None:
    picture = retina_picture(400)
    chain = (FieldCrop(), Normalise(method="stretch"), DiscCrop(), Resize())
    made = run(picture, *chain)
    side = run(picture, FieldCrop(), Resize()).geometry.side_px
    field_first = run(picture, FieldCrop(), Normalise(method="stretch"), Resize(), size_px=side)
    assert made.geometry == run(picture, DiscCrop(), Resize()).geometry
    shown, whole = made.geometry, field_first.geometry
    there = cut(field_first.picture, Geometry(shown.x_px - whole.x_px, shown.y_px - whole.y_px, shown.side_px))
    assert np.abs(resize_photograph(there, 128).astype(int) - made.picture).max() <= 1


@pytest.mark.parametrize(
    "steps", [(Resize(),), (Resize(), Clahe()), (Clahe(channel="lightness"), Resize()), (Resize(), Normalise())]
)
def test_outside_the_field_is_black_and_inside_is_not(retina_picture: Pictures, steps: tuple[Step, ...]) -> None:
    made = run(retina_picture(300), FieldCrop(), *steps)
    assert not made.picture[made.inside == 0].any()
    core = cv2.erode(made.inside, np.ones((5, 5), np.uint8)) == 1
    assert (made.picture[core].max(axis=1) > 0).all()


@pytest.mark.parametrize("how", list(Interpolation))
def test_every_interpolation_keeps_the_picture_in_its_place(retina_picture: Pictures, how: Interpolation) -> None:
    picture = retina_picture(400)
    wanted = run(picture, FieldCrop(), Resize()).picture.astype(float)
    made = run(picture, FieldCrop(), Resize(interpolation=how)).picture.astype(float)
    (dx, dy), _ = cv2.phaseCorrelate(wanted[..., 1], made[..., 1])
    assert abs(dx) < 0.1
    assert abs(dy) < 0.1


def test_the_photograph_itself_is_never_changed(retina_picture: Pictures) -> None:
    picture = retina_picture(300)
    before = picture.copy()
    run(picture, Normalise(), Clahe(), Resize(), size_px=300)
    run(picture, Resize(), size_px=300)
    assert (picture == before).all()


def test_a_step_that_fails_names_itself(retina_picture: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StepError, match=r"the step disc_crop failed \(ZeroDivisionError: over nought\)"):
        run(retina_picture(), DiscCrop(), Resize(), disc=failing(ZeroDivisionError("over nought")))


def test_an_error_that_is_not_the_photograph_s_goes_through(retina_picture: Pictures) -> None:
    with pytest.raises(TransientError, match="the GPU is gone"):
        run(retina_picture(), DiscCrop(), Resize(), disc=failing(TransientError("the GPU is gone")))


def test_a_photograph_outside_a_dataset_goes_the_same_way(retina_picture: Pictures) -> None:
    picture = retina_picture(300)
    settings = PreprocessSettings(image_size_px=128)
    expected = run(picture, *settings.steps)
    made, geometry = prepared_picture(picture, settings)
    assert (made == expected.picture).all()
    assert geometry == expected.geometry
    with pytest.raises(NoFieldError):
        prepared_picture(np.zeros((50, 50, 3), np.uint8), settings)


def test_the_drawn_field_matches_the_photograph_s_lit_pixels() -> None:
    picture = np.zeros((600, 700, 3), np.uint8)
    cv2.circle(picture, (330, 290), 240, (200, 100, 50), -1)
    made = run(picture, FieldCrop(), CentreCrop(), Resize(), size_px=256)
    lit = resize_photograph(cut(picture, made.geometry), 256)[..., 0] > 100
    drawn = draw_field(find_field(picture), made.geometry, 256) > 0
    assert (drawn == (made.inside > 0)).all()
    assert (lit & drawn).sum() / (lit | drawn).sum() > 0.985


@pytest.mark.parametrize(("source", "target"), [(300, 100), (317, 96), (100, 256), (97, 512)])
def test_mask_and_photograph_stay_aligned(source: int, target: int) -> None:
    mask = np.zeros((source, source), np.uint8)
    cv2.circle(mask, (source // 3, source // 2), source // 8, 1, -1)
    photograph = np.repeat((mask * 200)[..., None], 3, axis=2)
    small_mask, small = resize_mask(mask, target), resize_photograph(photograph, target)[..., 0].astype(float)
    centre_mask = np.argwhere(small_mask > 0).mean(axis=0)
    centre = (np.indices(small.shape).reshape(2, -1) * small.ravel()).sum(axis=1) / small.sum()
    assert centre_mask == pytest.approx(centre, abs=0.25)
    assert set(np.unique(small_mask)) <= {0, 1}


@pytest.mark.parametrize("side", [1024, 1300, 1301])
def test_an_average_in_two_steps_is_that_in_one_within_rounding(side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)
    in_one = cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA).astype(int)
    difference = np.abs(resize_photograph(picture, 512) - in_one)
    assert difference.max() <= (3 if side % 2 == 0 else 0)
    assert difference.mean() < 0.5
