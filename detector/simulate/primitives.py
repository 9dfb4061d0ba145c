"""primitives.py: boxes, tubes, ellipsoids and leaf clouds, turned into triangles all at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .mesh import Material, Mesh, box_mesh, ellipsoid_mesh, grid_faces, merge_meshes

F64 = NDArray[np.float64]

_CUBE = box_mesh(1.0, 1.0, 1.0, Material.WALL)
_BALL = ellipsoid_mesh((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), Material.WALL, bands=5, sides=8)
_TUBE_SIDES = 8
_CIRCLE = np.arange(_TUBE_SIDES) * 2 * np.pi / _TUBE_SIDES
_RIM = np.arange(_TUBE_SIDES)
# Side faces and the cap at the end; the start of a tube stands on the ground or inside something.
_TUBE_FACES = np.concatenate(
    [
        grid_faces(2, _TUBE_SIDES, closed=True),
        np.stack(
            [
                _TUBE_SIDES + _RIM,
                _TUBE_SIDES + (_RIM + 1) % _TUBE_SIDES,
                np.full(_TUBE_SIDES, 2 * _TUBE_SIDES),
            ],
            1,
        ),
    ]
)
# Leaf triangles of unit size; picking from a fixed stock is far cheaper than drawing nine numbers for each.
_LEAF_SHAPES = np.random.default_rng(20).normal(0.0, 0.75, (4096, 3, 3))


class Spot:
    """A place on the ground at which shapes are put up, in the frame of that place (x forward, z up) [m]."""

    __slots__ = ("_rows", "index")

    def __init__(self, rows: Primitives, index: int) -> None:
        self._rows, self.index = rows, index

    def box(
        self,
        length: float,
        width: float,
        height: float,
        material: Material,
        *,
        x: float = 0.0,
        y: float = 0.0,
        z: float = 0.0,
        yaw: float = 0.0,
        taper: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Add a box with bottom at z; `taper` scales length and width of its top (1, 0 makes a gable roof)."""
        self._rows.boxes.append((self.index, length, width, height, x, y, z, yaw, *taper, material))

    def tube(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radius: float,
        material: Material,
        *,
        end_radius: float | None = None,
    ) -> None:
        """Add a cylinder or cone from `start` to `end`."""
        self._rows.tubes.append(
            (self.index, *start, *end, radius, radius if end_radius is None else end_radius, material)
        )

    def post(
        self, height: float, radius: float, material: Material, *, x: float = 0.0, y: float = 0.0
    ) -> None:
        """Add an upright tube that stands on the ground, sunk a little so that it never floats on a slope."""
        self.tube((x, y, -0.15), (x, y, height), radius, material)

    def ellipsoid(
        self, radii: tuple[float, float, float], centre: tuple[float, float, float], material: Material
    ) -> None:
        """Add an ellipsoid with `radii` along x, y, z."""
        self._rows.balls.append((self.index, *radii, *centre, material))

    def leaves(
        self,
        count: int,
        size: float,
        radii: tuple[float, float, float],
        centre: tuple[float, float, float],
        *,
        boxy: bool = False,
        fuzz: float = 0.15,
    ) -> None:
        """Add `count` leaf triangles of `size` on an ellipsoid, or on a box of the same half sizes.

        Args:
            fuzz: how deep the cloud reaches inwards, as a share of the radii: 0 a clipped hedge, 1 a loose crown.
        """
        self._rows.clouds.append((self.index, *radii, *centre, size, float(boxy), fuzz, count))


class Primitives:
    """All shapes of a scene, as rows of plain numbers until `mesh` builds their triangles."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, ...]] = []
        self.tubes: list[tuple[float, ...]] = []
        self.balls: list[tuple[float, ...]] = []
        self.clouds: list[tuple[float, ...]] = []

    def mesh(self, anchors: F64, rng: np.random.Generator) -> Mesh:
        """Return the triangles of all shapes.

        Args:
            anchors: (A, 4) x, y, z, yaw of each spot, by its index.
            rng: where the leaves fall.
        """
        builders: list[tuple[list[tuple[float, ...]], Callable[[F64, np.random.Generator], Mesh]]] = [
            (self.boxes, _build_boxes),
            (self.tubes, _build_tubes),
            (self.balls, _build_balls),
            (self.clouds, _build_clouds),
        ]
        parts = []
        for rows, build in builders:
            if rows:
                table = np.array(rows, np.float64)
                parts.append(
                    build(np.concatenate([anchors[table[:, 0].astype(np.int64)], table[:, 1:]], 1), rng)
                )
        return merge_meshes(parts)


def _to_scene(local: F64, anchors: F64) -> F64:
    """Turn and move local vertices (N, V, 3) to their anchors (N, 4)."""
    c, s = np.cos(anchors[:, 3, None]), np.sin(anchors[:, 3, None])
    x, y = local[..., 0], local[..., 1]
    return np.stack(
        [
            x * c - y * s + anchors[:, 0, None],
            x * s + y * c + anchors[:, 1, None],
            local[..., 2] + anchors[:, 2, None],
        ],
        axis=-1,
    )


def _repeat(vertices: F64, faces: NDArray[np.int64], materials: F64) -> Mesh:
    """Return the mesh of N instances (N, V, 3) that share one face list."""
    count, per_instance = vertices.shape[:2]
    offsets = np.arange(count, dtype=np.int64)[:, None, None] * per_instance
    return Mesh(
        vertices.reshape(-1, 3),
        (faces[None] + offsets).reshape(-1, 3),
        np.repeat(materials.astype(np.int16), len(faces)),
    )


def _build_boxes(rows: F64, _: np.random.Generator) -> Mesh:
    size, offset, yaw, taper = rows[:, 4:7], rows[:, 7:10], rows[:, 10, None], rows[:, 11:13]
    top = _CUBE.vertices[:, 2]
    scale = 1.0 + (taper[:, None, :] - 1.0) * top[None, :, None]
    x = _CUBE.vertices[:, 0] * size[:, 0, None] * scale[..., 0]
    y = _CUBE.vertices[:, 1] * size[:, 1, None] * scale[..., 1]
    c, s = np.cos(yaw), np.sin(yaw)
    local = np.stack([x * c - y * s, x * s + y * c, top * size[:, 2, None]], -1) + offset[:, None]
    return _repeat(_to_scene(local, rows[:, :4]), _CUBE.faces, rows[:, 13])


def _build_tubes(rows: F64, _: np.random.Generator) -> Mesh:
    start, end, radii = rows[:, 4:7], rows[:, 7:10], rows[:, 10:12]
    axis = end - start
    axis = axis / (np.linalg.norm(axis, axis=1, keepdims=True) + 1e-9)
    other = np.where(np.abs(axis[:, 2:]) > 0.9, [[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]])
    u = np.cross(other, axis)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(axis, u)
    ring = np.cos(_CIRCLE)[:, None] * u[:, None] + np.sin(_CIRCLE)[:, None] * v[:, None]
    local = np.concatenate(
        [start[:, None] + radii[:, :1, None] * ring, end[:, None] + radii[:, 1:, None] * ring, end[:, None]],
        1,
    )
    return _repeat(_to_scene(local, rows[:, :4]), _TUBE_FACES, rows[:, 12])


def _build_balls(rows: F64, _: np.random.Generator) -> Mesh:
    local = _BALL.vertices[None] * rows[:, None, 4:7] + rows[:, None, 7:10]
    return _repeat(_to_scene(local, rows[:, :4]), _BALL.faces, rows[:, 10])


def _on_cube(radii: F64, rng: np.random.Generator) -> F64:
    """Return points (N, 3) on the cube [-1, 1]^3, uniform over the surface of the box with half sizes `radii`."""
    place = 2.0 * rng.random((len(radii), 3)) - 1.0
    areas = np.stack([radii[:, 1] * radii[:, 2], radii[:, 0] * radii[:, 2], radii[:, 0] * radii[:, 1]], 1)
    mark = rng.random(len(radii)) * areas.sum(1)
    face = (mark > areas[:, 0]).astype(np.int64) + (mark > areas[:, 0] + areas[:, 1])
    row = np.arange(len(radii))
    place[row, face] = np.where(place[row, face] < 0, -1.0, 1.0)
    return place


def _build_clouds(rows: F64, rng: np.random.Generator) -> Mesh:
    cloud = np.repeat(np.arange(len(rows)), rows[:, 13].astype(np.int64))
    count = len(cloud)
    radii = rows[cloud, 4:7]
    ball = rng.standard_normal((count, 3), dtype=np.float32).astype(np.float64)
    ball /= np.sqrt((ball**2).sum(1, keepdims=True)) + 1e-9
    place = np.where(rows[cloud, 11, None] > 0, _on_cube(radii, rng), ball)
    depth = 1.0 - rows[cloud, 12, None] * rng.random((count, 1)) ** 1.5
    centre = rows[cloud, 7:10] + radii * place * depth
    shapes = _LEAF_SHAPES[rng.integers(0, len(_LEAF_SHAPES), count)] * rows[cloud, 10, None, None]
    vertices = _to_scene(centre[:, None] + shapes, rows[cloud, :4])
    materials = np.full(count, Material.VEGETATION, np.float64)
    return _repeat(vertices, np.array([[0, 1, 2]], np.int64), materials)
