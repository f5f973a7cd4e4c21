import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2 import functional as torchvision

from glaucoma.training.augment import Draws, augment, draw
from glaucoma.training.data import to_input
from glaucoma.training.settings import AugmentSettings

NOTHING = dict.fromkeys(AugmentSettings.model_fields, 0.0) | {"flip": False}
EVERYTHING = AugmentSettings(gamma=0.3, blur_px=1.0, noise=0.05)
ALONE = {
    "flip": True,
    "rotation_deg": 30.0,
    "scale": 0.3,
    "shift": 0.2,
    "brightness": 0.4,
    "contrast": 0.4,
    "gamma": 0.4,
    "blur_px": 1.5,
    "noise": 0.1,
}


def alone(**settings):
    return AugmentSettings(**{**NOTHING, **settings})


def photographs(n=6, side=33):
    """A grey disc with a bright cup beside the centre on a smooth ground, (n, side, side, 3), and its masks."""
    y, x = np.mgrid[:side, :side]
    distance = np.hypot(y - 0.4 * side, x - 0.55 * side)
    mask = (distance < side / 4).astype(np.uint8) + (distance < side / 8).astype(np.uint8)
    ground = (20 + 60 * x / side)[..., None] * [1.0, 0.6, 0.3]
    image = np.where(mask[..., None] > 0, np.array([0, 140, 220])[mask][..., None], ground).astype(np.uint8)
    return torch.from_numpy(np.stack([image] * n)), torch.from_numpy(np.stack([mask] * n))


def augmented(settings, strength=1.0, seed=0, n=6, side=33):
    images, masks = photographs(n, side)
    draws = draw(n, settings, strength, seed)
    return images, masks, draws, *augment(images, masks, draws)


def test_strength_zero_changes_nothing():
    images, masks, _, changed, moved = augmented(EVERYTHING, strength=0.0)
    assert torch.equal(changed, to_input(images))
    assert torch.equal(moved, masks)


def test_settings_of_nothing_change_nothing():
    images, masks, _, changed, moved = augmented(alone())
    assert torch.equal(changed, to_input(images))
    assert torch.equal(moved, masks)


def test_the_test_of_each_setting_alone_leaves_none_out():
    assert set(ALONE) == set(AugmentSettings.model_fields)


@pytest.mark.parametrize("name", ALONE)
def test_each_setting_alone_has_an_effect_that_grows_with_strength(name):
    def effect(strength):
        images, _, _, changed, _ = augmented(alone(**{name: ALONE[name]}), strength)
        return float((changed - to_input(images)).abs().mean())

    assert effect(1.0) > 1e-3
    assert effect(0.25) < effect(1.0) or name == "flip"


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "blur_px", "noise"])
def test_what_changes_the_light_leaves_the_masks(name):
    _, masks, _, _, moved = augmented(alone(**{name: ALONE[name]}))
    assert torch.equal(moved, masks)


@pytest.mark.parametrize("name", ["flip", "rotation_deg", "scale", "shift"])
def test_what_moves_the_image_moves_the_mask(name):
    _, masks, _, changed, moved = augmented(alone(**{name: ALONE[name]}), side=65)
    assert not torch.equal(moved, masks)
    for image, mask in zip(changed, moved, strict=True):
        bright = image[2] > 100 / 255  # in blue the ground is dark
        assert (bright & (mask > 0)).sum() * 2 / (bright.sum() + (mask > 0).sum()) > 0.96


def test_masks_keep_their_values_and_type():
    _, _, _, _, moved = augmented(EVERYTHING)
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) == {0, 1, 2}


def test_images_stay_in_range_and_differ_within_a_batch():
    _, _, _, changed, _ = augmented(EVERYTHING)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert len({image.numpy().tobytes() for image in changed}) == len(changed)


def test_flips_show_all_four_mirror_images_and_nothing_else():
    images, _, _, changed, _ = augmented(alone(flip=True), n=24)
    original = to_input(images)[0]
    mirrored = [original.flip(dims) for dims in ((), (1,), (2,), (1, 2))]
    found = [[float((image - one).abs().max()) < 1e-4 for one in mirrored].index(True) for image in changed]
    assert set(found) == {0, 1, 2, 3}


def test_moving_is_what_opencv_makes_of_the_same_matrix():
    images, masks, draws, changed, moved = augmented(
        AugmentSettings(brightness=0.0, contrast=0.0, rotation_deg=90.0), side=48
    )
    half = 24.0
    for index in range(len(images)):
        matrix = draws.matrices[index].astype(float)
        matrix[:, 2] = matrix[:, 2] * half + (half - 0.5) - matrix[:, :2] @ [half - 0.5, half - 0.5]
        how = cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(images[index].numpy(), matrix, (48, 48), flags=cv2.INTER_LINEAR | how)
        mask = cv2.warpAffine(masks[index].numpy(), matrix, (48, 48), flags=cv2.INTER_NEAREST | how)
        assert np.abs(changed[index].permute(1, 2, 0).numpy() - image / 255.0).max() < 0.03  # it rounds to 1/32 px
        assert (moved[index].numpy() == mask).mean() > 0.995


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_moves_stay_within_their_settings(strength):
    settings = AugmentSettings(rotation_deg=30.0, scale=0.2, shift=0.1, flip=False)
    matrices = draw(500, settings, strength, seed=1).matrices
    scales = np.sqrt(np.linalg.det(matrices[:, :, :2]))
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    shifts = matrices[:, :, 2] / 2  # of the side, which is 2 long
    for values, centre, reach in ((scales, 1, 0.2), (angles, 0, 30), (shifts, 0, 0.1)):
        furthest = np.abs(values - centre).max()
        assert 0.95 * strength * reach < furthest <= strength * reach + 1e-4


def test_brightness_is_that_of_torchvision():
    images = photographs()[0]
    draws = draw(len(images), alone(brightness=0.4), 1.0, seed=3)
    changed, _ = augment(images, None, draws)
    for image, (_, brightness), result in zip(to_input(images), draws.light, changed, strict=True):
        assert torch.allclose(result, torchvision.adjust_brightness(image, float(brightness)), atol=1e-6)


def test_contrast_is_that_of_torchvision():
    images = photographs()[0][..., 2:].expand(-1, -1, -1, 3)  # grey: torchvision turns about the mean of the grey image
    draws = draw(len(images), alone(contrast=0.4), 1.0, seed=3)
    changed, _ = augment(images, None, draws)
    for image, (contrast, _), result in zip(to_input(images), draws.light, changed, strict=True):
        assert torch.allclose(
            result, torchvision.adjust_contrast(image, float(contrast)), atol=1e-3
        )  # 0.2989 + ... < 1


def test_gamma_is_that_of_torchvision():
    images = photographs()[0]
    draws = draw(len(images), alone(gamma=0.4), 1.0, seed=3)
    changed, _ = augment(images, None, draws)
    for image, tones, result in zip(to_input(images), draws.tones, changed, strict=True):
        gamma = np.log(tones[128]) / np.log(128 / 255)
        assert 0.6 <= gamma <= 1.4
        assert torch.allclose(result, torchvision.adjust_gamma(image, float(gamma)), atol=1e-5)


def test_blur_is_that_of_scipy():
    images = photographs()[0]
    draws = draw(len(images), alone(blur_px=1.5), 1.0, seed=3)
    changed, _ = augment(images, None, draws)
    for image, sigma_px, result in zip(to_input(images), draws.sigma_px[:, 0], changed, strict=True):
        expected = [gaussian_filter(plane, sigma_px, mode="mirror", radius=draws.radius_px) for plane in image.numpy()]
        assert np.abs(result.numpy() - np.stack(expected)).max() < 1e-4


def test_a_blur_wider_than_the_image_is_cut_at_its_size():
    images = photographs(side=8)[0]
    changed, _ = augment(images, None, draw(len(images), alone(blur_px=5.0), 1.0, seed=3))
    assert changed.shape == (len(images), 3, 8, 8)
    assert changed.std(dim=(2, 3)).max() < to_input(images).std(dim=(2, 3)).max()


def test_noise_has_the_deviation_drawn_and_another_grain_on_each_image():
    images = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    draws = draw(4, alone(noise=0.1), 1.0, seed=3)
    changed, _ = augment(images, None, draws)
    grain = changed - to_input(images)
    assert np.allclose(grain.std(dim=(1, 2, 3)).numpy(), draws.noise[:, 0], rtol=0.05)
    assert abs(float(torch.corrcoef(grain.flatten(1))[0, 1])) < 0.05


@pytest.mark.parametrize("side", [32, 65])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_part_of_a_step_is_changed_as_in_the_whole_step_with_any_number_of_threads(side, threads):
    before = torch.get_num_threads()
    images, masks, draws, changed, moved = augmented(EVERYTHING, n=9, side=side)
    try:
        torch.set_num_threads(threads)
        for start, stop in ((0, 9), (0, 4), (4, 9), (3, 5), (8, 9)):
            part, part_masks = augment(images[start:stop], masks[start:stop], draws.cut(start, stop))
            assert torch.equal(part, changed[start:stop])
            assert torch.equal(part_masks, moved[start:stop])
    finally:
        torch.set_num_threads(before)


def same(one: Draws, other: Draws, name: str) -> bool:
    return np.array_equal(getattr(one, name), getattr(other, name))


def test_draws_are_a_function_of_the_seed():
    one, again, other = (draw(5, EVERYTHING, 0.5, seed) for seed in (1, 1, 2))
    for name in ("matrices", "tones", "light", "sigma_px", "noise", "noise_seeds"):
        assert same(one, again, name)
        assert not same(one, other, name)


def test_switching_one_setting_moves_no_other_draws():
    assert same(draw(5, EVERYTHING, 0.5, 1), draw(5, AugmentSettings(), 0.5, 1), "matrices")
    assert same(draw(5, EVERYTHING, 0.5, 1), draw(5, AugmentSettings(), 0.5, 1), "light")
    assert same(draw(5, EVERYTHING, 0.5, 1), draw(5, alone(noise=0.05), 0.5, 1), "noise_seeds")
