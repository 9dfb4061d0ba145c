"""stage.py: a scene while it is being furnished: what stands where, and on what ground."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .actor import Actor
from .actors import build_car, build_vehicle
from .dice import Dice
from .footprints import Footprints
from .mesh import Material, Mesh, merge_meshes
from .primitives import Primitives, Spot
from .recipes import Recipe
from .streets import REACH, Street
from .terrain import Terrain

_SPARSE = 50.0  # [m] from where on only every other actor is put up: no detector looks so far
_STEEPEST = 0.16  # rise per metre that an actor may stand on
_FAR = 42.0  # [m] from where on a vehicle is mostly a copy of a model that was built before
EGO_SIZE = (4.8, 2.0)  # [m] length and width that stay free around the origin
RANGE = 80.0  # [m] beyond which nothing is put up


class Stage:
    """Takes actors and background things, and keeps them off each other, off the ego and, if asked, off the roads.

    Attributes:
        dice: every random decision of the layout.
        kind, recipe, streets, terrain: the plan that is furnished; `streets[0]` is the main road.
        ground: footprints of all things; `roads` those of the carriageways.
    """

    def __init__(
        self, dice: Dice, kind: str, recipe: Recipe, streets: tuple[Street, ...], terrain: Terrain
    ) -> None:
        self.dice, self.kind, self.recipe = dice, kind, recipe
        self.streets, self.terrain = streets, terrain
        self.ground, self.roads = Footprints(), Footprints()
        self.ground.take(0.0, 0.0, EGO_SIZE[0] + 0.4, EGO_SIZE[1] + 0.3, 0.0)
        self.shapes = Primitives()
        self._anchors: list[tuple[float, float, float, float]] = []  # x, y, height above ground, yaw
        self.actors: list[Actor] = []
        self._fleet: list[Actor] = []  # vehicles to copy from
        self.poses: list[tuple[float, float, float]] = []  # x, y, yaw of each actor
        self.speeds: list[float] = []
        self.reflectivity: list[float] = []
        self.landmarks: list[tuple[float, float]] = []  # x, y of things people stand close to
        for street in streets:
            self._pave(street)

    def _pave(self, street: Street) -> None:
        right, left = street.half_width(-1), street.half_width(1)
        for u in np.arange(-REACH, REACH, 6.0):
            x, y, yaw = street.place(float(u) + 3.0, 0.5 * (left - right))
            self.roads.take(x, y, 6.3, right + left, yaw)

    def draw_vehicle(self, x: float, y: float, *, longest: float = 20.0) -> Actor:
        """Return a vehicle of the street mixture for a place at (x, y), at most `longest` metres long.

        Building a vehicle is most of the work of a scene, so far away (where beams are sparse) models recur.
        """
        dice = self.dice
        if x * x + y * y > _FAR * _FAR and len(self._fleet) > 15 and dice.chance(0.85):
            vehicle = dice.pick(self._fleet)
        else:
            vehicle = build_vehicle(dice.rng)
            self._fleet.append(vehicle)
        return vehicle if vehicle.size[0] <= longest else build_car(dice.rng)

    def fits(
        self,
        pose: tuple[float, float, float],
        length: float,
        width: float,
        *,
        margin: float = 0.0,
        off_road: float | None = None,
    ) -> bool:
        """Return whether a rectangle is free, within range and at least `off_road` [m] away from the roads."""
        x, y, yaw = pose
        if x * x + y * y > RANGE * RANGE or not self.ground.free(x, y, length, width, yaw, margin):
            return False
        return off_road is None or self.roads.free(x, y, length, width, yaw, off_road)

    def place_actor(
        self,
        actor: Actor,
        pose: tuple[float, float, float],
        *,
        margin: float = 0.25,
        speed: float = 0.0,
        off_road: float | None = None,
    ) -> bool:
        """Stand `actor` at pose (x, y, yaw) if it fits with `margin` [m] around it; return whether it did."""
        length, width, _ = actor.size
        if pose[0] ** 2 + pose[1] ** 2 > _SPARSE * _SPARSE and self.dice.chance(0.5):
            return False
        if not self.fits(pose, length, width, margin=margin, off_road=off_road):
            return False
        self.ground.take(pose[0], pose[1], length, width, pose[2])
        self.actors.append(actor)
        self.poses.append(pose)
        self.speeds.append(speed)
        self.reflectivity.append(self.dice.log_uniform(0.03, 0.9))
        return True

    def spot(
        self,
        pose: tuple[float, float, float],
        footprint: tuple[float, float] | None = None,
        *,
        lift: float = 0.0,
        margin: float = 0.05,
        off_road: float | None = None,
    ) -> Spot | None:
        """Return a spot for background shapes, or None where its footprint (length, width) does not fit.

        Args:
            footprint: None for things that may stand in or over others (wires, window sills).
            lift: height [m] above the local ground.
        """
        if footprint is not None:
            if not self.fits(pose, *footprint, margin=margin, off_road=off_road):
                return None
            self.ground.take(pose[0], pose[1], *footprint, pose[2])
        self._anchors.append((pose[0], pose[1], lift, pose[2]))
        return Spot(self.shapes, len(self._anchors) - 1)

    def background(self) -> Mesh:
        """Return the triangles of all background shapes, standing on the ground."""
        anchors = np.array(self._anchors, np.float64).reshape(-1, 4)
        heights = self.terrain.height(anchors[:, 0], anchors[:, 1]) + anchors[:, 2]
        placed = np.stack([anchors[:, 0], anchors[:, 1], heights, anchors[:, 3]], 1)
        mesh = self.shapes.mesh(placed, self.dice.rng)
        # Twigs and leaves are the only shapes that reach beyond their footprint; none hangs before the sensor.
        centres = mesh.vertices[mesh.faces[:, 0]]
        close = (np.abs(centres[:, 0]) < 3.2) & (np.abs(centres[:, 1]) < 2.2) & (centres[:, 2] < 3.2)
        kept = ~(close & (mesh.materials == Material.VEGETATION))
        return Mesh(mesh.vertices, mesh.faces[kept], mesh.materials[kept])

    def drop_tilted(self) -> None:
        """Take away the actors that would stand across a step or on a bank too steep to park on."""
        tilt = np.abs(self.actor_ground()[:, 1:]).max(1, initial=0.0)
        level = np.flatnonzero(tilt < _STEEPEST).tolist()
        self.actors = [self.actors[index] for index in level]
        self.poses = [self.poses[index] for index in level]
        self.speeds = [self.speeds[index] for index in level]
        self.reflectivity = [self.reflectivity[index] for index in level]

    def actor_ground(self) -> NDArray[np.float64]:
        """Return (K, 3): height of the ground under each actor, and its rise per metre forward and to the left."""
        poses = np.array(self.poses, np.float64).reshape(-1, 3)
        half = np.array([(0.4 * a.size[0], 0.4 * a.size[1]) for a in self.actors], np.float64).reshape(-1, 2)
        return ground_under(self.terrain, poses, half)


def ground_under(
    terrain: Terrain, poses: NDArray[np.float64], half: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (K, 3) height and slopes (forward, left) of the ground under rectangles.

    Args:
        poses: (K, 3) x, y, yaw.
        half: (K, 2) distances from the centre to the wheels or feet.
    """
    c, s = np.cos(poses[:, 2, None]), np.sin(poses[:, 2, None])
    forward = half[:, :1] * np.array([1.0, 1.0, -1.0, -1.0])
    left = half[:, 1:] * np.array([1.0, -1.0, 1.0, -1.0])
    x = poses[:, :1] + forward * c - left * s
    y = poses[:, 1:2] + forward * s + left * c
    z = terrain.height(x.ravel(), y.ravel()).reshape(-1, 4)
    # What is short or narrow stays upright: people do not lean with the kerb they step on.
    pitch = (z[:, 0] + z[:, 1] - z[:, 2] - z[:, 3]) / (4 * np.maximum(half[:, 0], 0.5))
    roll = (z[:, 0] - z[:, 1] + z[:, 2] - z[:, 3]) / (4 * np.maximum(half[:, 1], 0.5))
    return np.stack([z.mean(1), pitch, roll], 1)


def stand(actor: Actor, pose: tuple[float, float, float], height: float, pitch: float, roll: float) -> Mesh:
    """Return the actor's mesh at `pose`, sheared so that it stands on sloping ground (vertical edges stay vertical)."""
    vertices = actor.mesh.vertices
    tilted = vertices[:, 2] + pitch * vertices[:, 0] + roll * vertices[:, 1]
    c, s = math.cos(pose[2]), math.sin(pose[2])
    x = pose[0] + c * vertices[:, 0] - s * vertices[:, 1]
    y = pose[1] + s * vertices[:, 0] + c * vertices[:, 1]
    return Mesh(np.stack([x, y, tilted + height], 1), actor.mesh.faces, actor.mesh.materials)


def merge_actors(stage: Stage) -> tuple[Mesh, list[int]]:
    """Return one mesh of all actors on their ground, and how many faces each has."""
    ground = stage.actor_ground()
    parts = [
        stand(actor, pose, *row)
        for actor, pose, row in zip(stage.actors, stage.poses, ground.tolist(), strict=True)
    ]
    return merge_meshes(parts), [len(part.faces) for part in parts]
