"""test_sensors.py: beam tables against the data sheets and against real sweeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.detector.simulate.sensors import SENSORS, Sensor, random_sensor


@pytest.mark.parametrize(
    ("name", "beams", "top", "bottom"),
    [
        ("hdl64e", 64, 2.0, -24.33),
        ("hdl32e", 32, 10.67, -30.67),
        ("vlp16", 16, 15.0, -15.0),
        ("vlp32c", 32, 15.0, -25.0),
        ("os1-128", 128, 21.0, -21.8),
        ("os0-32", 32, 43.9, -45.4),
        ("pandar64", 64, 15.0, -25.0),
    ],
)
def test_table_matches_data_sheet(name: str, beams: int, top: float, bottom: float) -> None:
    degrees = np.degrees(SENSORS[name].elevations)
    assert len(degrees) == beams
    assert degrees[0] == pytest.approx(top, abs=0.01)
    assert degrees[-1] == pytest.approx(bottom, abs=0.01)
    assert np.all(np.diff(degrees) < 0)


def test_hdl64e_has_two_blocks() -> None:
    gaps = -np.diff(np.degrees(SENSORS["hdl64e"].elevations))
    assert gaps[:31] == pytest.approx(1 / 3)
    assert gaps[32:] == pytest.approx(1 / 2)


def test_stacked_pair_is_one_unit_upright_and_one_hung() -> None:
    pair, single = SENSORS["vlp32c-pair"], SENSORS["vlp32c"]
    assert pair.elevations[:32] == pytest.approx(single.elevations)
    assert np.sort(pair.elevations[32:]) == pytest.approx(np.sort(-single.elevations))
    assert set(np.sign(pair.origin_heights)) == {-1.0, 1.0}
    assert np.all(single.origin_heights == 0)


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=lambda s: s.name)
def test_arrays_have_one_value_per_ring(sensor: Sensor) -> None:
    assert len(sensor.elevations) == len(sensor.azimuth_offsets) == len(sensor.origin_heights) == sensor.beams
    assert sensor.beams <= 256  # rings are stored as uint8


@given(st.integers(0, 2**32 - 1))
def test_random_sensor_stays_in_its_documented_limits(seed: int) -> None:
    sensor = random_sensor(np.random.default_rng(seed))
    degrees = np.degrees(sensor.elevations)
    assert 16 <= sensor.beams <= 128
    assert 20 - 1e-6 <= degrees[0] - degrees[-1] <= 45 + 1e-6
    assert np.all(np.diff(degrees) < 0)
    assert degrees[0] > 0 > degrees[-1]
    assert 900 <= sensor.azimuth_steps <= 2600
