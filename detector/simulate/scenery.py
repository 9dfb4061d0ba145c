"""scenery.py: vegetation: trees, bushes, hedges, thickets and grass, of noisy leaf triangles."""

from __future__ import annotations

import numpy as np

from .mesh import Material
from .primitives import Spot
from .stage import Stage
from .streets import REACH, Street

Pose = tuple[float, float, float]


def furnish_vegetation(stage: Stage) -> None:
    """Plant all streets and the land beside them."""
    recipe, dice = stage.recipe, stage.dice
    for street in stage.streets:
        share = 1.0 if street.crossing is None else 0.4
        for side in (-1, 1):
            if dice.chance(0.35):
                _plant_avenue(stage, street, side)
            if dice.chance({"rural": 0.5, "arterial": 0.4}.get(stage.kind, 0.08)):
                _plant_thicket(stage, street, side)
            for _ in range(dice.count(share * recipe.hedges)):
                _plant_hedge(stage, street, side)
            for _ in range(dice.count(share * recipe.bushes)):
                for _attempt in range(3):
                    if _plant_bush(stage, street, side):
                        break
            for _ in range(dice.count(share * recipe.trees)):
                plant_tree(stage, _beside(stage, street, side, _depth(stage, 6.0) + 0.3))
            for _ in range(dice.count(0.4 * share * recipe.bushes)):
                _plant_grass(stage, _beside(stage, street, side, _depth(stage, 4.0) + 0.1))
    _scatter_field_trees(stage)


def _depth(stage: Stage, mean: float) -> float:
    """Return how far beyond the pavement something grows: in front gardens, or anywhere further out."""
    dice = stage.dice
    front = stage.recipe.setback[1]
    if front > 2.0 and dice.chance(0.5):
        return dice.uniform(0.2, front)
    return dice.exponential(mean)


def _beside(stage: Stage, street: Street, side: int, out: float) -> Pose:
    """Return a random pose `out` metres beyond the pavement, or on its outer part."""
    dice = stage.dice
    distance = street.half_width(side) + street.sidewalk(side) * dice.uniform(0.75, 1.0) + out
    return street.place(dice.uniform(-REACH, REACH), side * distance)


def _leaf_cloud(area: float, size: float, cover: float, pose: Pose) -> tuple[int, float]:
    """Return how many leaves of which size cover `cover` of `area`: small ones near, where beams are dense."""
    distance = float(np.hypot(pose[0], pose[1]))
    size *= min(1.7, max(0.5, distance / 18.0))
    return max(6, min(1600, int(cover * area / (0.75 * size * size)))), size


def plant_tree(stage: Stage, pose: Pose, *, trunk: float | None = None, off_road: float | None = 0.2) -> bool:
    """Plant a tree with a trunk of person-like width and a crown that may hang low; return whether it fitted."""
    dice = stage.dice
    radius = trunk if trunk is not None else dice.log_uniform(0.06, 0.32)
    spot = stage.spot(pose, (2.4 * radius, 2.4 * radius), off_road=off_road)
    if spot is None:
        return False
    height = dice.uniform(1.6, 4.5)
    lean = (dice.normal(0, 0.06) * height, dice.normal(0, 0.06) * height, height)
    spot.tube((0, 0, -0.3), lean, radius, Material.VEGETATION, end_radius=0.7 * radius)
    if dice.chance(0.3):  # roots spread
        spot.tube((0, 0, -0.3), (0, 0, 0.35), 1.7 * radius, Material.VEGETATION, end_radius=0.9 * radius)
    _branch(stage, spot, lean, radius)
    if dice.chance(0.1):
        return True  # a bare or dead trunk
    conifer = dice.chance(0.15)
    crown = dice.uniform(0.8, 1.3) + 5.0 * radius if not conifer else dice.uniform(0.9, 1.8)
    size = dice.uniform(0.16, 0.34)
    far = float(np.hypot(*pose[:2]))
    if conifer:
        tall, bottom = dice.uniform(3, 7), dice.uniform(0.1, 0.8)
        for level in range(4):
            part = 1.0 - 0.24 * level
            radii = (crown * part, crown * part, 0.17 * tall)
            leaves = _leaf_cloud(9.0 * radii[0] * (radii[0] + radii[2]), size, 0.7, pose)
            spot.leaves(*leaves, radii, (0, 0, bottom + tall * (0.15 + 0.22 * level)), fuzz=0.5)
        return True
    for _ in range(dice.integer(1, 3) if far < 45 else 1):
        radii = (
            crown * dice.uniform(0.8, 1.2),
            crown * dice.uniform(0.8, 1.2),
            crown * dice.uniform(0.6, 1.0),
        )
        centre = (
            lean[0] + dice.normal(0, 0.4),
            lean[1] + dice.normal(0, 0.4),
            height + radii[2] * dice.uniform(0.3, 0.9),
        )
        if far < crown + 4.0:  # keep the crown above the sensor
            centre = (centre[0], centre[1], max(centre[2], radii[2] + 3.2))
        leaves = _leaf_cloud(11.0 * radii[0] * radii[2], size, dice.uniform(0.15, 0.5), pose)
        spot.leaves(*leaves, radii, centre, fuzz=dice.uniform(0.3, 1.0))
    return True


def _branch(stage: Stage, spot: Spot, top: tuple[float, float, float], radius: float) -> None:
    """Add limbs at the top of the trunk and, now and then, low ones at the height of a person's arms."""
    dice = stage.dice
    low = dice.chance(0.3)
    for _ in range(dice.integer(1, 3) + (2 if low else 0)):
        part = dice.uniform(0.3 if low else 0.8, 1.0)
        angle, length = dice.uniform(0, 6.28), dice.uniform(0.4, 1.6)
        start = (top[0] * part, top[1] * part, top[2] * part)
        end = (
            start[0] + length * float(np.cos(angle)),
            start[1] + length * float(np.sin(angle)),
            start[2] + length * dice.uniform(0.2, 1.2),
        )
        spot.tube(start, end, max(0.02, 0.35 * radius), Material.VEGETATION, end_radius=0.015)


def _plant_bush(stage: Stage, street: Street, side: int) -> bool:
    """Plant a bush of one to five lumps: round, boxy, or as long and high as a car; return whether it fitted."""
    dice = stage.dice
    pose = _beside(stage, street, side, _depth(stage, 4.0))
    yaw = pose[2] + (dice.normal(0, 0.1) if dice.chance(0.4) else dice.uniform(-np.pi, np.pi))
    car_like = dice.chance(0.45)
    length = dice.uniform(2.0, 5.2) if car_like else dice.uniform(0.5, 2.2)
    width = dice.uniform(1.0, 2.2) if car_like else length * dice.uniform(0.6, 1.0)
    height = dice.uniform(0.8, 1.8) if car_like else dice.uniform(0.4, 1.7)
    spot = stage.spot((pose[0], pose[1], yaw), (0.9 * length, 0.9 * width), off_road=0.05)
    if spot is None:
        return False
    boxy, size, fuzz = dice.chance(0.35), dice.uniform(0.1, 0.26), dice.uniform(0.1, 0.6)
    core = dice.chance(0.6)
    lumps = dice.integer(2, 5) if car_like and not boxy else dice.integer(1, 3)
    for lump in range(lumps):
        along = 0.0 if lumps == 1 else (lump / (lumps - 1) - 0.5) * 0.6 * length
        radii = (
            0.5 * length * (1.0 if lumps == 1 else dice.uniform(0.35, 0.65)),
            0.5 * width * dice.uniform(0.7, 1.0),
            0.55 * height * dice.uniform(0.7, 1.0),
        )
        centre = (along, dice.normal(0, 0.08) * width, 0.45 * height)
        area = 2.0 * (radii[0] * radii[1] + 2.5 * (radii[0] + radii[1]) * radii[2])
        leaves = _leaf_cloud(area, size, dice.uniform(0.5, 1.1), pose)
        spot.leaves(*leaves, radii, centre, boxy=boxy, fuzz=fuzz)
        if core:
            inner = 0.78
            if boxy:
                spot.box(
                    2 * inner * radii[0], 2 * inner * radii[1], 0.85 * height, Material.VEGETATION, x=along
                )
            else:
                spot.ellipsoid(
                    (inner * radii[0], inner * radii[1], inner * radii[2]), centre, Material.VEGETATION
                )
    return True


def hedge_row(
    stage: Stage, pose: Pose, length: float, width: float, height: float, *, off_road: float | None = 0.05
) -> bool:
    """Plant one straight piece of clipped hedge centred on `pose`; return whether it fitted."""
    dice = stage.dice
    spot = stage.spot(pose, (length, width), margin=-0.05, off_road=off_road)
    if spot is None:
        return False
    size = dice.uniform(0.08, 0.2)
    area = 2.0 * (length + width) * height + length * width
    radii = (0.5 * length, 0.5 * width, 0.5 * height)
    fuzz = dice.uniform(0.0, 0.35)
    leaves = _leaf_cloud(area, size, dice.uniform(0.3, 0.7), pose)
    spot.leaves(*leaves, radii, (0, 0, 0.5 * height), boxy=True, fuzz=fuzz)
    if dice.chance(0.85):
        spot.box(0.97 * length, 0.8 * width, 0.95 * height + 0.2, Material.VEGETATION, z=-0.2)
    return True


def _plant_hedge(stage: Stage, street: Street, side: int) -> None:
    """Plant a clipped hedge along the street, with a corner at times; short ones have the size of a car."""
    dice = stage.dice
    length = dice.uniform(2.0, 5.0) if dice.chance(0.4) else dice.uniform(5, 16)
    width, height = dice.uniform(0.45, 1.3), dice.uniform(0.6, 2.2)
    if length < 5.0 and dice.chance(0.5):
        width, height = dice.uniform(1.2, 2.0), dice.uniform(1.0, 1.8)
    out = (
        street.half_width(side)
        + street.sidewalk(side)
        + 0.5 * width
        + dice.uniform(0.05, 2.0)
        + (dice.exponential(5.0) if dice.chance(0.4) else 0.0)
    )
    start = dice.uniform(-REACH, REACH)
    pieces = max(1, round(length / 4.0))
    piece = length / pieces
    turn = 0.5 * np.pi if dice.chance(0.2) else 0.0
    for index in range(pieces):
        x, y, yaw = street.place(start + (index + 0.5) * piece, side * out)
        hedge_row(stage, (x, y, yaw + turn), piece, width, height)
        if turn:
            break
    if dice.chance(0.4):
        depth = dice.uniform(1.5, 5.0)
        x, y, yaw = street.place(start - 0.5 * width, side * (out + 0.5 * depth - 0.5 * width))
        hedge_row(stage, (x, y, yaw + 0.5 * np.pi), depth, width, height)


def _plant_avenue(stage: Stage, street: Street, side: int) -> None:
    """Plant a row of like trees on the pavement or in the verge, young ones with stakes."""
    dice = stage.dice
    out = street.half_width(side) + dice.uniform(0.5, max(0.7, 0.6 * street.sidewalk(side)))
    spacing, trunk = dice.uniform(7, 20), dice.log_uniform(0.04, 0.25)
    young = trunk < 0.08
    for u in np.arange(-REACH + dice.uniform(0, spacing), REACH, spacing):
        if not street.clear(float(u), 3.0) or dice.chance(0.15):
            continue
        x, y, yaw = street.place(float(u) + dice.normal(0, 0.3), side * out)
        if not plant_tree(stage, (x, y, yaw), trunk=trunk):
            continue
        stage.landmarks.append((x, y))
        stakes = stage.spot((x, y, yaw)) if young else None
        if stakes is not None:
            for angle in (0.0, 2.1, 4.2)[: dice.integer(1, 3)]:
                stakes.post(
                    1.7, 0.035, Material.WALL, x=0.4 * float(np.cos(angle)), y=0.4 * float(np.sin(angle))
                )


def _scatter_field_trees(stage: Stage) -> None:
    """Plant trees and bushes far from the street, where gaps between the houses let one see them."""
    dice, main = stage.dice, stage.streets[0]
    for _ in range(dice.count(2.0 * stage.recipe.trees)):
        x, y, yaw = main.place(dice.uniform(-REACH, REACH), dice.uniform(-REACH, REACH))
        plant_tree(stage, (x, y, yaw), off_road=2.0)


def _plant_thicket(stage: Stage, street: Street, side: int) -> None:
    """Grow a wall of wild bushes and trees along the road."""
    dice = stage.dice
    out = street.half_width(side) + street.sidewalk(side) + dice.uniform(2.5, 14)
    u = -REACH
    while u < REACH:
        length, width, height = dice.uniform(3, 7), dice.uniform(1, 3.5), dice.uniform(1.2, 5.5)
        pose = street.place(u, side * (out + dice.normal(0, 0.8)))
        spot = stage.spot(pose, (0.8 * length, 0.8 * width), off_road=0.5) if dice.chance(0.85) else None
        if spot is not None:
            size, area = dice.uniform(0.2, 0.4), 2.5 * height * (length + width)
            radii = (0.5 * length, 0.5 * width, 0.55 * height)
            centre, boxy, fuzz = (0, 0, 0.45 * height), dice.chance(0.5), dice.uniform(0.2, 0.8)
            spot.leaves(*_leaf_cloud(area, size, 0.6, pose), radii, centre, boxy=boxy, fuzz=fuzz)
            if dice.chance(0.4):
                spot.post(height, dice.uniform(0.05, 0.2), Material.VEGETATION)
        u += length * dice.uniform(0.8, 1.4)


def _plant_grass(stage: Stage, pose: Pose) -> None:
    """Grow a patch of tall grass or flowers: loose low leaves."""
    dice = stage.dice
    spot = stage.spot(pose, (0.8, 0.8), off_road=0.05)
    if spot is None:
        return
    length, width, height = dice.uniform(0.4, 2.5), dice.uniform(0.4, 1.2), dice.uniform(0.15, 0.8)
    spot.leaves(
        dice.integer(15, 60), dice.uniform(0.08, 0.2), (length, width, height), (0, 0, 0.2 * height), fuzz=0.9
    )
