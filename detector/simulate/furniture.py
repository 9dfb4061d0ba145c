"""furniture.py: street furniture of human size: posts, signs, lights, bins, bollards, meters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .dice import Dice
from .mesh import Material
from .primitives import Spot
from .stage import Stage
from .streets import REACH, Street

Build = Callable[[Dice, Spot], None]


def furnish_pavements(stage: Stage) -> None:
    """Put posts along every pavement and scatter small things on and behind it."""
    dice = stage.dice
    for street in stage.streets:
        for side in (-1, 1):
            _line_with_posts(stage, street, side)
            if dice.chance(0.3):
                _line_with_bollards(stage, street, side)
            if stage.kind in ("city", "intersection") and dice.chance(0.4):
                _line_with_meters(stage, street, side)
    for _ in range(dice.count(stage.recipe.small)):
        _place_small(stage)
    for street in stage.streets[1:]:
        _place_traffic_lights(stage, street)
    if stage.kind == "arterial" and dice.chance(0.5):
        _place_gantry(stage)


def _line_with_posts(stage: Stage, street: Street, side: int) -> None:
    """Alternate lamp posts, sign posts and bare poles along the kerb."""
    dice = stage.dice
    gap = dice.uniform(*stage.recipe.post_gap)
    u = -REACH + dice.uniform(0, gap)
    while u < REACH:
        out = street.half_width(side) + dice.uniform(0.25, max(0.5, 0.4 * street.sidewalk(side)))
        x, y, yaw = street.place(u, side * out)
        yaw += 0.0 if side < 0 else np.pi  # +y of the spot looks at the road
        build, radius = dice.weighted(
            ((_lamp_post, 0.14), (_sign_post, 0.08), (_bare_pole, 0.2), (_utility_pole, 0.2)),
            (0.4, 0.35, 0.15, 0.1),
        )
        if street.clear(u, 1.0):
            spot = stage.spot((x, y, yaw), (2 * radius, 2 * radius), off_road=0.05)
            if spot is not None:
                build(dice, spot)
                stage.landmarks.append((x, y))
        u += gap * dice.uniform(0.5, 1.5)


def _lamp_post(dice: Dice, spot: Spot) -> None:
    radius, height = dice.uniform(0.04, 0.13), dice.uniform(3.5, 9)
    spot.tube(
        (0, 0, -0.2),
        (dice.normal(0, 0.05), dice.normal(0, 0.05), height),
        radius,
        Material.METAL,
        end_radius=0.6 * radius,
    )
    spot.post(dice.uniform(0.4, 1.5), 1.4 * radius, Material.METAL)
    if height > 5:
        reach = dice.uniform(0.8, 2.5)
        spot.tube((0, 0, height), (0, reach, height + 0.3), 0.05, Material.METAL)
        spot.box(0.25, 0.7, 0.12, Material.METAL, y=reach, z=height + 0.25)
    else:
        spot.ellipsoid((0.22, 0.22, 0.25), (0, 0, height + 0.2), Material.GLASS)
    if dice.chance(0.25):  # a waste bin or a sign is hung on it
        spot.box(0.4, 0.35, 0.6, Material.METAL, y=0.25, z=dice.uniform(0.5, 1.0))
    if dice.chance(0.2):
        _plates(dice, spot)


def _sign_post(dice: Dice, spot: Spot) -> None:
    radius = dice.uniform(0.025, 0.05)
    spot.tube(
        (0, 0, -0.2),
        (dice.normal(0, 0.06), dice.normal(0, 0.06), dice.uniform(2.0, 3.6)),
        radius,
        Material.METAL,
    )
    _plates(dice, spot)


def _plates(dice: Dice, spot: Spot) -> None:
    """Fix one to three plates to a post; low ones make it as tall as a person."""
    top, turn = dice.uniform(1.4, 3.0), dice.uniform(-np.pi, np.pi)
    for _ in range(dice.integer(1, 3)):
        width, height = dice.uniform(0.3, 0.9), dice.uniform(0.25, 0.8)
        spot.box(width, 0.03, height, Material.SIGN, z=top - height, yaw=turn)
        top -= height + 0.05
        if top < 0.9:
            break


def _bare_pole(dice: Dice, spot: Spot) -> None:
    radius, height = dice.log_uniform(0.05, 0.18), dice.uniform(0.9, 8)
    spot.tube(
        (0, 0, -0.2),
        (dice.normal(0, 0.02) * height, dice.normal(0, 0.02) * height, height),
        radius,
        Material.METAL,
    )


def _utility_pole(dice: Dice, spot: Spot) -> None:
    spot.tube(
        (0, 0, -0.2),
        (dice.normal(0, 0.2), dice.normal(0, 0.2), 9),
        dice.uniform(0.12, 0.18),
        Material.WALL,
        end_radius=0.1,
    )
    spot.box(0.12, 2.2, 0.12, Material.WALL, z=8.3)
    if dice.chance(0.4):
        spot.box(0.35, 0.3, 0.8, Material.METAL, x=0.25, z=dice.uniform(1.0, 3.0))


def _line_with_bollards(stage: Stage, street: Street, side: int) -> None:
    dice = stage.dice
    radius, height, gap = dice.uniform(0.05, 0.16), dice.uniform(0.6, 1.15), dice.uniform(1.3, 3.0)
    round_top = dice.chance(0.4)
    start = dice.uniform(-REACH, REACH - 30)
    for u in np.arange(start, start + dice.uniform(6, 30), gap):
        pose = street.place(float(u), side * (street.half_width(side) + 0.4))
        spot = (
            stage.spot(pose, (2 * radius, 2 * radius), off_road=0.05) if street.clear(float(u), 0.5) else None
        )
        if spot is not None:
            spot.post(height, radius, Material.METAL)
            if round_top:
                spot.ellipsoid((1.2 * radius, 1.2 * radius, radius), (0, 0, height), Material.METAL)


def _line_with_meters(stage: Stage, street: Street, side: int) -> None:
    dice = stage.dice
    gap = dice.uniform(5.5, 7.0)
    for u in np.arange(-REACH, REACH, gap):
        x, y, yaw = street.place(float(u) + dice.normal(0, 0.2), side * (street.half_width(side) + 0.45))
        spot = stage.spot((x, y, yaw), (0.16, 0.16), off_road=0.05) if street.clear(float(u), 1.0) else None
        if spot is not None:
            spot.post(1.1, 0.035, Material.METAL)
            spot.box(0.18, 0.14, 0.35, Material.METAL, z=1.1)


def _waste_bin(dice: Dice, spot: Spot) -> None:
    spot.post(dice.uniform(0.7, 1.1), dice.uniform(0.18, 0.3), Material.METAL)


def _wheelie_bins(dice: Dice, spot: Spot) -> None:
    """Stand one to four wheelie bins together: as high as a child and as wide as a person."""
    for index in range(dice.integer(1, 4)):
        x, turn = 0.72 * index - 0.8 + dice.normal(0, 0.03), dice.normal(0, 0.15)
        height = dice.uniform(0.9, 1.3)
        spot.box(0.52, 0.6, height, Material.CLOTH, x=x, yaw=turn, taper=(1.12, 1.12))
        spot.box(0.6, 0.7, 0.06, Material.CLOTH, x=x, yaw=turn, z=height)


def _bags(dice: Dice, spot: Spot) -> None:
    for _ in range(dice.integer(2, 6)):
        radius = dice.uniform(0.2, 0.38)
        centre = (dice.normal(0, 0.35), dice.normal(0, 0.3), 0.75 * radius)
        spot.ellipsoid((radius, radius * dice.uniform(0.8, 1.2), 0.9 * radius), centre, Material.CLOTH)


def _hydrant(dice: Dice, spot: Spot) -> None:
    spot.post(0.7, 0.1, Material.METAL)
    spot.ellipsoid((0.13, 0.13, 0.1), (0, 0, 0.72), Material.METAL)
    spot.tube((0, -0.2, 0.5), (0, 0.2, 0.5), 0.06, Material.METAL)


def _mail_box(dice: Dice, spot: Spot) -> None:
    if dice.chance(0.5):
        spot.box(0.5, 0.55, dice.uniform(1.0, 1.3), Material.METAL, z=0.1)
    else:
        spot.post(1.0, 0.04, Material.METAL)
        spot.box(0.25, 0.45, 0.3, Material.METAL, z=1.0)


def _cabinet(dice: Dice, spot: Spot) -> None:
    spot.box(dice.uniform(0.5, 1.5), dice.uniform(0.3, 0.5), dice.uniform(0.8, 1.6), Material.METAL)


def _statue(dice: Dice, spot: Spot) -> None:
    """A figure or a bust on a pedestal, or a plain stone column."""
    base = dice.uniform(0.3, 1.4)
    spot.box(dice.uniform(0.5, 0.9), dice.uniform(0.5, 0.9), base, Material.WALL)
    if dice.chance(0.6):
        spot.ellipsoid((0.22, 0.3, 0.55), (0, 0, base + 0.6), Material.WALL)
        spot.ellipsoid((0.12, 0.11, 0.15), (0, 0, base + 1.3), Material.WALL)
    else:
        spot.tube((0, 0, base), (0, 0, base + dice.uniform(0.8, 3)), dice.uniform(0.12, 0.3), Material.WALL)


def _cones(dice: Dice, spot: Spot) -> None:
    for _ in range(dice.integer(1, 3)):
        x, y = dice.normal(0, 0.6), dice.normal(0, 0.3)
        spot.box(0.4, 0.4, 0.04, Material.RUBBER, x=x, y=y)
        spot.tube((x, y, 0), (x, y, dice.uniform(0.5, 0.95)), 0.15, Material.SIGN, end_radius=0.03)


def _board(dice: Dice, spot: Spot) -> None:
    """An A-board, or an information panel on two legs."""
    if dice.chance(0.5):
        spot.box(0.65, 0.5, dice.uniform(0.9, 1.2), Material.WALL, taper=(1.0, 0.08))
        return
    spot.box(dice.uniform(0.8, 1.8), 0.08, dice.uniform(0.7, 1.3), Material.SIGN, z=0.7)
    for x in (-0.4, 0.4):
        spot.post(1.5, 0.04, Material.METAL, x=x)


def _panel(dice: Dice, spot: Spot) -> None:
    """A panel of any shape, leaning or upright, at the height of a person's body."""
    width, height, low = dice.uniform(0.35, 1.0), dice.uniform(0.4, 1.1), dice.uniform(0.0, 1.2)
    thick, turn = dice.uniform(0.02, 0.25), dice.uniform(-np.pi, np.pi)
    taper = (dice.uniform(0.3, 1.0), dice.uniform(0.3, 1.0))
    spot.box(width, thick, height, Material.SIGN, z=low, yaw=turn, taper=taper)
    if low > 0.1:
        spot.post(low, dice.uniform(0.02, 0.06), Material.METAL)


def _bench(dice: Dice, spot: Spot) -> None:
    spot.box(1.7, 0.45, 0.06, Material.WALL, z=0.42)
    for x in (-0.65, 0.65):
        spot.box(0.08, 0.42, 0.42, Material.METAL, x=x)
    if dice.chance(0.7):
        spot.box(1.7, 0.06, 0.4, Material.WALL, y=-0.22, z=0.48)


def _ventilation(dice: Dice, spot: Spot) -> None:
    spot.post(dice.uniform(0.6, 1.9), dice.uniform(0.1, 0.35), Material.METAL)
    spot.tube((0, 0, 0.9), (0, 0, 1.1), 0.3, Material.METAL, end_radius=0.05)


def _planter(dice: Dice, spot: Spot) -> None:
    """A tub with a plant: together of a person's height."""
    tub, plant = dice.uniform(0.3, 0.8), dice.uniform(0.4, 1.3)
    spot.box(0.6, 0.6, tub, Material.WALL, taper=(1.2, 1.2))
    radii = (dice.uniform(0.2, 0.5), dice.uniform(0.2, 0.5), 0.5 * plant)
    spot.leaves(dice.integer(40, 110), dice.uniform(0.08, 0.18), radii, (0, 0, tub + 0.5 * plant), fuzz=0.6)


def _scooters(dice: Dice, spot: Spot) -> None:
    """Kick scooters that stand about."""
    for index in range(dice.integer(1, 3)):
        y, lean = 0.45 * index - 0.4, dice.normal(0, 0.08)
        spot.box(1.0, 0.14, 0.12, Material.METAL, y=y, z=0.06)
        spot.tube((0.42, y, 0.1), (0.32, y + lean, 1.12), 0.03, Material.METAL)
        spot.tube((0.32, y + lean - 0.22, 1.12), (0.32, y + lean + 0.22, 1.12), 0.02, Material.METAL)


def _machine(dice: Dice, spot: Spot) -> None:
    """A ticket, vending or charging machine, of a person's size."""
    spot.box(dice.uniform(0.35, 0.9), dice.uniform(0.3, 0.6), dice.uniform(1.3, 1.95), Material.METAL)
    if dice.chance(0.4):
        spot.post(2.4, 0.04, Material.METAL, x=0.4)


def _stump(dice: Dice, spot: Spot) -> None:
    """A trunk without a crown, lying stones, or a short thick post."""
    radius = dice.uniform(0.1, 0.32)
    lean = (dice.normal(0, 0.12), dice.normal(0, 0.12), dice.uniform(0.4, 2.2))
    spot.tube((0, 0, -0.2), lean, radius, Material.VEGETATION, end_radius=radius * dice.uniform(0.6, 1.0))


def _slim_tree(dice: Dice, spot: Spot) -> None:
    """A column-shaped shrub or a clipped tree, as tall and wide as a person."""
    height, radius = dice.uniform(1.2, 2.4), dice.uniform(0.22, 0.45)
    size = dice.uniform(0.07, 0.16)
    radii = (radius, radius, 0.5 * height)
    spot.leaves(int(3.5 * height * radius / (size * size)), size, radii, (0, 0, 0.5 * height), fuzz=0.4)
    if dice.chance(0.6):
        spot.ellipsoid((0.7 * radius, 0.7 * radius, 0.42 * height), (0, 0, 0.5 * height), Material.VEGETATION)


# Builder, footprint [m], and how often it stands there compared with the others.
_SMALL: tuple[tuple[Build, tuple[float, float], float], ...] = (
    (_waste_bin, (0.6, 0.6), 1.5),
    (_wheelie_bins, (3.0, 0.8), 2.0),
    (_bags, (1.4, 1.2), 0.8),
    (_hydrant, (0.4, 0.4), 0.8),
    (_mail_box, (0.6, 0.6), 0.8),
    (_cabinet, (1.5, 0.5), 1.2),
    (_statue, (0.9, 0.9), 0.6),
    (_cones, (1.6, 0.9), 1.0),
    (_board, (1.8, 0.6), 1.0),
    (_panel, (0.8, 0.8), 1.2),
    (_bench, (1.8, 0.6), 1.0),
    (_ventilation, (0.7, 0.7), 0.5),
    (_planter, (0.9, 0.9), 1.6),
    (_scooters, (1.2, 1.2), 0.6),
    (_machine, (0.9, 0.6), 0.7),
    (_stump, (0.6, 0.6), 1.0),
    (_slim_tree, (0.8, 0.8), 1.5),
    (_bare_pole, (0.4, 0.4), 1.5),
    (_sign_post, (0.5, 0.5), 1.0),
)


def _place_small(stage: Stage) -> None:
    dice = stage.dice
    build, footprint, _ = dice.weighted(_SMALL, [entry[2] for entry in _SMALL])
    street, side = dice.pick(stage.streets), dice.sign()
    room = max(0.6, street.sidewalk(side))
    out = street.half_width(side) + (
        dice.uniform(0.3, room) if dice.chance(0.7) else room + dice.exponential(4.0)
    )
    x, y, yaw = street.place(dice.uniform(-60, 60), side * out)
    yaw += dice.integer(0, 3) * 0.5 * np.pi + dice.normal(0, 0.08)
    spot = stage.spot((x, y, yaw), footprint, off_road=0.02)
    if spot is not None:
        build(dice, spot)
        stage.landmarks.append((x, y))


def _place_traffic_lights(stage: Stage, street: Street) -> None:
    """Put lights at the corners of a crossing, some on a gantry over the road."""
    dice, main = stage.dice, stage.streets[0]
    if street.crossing is None or not dice.chance(0.85 if stage.kind == "intersection" else 0.3):
        return
    for main_side in (-1, 1):
        for side in (-1, 1):
            u = main_side * (main.half_width(main_side) + 0.7)
            v = side * (street.half_width(side) + 0.7)
            x, y, yaw = street.place(u, v)
            spot = stage.spot((x, y, yaw), (0.3, 0.3), off_road=0.02)
            if spot is None:
                continue
            stage.landmarks.append((x, y))
            height = dice.uniform(2.4, 3.6)
            spot.post(height, dice.uniform(0.05, 0.1), Material.METAL)
            spot.box(0.3, 0.3, 0.9, Material.METAL, y=0.2, z=height - 0.9)
            if dice.chance(0.3):
                reach = -main_side * dice.uniform(2, 5)
                spot.post(5.5, 0.11, Material.METAL)
                spot.tube((0, 0, 5.4), (reach, 0, 5.6), 0.07, Material.METAL)
                spot.box(0.3, 0.3, 0.9, Material.METAL, x=reach, z=4.8)


def _place_gantry(stage: Stage) -> None:
    """Span a sign gantry over the main road."""
    dice, main = stage.dice, stage.streets[0]
    u = dice.uniform(-70, 70)
    right, left = main.half_width(-1) + 0.8, main.half_width(1) + 0.8
    if not main.clear(u, 3.0):
        return
    for v in (-right, left):
        post = stage.spot(main.place(u, v), (0.4, 0.4))
        if post is not None:
            post.post(6.2, 0.18, Material.METAL)
    beam = stage.spot(main.place(u, 0.0))
    if beam is not None:
        beam.box(0.4, right + left, 0.5, Material.METAL, y=0.5 * (left - right), z=5.7)
        for _ in range(dice.integer(1, 3)):
            beam.box(
                0.1, dice.uniform(2, 4), 1.8, Material.SIGN, x=0.3, y=dice.uniform(-right, left) * 0.7, z=5.2
            )
