import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { ClientLayer } from '../../page/map/clients.js';
import { flight } from '../../page/map/flight.js';
import { pinchOf } from '../../page/map/gestures.js';
import { cellAt, discs, zoomInto } from '../../page/map/grid.js';
import { choose, prepare, prepareNames } from '../../page/map/labels.js';
import { latitudeOf, longitudeOf, MAX_LATITUDE, worldX, worldY } from '../../page/map/mercator.js';
import { clipRing, decode, Outline, ranks, trace } from '../../page/map/outline.js';
import { blend, write } from '../../page/map/stamp.js';
import { tilesOf } from '../../page/map/tiles.js';
import { contains, degreesOf, View } from '../../page/map/view.js';

const near = (a, b, tolerance = 1e-9) =>
  assert.ok(Math.abs(a - b) <= tolerance, `${a} is not near ${b}`);

function view(longitude, latitude, zoom, width = 1000, height = 600) {
  const result = new View();
  result.resize(width, height);
  result.lookAt(longitude, latitude, zoom);
  return result;
}

const dataFile = (name) => gunzipSync(readFileSync(new URL(`../../data/${name}`, import.meta.url)));

test('the projection is Web Mercator', () => {
  near(worldX(-180), 0);
  near(worldX(180), 1);
  near(worldY(0), 0.5);
  near(worldY(MAX_LATITUDE), 0);
  near(worldY(-90), 1);
  for (const latitude of [-80, -33.3, 0, 51.5]) near(latitudeOf(worldY(latitude)), latitude);
  near(longitudeOf(worldX(-118.4)), -118.4);
});

test('a pixel and its point are each other', () => {
  const it = view(139.7, 35.7, 9.3);
  for (const [px, py] of [[0, 0], [500, 300], [999, 1]]) {
    const [x, y] = it.project(it.unproject(px, py));
    near(x, px, 1e-6);
    near(y, py, 1e-6);
  }
});

test('zooming keeps what is under the pointer', () => {
  const it = view(2.35, 48.85, 5);
  const before = it.unproject(700, 100);
  it.zoomAround(700, 100, 2.5);
  const after = it.unproject(700, 100);
  near(before[0], after[0], 1e-9);
  near(before[1], after[1], 1e-9);
});

test('the world fills the width, and the view stays on it', () => {
  const it = view(0, 0, -5, 3840, 2160);
  near(it.scale, 3840, 1e-6);
  it.panBy(0, 1e9);
  near(it.worldBox()[1], 0);
  it.panBy(1e9 + 123, -2e9);
  near(it.worldBox()[3], 1);
  assert.ok(it.x >= 0 && it.x < 1);
  it.zoomAround(0, 0, 100);
  near(it.zoom, 18);
});

test('boxes in degrees cross the antimeridian with west greater than east', () => {
  const [west, south, east, north] = degreesOf(view(179, -17, 6).worldBox());
  assert.ok(west > 165 && east < -165 && south < -17 && north > -17);
  assert.equal(degreesOf(view(0, 0, 0, 256, 256).worldBox()), null, 'the whole world has no box');
  const wide = degreesOf(view(0, 0, 0, 256, 100).worldBox());
  assert.deepEqual([wide[0], wide[2]], [-180, 180]);
});

test('the edge of the map includes the poles', () => {
  const it = view(10, 84, 4);
  assert.equal(degreesOf(it.worldBox(0.5))[3], 90);
});

test('a box contains another any number of turns away', () => {
  const outer = [0.9, 0.2, 1.2, 0.5];
  assert.ok(contains(outer, [0.95, 0.3, 1.1, 0.4]));
  assert.ok(contains(outer, [-0.05, 0.3, 0.1, 0.4]));
  assert.ok(!contains(outer, [0.85, 0.3, 1.1, 0.4]));
  assert.ok(!contains(outer, [0.95, 0.1, 1.1, 0.4]));
  assert.ok(contains([-0.2, -0.1, 0.9, 1.1], [0.5, -0.3, 0.7, 1.3]), 'beyond the map is nothing');
});

test('a flight begins and ends where it should', () => {
  const to = { x: 0.1, y: 0.3, w: 0.001 };
  for (const from of [{ x: 0.9, y: 0.5, w: 0.2 }, { x: 0.1, y: 0.3, w: 1 }, { ...to }]) {
    const { at, duration } = flight(from, to);
    assert.deepEqual(at(1), to);
    near(at(0).w, from.w, 1e-6);
    near(at(0).y, from.y, 1e-6);
    assert.ok(duration >= 0 && duration <= 2500);
  }
});

test('a flight takes the shorter way around the earth', () => {
  const { at } = flight({ x: 0.95, y: 0.5, w: 0.1 }, { x: 0.05, y: 0.5, w: 0.1 });
  const middle = at(0.5).x;
  assert.ok(middle > 0.95 && middle < 1.06, String(middle));
});

test('the outline of the data file is land and borders of the earth', () => {
  const outline = decode(dataFile('outline.bin.gz'));
  assert.ok(outline.rings.length > 1000 && outline.borders.length > 300);
  assert.equal(outline.rings.filter(({ isOpen }) => isOpen).length, 1, 'Antarctica');
  const isLand = (lon, lat) => inside(outline.rings, worldX(lon), worldY(lat));
  const land = [[2.35, 48.85], [-100, 40], [135, -25], [37.6, 55.75], [179, 67], [-175, 66.5]];
  for (const point of land) assert.ok(isLand(...point), `${point} is land`);
  for (const point of [[-30, 30], [-150, 0], [80, -30]]) assert.ok(!isLand(...point), `${point}`);
});

function inside(rings, x, y) {
  let odd = false;
  for (const { points } of rings) {
    for (const turn of [-1, 0, 1]) {
      for (let i = 0, j = points.length - 2; i < points.length; j = i, i += 2) {
        const [ax, ay, bx, by] = [points[i] + turn, points[i + 1], points[j] + turn, points[j + 1]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
      }
    }
  }
  return odd;
}

test('a broken outline is an error', () => {
  const whole = dataFile('outline.bin.gz');
  assert.throws(() => decode(whole.subarray(0, 1000)), /incomplete/);
  assert.throws(() => decode(Buffer.from('<html>')), /format/);
});

test('ranks say how far a line is off without a point', () => {
  const rank = ranks(Float64Array.from([0, 0, 1, 0.1, 2, 5, 3, 0, 4, 0]));
  assert.equal(rank[0], Infinity);
  assert.equal(rank[4], Infinity);
  near(rank[2], 5, 1e-6);
  assert.ok(rank[1] < 5 && rank[1] > 0);
});

test('a lower zoom has fewer points', () => {
  const outline = new Outline(decode(dataFile('outline.bin.gz')));
  const count = (zoom) =>
    outline.atZoom(zoom).rings.reduce((n, { points }) => n + points.length / 2, 0);
  assert.ok(count(1) < count(4) && count(4) < count(12));
});

test('rings are clipped to what is seen', () => {
  const square = [0, 0, 1, 0, 1, 1, 0, 1];
  assert.deepEqual(clipRing(square, [2, 2, 3, 3]), []);
  const clipped = clipRing(square, [0.5, 0.5, 3, 3]);
  assert.equal(clipped.length, 8);
  for (const value of clipped) assert.ok(value === 0.5 || value === 1);
});

test('tracing fills the window over land at any zoom', () => {
  const outline = new Outline(decode(dataFile('outline.bin.gz')));
  for (const zoom of [3, 8, 17]) {
    const paths = { land: recorder(), coast: recorder(), borders: recorder() };
    trace(outline, view(25, 20, zoom), paths);
    assert.ok(paths.land.points > 2, `zoom ${zoom}`);
  }
});

const recorder = () => ({
  points: 0,
  moveTo() {
    this.points += 1;
  },
  lineTo() {
    this.points += 1;
  },
  closePath() {},
});

test('labels do not overlap, and larger places come first', () => {
  const labels = prepare(JSON.parse(dataFile('labels.json.gz')));
  const it = view(10, 48, 5);
  const chosen = choose(labels, it, (name) => name.length * 7);
  assert.ok(chosen.length > 10);
  for (const [i, one] of chosen.entries()) {
    for (const other of chosen.slice(i + 1)) {
      const apart = one.box.left >= other.box.right || other.box.left >= one.box.right;
      assert.ok(apart || Math.abs(one.box.py - other.box.py) >= 16);
    }
  }
  const names = chosen.map(({ label }) => label.name);
  assert.ok(names.includes('Germany') && names.includes('Paris'), names.join());
});

test('names of the server follow those of the page, and marked names are left out', () => {
  const feature = { geometry: { coordinates: [0, 0] }, properties: { name: 'Here' } };
  const more = prepareNames({ features: [feature, feature] });
  const it = view(0, 0, 9);
  assert.equal(choose(more, it, () => 30).length, 1);
  assert.equal(choose(more, it, () => 30, new Set(['Here'])).length, 0);
});

test('tiles cover the window once', () => {
  const it = view(179.5, 10, 5.3);
  const tiles = tilesOf(it);
  const area = tiles.reduce((sum, { size }) => sum + size * size, 0);
  assert.ok(area >= it.width * it.height);
  for (const { z, x, y } of tiles) assert.ok(x >= 0 && y >= 0 && x < 2 ** z && y < 2 ** z);
  assert.equal(new Set(tiles.map(({ x, y }) => `${x}/${y}`)).size, tiles.length);
});

test('a pinch moves by its middle and zooms by its spread', () => {
  const pointers = new Map([[1, { x: 0, y: 0 }], [2, { x: 100, y: 0 }]]);
  const { steps, dx, x } = pinchOf(pointers, 2, { x: 200, y: 0 });
  assert.deepEqual([steps, dx, x], [1, 50, 100]);
});

test('discs show numbers by area, and a click finds the cell', () => {
  const cell = (lon, count) => ({
    bbox: [lon, 0, lon + 5, 5],
    geometry: { coordinates: [lon + 2, 2] },
    properties: { count },
  });
  const it = view(0, 0, 4);
  const features = [cell(-10, 400), cell(0, 100), cell(120, 5)];
  const seen = discs(features, it);
  assert.deepEqual(seen.map(({ count }) => count), [100, 400], 'the largest is drawn last');
  near(seen[1].radius / seen[0].radius, 2);
  assert.deepEqual(cellAt(features, it, ...it.project([2, 2])), [0, 0, 5, 5]);
  assert.equal(cellAt(features, it, 5, 5), null);
  assert.ok(zoomInto([0, 0, 5, 5], it) > it.zoom);
});

test('a stamp is written where it fits, and covers what is below', () => {
  const stamp = { half: 1, size: 3, versions: Array(16).fill(new Uint32Array(9).fill(0xff0000ff)) };
  const pixels = new Uint32Array(25);
  write(pixels, 5, 5, stamp, 2, 2);
  assert.equal(pixels.filter(Boolean).length, 9);
  write(pixels, 5, 5, stamp, 0.5, 4.9);
  assert.equal(pixels[20], 0xff0000ff);
  write(pixels, 5, 5, stamp, -9, 2);
  write(pixels, 5, 5, stamp, 2, 50);
  assert.equal(pixels.length, 25);
});

test('new reports are drawn, also of clients that do not move', () => {
  const store = { ids: [], length: 0, origins: [], movingUntil: 0, at: () => [0.5, 0.5] };
  globalThis.ImageData = class {
    constructor(width, height) {
      Object.assign(this, { width, height, data: new Uint8ClampedArray(4 * width * height) });
    }
  };
  const layer = new ClientLayer(store);
  layer.resize(10, 10, 4);
  layer.draw({ putImageData() {} }, view(0, 0, 3), 1000, {});
  assert.ok(!layer.hasMoved(99_000));
  layer.noteReports();
  assert.ok(layer.hasMoved(99_000));
});

test('the nearest client within reach is found', () => {
  const at = [[0.5, 0.5], [0.501, 0.5]];
  const layer = new ClientLayer({
    ids: ['a', 'b', undefined],
    length: 3,
    at: (slot) => at[slot] ?? [0.5, 0.5],
  });
  const it = view(0, 0, 6);
  assert.equal(layer.find(it, ...it.toScreen(0.5009, 0.5), 0, 14), 'b');
  assert.equal(layer.find(it, 10, 10, 0, 14), null);
});

test('half of a colour over another is the mean of both', () => {
  assert.equal(blend(0x80ffffff, 0xff000000), 0xff808080);
  assert.equal(blend(0x00ffffff, 0xff123456), 0xff123456);
});
