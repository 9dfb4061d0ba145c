"""test_pool.py: a pool holds the scans it was asked for, and says so when it holds others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from colonnade.detector.simulate.datasets import GENERATOR_VERSION, load_scan
from colonnade.detector.simulate.scan import scan_scene
from colonnade.detector.simulate.scene import build_scene
from colonnade.detector.simulate.sensors import SENSORS
from colonnade.detector.train.config import Pool
from colonnade.detector.train.pool import (
    DESCRIPTION,
    claim_pool,
    draw_sensor,
    fill_pool,
    list_pool,
    make_scan,
)
from colonnade.runtime.errors import ConfigError


def test_named_sensors_are_drawn_evenly() -> None:
    names = ("hdl64e", "vlp16", "hdl32e")
    drawn = [draw_sensor(np.random.default_rng([seed, 1]), names).name for seed in range(600)]
    counts = [drawn.count(name) for name in names]
    assert sum(counts) == 600
    assert min(counts) > 150


def test_the_mixture_is_what_it_was() -> None:
    """The draws of the first seeds, written down when the key `pool.sensors` came."""
    drawn = " ".join(draw_sensor(np.random.default_rng([seed, 1])).name for seed in range(200))
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == "7ac4d50aab18881f"


def test_a_scan_of_a_named_sensor_is_that_of_its_scene() -> None:
    scan = make_scan(21, ("vlp16",))
    expected = scan_scene(build_scene(21), SENSORS["vlp16"], 21)
    assert scan.sensor == "vlp16"
    np.testing.assert_array_equal(scan.points, expected.points)
    np.testing.assert_array_equal(scan.boxes, expected.boxes)


def test_the_mixture_draws_the_sensor_and_nothing_else() -> None:
    scan = make_scan(21)
    sensor = draw_sensor(np.random.default_rng([21, 1]))
    np.testing.assert_array_equal(scan.points, scan_scene(build_scene(21), sensor, 21).points)


def test_an_unknown_sensor_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"pool\.sensors: no sensor \['hdl65'\]; known are .*hdl64e.*vlp16"):
        Pool(sensors=("hdl64e", "hdl65"))


def test_a_filled_pool_tells_what_it_holds(tmp_path: Path) -> None:
    pool = Pool(scans=2, seed=40, sensors=("vlp16",))
    fill_pool(pool, tmp_path / "pool")
    assert [load_scan(path).sensor for path in list_pool(tmp_path / "pool")] == ["vlp16", "vlp16"]
    text = (tmp_path / "pool" / DESCRIPTION).read_text()
    assert text == f"seed: 40\nsensors:\n- vlp16\ngenerator_version: {GENERATOR_VERSION}\n"
    fill_pool(pool, tmp_path / "pool")
    fill_pool(Pool(scans=1, seed=40, sensors=("vlp16",), start_with=7), tmp_path / "pool")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Pool(seed=41, sensors=("vlp16",)), "seed is 40, not 41"),
        (Pool(seed=40), r"sensors is \['vlp16'\], not \[\]"),
        (Pool(seed=40, sensors=("hdl64e",)), r"sensors is \['vlp16'\], not \['hdl64e'\]"),
    ],
)
def test_another_pool_is_not_used_in_its_place(tmp_path: Path, other: Pool, reason: str) -> None:
    claim_pool(Pool(seed=40, sensors=("vlp16",)), tmp_path)
    for use in (claim_pool, fill_pool):
        with pytest.raises(ConfigError, match=f"holds other scans: {reason}; choose another pool.folder"):
            use(other, tmp_path)
    assert list_pool(tmp_path) == []


def test_a_pool_of_another_simulator_is_not_used(tmp_path: Path) -> None:
    claim_pool(Pool(), tmp_path)
    path = tmp_path / DESCRIPTION
    path.write_text(path.read_text().replace(f"version: {GENERATOR_VERSION}", "version: 0"))
    with pytest.raises(ConfigError, match=f"generator_version is 0, not {GENERATOR_VERSION}"):
        claim_pool(Pool(), tmp_path)


@pytest.mark.parametrize("text", ["seed: [", "seed: 1", "[]", "\x00"])
def test_a_damaged_description_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(ConfigError, match=r"pool\.yaml cannot be read"):
        claim_pool(Pool(), tmp_path)


def test_a_pool_that_does_not_say_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "000000.npz").write_bytes(b"")
    claim_pool(Pool(seed=40), tmp_path)
    claim_pool(Pool(seed=41), tmp_path)
    assert not (tmp_path / DESCRIPTION).exists()
