"""buildings.py: house fronts with bays, recesses, shop windows and garages, and walls and fences."""

from __future__ import annotations

import numpy as np

from .mesh import Material
from .primitives import Spot
from .stage import Stage
from .streets import REACH, Street

Pose = tuple[float, float, float]

_SUNK = 1.5  # [m] that walls reach below the ground at their middle, so that slopes never show a gap


def furnish_buildings(stage: Stage) -> None:
    """Line all streets with buildings, garages, walls and fences."""
    for street in stage.streets:
        for side in (-1, 1):
            _line_with_houses(stage, street, side)
            if stage.kind != "city" and stage.dice.chance(0.6):
                _line_with_houses(stage, street, side, behind=stage.dice.uniform(16, 30))
    for street in stage.streets:
        for side in (-1, 1):
            _line_with_fences(stage, street, side)


def _line_with_houses(stage: Stage, street: Street, side: int, *, behind: float = 0.0) -> None:
    """Build one house after the other, fronts to the street; `behind` [m] shifts a second row back."""
    dice, recipe = stage.dice, stage.recipe
    dense = stage.kind in ("city", "intersection")
    setback = street.half_width(side) + street.sidewalk(side) + dice.uniform(*recipe.setback) + behind
    u = -REACH + dice.uniform(-4, 2)
    while u < REACH:
        length = dice.uniform(7, 26) if dense else dice.uniform(6, 18)
        depth, height = dice.uniform(8, 14), dice.uniform(6, 16) if dense else dice.uniform(3.2, 9)
        shift = 0.0 if dense and dice.chance(0.8) else dice.uniform(0, 1.5)
        if dice.chance(recipe.buildings):
            x, y, yaw = street.place(u + 0.5 * length, side * (setback + shift + 0.5 * depth))
            yaw += np.pi if side > 0 else 0.0  # the front looks along +y of the spot
            pose = (x, y, yaw + dice.normal(0, 0.004))
            if dice.chance(0.12) and not dense:
                _garage(stage, street, side, u, setback + shift)
            else:
                spot = stage.spot(pose, (length, depth), margin=-0.02, off_road=0.2)
                if spot is not None:
                    _facade(stage, spot, length, depth, height)
        u += length + (dice.uniform(0, 0.4) if dense and dice.chance(0.85) else dice.uniform(1, 9))


def _facade(stage: Stage, spot: Spot, length: float, depth: float, height: float) -> None:
    """Build a house whose front is at y = depth / 2: piers and bands before recessed windows, or a plain wall."""
    dice = stage.dice
    front = 0.5 * depth
    dense = stage.kind in ("city", "intersection")
    style = dice.weighted(
        ("piers", "plain", "shop", "arcade"), (0.45, 0.2, 0.3, 0.05) if dense else (0.4, 0.5, 0.08, 0.02)
    )
    recess = dice.uniform(1.8, 3.0) if style == "arcade" else dice.uniform(0.08, 0.45)
    storey, bay = dice.uniform(2.7, 3.8), dice.uniform(1.8, 4.0)
    if style == "plain":
        spot.box(length, depth, height + _SUNK, Material.WALL, z=-_SUNK)
        _windows(stage, spot, length, front, height, storey, bay)
    else:
        spot.box(length, depth - recess, height + _SUNK, Material.WALL, y=-0.5 * recess, z=-_SUNK)
        bays = max(1, round(length / bay))
        pier = dice.uniform(0.25, 0.5) * length / bays
        if style == "arcade":
            pier = dice.uniform(0.3, 0.6)
            spot.box(
                length, recess, max(0.5, height - storey), Material.WALL, y=front - 0.5 * recess, z=storey
            )
        for index in range(bays + 1):
            x = (index / bays - 0.5) * (length - pier)
            top = storey if style == "arcade" else height
            spot.box(pier, recess + 0.02, top + _SUNK, Material.WALL, x=x, y=front - 0.5 * recess, z=-_SUNK)
        if style != "arcade":
            start = 1 if style == "shop" else 0
            for level in range(start, int(height / storey) + 1):
                sill = dice.uniform(0.6, 1.1)
                spot.box(
                    length,
                    recess,
                    sill,
                    Material.WALL,
                    y=front - 0.5 * recess,
                    z=max(0.0, level * storey - 0.3),
                )
            spot.box(length - 0.1, 0.05, height - 0.5, Material.GLASS, y=front - recess + 0.06, z=0.4)
    for end in (-1, 1):  # windows and chimney breasts of the gable walls
        for _ in range(dice.count(0.8)):
            along, z = dice.uniform(-0.4, 0.3) * depth, dice.uniform(0.0, 3.0)
            material = Material.GLASS if dice.chance(0.6) else Material.WALL
            spot.box(
                0.12,
                dice.uniform(0.7, 1.6),
                dice.uniform(1.0, 2.2),
                material,
                x=end * 0.5 * length,
                y=along,
                z=z,
            )
    _attachments(stage, spot, length, front, height, storey)
    if not dense or dice.chance(0.3):
        spot.box(length + 0.6, depth + 0.6, dice.uniform(1.5, 4), Material.WALL, z=height, taper=(0.95, 0.03))


def _windows(
    stage: Stage, spot: Spot, length: float, front: float, height: float, storey: float, bay: float
) -> None:
    """Put windows with frames and sills, and a door, on a plain wall."""
    dice = stage.dice
    bays = max(1, int(length / bay))
    for index in range(bays):
        x = ((index + 0.5) / bays - 0.5) * length
        if dice.chance(0.2):
            spot.box(1.0, 0.12, 2.1, Material.WALL, x=x, y=front + 0.02)
            continue
        for level in range(min(2, int(height / storey))):
            z, wide = 0.9 + level * storey, dice.uniform(0.8, 1.5)
            spot.box(wide, 0.04, 1.3, Material.GLASS, x=x, y=front + 0.02, z=z)
            spot.box(wide + 0.3, 0.22, 0.07, Material.WALL, x=x, y=front + 0.08, z=z - 0.07)
            if dice.chance(0.3):  # shutters
                spot.box(0.4, 0.1, 1.3, Material.WALL, x=x + 0.5 * wide + 0.25, y=front + 0.05, z=z)


def _attachments(stage: Stage, spot: Spot, length: float, front: float, height: float, storey: float) -> None:
    """Add what stands out of a front: stairs, bay windows, balconies, awnings, garage doors, downpipes."""
    dice = stage.dice
    room = min(1.3, max(0.3, stage.recipe.setback[0] + 0.4))  # keep off the pavement of narrow streets
    for _ in range(dice.count(length / 9.0)):
        x = dice.uniform(-0.45, 0.45) * length
        what = dice.weighted(
            ("stairs", "bay", "balcony", "awning", "pipe", "box"), (0.22, 0.2, 0.15, 0.15, 0.18, 0.1)
        )
        if what == "stairs":
            width = dice.uniform(1.0, 2.0)
            for step in range(dice.integer(1, 4)):
                run = room * (1.0 - 0.22 * step)
                spot.box(width, run, 0.17, Material.WALL, x=x, y=front + 0.5 * run, z=0.17 * step)
            if dice.chance(0.5):
                for end in (-0.5, 0.5):
                    spot.tube(
                        (x + end * width, front, 1.3),
                        (x + end * width, front + room, 0.95),
                        0.025,
                        Material.METAL,
                    )
                    spot.post(0.95, 0.025, Material.METAL, x=x + end * width, y=front + room)
        elif what == "bay":
            spot.box(
                dice.uniform(1.6, 3.2),
                1.2 * room,
                dice.uniform(2.4, height),
                Material.WALL,
                x=x,
                y=front,
                taper=(0.95, 1),
            )
        elif what == "balcony":
            spot.box(dice.uniform(1.8, 4), 1.2, 0.15, Material.WALL, x=x, y=front + 0.6, z=storey)
            spot.box(3.0, 0.05, 0.95, Material.FENCE, x=x, y=front + 1.2, z=storey)
        elif what == "awning":
            spot.box(
                dice.uniform(2, 5), 1.4, 0.12, Material.CLOTH, x=x, y=front + 0.7, z=dice.uniform(2.3, 2.9)
            )
        elif what == "pipe":
            spot.tube(
                (x, front + 0.08, 0), (x, front + 0.08, height), dice.uniform(0.04, 0.07), Material.METAL
            )
        else:
            spot.box(
                dice.uniform(0.4, 1),
                0.35,
                dice.uniform(0.4, 1.2),
                Material.METAL,
                x=x,
                y=front + 0.18,
                z=dice.uniform(0, 1.5),
            )


def _garage(stage: Stage, street: Street, side: int, u: float, setback: float) -> None:
    """Build an open garage or carport and park a vehicle half inside."""
    dice = stage.dice
    width, depth, height = dice.uniform(2.9, 3.4), dice.uniform(5.5, 6.5), dice.uniform(2.3, 2.8)
    x, y, yaw = street.place(u + 2.0, side * (setback + 0.5 * depth))
    yaw += 0.5 * np.pi if side > 0 else -0.5 * np.pi  # x of the spot points away from the street
    if not stage.fits((x, y, yaw), depth, width + 0.5, off_road=0.3):
        return
    if dice.chance(0.8):
        vehicle = stage.draw_vehicle(x, y, longest=6.0)
        out = dice.uniform(-2.5, 0.3)
        pose = (x + out * np.cos(yaw), y + out * np.sin(yaw), yaw + (np.pi if dice.chance(0.5) else 0.0))
        if vehicle.size[1] < width - 0.5 and vehicle.size[2] < height - 0.2:
            stage.place_actor(vehicle, pose, margin=0.1)
    spot = stage.spot((x, y, yaw))
    if spot is None:
        return
    open_sided = dice.chance(0.35)
    for end in (-1, 1):
        lateral = end * (0.5 * width + 0.1)
        if open_sided:
            for along in (-0.45, 0.45):
                spot.post(height, 0.06, Material.METAL, x=along * depth, y=lateral)
        else:
            spot.box(depth, 0.15, height, Material.WALL, y=lateral)
        stage.ground.take(x - lateral * np.sin(yaw), y + lateral * np.cos(yaw), depth, 0.15, yaw)
    spot.box(0.15, width, height, Material.WALL, x=0.5 * depth)
    spot.box(depth, width + 0.3, 0.2, Material.WALL, z=height)


def _line_with_fences(stage: Stage, street: Street, side: int) -> None:
    """Draw walls, fences or railings along plots, in pieces that follow the ground, with gates left open."""
    dice = stage.dice
    kinds = {
        "residential": (0.7, 0.3), "rural": (0.35, 0.3), "lot": (0.5, 0.3), "city": (0.12, 0.3),
        "intersection": (0.15, 0.3), "arterial": (0.4, 0.9),
    }  # fmt: skip
    along_pavement, guard = kinds[stage.kind]
    if dice.chance(along_pavement):
        out = street.half_width(side) + street.sidewalk(side) + dice.uniform(0.1, 1.2)
        u = -REACH
        while u < REACH:
            stretch = dice.uniform(4, 22)
            if dice.chance(0.75):
                style, height = (
                    dice.pick(("wall", "wall", "picket", "wire", "panel", "rail")),
                    dice.uniform(0.4, 2.0),
                )
                for start in np.arange(u, u + stretch - 1.0, 3.0):
                    pose = street.place(float(start) + 1.5, side * out)
                    build_fence(stage, pose, min(3.05, u + stretch - start), height, style)
                if dice.chance(0.4):  # the fence turns the corner into the plot
                    x, y, yaw = street.place(u, side * (out + 2.6))
                    build_fence(stage, (x, y, yaw + 0.5 * np.pi), 5.0, height, style)
            u += stretch + dice.uniform(1, 5)
    if stage.kind in ("rural", "arterial") and dice.chance(guard):
        _guard_rail(stage, street, side * (street.half_width(side) + 0.35))
    if street.median > 1.0 and side > 0 and dice.chance(0.7):
        _guard_rail(stage, street, 0.0)


def build_fence(stage: Stage, pose: Pose, length: float, height: float, style: str) -> bool:
    """Put up one straight piece of "wall", "picket", "wire", "panel" or "rail"; return whether it fitted."""
    dice = stage.dice
    spot = stage.spot(pose, (length, 0.3), margin=-0.04, off_road=0.1)
    if spot is None:
        return False
    if style == "wall":
        spot.box(length, 0.25, height + 0.5, Material.WALL, z=-0.5)
        if dice.chance(0.2):
            spot.box(0.4, 0.4, height + 0.75, Material.WALL, x=-0.5 * length, z=-0.5)
        return True
    for x in (-0.5 * length, 0.0):
        spot.post(height, 0.05, Material.METAL, x=x)
    if style == "picket":
        for index in range(int(length / 0.3)):
            spot.box(0.1, 0.03, height, Material.WALL, x=(index + 0.5) * 0.3 - 0.5 * length, z=0.05)
    elif style == "rail":
        for z in (0.5 * height, 0.95 * height):
            spot.tube((-0.5 * length, 0, z), (0.5 * length, 0, z), 0.03, Material.METAL)
    else:
        spot.box(length, 0.04, height, Material.FENCE if style == "wire" else Material.WALL, z=0.05)
    return True


def _guard_rail(stage: Stage, street: Street, v: float) -> None:
    for u in np.arange(-REACH, REACH, 4.0):
        if not street.clear(float(u) + 2, 4.0):
            continue
        spot = stage.spot(street.place(float(u) + 2, v), (4.0, 0.2), margin=-0.02)
        if spot is not None:
            spot.box(4.02, 0.06, 0.31, Material.METAL, z=0.44)
            spot.box(0.1, 0.12, 0.85, Material.METAL, y=-0.06, z=-0.1)
