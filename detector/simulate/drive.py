"""drive.py: a drive through one scene: the carrying car moves along its lane, and the traffic with it."""

from __future__ import annotations

from collections.abc import Iterator

from ...runtime.errors import UsageError
from ..frames import Frame
from .datasets import SimulatedFrame
from .scan import scan_scene
from .scene import build_scene
from .sensors import SENSORS, Sensor


def simulate_drive(
    sensor: str | Sensor,
    count: int,
    seed: int,
    *,
    speed: float = 6.0,
    interval: float = 0.1,
    kind: str | None = None,
) -> Iterator[SimulatedFrame]:
    """Yield `count` sweeps of one sensor from a car that drives through one scene.

    Args:
        sensor: a `Sensor` or a name in `SENSORS`.
        count: number of frames.
        seed: of the scene, the unit and the noise.
        speed: of the carrying car [m/s].
        interval: between frames [s].
        kind: kind of scene; None draws it.

    Raises:
        UsageError: the name is no sensor, or the interval is not positive.
    """
    if isinstance(sensor, str):
        if sensor not in SENSORS:
            raise UsageError(f"no sensor '{sensor}' for a drive; known are {', '.join(SENSORS)}")
        sensor = SENSORS[sensor]
    if not interval > 0:
        raise UsageError(f"the interval between frames must be positive, got {interval} s")
    return _drive(sensor, count, seed, speed, interval, kind)


def _drive(
    sensor: Sensor, count: int, seed: int, speed: float, interval: float, kind: str | None
) -> Iterator[SimulatedFrame]:
    scene = build_scene(seed, kind=kind)
    source = f"simulated drive with {sensor.name}, seed {seed}"
    for index in range(count):
        seconds = index * interval
        x, y, z, yaw = scene.road_pose(speed * seconds)
        scan = scan_scene(
            scene.advanced(seconds), sensor, seed * 1000 + index, pose=(x, y, yaw, z), unit=seed
        )
        yield SimulatedFrame(Frame(scan.points, round(seconds * 1e9), f"{index:06d}", source), scan)
