"""scan.py: one sweep of a spinning LiDAR over a scene, with the faults of a real sensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from .caster import RangeImage, cast_rays, ray_directions
from .mesh import Material, Mesh
from .reflectance import (
    REFLECTIVITY,
    SIGN_GAIN,
    SPECKLE,
    Conditions,
    detection_probability,
    draw_conditions,
    received_power,
    wet_loss,
)
from .sensors import Sensor

if TYPE_CHECKING:
    from .scene import Scene

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

BACKGROUND = -1  # owner of a point that belongs to no object

# What becomes of a pulse that meets a window: reflected, returned from the cabin, let through to what lies
# behind (weakened), or lost.
GLASS_REFLECTED, GLASS_CABIN, GLASS_THROUGH = 0.12, 0.16, 0.40
GLASS_TRANSMISSION = 0.5  # of the power, both ways
CABIN_DEPTH = (0.25, 1.3)  # [m] behind the window
CABIN_REFLECTIVITY = 0.2
GLOSS = 0.6  # most that a car's clear coat mirrors away at grazing incidence
FENCE_HIT = 0.5  # share of the pulses that a fence stops
MIXED_EDGE = (0.25, 6.0)  # [m] depth step that can return a range in between

TILT = np.radians(0.4)  # standard deviation of the sensor's pitch and roll
TILT_LIMIT = np.radians(1.0)


@dataclass(frozen=True)
class Scan:
    """One simulated sweep with its labels.

    Attributes:
        points: (N, 4) float32 x forward, y left, z up [m] in the sensor's frame, intensity 0..1; by ring.
        rings: (N,) uint8 ring index into the sensor's table.
        owners: (N,) int16 object that the point lies on, -1 for the background.
        boxes: (K, 7) float32 x, y, z of the centre, length, width, height [m], yaw [rad], sensor's frame.
        labels: K class names.
        num_points: (K,) int32 points of each object.
        mount_height: height of the sensor above the road [m]; the ground lies at z = -mount_height under it.
        sensor: name of the sensor.
    """

    points: F32
    rings: NDArray[np.uint8]
    owners: NDArray[np.int16]
    boxes: F32
    labels: tuple[str, ...]
    num_points: NDArray[np.int32]
    mount_height: float
    sensor: str


@dataclass(frozen=True)
class _Mount:
    """Where the sensor is: `vertices @ rotation` shifted by `origin` are in its frame."""

    origin: F64  # (3,) in the scene's frame
    rotation: F64  # (3, 3) sensor to scene
    yaw: float
    height: float

    def to_sensor(self, points: F64) -> F64:
        """Return scene points (N, 3) in the sensor's frame."""
        return np.asarray((points - self.origin) @ self.rotation)


@dataclass(frozen=True)
class _Returns:
    """Pulses that came back from a surface; all (N,), N = rays that met something."""

    pixels: NDArray[np.int64]  # ring * columns + column
    ranges: F32
    cosines: F32
    materials: NDArray[np.int16]
    owners: NDArray[np.int32]
    strength: F32  # factor on the reflectivity (transmission through glass)


def scan_scene(
    scene: Scene,
    sensor: Sensor,
    seed: int,
    *,
    mount_height: float | None = None,
    pose: tuple[float, ...] | None = None,
    unit: int | None = None,
) -> Scan:
    """Return one sweep of `sensor` over `scene`; the same arguments give the same bits.

    Args:
        scene: what there is to see.
        sensor: the LiDAR.
        seed: draws everything random of this sweep.
        mount_height: sensor above the road [m]; None: drawn from the sensor's usual range, sometimes beyond.
        pose: (x, y, yaw) or (x, y, yaw, z) of the carrying car in the scene [m, rad]; z is the road's height
            there, looked up in the mesh when absent. None: the scene's origin.
        unit: serial number of the sensor, which fixes beam errors, mounting tilt and height; None: `seed`.
            Give one number for all sweeps of a drive.

    Raises:
        UsageError: `pose` has neither 3 nor 4 numbers.
    """
    unit_rng = np.random.default_rng((0x5EE5, seed if unit is None else unit))
    rng = np.random.default_rng((0x5CA7, seed))
    mount = _mount_sensor(scene.mesh, sensor, mount_height, pose, unit_rng)
    worn = _individual_unit(sensor, unit_rng)
    conditions = draw_conditions(rng)
    directions = ray_directions(worn.elevations, worn.azimuth_offsets, worn.azimuth_steps).astype(np.float32)

    returns = _trace(scene, worn, mount, rng)
    returns = _mix_edges(returns, directions.shape[1], conditions.mixing, rng)
    reflectivity = _reflectivity(scene, returns, conditions, rng)
    keep = _detected(returns, reflectivity, worn, conditions, rng)
    keep &= ~_mirrored_away(returns, len(scene.boxes), rng)
    keep &= ~_hidden_by_car(returns, directions, worn, mount, unit_rng)
    ranges = _measured_ranges(returns, worn, directions.shape[1], unit_rng, rng)
    keep &= (ranges >= sensor.min_range) & (ranges <= sensor.max_range)

    pixels = returns.pixels[keep]
    points = directions.reshape(-1, 3)[pixels] * ranges[keep, None]
    rings = (pixels // directions.shape[1]).astype(np.uint8)
    points[:, 2] += worn.origin_heights.astype(np.float32)[rings]
    points[:, 2] += _ground_roughness(returns.materials[keep], rng)
    intensity = np.clip(reflectivity[keep] * (0.3 + 0.7 * returns.cosines[keep]) * 1.2, 0.0, 1.0)
    points = np.concatenate([points, intensity[:, None]], axis=1).astype(np.float32)
    owners = returns.owners[keep].astype(np.int16)
    points, rings, owners = _add_stray(points, rings, owners, directions, conditions.stray, rng)
    return Scan(
        points=points,
        rings=rings,
        owners=owners,
        boxes=_boxes_in_sensor_frame(scene.boxes, mount),
        labels=scene.labels,
        num_points=np.bincount(owners[owners >= 0], minlength=len(scene.boxes)).astype(np.int32),
        mount_height=mount.height,
        sensor=sensor.name,
    )


def ground_height_at(mesh: Mesh, x: float, y: float) -> float:
    """Return the highest ground or grass surface [m] under (x, y), 0.0 where the mesh has none."""
    faces = mesh.faces[(mesh.materials == Material.GROUND) | (mesh.materials == Material.GRASS)]
    a, b, c = (mesh.vertices[faces[:, i]] for i in range(3))
    side_x, side_y = b - a, c - a
    area = side_x[:, 0] * side_y[:, 1] - side_x[:, 1] * side_y[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = ((x - a[:, 0]) * side_y[:, 1] - (y - a[:, 1]) * side_y[:, 0]) / area
        v = (side_x[:, 0] * (y - a[:, 1]) - side_x[:, 1] * (x - a[:, 0])) / area
        inside = (area != 0) & (u >= 0) & (v >= 0) & (u + v <= 1)
    height = a[inside, 2] + u[inside] * side_x[inside, 2] + v[inside] * side_y[inside, 2]
    return float(height.max()) if len(height) else 0.0


def _mount_sensor(
    mesh: Mesh,
    sensor: Sensor,
    mount_height: float | None,
    pose: tuple[float, ...] | None,
    rng: np.random.Generator,
) -> _Mount:
    usual, unusual, odd = rng.uniform(*sensor.mount_heights), rng.uniform(1.4, 2.4), rng.random() < 0.15
    height = (unusual if odd else usual) if mount_height is None else mount_height
    pitch, roll = np.clip(rng.normal(0.0, TILT, 2), -TILT_LIMIT, TILT_LIMIT)
    if pose is None:
        pose = (0.0, 0.0, 0.0, 0.0)
    elif len(pose) == 3:
        pose = (*pose, ground_height_at(mesh, pose[0], pose[1]))
    elif len(pose) != 4:
        raise UsageError(f"pose needs (x, y, yaw) or (x, y, yaw, z), got {len(pose)} numbers")
    x, y, yaw, z = pose
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    nod = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    lean = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return _Mount(np.array([x, y, z + height]), turn @ nod @ lean, float(yaw), float(height))


def _individual_unit(sensor: Sensor, rng: np.random.Generator) -> Sensor:
    """Return `sensor` with the beam errors of one unit of its kind and a random phase of the rotor."""
    step = 2 * np.pi / sensor.azimuth_steps
    phase = rng.uniform(-0.5, 0.5, sensor.beams) * step + rng.uniform(0, step)
    return replace(
        sensor,
        elevations=sensor.elevations * rng.normal(1.0, sensor.table_scale)
        + rng.normal(0.0, sensor.elevation_jitter, sensor.beams),
        azimuth_offsets=sensor.azimuth_offsets + phase,
    )


def _trace(scene: Scene, sensor: Sensor, mount: _Mount, rng: np.random.Generator) -> _Returns:
    """Return what each ray meets, after windows and fences let some of them pass.

    Opaque and see-through faces are cast apart, so that a pulse that passes finds what lies behind.
    """
    mesh = scene.mesh
    vertices = mount.to_sensor(mesh.vertices)
    sheer = (mesh.materials == Material.GLASS) | (mesh.materials == Material.FENCE)
    solid_faces, sheer_faces = np.flatnonzero(~sheer), np.flatnonzero(sheer)
    solid = _cast(vertices, mesh.faces[solid_faces], sensor)
    ranges, cosines = solid.ranges.ravel(), solid.cosines.ravel()
    faces = np.append(solid_faces, -1)[solid.faces.ravel()]  # a miss is face -1, the last entry
    strength = np.ones(ranges.shape, np.float32)
    if len(sheer_faces):
        veil = _cast(vertices, mesh.faces[sheer_faces], sensor)
        pixels = np.flatnonzero(veil.ranges.ravel() < ranges)
        met = sheer_faces[veil.faces.ravel()[pixels]]
        glass = mesh.materials[met] == Material.GLASS
        chance = rng.random(len(pixels))
        stopped = np.where(glass, chance < GLASS_REFLECTED + GLASS_CABIN, chance < FENCE_HIT)
        cabin = glass & stopped & (chance >= GLASS_REFLECTED)
        lost = glass & (chance >= GLASS_REFLECTED + GLASS_CABIN + GLASS_THROUGH)
        veil_ranges = veil.ranges.ravel()[pixels]
        inside = np.minimum(veil_ranges + rng.uniform(*CABIN_DEPTH, len(pixels)), ranges[pixels])
        strength[pixels[glass & ~stopped]] = GLASS_TRANSMISSION
        strength[pixels[cabin]] = CABIN_REFLECTIVITY / REFLECTIVITY[Material.GLASS]
        ranges[pixels[stopped]] = np.where(cabin, inside, veil_ranges)[stopped]
        cosines[pixels[stopped]] = veil.cosines.ravel()[pixels[stopped]]
        faces[pixels[stopped]] = met[stopped]
        ranges[pixels[lost]] = np.inf
    pixels = np.flatnonzero(np.isfinite(ranges))
    hit = faces[pixels]
    return _Returns(
        pixels, ranges[pixels].astype(np.float32), cosines[pixels].astype(np.float32), mesh.materials[hit],
        scene.owners[hit], strength[pixels],
    )  # fmt: skip


def _cast(vertices: F64, faces: NDArray[np.int64], sensor: Sensor) -> RangeImage:
    return cast_rays(
        vertices, faces, sensor.elevations, sensor.azimuth_offsets, sensor.azimuth_steps,
        origin_heights=sensor.origin_heights, max_range=sensor.max_range,
    )  # fmt: skip


def _mix_edges(returns: _Returns, columns: int, share: float, rng: np.random.Generator) -> _Returns:
    """Return `returns` with some ranges at depth edges moved between both surfaces.

    A beam has a width: at a silhouette one part of it meets the near surface and one part the far one, and
    the sensor reports a range in between. Such a point belongs to nothing.
    """
    if len(returns.pixels) < 2:
        return returns
    neighbours = (np.diff(returns.pixels) == 1) & (returns.pixels[1:] % columns != 0)
    gap = np.diff(returns.ranges)
    edge = neighbours & (np.abs(gap) > MIXED_EDGE[0]) & (np.abs(gap) < MIXED_EDGE[1])
    mixed = np.flatnonzero(edge & (rng.random(len(edge)) < share))
    ranges, owners = returns.ranges.copy(), returns.owners.copy()
    ranges[mixed] += gap[mixed] * rng.uniform(0.1, 0.9, len(mixed)).astype(np.float32)
    owners[mixed] = BACKGROUND
    return _Returns(returns.pixels, ranges, returns.cosines, returns.materials, owners, returns.strength)


def _reflectivity(scene: Scene, returns: _Returns, conditions: Conditions, rng: np.random.Generator) -> F32:
    """Return the reflectivity of each return, with paint and cloth of the object it belongs to."""
    value = REFLECTIVITY[returns.materials]
    own = (returns.owners >= 0) & (
        (returns.materials == Material.PAINT) | (returns.materials == Material.CLOTH)
    )  # fmt: skip
    value[own] = scene.reflectivity[returns.owners[own]]
    speckle = np.exp(np.float32(SPECKLE) * rng.standard_normal(len(value), np.float32))
    value = value * speckle * returns.strength
    if conditions.wet > 0:
        road = returns.materials == Material.GROUND
        value[road] *= wet_loss(returns.cosines[road], conditions.wet)
    return np.asarray(value, np.float32)


def _detected(
    returns: _Returns, reflectivity: F32, sensor: Sensor, conditions: Conditions, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which returns are reported: strong enough, not dropped, not behind dirt or on a dead ring."""
    shine = np.where(returns.materials == Material.SIGN, np.float32(SIGN_GAIN), np.float32(conditions.gain))
    power = received_power(reflectivity * shine, returns.cosines, returns.ranges, sensor.reach)
    chance = rng.random(len(power), np.float32)
    keep = chance < detection_probability(power) * np.float32(1.0 - conditions.drop)
    ring, column = np.divmod(returns.pixels, sensor.azimuth_steps)
    for start, width in conditions.smudges:
        within = (column - int(start * sensor.azimuth_steps)) % sensor.azimuth_steps
        keep &= ~((within <= width * sensor.azimuth_steps) & (rng.random() < 0.8))
    dead = rng.random(sensor.beams) < conditions.dead_rings
    return np.asarray(keep & ~dead[ring])


def _mirrored_away(returns: _Returns, objects: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which pulses the clear coat of a car reflects to somewhere else, the more the more grazing.

    How glossy a car is, is drawn per car.
    """
    gloss = rng.uniform(0.0, GLOSS, objects).astype(np.float32)
    coated = np.flatnonzero((returns.materials == Material.PAINT) & (returns.owners >= 0))
    chance = gloss[returns.owners[coated]] * (1.0 - returns.cosines[coated]) ** 1.5
    mirrored = np.zeros(len(returns.pixels), bool)
    mirrored[coated] = rng.random(len(coated), np.float32) < chance
    return mirrored


def _hidden_by_car(
    returns: _Returns, directions: F32, sensor: Sensor, mount: _Mount, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which rays end on the roof or the bonnet of the carrying car, which no scene contains.

    Both are level rectangles, drawn per unit; the car's length axis is the sensor's x axis.
    """
    mast = rng.uniform(0.3, 0.6)
    roof = (mast, rng.uniform(-2.0, -0.7), rng.uniform(0.2, 0.9), rng.uniform(0.45, 0.65))
    bonnet = (mount.height - rng.uniform(0.8, 1.05), 0.0, rng.uniform(1.7, 2.6), rng.uniform(0.7, 0.9))
    hidden = np.zeros(len(returns.pixels), bool)
    rays = directions.reshape(-1, 3)
    downward = np.flatnonzero(rays[returns.pixels, 2] < -0.05)
    ray = rays[returns.pixels[downward]]
    origin = sensor.origin_heights.astype(np.float32)[returns.pixels[downward] // sensor.azimuth_steps]
    for depth, back, front, half_width in (roof, bonnet):
        distance = (np.float32(depth) + origin) / -ray[:, 2]
        x, y = ray[:, 0] * distance, ray[:, 1] * distance
        inside = (x > back) & (x < front) & (np.abs(y) < half_width)
        hidden[downward] |= inside & (distance < returns.ranges[downward])
    return hidden


def _measured_ranges(
    returns: _Returns, sensor: Sensor, columns: int, unit_rng: np.random.Generator, rng: np.random.Generator
) -> F32:
    """Return the reported ranges: surface depth, noise, the ring's constant error, rounded to the step."""
    count = len(returns.ranges)
    bias = unit_rng.normal(0.0, sensor.beam_bias, sensor.beams).astype(np.float32)
    ranges = returns.ranges + bias[returns.pixels // columns]
    ranges += np.float32(sensor.range_noise) * rng.standard_normal(count, np.float32)
    leaves = np.flatnonzero(returns.materials == Material.VEGETATION)
    ranges[leaves] += rng.exponential(0.05, len(leaves)).astype(np.float32)
    step = np.float32(sensor.range_step)
    return np.asarray(np.round(ranges / step) * step, np.float32)


def _ground_roughness(materials: NDArray[np.int16], rng: np.random.Generator) -> F32:
    """Return the height of the grain of road and grass above the mesh [m]."""
    noise = rng.standard_normal(len(materials), np.float32)
    grass = materials == Material.GRASS
    road = materials == Material.GROUND
    return np.asarray(np.where(grass, np.abs(noise) * 0.05, np.where(road, noise * 0.008, 0.0)), np.float32)


def _add_stray(
    points: F32,
    rings: NDArray[np.uint8],
    owners: NDArray[np.int16],
    directions: F32,
    count: int,
    rng: np.random.Generator,
) -> tuple[F32, NDArray[np.uint8], NDArray[np.int16]]:
    """Return the arrays with `count` returns from nothing, mostly close by, at their ring's end."""
    pixels = rng.integers(0, directions.shape[0] * directions.shape[1], count)
    ranges = 2.0 + rng.exponential(8.0, count)
    stray = np.zeros((count, 4), np.float32)
    stray[:, :3] = directions.reshape(-1, 3)[pixels] * ranges[:, None]
    stray[:, 3] = rng.uniform(0.0, 0.1, count)
    all_rings = np.concatenate([rings, (pixels // directions.shape[1]).astype(np.uint8)])
    order = np.argsort(all_rings, kind="stable")
    return (
        np.concatenate([points, stray])[order],
        all_rings[order],
        np.concatenate([owners, np.full(count, BACKGROUND, np.int16)])[order],
    )


def _boxes_in_sensor_frame(boxes: F64, mount: _Mount) -> F32:
    """Return (K, 7) boxes as the sensor sees them; they stay upright, so tilt moves the centre only."""
    moved = np.array(boxes, np.float64).reshape(-1, 7)
    moved[:, :3] = mount.to_sensor(moved[:, :3])
    moved[:, 6] = (moved[:, 6] - mount.yaw + np.pi) % (2 * np.pi) - np.pi
    return moved.astype(np.float32)
