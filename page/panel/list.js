/**
 * The panel "List": the clients that the map shows, as a table. It has what the canvas has, for
 * those who read with a screen reader or prefer text.
 */

import { byId, h, replaceKept, setText, table } from '../lib/dom.js';
import { count, number, point as pointText, seconds, visible } from '../lib/format.js';
import { latitudeOf, longitudeOf } from '../map/mercator.js';
import { wrapLongitude } from '../lib/sphere.js';

const MAX_ROWS = 100;

/** Returns the clients that a view shows, ordered by ID, at most MAX_ROWS, and their number. */
export function seen(store, view, now) {
  const found = [];
  for (let slot = 0; slot < store.length; slot++) {
    if (store.ids[slot] === undefined) continue;
    const [px, py] = view.toScreen(...store.at(slot, now));
    if (px >= 0 && py >= 0 && px <= view.width && py <= view.height) found.push(slot);
  }
  const byName = (a, b) => (store.ids[a] < store.ids[b] ? -1 : 1);
  return { total: found.length, slots: found.sort(byName).slice(0, MAX_ROWS) };
}

/** Draws the panel; `select(id)` is called when the user chooses a client. */
export function drawList(map, store, select) {
  const { view, grid } = map;
  if (grid) {
    setText(byId('list-note'), 'Too many clients to list. Zoom in, or search for one.');
    replaceKept(byId('list'), gridTable(grid, view));
    return;
  }
  const now = performance.now();
  const { total, slots } = seen(store, view, now);
  const more = total > slots.length ? `; the first ${slots.length} are listed` : '';
  const text = total ? `${count(total, 'client')} on the map${more}` : 'No client is on the map.';
  setText(byId('list-note'), text);
  replaceKept(byId('list'), clientTable(store, slots, now, select));
}

function clientTable(store, slots, now, select) {
  const rows = slots.map((slot) => {
    const id = store.ids[slot];
    const point = [wrapLongitude(longitudeOf(store.toX[slot])), latitudeOf(store.toY[slot])];
    return [
      h(
        'button',
        { class: 'link', type: 'button', 'data-key': id, onclick: () => select(id) },
        visible(id),
      ),
      `${point[1].toFixed(3)}, ${point[0].toFixed(3)}`,
      seconds(Math.max(0, Math.round((now - store.reportedAt[slot]) / 1000))),
      store.origins[store.origin[slot]],
    ];
  });
  return table('Clients on the map', ['Client', 'Latitude, longitude', 'Age', 'Server'], rows);
}

function gridTable(grid, view) {
  const cells = grid
    .filter(({ geometry }) => {
      const [px, py] = view.project(geometry.coordinates);
      return px >= 0 && py >= 0 && px <= view.width && py <= view.height;
    })
    .sort((a, b) => b.properties.count - a.properties.count)
    .slice(0, MAX_ROWS);
  const rows = cells.map(({ geometry, properties }) => [
    pointText(geometry.coordinates, 1),
    number(properties.count),
  ]);
  return table('Numbers of clients', ['Around', 'Clients'], rows);
}
