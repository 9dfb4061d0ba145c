"""test_thinning.py: thinned scans keep their objects, and lose as many beams, azimuth steps and points as promised."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.detector.train.augment import Augmentation, LabelledScan
from colonnade.detector.train.pool import label_scan, make_scan
from colonnade.detector.train.thinning import FEWEST_BEAMS, choose_beams, resample, thin_scan
from colonnade.runtime.errors import ConfigError

NOTHING = {"thin_beams": 0.0, "thin_azimuth": 0.0, "drop_points": 0.0}
ALL = {name: 1.0 for name in NOTHING}
SETTINGS = [
    Augmentation(**ALL),
    Augmentation(**NOTHING, sparse_beams=1.0),
    Augmentation(**NOTHING, resample=1.0),
    Augmentation(**ALL, sparse_beams=1.0, resample=1.0),
]


@pytest.fixture(scope="module")
def scan() -> LabelledScan:
    return label_scan(make_scan(11))


def make_sphere(beams: int = 64, steps: int = 2000) -> LabelledScan:
    """Return an even sensor's scan whose ranges differ from ray to ray, with the ring and column in its points' order.

    Each column's rays belong to one object of ten.
    """
    elevation, azimuth = (
        np.radians(np.linspace(2, -25, beams)),
        2 * np.pi * (np.arange(steps) + 0.5) / steps - np.pi,
    )
    ranges = np.random.default_rng(0).uniform(4, 60, (beams, steps))
    flat = ranges * np.cos(elevation)[:, None]
    points = np.stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), ranges * np.sin(elevation)[:, None]], -1
    ).reshape(-1, 3)
    rings = np.repeat(np.arange(beams, dtype=np.int16), steps)
    owners = np.tile(np.arange(steps, dtype=np.int32) % 10, beams)
    return LabelledScan(points.astype(np.float32), rings, owners, np.zeros((10, 7)), ("car",) * 10)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_thinning_drops_points_only(scan: LabelledScan, settings: Augmentation, seed: int) -> None:
    thin = thin_scan(scan, settings, np.random.default_rng(seed))
    assert 0 < len(thin.points) < len(scan.points)
    assert thin.boxes is scan.boxes
    assert thin.labels == scan.labels
    before = {
        tuple(point): (ring, owner)
        for point, ring, owner in zip(
            scan.points.tolist(), scan.rings.tolist(), scan.owners.tolist(), strict=True
        )
    }
    after = zip(thin.points.tolist(), thin.rings.tolist(), thin.owners.tolist(), strict=True)
    assert all(before[tuple(point)] == (ring, owner) for point, ring, owner in after)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_same_seed_thins_alike(scan: LabelledScan, settings: Augmentation) -> None:
    first, again, other = (thin_scan(scan, settings, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.points, again.points)
    assert first.points.shape != other.points.shape or (first.points != other.points).any()


def test_what_is_not_asked_for_draws_nothing(scan: LabelledScan) -> None:
    """So that a run of an earlier configuration sees the samples that it saw."""
    rng, expected = np.random.default_rng(5), np.random.default_rng(5)
    thin = thin_scan(scan, Augmentation(**NOTHING), rng)
    np.testing.assert_array_equal(thin.points, scan.points)
    expected.random(3)
    assert rng.random() == expected.random()


def test_sparse_beams_reach_from_32_to_12_of_64() -> None:
    counts = [int(choose_beams(64, np.random.default_rng(seed)).sum()) for seed in range(300)]
    assert min(counts) <= 12
    assert min(counts) >= FEWEST_BEAMS - 1
    assert any(29 <= count <= 35 for count in counts)
    assert max(counts) <= 64
    assert np.mean(np.array(counts) <= 32) > 0.6  # the point of it


def test_sparse_beams_come_in_all_three_ways() -> None:
    """Even spacing, blocks of different spacing, random subsets."""
    kinds = set()
    for seed in range(200):
        gaps = np.diff(np.flatnonzero(choose_beams(64, np.random.default_rng(seed))))
        changes = int((np.diff(gaps) != 0).sum())
        kinds.add("even" if changes == 0 else "blocks" if changes <= 6 else "random")
    assert kinds == {"even", "blocks", "random"}


@pytest.mark.parametrize("beams", [1, 5, 16, 20, 32, 128])
def test_sensors_of_few_beams_keep_enough(beams: int) -> None:
    for seed in range(100):
        keep = choose_beams(beams, np.random.default_rng(seed))
        assert keep.shape == (beams,)
        assert keep.sum() >= min(beams, FEWEST_BEAMS) - 1


def test_resampling_thins_beams_and_columns_by_one_factor() -> None:
    """Of one ring in f, the rays of one column in f are kept."""
    scan = make_sphere()
    whole = 0
    for seed in range(40):
        keep = resample(scan, np.random.default_rng(seed)).reshape(64, 2000)
        rings, columns = keep.any(axis=1), keep.any(axis=0)
        if (keep == rings[:, None] & columns[None]).all():  # neither beyond nor within a range only
            whole += 1
            down, across = 64 / rings.sum(), 2000 / columns.sum()
            assert down == pytest.approx(across, rel=0.1)
            assert 0.99 <= across <= 4.05
    assert 10 <= whole <= 32


def test_resampling_may_stop_at_a_range() -> None:
    scan = make_sphere()
    distance = np.hypot(scan.points[:, 0], scan.points[:, 1])
    borders = set()
    for seed in range(60):
        keep = resample(scan, np.random.default_rng(seed))
        dropped = distance[~keep]
        if len(dropped) and dropped.min() > 7.9:
            borders.add("beyond")
            assert keep[distance < dropped.min()].all()
        elif len(dropped) and dropped.max() < 35.1:
            borders.add("within")
            assert keep[distance > dropped.max()].all()
    assert borders == {"beyond", "within"}


def test_resampling_halves_the_density_at_factor_two(scan: LabelledScan) -> None:
    """An object at r then has the points per metre, down and across, of one at r f: on a real sensor's scan, too."""
    sphere = make_sphere()
    factors, kept = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        mask = resample(scan, rng)
        across = resample(sphere, np.random.default_rng(seed)).reshape(64, 2000)
        if (across == across.any(axis=1)[:, None] & across.any(axis=0)[None]).all():
            factors.append(2000 / across.any(axis=0).sum())
            kept.append(mask.mean())
    np.testing.assert_allclose(np.array(kept) * np.array(factors) ** 2, 1.0, rtol=0.2)


def test_an_empty_scan_stays_empty() -> None:
    empty = make_sphere().keep(np.zeros(64 * 2000, bool))
    for settings in SETTINGS:
        assert len(thin_scan(empty, settings, np.random.default_rng(0)).points) == 0


@pytest.mark.parametrize("name", ["sparse_beams", "resample", "mix"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_chances_lie_between_0_and_1(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"augmentation\.{name}: expected 0 to 1"):
        Augmentation(**{name: value})
