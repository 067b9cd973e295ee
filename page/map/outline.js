/**
 * Land and country borders: read from data/outline.bin.gz (its format is described in
 * data/make_outline.py), thinned out for each zoom, and clipped to what is seen.
 */

import { worldX, worldY } from './mercator.js';

const GRID = 256;
const MAGIC = 'PHO1';
// At this level lines have all their points.
const MAX_LEVEL = 9;
const PIXELS = 256;

/**
 * Reads the file, unpacked. Returns `borders` and `rings`: flat lists x, y, x, y of world
 * coordinates, each with the `rank` of its points.
 */
export function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  if (String.fromCharCode(...bytes.subarray(0, 4)) !== MAGIC) {
    throw new Error('the outline is not in the format that this page reads');
  }
  const next = reader(bytes, 4);
  const position = { x: 0, y: 0 };
  const arcs = Array.from({ length: next() }, () => readArc(next, position));
  const rings = Array.from({ length: next() }, () => {
    const references = Array.from({ length: next() }, next);
    return joined(references, arcs);
  });
  return { borders: arcs.filter((arc) => arc.isBorder), rings };
}

function reader(bytes, start) {
  let at = start;
  return () => {
    let value = 0;
    for (let factor = 1;; factor *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('the outline is incomplete');
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
}

function readArc(next, position) {
  const head = next();
  const length = head >> 1;
  const points = new Float64Array(length * 2);
  const difference = () => {
    const value = next();
    return value & 1 ? -(value + 1) / 2 : value / 2;
  };
  for (let i = 0; i < length; i++) {
    position.x += difference();
    position.y += difference();
    points[2 * i] = worldX(position.x / GRID);
    points[2 * i + 1] = worldY(position.y / GRID);
  }
  return { points, rank: ranks(points), isBorder: (head & 1) === 1 };
}

/**
 * Returns for each point the distance by which a line without it, and without all of lower
 * rank, differs from this one (Douglas and Peucker). The ends have rank Infinity.
 */
export function ranks(points) {
  const last = points.length / 2 - 1;
  const rank = new Float32Array(last + 1);
  rank[0] = rank[last] = Infinity;
  const open = [[0, last, Infinity]];
  while (open.length > 0) {
    const [from, to, limit] = open.pop();
    const [middle, distance] = farthest(points, from, to);
    if (middle < 0) continue;
    rank[middle] = Math.min(limit, distance);
    open.push([from, middle, rank[middle]], [middle, to, rank[middle]]);
  }
  return rank;
}

function farthest(points, from, to) {
  const [ax, ay] = [points[2 * from], points[2 * from + 1]];
  const [dx, dy] = [points[2 * to] - ax, points[2 * to + 1] - ay];
  const length = dx * dx + dy * dy;
  let [middle, most] = [-1, -1];
  for (let i = from + 1; i < to; i++) {
    const [px, py] = [points[2 * i] - ax, points[2 * i + 1] - ay];
    const t = length ? Math.max(0, Math.min(1, (px * dx + py * dy) / length)) : 0;
    const square = (px - t * dx) ** 2 + (py - t * dy) ** 2;
    if (square > most) [middle, most] = [i, square];
  }
  return [middle, Math.sqrt(most)];
}

/** Joins arcs to a ring; each continues where the one before it ended. */
function joined(references, arcs) {
  const points = [];
  const rank = [];
  for (const reference of references) {
    const arc = arcs[reference >> 1];
    const length = arc.rank.length;
    const order = (i) => (reference & 1 ? length - 1 - i : i);
    const turn = points.length ? Math.round(points.at(-2) - arc.points[2 * order(0)]) : 0;
    for (let i = points.length ? 1 : 0; i < length; i++) {
      points.push(arc.points[2 * order(i)] + turn, arc.points[2 * order(i) + 1]);
      rank.push(arc.rank[order(i)]);
    }
  }
  // The coast of Antarctica ends a turn from its start: it is closed along the map's edge.
  const isOpen = Math.abs(points.at(-2) - points[0]) > 0.5;
  return { points: Float64Array.from(points), rank: Float32Array.from(rank), isOpen };
}

/** The outline, with the levels of detail that were drawn so far. */
export class Outline {
  #source;
  #levels = new Map();

  constructor(source) {
    this.#source = source;
  }

  /** Returns rings and borders with the detail for a zoom. */
  atZoom(zoom) {
    const level = Math.max(0, Math.min(MAX_LEVEL, Math.round(zoom)));
    let found = this.#levels.get(level);
    if (!found) {
      found = {
        rings: thinned(this.#source.rings, level),
        borders: thinned(this.#source.borders, level),
      };
      this.#levels.set(level, found);
    }
    return found;
  }
}

function thinned(lines, level) {
  const pixel = 1 / (PIXELS * 2 ** level);
  const tolerance = level === MAX_LEVEL ? 0 : pixel / 2;
  return lines
    .map((line) => withBox(kept(line, tolerance), line.isOpen))
    .filter(({ box }) => box[2] - box[0] > pixel || box[3] - box[1] > pixel);
}

function kept({ points, rank }, tolerance) {
  const result = [];
  for (let i = 0; i < rank.length; i++) {
    if (rank[i] >= tolerance) result.push(points[2 * i], points[2 * i + 1]);
  }
  return Float64Array.from(result);
}

function withBox(points, isOpen) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    box[0] = Math.min(box[0], points[i]);
    box[1] = Math.min(box[1], points[i + 1]);
    box[2] = Math.max(box[2], points[i]);
    box[3] = Math.max(box[3], points[i + 1]);
  }
  return { points, box, isOpen };
}

/** Returns a ring clipped to a box (Sutherland and Hodgman), as a flat list. */
export function clipRing(points, [west, north, east, south]) {
  let ring = points;
  ring = clipSide(ring, 0, west, 1);
  ring = clipSide(ring, 0, east, -1);
  ring = clipSide(ring, 1, north, 1);
  return clipSide(ring, 1, south, -1);
}

function clipSide(points, axis, limit, sign) {
  const result = [];
  const length = points.length;
  for (let i = 0; i < length; i += 2) {
    const j = i + 2 < length ? i + 2 : 0;
    const [a, b] = [sign * (points[i + axis] - limit), sign * (points[j + axis] - limit)];
    if (a >= 0) result.push(points[i], points[i + 1]);
    if (a >= 0 !== b >= 0) {
      const t = a / (a - b);
      result.push(
        points[i] + t * (points[j] - points[i]),
        points[i + 1] + t * (points[j + 1] - points[i + 1]),
      );
    }
  }
  return result;
}

/**
 * Adds the lines that are seen to paths of pixels: `land` to fill, `coast` and `borders` to
 * stroke.
 */
export function trace(outline, view, { land, coast, borders }) {
  const { rings, borders: lines } = outline.atZoom(view.zoom);
  const seen = view.worldBox(0.1);
  for (const turn of [-1, 0, 1]) {
    const box = [seen[0] - turn, seen[1], seen[2] - turn, seen[3]];
    for (const ring of rings) {
      if (!overlap(ring.box, box)) continue;
      if (ring.isOpen) {
        line(coast, ring.points, view, turn);
        polygon(land, clipRing(closed(ring.points), box), view, turn);
      } else {
        const clipped = within(ring.box, box) ? ring.points : clipRing(ring.points, box);
        polygon(land, clipped, view, turn);
        polygon(coast, clipped, view, turn);
      }
    }
    for (const border of lines) {
      if (overlap(border.box, box)) line(borders, border.points, view, turn);
    }
  }
}

function closed(points) {
  return [...points, points.at(-2), 1, points[0], 1];
}

const overlap = (a, b) => a[0] <= b[2] && a[2] >= b[0] && a[1] <= b[3] && a[3] >= b[1];
const within = (a, b) => a[0] >= b[0] && a[2] <= b[2] && a[1] >= b[1] && a[3] <= b[3];

function polygon(path, points, view, turn) {
  line(path, points, view, turn);
  if (points.length) path.closePath();
}

function line(path, points, view, turn) {
  const { scale } = view;
  const left = view.width / 2 + (turn - view.x) * scale;
  const top = view.height / 2 - view.y * scale;
  for (let i = 0; i < points.length; i += 2) {
    const [px, py] = [left + points[i] * scale, top + points[i + 1] * scale];
    if (i === 0) path.moveTo(px, py);
    else path.lineTo(px, py);
  }
}
