#!/usr/bin/env python3
"""Makes outline.bin.gz, the land and country borders of the web page's map.

usage: make_outline.py countries-50m.json outline.bin.gz

The input is TopoJSON of Natural Earth (README.md names the package). Its lines ("arcs")
are kept as they are, rounded to a grid; each is stored once, although the land and two
countries may share it.

The output is gzip of:

    "PHO1"
    number of arcs, then for each arc:
        number of points * 2, plus 1 for a border between countries (0: coast)
        for each point: longitude and latitude, as the difference from the point before
        it (in the file, also of another arc; the first from 0, 0)
    number of rings of land, holes included, then for each ring:
        number of arcs, then for each arc: its index * 2, plus 1 if it is reversed

Numbers are LEB128; differences are zigzag-coded. Coordinates count in GRIDths of a
degree. An arc of a ring begins where the one before it ended, or a whole turn of 360 degrees
from there: lines that cross the antimeridian continue beyond -180 or 180 degrees, so nothing
is cut. One ring ends a turn from where it began: the coast of Antarctica.
"""

import gzip
import itertools
import json
import math
import sys

GRID = 256
TURN = 360 * GRID
EDGE = -85 * GRID
MAX_BYTES = 200_000


def read_arcs(topology):
    """Returns the arcs as lists of points on the grid, continuous, without repeated points."""
    (sx, sy), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    for arc in topology["arcs"]:
        xs = itertools.accumulate(point[0] for point in arc)
        ys = itertools.accumulate(point[1] for point in arc)
        points = [(round((x * sx + tx) * GRID), round((y * sy + ty) * GRID)) for x, y in zip(xs, ys)]
        kept = [point for point, _ in itertools.groupby(unwrapped(points))]
        # A line that the grid reduces to a point keeps its two ends.
        yield kept if len(kept) > 1 else kept * 2


def turned(difference):
    """Returns a difference of longitudes on the shorter way around the earth."""
    return (difference + TURN // 2) % TURN - TURN // 2


def unwrapped(points):
    """Returns points whose longitudes continue beyond the antimeridian."""
    x = points[0][0]
    result = [points[0]]
    for (before, _), (after, y) in itertools.pairwise(points):
        x += turned(after - before)
        result.append((x, y))
    return result


def rings_of(geometry):
    """Returns the rings of a geometry as lists of references to arcs."""
    if geometry["type"] == "Polygon":
        return geometry["arcs"]
    if geometry["type"] == "MultiPolygon":
        return [ring for polygon in geometry["arcs"] for ring in polygon]
    return [ring for part in geometry.get("geometries", []) for ring in rings_of(part)]


def used_by(geometries):
    """Returns for each arc the set of the geometries that use it."""
    users = {}
    for number, geometry in enumerate(geometries):
        for reference in itertools.chain.from_iterable(rings_of(geometry)):
            users.setdefault(index_of(reference), set()).add(number)
    return users


def index_of(reference):
    return reference if reference >= 0 else ~reference


def points_of(ring, arcs):
    """Returns the points of a ring, and checks that its arcs join and that it closes."""
    points = []
    for reference in ring:
        arc = arcs[index_of(reference)]
        arc = arc if reference >= 0 else arc[::-1]
        shift = points[-1][0] - arc[0][0] if points else 0
        assert shift % TURN == 0, "the arcs of a ring do not join"
        arc = [(x + shift, y) for x, y in arc]
        assert not points or points[-1] == arc[0], "the arcs of a ring do not join"
        points += arc[1:] if points else arc
    turns, rest = divmod(points[-1][0] - points[0][0], TURN)
    assert rest == 0 and points[0][1] == points[-1][1], "a ring does not close"
    assert turns == 0 or max(y for _, y in points) < -60 * GRID, "a ring encloses a pole"
    return points


def sphere_area(points):
    """Returns the signed share of the sphere's surface between a ring and the south pole."""
    area = 0.0
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        mean = (math.sin(math.radians(y1 / GRID)) + math.sin(math.radians(y2 / GRID))) / 2
        area += math.radians((x2 - x1) / GRID) * (mean + 1)
    return area / (4 * math.pi)


def number(value):
    """Returns an unsigned number as LEB128."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return data


def difference(value):
    return number(value * 2 if value >= 0 else -value * 2 - 1)


def encode(arcs, borders, rings):
    data = bytearray(b"PHO1") + number(len(arcs))
    x = y = 0
    for index, arc in enumerate(arcs):
        data += number(len(arc) * 2 + (index in borders))
        for nx, ny in arc:
            data += difference(nx - x) + difference(ny - y)
            x, y = nx, ny
    data += number(len(rings))
    for ring in rings:
        data += number(len(ring))
        for reference in ring:
            data += number(index_of(reference) * 2 + (reference < 0))
    return bytes(data)


def check(arcs, rings):
    """Checks what the page relies on, and returns the share of land."""
    for arc in arcs:
        for (x1, y1), (x2, _) in itertools.pairwise(arc):
            assert abs(y1) <= 90 * GRID, "a point is off the earth"
            assert abs(x2 - x1) < 30 * GRID, "a line is too long to be of this scale"
    share = abs(sum(sphere_area(points_of(ring, arcs)) for ring in rings))
    open_rings = [ring for ring in rings if points_of(ring, arcs)[0] != points_of(ring, arcs)[-1]]
    assert len(open_rings) == 1, "only the coast of Antarctica goes around the earth"
    assert 0.28 < share < 0.30, f"land is {share:.3f} of the earth, and should be 0.29"
    return share


def main(source, target):
    with open(source, encoding="utf-8") as file:
        topology = json.load(file)
    arcs = list(read_arcs(topology))
    land = topology["objects"]["land"]
    rings = [ring for geometry in land["geometries"] for ring in rings_of(geometry)]
    # The map ends there. One ring is the south pole itself, drawn as a line.
    rings = [ring for ring in rings if max(y for _, y in points_of(ring, arcs)) > EDGE]
    users = used_by(topology["objects"]["countries"]["geometries"])
    borders = {index for index, countries in users.items() if len(countries) > 1}
    share = check(arcs, rings)
    packed = gzip.compress(encode(arcs, borders, rings), compresslevel=9, mtime=0)
    assert len(packed) <= MAX_BYTES, f"{len(packed)} bytes are more than {MAX_BYTES}"
    with open(target, "wb") as file:
        file.write(packed)
    points = sum(map(len, arcs))
    print(f"{len(arcs)} arcs, {len(borders)} of them borders; {points} points; {len(rings)} rings")
    print(f"land is {share:.1%} of the earth; {len(packed)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
