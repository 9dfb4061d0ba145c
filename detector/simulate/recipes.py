"""recipes.py: what each kind of scene is made of: widths, slopes and densities, as ranges to draw from."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """Ranges and mean counts of one kind of scene; lengths in m, counts per scene of 150 m of street.

    Attributes:
        share: probability of the kind.
        lanes, lane_width: lanes per direction and their width.
        sidewalk, curb, setback: width of the pavement, height of its edge, distance from it to the buildings.
        parking: weights of no parking, parallel, half on the pavement, perpendicular and angled, per side.
        occupancy: share of the parking places that is taken.
        crossings: probability of no, one and two crossing streets.
        grade: deviation of the road's gradient from one 25 m stretch to the next.
        hill: how high the ground may climb or fall beyond the pavement.
        traffic: mean gap between moving vehicles in a lane.
        people, cyclists, bicycles: mean counts.
        buildings: share of the street front that is built up.
        trees, bushes, hedges: mean counts per side of a street; `post_gap` between poles along a pavement.
        bulky, small: mean counts of car-sized and of human-sized background things.
    """

    share: float
    lanes: tuple[int, int]
    lane_width: Range
    sidewalk: Range
    curb: Range
    setback: Range
    parking: tuple[float, float, float, float, float]
    occupancy: Range
    crossings: tuple[float, float, float]
    grade: float
    hill: float
    traffic: Range
    people: float
    cyclists: float
    bicycles: float
    buildings: float
    trees: float
    bushes: float
    hedges: float
    post_gap: Range
    bulky: float
    small: float


RECIPES: dict[str, Recipe] = {
    "residential": Recipe(
        share=0.30, lanes=(1, 1), lane_width=(2.5, 3.3), sidewalk=(1.1, 3.2), curb=(0.03, 0.15), setback=(1.5, 9.0),
        parking=(0.22, 0.42, 0.18, 0.09, 0.09), occupancy=(0.15, 0.95), crossings=(0.4, 0.45, 0.15),
        grade=0.018, hill=1.6, traffic=(25, 90), people=6.0, cyclists=2.5, bicycles=3.0, buildings=0.8,
        trees=9.0, bushes=15.0, hedges=6.0, post_gap=(10, 30), bulky=11.0, small=26.0,
    ),
    "city": Recipe(
        share=0.26, lanes=(1, 2), lane_width=(2.8, 3.5), sidewalk=(2.2, 6.0), curb=(0.08, 0.17), setback=(0.0, 0.6),
        parking=(0.1, 0.62, 0.06, 0.08, 0.14), occupancy=(0.5, 0.98), crossings=(0.25, 0.45, 0.3),
        grade=0.03, hill=0.4, traffic=(10, 45), people=18.0, cyclists=4.5, bicycles=6.0, buildings=0.95,
        trees=6.0, bushes=2.5, hedges=1.0, post_gap=(8, 25), bulky=9.0, small=38.0,
    ),
    "rural": Recipe(
        share=0.14, lanes=(1, 1), lane_width=(2.8, 3.8), sidewalk=(0.3, 1.8), curb=(0.0, 0.02), setback=(4.0, 20.0),
        parking=(0.85, 0.08, 0.04, 0.02, 0.01), occupancy=(0.1, 0.6), crossings=(0.6, 0.35, 0.05),
        grade=0.025, hill=4.0, traffic=(25, 120), people=1.5, cyclists=1.2, bicycles=0.3, buildings=0.2,
        trees=12.0, bushes=16.0, hedges=3.0, post_gap=(15, 50), bulky=6.0, small=8.0,
    ),
    "lot": Recipe(
        share=0.12, lanes=(1, 1), lane_width=(2.8, 3.4), sidewalk=(0.5, 2.5), curb=(0.0, 0.14), setback=(2.0, 14.0),
        parking=(1.0, 0.0, 0.0, 0.0, 0.0), occupancy=(0.25, 0.95), crossings=(1.0, 0.0, 0.0),
        grade=0.01, hill=0.8, traffic=(60, 160), people=7.0, cyclists=1.0, bicycles=2.0, buildings=0.6,
        trees=7.0, bushes=9.0, hedges=5.0, post_gap=(18, 40), bulky=8.0, small=18.0,
    ),
    "intersection": Recipe(
        share=0.10, lanes=(1, 3), lane_width=(2.9, 3.5), sidewalk=(2.0, 6.0), curb=(0.05, 0.16), setback=(0.0, 5.0),
        parking=(0.5, 0.35, 0.02, 0.03, 0.1), occupancy=(0.3, 0.95), crossings=(0.0, 0.8, 0.2),
        grade=0.02, hill=0.4, traffic=(9, 35), people=18.0, cyclists=5.0, bicycles=5.0, buildings=0.8,
        trees=7.0, bushes=5.0, hedges=2.0, post_gap=(8, 22), bulky=8.0, small=36.0,
    ),
    "arterial": Recipe(
        share=0.08, lanes=(2, 4), lane_width=(3.1, 3.75), sidewalk=(0.5, 3.0), curb=(0.0, 0.15), setback=(5.0, 18.0),
        parking=(0.9, 0.07, 0.0, 0.02, 0.01), occupancy=(0.1, 0.7), crossings=(0.7, 0.3, 0.0),
        grade=0.012, hill=3.5, traffic=(14, 60), people=2.0, cyclists=1.0, bicycles=0.3, buildings=0.35,
        trees=7.0, bushes=9.0, hedges=2.0, post_gap=(20, 50), bulky=5.0, small=10.0,
    ),
}  # fmt: skip
