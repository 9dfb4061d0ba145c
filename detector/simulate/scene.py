"""scene.py: a whole procedural street scene around the ego vehicle, as triangles with labelled objects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from .buildings import furnish_buildings
from .clutter import furnish_clutter
from .crowds import furnish_people
from .dice import Dice
from .furniture import furnish_pavements
from .mesh import Mesh, merge_meshes
from .recipes import RECIPES
from .scenery import furnish_vegetation
from .stage import Stage, ground_under, merge_actors
from .streets import draw_streets
from .terrain import Terrain
from .traffic import furnish_vehicles

BACKGROUND = "other"
KINDS = tuple(RECIPES)


@dataclass(frozen=True)
class Scene:
    """Triangles of a scene and the objects that are labelled in it.

    The frame's origin lies on the road under the ego vehicle's sensor: x forward, y left, z up [m].

    Attributes:
        mesh: all triangles.
        owners: (F,) int32 object of each triangle, -1 for the background.
        boxes: (K, 7) float64 x, y, z (centre), length, width, height [m], yaw [rad].
        labels: (K,) class names as in `actor.Actor`, never "other".
        reflectivity: (K,) float64 of paint or clothes, 0.03 to 0.9.
        kind: one of `KINDS`.
        speeds: (K,) float64 [m/s] along the heading, 0 for what stands still.
        terrain: the ground, to stand moving objects on.
    """

    mesh: Mesh
    owners: NDArray[np.int32]
    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    reflectivity: NDArray[np.float64]
    kind: str
    speeds: NDArray[np.float64]
    terrain: Terrain

    def road_pose(self, distance: float) -> tuple[float, float, float, float]:
        """Return x, y, z [m] and yaw [rad] of the ego's lane `distance` metres ahead."""
        line = self.terrain.streets[0].line
        s, t = line.locate(np.zeros(1), np.zeros(1))
        x, y, yaw = line.place(float(s[0]) + distance, float(t[0]))
        return x, y, float(self.terrain.height(np.array([x]), np.array([y]))[0]), yaw

    def advanced(self, seconds: float) -> Scene:
        """Return the scene after `seconds`: what moves has gone straight on along its heading, on the ground."""
        moving = np.flatnonzero(self.speeds)
        if seconds == 0 or len(moving) == 0:
            return self
        boxes = self.boxes.copy()
        boxes[moving, 0] += seconds * self.speeds[moving] * np.cos(boxes[moving, 6])
        boxes[moving, 1] += seconds * self.speeds[moving] * np.sin(boxes[moving, 6])
        ground = ground_under(self.terrain, boxes[moving][:, [0, 1, 6]], 0.4 * boxes[moving, 3:5])
        boxes[moving, 2] = ground[:, 0] + 0.5 * boxes[moving, 5]
        shift = boxes[:, :3] - self.boxes[:, :3]
        vertex_owner = np.full(len(self.mesh.vertices), -1, np.int64)
        vertex_owner[self.mesh.faces.ravel()] = np.repeat(self.owners, 3)
        owned = vertex_owner >= 0
        vertices = self.mesh.vertices.copy()
        vertices[owned] += shift[vertex_owner[owned]]
        return replace(self, mesh=replace(self.mesh, vertices=vertices), boxes=boxes)


def build_scene(seed: int, *, kind: str | None = None) -> Scene:
    """Return a random scene; the same seed gives the same scene.

    Args:
        seed: of all random decisions.
        kind: one of `KINDS`; None draws it by the shares of the recipes.

    Raises:
        UsageError: `kind` is not known.
    """
    if kind is not None and kind not in RECIPES:
        raise UsageError(f"unknown kind of scene '{kind}'; known are {', '.join(KINDS)}")
    dice = Dice(np.random.default_rng(seed))
    drawn = dice.weighted(KINDS, [recipe.share for recipe in RECIPES.values()])
    kind = drawn if kind is None else kind
    recipe = RECIPES[kind]
    streets = draw_streets(dice, kind, recipe)
    stage = Stage(dice, kind, recipe, streets, Terrain(dice, streets, kind, recipe))
    furnish_vehicles(stage)
    furnish_buildings(stage)
    furnish_clutter(stage)
    furnish_pavements(stage)
    furnish_people(stage)
    furnish_vegetation(stage)
    return _assemble(stage)


def _assemble(stage: Stage) -> Scene:
    """Turn the furnished stage into triangles and boxes."""
    stage.drop_tilted()
    actors, face_counts = merge_actors(stage)
    labelled = [actor.label != BACKGROUND for actor in stage.actors]
    number = np.where(labelled, np.cumsum(labelled) - 1, -1)
    background = merge_meshes([stage.terrain.mesh(stage.dice.rng), stage.background()])
    owners = np.concatenate([np.full(len(background.faces), -1), np.repeat(number, face_counts)]).astype(
        np.int32
    )
    keep = np.flatnonzero(labelled)
    size = np.array([actor.size for actor in stage.actors]).reshape(-1, 3)
    poses = np.array(stage.poses).reshape(-1, 3)
    z = stage.actor_ground()[:, 0] + 0.5 * size[:, 2]
    yaw = (poses[:, 2:] + np.pi) % (2 * np.pi) - np.pi
    boxes = np.concatenate([poses[:, :2], z[:, None], size, yaw], 1)
    return Scene(
        mesh=merge_meshes([background, actors]),
        owners=owners,
        boxes=boxes[keep],
        labels=tuple(stage.actors[index].label for index in keep),
        reflectivity=np.array(stage.reflectivity)[keep],
        kind=stage.kind,
        speeds=np.array(stage.speeds)[keep],
        terrain=stage.terrain,
    )
