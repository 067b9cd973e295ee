import assert from 'node:assert/strict';
import { test } from 'node:test';

import { History } from '../../page/state/history.js';
import { Store } from '../../page/state/store.js';
import { worldX } from '../../page/map/mercator.js';

globalThis.matchMedia = () => ({ matches: false, addEventListener() {} });
const { niceMax, pieces, spanOf } = await import('../../page/herd/chart.js');
const { changes, clockLead, describe, directions } = await import('../../page/herd/links.js');
const { order, seats } = await import('../../page/herd/layout.js');
const { seen } = await import('../../page/panel/list.js');
const { View } = await import('../../page/map/view.js');

const feature = (id, lon, lat, origin = 'Riley', age = 1) => ({
  id,
  geometry: { coordinates: [lon, lat] },
  properties: { origin, age_seconds: age },
});

test('a client moves to its new position in the time between its reports', () => {
  const store = new Store(10);
  store.put(feature('kiwi', 0, 0), 1000);
  store.put(feature('kiwi', 1, 0), 2000);
  const slot = store.slot('kiwi');
  const middle = (worldX(0) + worldX(1)) / 2;
  assert.ok(Math.abs(store.at(slot, 2500)[0] - middle) < 1e-12);
  assert.equal(store.at(slot, 3000)[0], worldX(1));
  assert.equal(store.movingUntil, 3000);
  assert.equal(store.reportedAt[slot], 1000);
});

test('a client does not cross the world to cross the antimeridian, and far steps jump', () => {
  const store = new Store(10);
  store.put(feature('a', 179.9, 0), 0);
  store.put(feature('a', -179.9, 0), 1000);
  const [x] = store.at(store.slot('a'), 1500);
  assert.ok(Math.abs(x - Math.round(x)) < 0.001, `${x} is at the antimeridian`);
  store.put(feature('a', 10, 50), 2000);
  assert.equal(store.at(store.slot('a'), 2000)[0], worldX(10));
});

test('with reduced motion clients are shown where they are', () => {
  const store = new Store(10);
  store.put(feature('a', 0, 0), 0);
  store.put(feature('a', 1, 0), 1000, true);
  assert.equal(store.at(store.slot('a'), 1000)[0], worldX(1));
});

test('the store is bounded, and uses the slots of removed clients again', () => {
  const store = new Store(3);
  for (const id of ['a', 'b', 'c']) assert.ok(store.put(feature(id, 0, 0), 0));
  assert.ok(!store.put(feature('d', 0, 0), 0));
  assert.ok(store.put(feature('a', 1, 0), 0), 'a known client has its slot');
  assert.ok(store.replace([feature('b', 0, 0), feature('d', 5, 0)], 10));
  assert.equal(store.size, 2);
  assert.equal(store.slot('a'), undefined);
  assert.equal(store.length, 3);
  for (let round = 0; round < 1000; round++) {
    assert.ok(store.replace([feature(`x${round}`, 0, 0), feature(`y${round}`, 0, 0)], round));
  }
  assert.equal(store.length, 3);
  store.clear();
  assert.equal(store.size, 0);
});

test('servers keep their numbers', () => {
  const store = new Store(3);
  store.addOrigins(['Riley', 'Jaquez']);
  store.put(feature('a', 0, 0, 'Jaquez'), 0);
  assert.equal(store.origin[store.slot('a')], 1);
  assert.deepEqual(store.origins, ['Riley', 'Jaquez']);
});

test('the list has the clients in the window, by ID', () => {
  const store = new Store(300);
  for (let i = 0; i < 200; i++) {
    store.put(feature(`c${String(i).padStart(3, '0')}`, 0.001 * i, 0), 0);
  }
  store.put(feature('far', 120, 0), 0);
  const view = new View();
  view.resize(800, 600);
  view.lookAt(0, 0, 8);
  const { total, slots } = seen(store, view, 10);
  assert.equal(total, 200);
  assert.equal(slots.length, 100);
  assert.equal(store.ids[slots[0]], 'c000');
});

const link = (neighbour, more = {}) => ({
  neighbour,
  up: true,
  reason: '',
  lag_seconds: null,
  lag_reports: 0,
  stalled_seconds: null,
  last_round_trip_seconds: 0.0007,
  received_newer: 0,
  received_duplicate: 0,
  clock_offset_seconds: 0,
  ...more,
});

function herd(time, accepted, { incarnation = 'a', links = [link('B')], error = null } = {}) {
  const status = {
    incarnation,
    now: new Date(time).toISOString(),
    client_lines: { accepted },
    links,
    draining: false,
  };
  const other = { ...status, client_lines: { accepted: 0 }, links: [link('A')] };
  return {
    now: new Date(time).toISOString(),
    servers: [
      { server: 'A', neighbours: ['B'], error: null, status },
      { server: 'B', neighbours: ['A'], error, status: error ? null : other },
    ],
  };
}

test('rates are differences within one incarnation', () => {
  const history = new History();
  history.add(herd(0, 100));
  assert.equal(history.samples[0].rate, null);
  history.add(herd(2000, 300));
  assert.equal(history.samples[1].rate, 100);
  assert.equal(history.rateOf('A'), 100);
  history.add(herd(4000, 5, { incarnation: 'b' }));
  assert.equal(history.rateOf('A'), null, 'a restart is no negative rate');
});

test('redundancy is duplicates for each new report', () => {
  const history = new History();
  history.add(herd(0, 0));
  const links = [link('B', { received_newer: 200, received_duplicate: 50, lag_seconds: 1.5 })];
  history.add(herd(2000, 0, { links }));
  assert.equal(history.samples[1].redundancy, 0.25);
  assert.equal(history.samples[1].lag, 1.5);
});

test('the history holds ten minutes', () => {
  const history = new History();
  for (let time = 0; time <= 3_600_000; time += 2000) history.add(herd(time, time));
  assert.equal(history.samples.length, 301);
  history.addGap(3_602_000);
  history.addGap(3_604_000);
  assert.equal(history.samples.at(-1).rate, null);
  assert.equal(history.samples.at(-2).rate, 1000, 'one gap is enough');
});

test('axes end at round numbers', () => {
  assert.deepEqual([0, 0.3, 1, 1.1, 4, 999, 2001].map(niceMax), [1, 0.5, 1, 2, 5, 1000, 5000]);
  assert.equal(spanOf([]), 1);
  assert.equal(spanOf([{ time: 0 }, { time: 90_000 }]), 2);
  assert.equal(spanOf([{ time: 0 }, { time: 5_000_000 }]), 10);
});

test('a line has gaps where there is no value', () => {
  const samples = [[0, 1], [2000, 2], [4000, null], [6000, 3], [60_000, 4]]
    .map(([time, rate]) => ({ time, rate }));
  const lines = pieces(samples, ({ rate }) => rate);
  assert.deepEqual(lines, [[[0, 1], [2000, 2]], [[6000, 3]], [[60_000, 4]]]);
});

test('links have a state and a line of text', () => {
  const links = [link('B', { up: false, reason: 'refused', lag_reports: 7 })];
  const [one, other] = directions(herd(0, 0, { links }));
  assert.equal(one.state, 'down');
  assert.equal(describe(one), 'A → B: down: refused, 7 reports pending');
  assert.equal(describe(other), 'B → A: up, lag 0 s, round trip 0.7 ms');
  assert.equal(directions(herd(0, 0, { links: [link('B', { lag_seconds: 1 })] }))[0].state, 'slow');
  const silent = directions(herd(0, 0, { error: 'gone' }))[1];
  assert.equal(describe(silent), 'B → A: unknown, since B gives no answer');
});

test('a clock is compared as `proxyherd status` does', () => {
  const offsets = (...pairs) => ({
    links: pairs.map(([offset, error]) =>
      link('B', { clock_offset_seconds: offset, clock_offset_error_seconds: error })
    ),
  });
  assert.equal(clockLead(offsets([-5, 1])), 4);
  assert.equal(Math.abs(clockLead(offsets([0.1, 0.2]))), 0, 'clocks that may be equal are');
  assert.equal(clockLead(offsets([3, 0], [-1, 0], [9, 0], [null, null])), -3);
  assert.equal(clockLead(offsets([null, null])), null);
});

test('changes between two answers are told once', () => {
  const [well, dead] = [herd(0, 0), herd(0, 0, { error: 'gone' })];
  assert.deepEqual(changes(well, well), []);
  assert.deepEqual(changes(well, dead), ['B is down']);
  assert.deepEqual(changes(dead, well), ['B is back']);
  assert.deepEqual(changes(well, herd(0, 0, { incarnation: 'b' })), [
    'A has restarted',
    'B has restarted',
  ]);
});

test('the graph of the classic herd has no crossing', () => {
  const pairs = [
    'Riley Jaquez',
    'Riley Juzang',
    'Bernard Jaquez',
    'Bernard Juzang',
    'Bernard Campbell',
    'Juzang Campbell',
  ];
  const links = pairs.map((it) => it.split(' ')).map(([from, to]) => ({ from, to }));
  const names = ['Riley', 'Jaquez', 'Juzang', 'Campbell', 'Bernard'];
  const found = order(names, links);
  assert.deepEqual([...found].sort(), [...names].sort());
  const around = found.map((name, i) => [name, found[(i + 1) % 5]].sort().join(' '));
  const outer = pairs.filter((it) => around.includes(it.split(' ').sort().join(' ')));
  assert.equal(outer.length, 5, `${found}: five links go around, the sixth is a chord`);
  assert.deepEqual(order(names, links), found);
});

test('servers stand apart', () => {
  const place = seats(Array.from({ length: 60 }, (_, i) => `s${i}`), {
    x: 0,
    y: 0,
    rx: 100,
    ry: 100,
  });
  assert.equal(
    new Set([...place.values()].map(({ x, y }) => `${x.toFixed(3)} ${y.toFixed(3)}`)).size,
    60,
  );
  assert.deepEqual(seats(['a'], { x: 5, y: 6, rx: 1, ry: 1 }).get('a'), { x: 5, y: 6 });
});
