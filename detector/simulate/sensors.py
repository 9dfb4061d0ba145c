"""sensors.py: beam tables and measuring properties of the spinning LiDARs that can be simulated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sensor:
    """A spinning LiDAR: where its beams look and how well it measures.

    Attributes:
        name: registry name, or "random-..." for a drawn one.
        elevations: (B,) float64 elevation of each ring [rad], ring 0 is the uppermost of its unit.
        azimuth_steps: firings per turn of each ring.
        max_range: longest range reported [m].
        min_range: shortest range reported [m].
        reach: range [m] at which a 10 % target at normal incidence is detected every second time.
        range_noise: standard deviation of one range [m].
        beam_bias: standard deviation of a ring's constant range error [m].
        range_step: quantum of the reported range [m].
        elevation_jitter: standard deviation of a ring's elevation from unit to unit [rad].
        table_scale: standard deviation of the factor on all elevations from unit to unit.
        mount_heights: usual height of the sensor above the road (lowest, highest) [m].
        azimuth_offsets: (B,) float64 azimuth of a ring relative to the rotor [rad].
        origin_heights: (B,) float64 height of a ring's optical centre above the sensor's origin [m]; not zero
            only where several units or blocks of lasers are stacked.
    """

    name: str
    elevations: F64
    azimuth_steps: int
    max_range: float
    min_range: float = 1.0
    reach: float = 80.0
    range_noise: float = 0.018
    beam_bias: float = 0.012
    range_step: float = 0.002
    elevation_jitter: float = np.radians(0.03)
    table_scale: float = 0.0
    mount_heights: tuple[float, float] = (1.6, 2.0)
    azimuth_offsets: F64 = field(default_factory=lambda: np.zeros(0))
    origin_heights: F64 = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        for name in ("azimuth_offsets", "origin_heights"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(len(self.elevations)))

    @property
    def beams(self) -> int:
        """Number of rings."""
        return len(self.elevations)


def _sensor(name: str, elevations_deg: F64, steps: int, max_range: float, **more: object) -> Sensor:
    return Sensor(name, np.radians(elevations_deg), steps, max_range, **more)  # type: ignore[arg-type]


# Velodyne VLP-32C user manual, in firing order: elevation and azimuth offset of each laser [deg]. Fitting a
# cone to every laser of an Argoverse 2 sweep gives the same elevations within 0.03 deg.
_VLP32C_ELEVATIONS = np.array(
    [-25, -1, -1.667, -15.639, -11.31, 0, -0.667, -8.843, -7.254, 0.333, -0.333, -6.148, -5.333, 1.333, 0.667,
     -4, -4.667, 1.667, 1, -3.667, -3.333, 3.333, 2.333, -2.667, -3, 7, 4.667, -2.333, -2, 15, 10.333, -1.333]
)  # fmt: skip
_VLP32C_OFFSETS = np.array(
    [1.4, -4.2, 1.4, -1.4, 1.4, -1.4, 4.2, -1.4, 1.4, -4.2, 1.4, -1.4, 4.2, -1.4, 4.2, -1.4,
     1.4, -4.2, 1.4, -4.2, 4.2, -1.4, 1.4, -1.4, 1.4, -1.4, 1.4, -4.2, 4.2, -1.4, 1.4, -1.4]
)  # fmt: skip
_DOWNWARD = np.argsort(-_VLP32C_ELEVATIONS, kind="stable")

# Hesai Pandar64: 1/6 deg between +2 and -6, wider outside.
_PANDAR64_ELEVATIONS = np.concatenate(
    [[15, 11, 8, 5, 3], 2 - np.arange(49) / 6, -7 - np.arange(8.0), [-19, -25]]
)  # fmt: skip

# Ouster staggers its columns by multiples of 1.4 deg.
_OUSTER_STAGGER = np.array([4.2, 1.4, -1.4, -4.2])


def _stacked_vlp32c() -> Sensor:
    """Return the roof unit of Argoverse 2: one VLP-32C upright, a second hung upside down below it.

    The lower unit's firing phase is opposite; its optical centre lies 0.12 m lower.
    """
    upright = _VLP32C_ELEVATIONS[_DOWNWARD]
    hung = -upright[::-1]
    offsets = np.concatenate([_VLP32C_OFFSETS[_DOWNWARD], -_VLP32C_OFFSETS[_DOWNWARD][::-1] + 180.0])
    return _sensor(
        "vlp32c-pair", np.concatenate([upright, hung]), 1808, 200.0, reach=110.0, range_step=0.004,
        mount_heights=(1.8, 2.1), azimuth_offsets=np.radians(offsets),
        origin_heights=np.repeat([0.06, -0.06], len(upright)),
    )  # fmt: skip


def _ouster(name: str, top_deg: float, bottom_deg: float, beams: int, steps: int, max_range: float) -> Sensor:
    return _sensor(
        name, np.linspace(top_deg, bottom_deg, beams), steps, max_range, min_range=0.8, range_step=0.003,
        range_noise=0.022, azimuth_offsets=np.radians(np.resize(_OUSTER_STAGGER, beams)),
    )  # fmt: skip


def _build_registry() -> dict[str, Sensor]:
    # The two laser blocks of an HDL-64E look out above the origin of its coordinates: cones fitted to the rings
    # of a KITTI drive start at 0.198-0.209 m and 0.116-0.126 m, and that unit's table is stretched by 3 %.
    hdl64e = np.concatenate([2.0 - np.arange(32) / 3, -8.833 - np.arange(32) / 2])
    sensors = [
        _sensor("hdl64e", hdl64e, 2083, 120.0, reach=95.0, mount_heights=(1.65, 1.85),
                table_scale=0.015, elevation_jitter=np.radians(0.05),
                origin_heights=np.repeat([0.203, 0.121], 32)),
        _sensor("hdl32e", np.linspace(10.67, -30.67, 32), 1084, 90.0, mount_heights=(1.7, 2.0)),
        _sensor("vlp16", np.linspace(15.0, -15.0, 16), 1800, 100.0),
        _sensor("vlp32c", _VLP32C_ELEVATIONS[_DOWNWARD], 1808, 200.0, reach=110.0, range_step=0.004,
                azimuth_offsets=np.radians(_VLP32C_OFFSETS[_DOWNWARD])),
        _stacked_vlp32c(),
        _ouster("os1-128", 21.0, -21.8, 128, 1024, 120.0),
        _ouster("os1-64", 21.0, -21.6, 64, 1024, 120.0),
        _ouster("os0-32", 43.9, -45.4, 32, 1024, 60.0),
        _sensor("pandar64", _PANDAR64_ELEVATIONS, 1800, 200.0, reach=150.0, range_step=0.004,
                range_noise=0.015, beam_bias=0.008, mount_heights=(1.75, 2.1)),
    ]  # fmt: skip
    return {sensor.name: sensor for sensor in sensors}


SENSORS: dict[str, Sensor] = _build_registry()
"""Sensors by name: beam tables of the manufacturers' manuals; the Ouster ones are even approximations of a
unit's calibrated table, whose rings differ by up to 0.1 deg."""


def random_sensor(rng: np.random.Generator) -> Sensor:
    """Return a sensor that does not exist: 16-128 beams over 20-45 deg, even or denser near the horizon."""
    beams = int(rng.choice([16, 20, 24, 32, 40, 48, 64, 64, 80, 96, 128]))
    span = rng.uniform(20, 45)
    top = rng.uniform(1.5, 0.5 * span)
    place = np.linspace(0.0, 1.0, beams)
    if rng.random() < 0.5:  # squeeze the rings together around the horizon
        horizon = top / span
        strength = rng.uniform(0.3, 0.85)
        distance = place - horizon
        edge = np.where(distance < 0, horizon, 1 - horizon)
        place = horizon + distance * (1 - strength + strength * np.abs(distance) / edge)
    return _sensor(
        f"random-{beams}", top - span * place, int(rng.integers(900, 2601)), rng.uniform(80, 200),
        reach=rng.uniform(60, 140), range_noise=rng.uniform(0.006, 0.03), beam_bias=rng.uniform(0.0, 0.015),
        range_step=float(rng.choice([0.001, 0.002, 0.004])), mount_heights=(1.5, 2.2),
        min_range=rng.uniform(0.5, 2.0),
        azimuth_offsets=np.radians(rng.uniform(-4, 4, beams)) * float(rng.random() < 0.5),
    )  # fmt: skip
