import assert from 'node:assert/strict';
import { test } from 'node:test';

import { read, write } from '../../page/lib/address.js';
import * as format from '../../page/lib/format.js';
import { AGE_STEPS, ageStep, ageStyle, serverStyle } from '../../page/lib/palette.js';
import { parsePoint, parsePosition } from '../../page/lib/position.js';
import { circle, destination, distanceKm, wrapLongitude } from '../../page/lib/sphere.js';

test('distances are those of the servers', () => {
  // The servers say 487.00246449470137 m (proxyherd nearby).
  const meters = distanceKm([-118.445127, 34.06893], [-118.44, 34.07]) * 1000;
  assert.ok(Math.abs(meters - 487.00246) < 1e-3, String(meters));
  assert.ok(Math.abs(distanceKm([0, 0], [180, 0]) - 20015.1) < 0.1);
  assert.ok(distanceKm([179.9, 0], [-179.9, 0]) < 23, 'across the antimeridian');
});

test('a point at a distance is at that distance, in any direction', () => {
  for (const center of [[0, 0], [179.9, -17], [10, 89], [-118, 34]]) {
    for (const point of circle(center, 300, 12)) {
      assert.ok(Math.abs(distanceKm(center, point) - 300) < 1e-6);
      assert.ok(Math.abs(point[0]) <= 180 && Math.abs(point[1]) <= 90);
    }
  }
  assert.ok(destination([0, 0], 100, 90)[0] > 0.8, 'bearing 90 is east');
});

test('longitudes turn into -180 to 180', () => {
  assert.deepEqual([190, -190, 540, -180, 0].map(wrapLongitude), [-170, 170, -180, -180, 0]);
});

test('times have one or two units', () => {
  const cases = [
    [0, '0 s'],
    [0.0007, '0.7 ms'],
    [0.9991, '1000 ms'],
    [0.9996, '1 s'],
    [5.25, '5.3 s'],
    [9.96, '10 s'],
    [59.6, '1 min'],
    [200, '3 min 20 s'],
    [3600, '1 h'],
    [90061, '1 d 1 h'],
    [-2, '−2 s'],
    [null, '–'],
    [undefined, '–'],
  ];
  for (const [value, text] of cases) assert.equal(format.seconds(value), text);
});

test('numbers, distances and points read well', () => {
  assert.equal(format.number(1234567), '1,234,567');
  assert.equal(format.short(12345), '12.3K');
  assert.equal(format.rate(0.04), '0');
  assert.equal(format.rate(null), '–');
  assert.equal(format.distance(486.9), '487 m');
  assert.equal(format.distance(4949), '4.9 km');
  assert.equal(format.distance(1234567), '1,235 km');
  assert.equal(format.point([-118.445127, 34.06893], 2), '34.07° N, 118.45° W');
  assert.equal(format.count(1, 'client'), '1 client');
  assert.equal(format.clock('-1s after 1970'), '-1s after 1970');
});

test('invisible characters of an ID are written out', () => {
  assert.equal(format.visible('a\u202eb\u0000'), 'a⟨U+202E⟩b⟨U+0000⟩');
  assert.equal(format.visible('kiwi-日本-😀'), 'kiwi-日本-😀');
});

test('positions are read as clients write them', () => {
  assert.deepEqual(parsePosition('+34.068930-118.445127'), [-118.445127, 34.06893]);
  assert.deepEqual(parsePosition('-90+0'), [0, -90]);
  assert.equal(parsePosition('34.07,-118.44'), null);
});

test('points are read as people write them', () => {
  assert.deepEqual(parsePoint(' 34.07, -118.44 '), [-118.44, 34.07]);
  assert.deepEqual(parsePoint('34.07 -118.44'), [-118.44, 34.07]);
  assert.deepEqual(parsePoint('+34.07-118.44'), [-118.44, 34.07]);
  for (const text of ['', '34', '91, 0', '0, 181', 'a, b', '1, 2, 3']) {
    assert.equal(parsePoint(text), null, text);
  }
});

test('each server has a colour and a shape of its own', () => {
  for (const isDark of [false, true]) {
    const styles = Array.from({ length: 32 }, (_, i) => JSON.stringify(serverStyle(i, isDark)));
    assert.equal(new Set(styles).size, 32);
  }
});

test('each age has a step', () => {
  assert.deepEqual([-3, 0, 4.9, 5, 3599, 3600, 1e9].map(ageStep), [0, 0, 0, 1, 4, 5, 5]);
  for (const step of AGE_STEPS.keys()) assert.match(ageStyle(step, true).colour, /^#[0-9a-f]{6}$/);
});

test('the address holds the view and any client', () => {
  for (const client of ['kiwi.cs.ucla.edu', 'a/b&c=d#e', '日本+1', '%', null]) {
    const state = { zoom: 4.25, center: [-118.4, 34], client };
    assert.deepEqual(read(write(state)), { view: { zoom: 4.25, center: [-118.4, 34] }, client });
  }
});

test('an address that is not of this page is ignored', () => {
  for (const fragment of ['', '#', '#map=1/2', '#map=a/b/c', '#map=1/91/0', '#map=Infinity/0/0']) {
    assert.equal(read(fragment).view, null, fragment);
  }
});
