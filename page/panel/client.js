/** The panel "Client": the report of one client at every server, and the places around it. */

import { byId, h, setText, table } from '../lib/dom.js';
import { clock, distance, point as pointText, seconds, visible } from '../lib/format.js';
import { parsePosition } from '../lib/position.js';
import { distanceKm } from '../lib/sphere.js';
import { swatch } from '../herd/herd.js';

const REFRESH = 3000;
const RADIUS = 10;
const LIMIT = 20;

/**
 * The panel. `events`: `located(id, point)` when the position is known, `places(list)` with
 * `{ name, point }` to mark, `near(id)` when the user asks who is near, `close()`.
 */
export class ClientPanel {
  #controller = null;
  #id = null;

  constructor(api, events, colourOf) {
    this.api = api;
    this.events = events;
    this.colourOf = colourOf;
    byId('client-near').addEventListener('click', () => this.events.near(this.#id));
    byId('client-close').addEventListener('click', () => this.events.close());
    byId('client-places').addEventListener('click', () => this.#showPlaces());
  }

  /** The client that is shown, or null. */
  get id() {
    return this.#id;
  }

  /** Shows a client, or none. Returns a promise of its [longitude, latitude], or null. */
  async show(id) {
    this.#controller?.abort();
    this.#id = id;
    this.events.places([]);
    byId('client-empty').hidden = id !== null;
    byId('client-body').hidden = id === null;
    if (id === null) return null;
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    setText(byId('client-id'), visible(id));
    setText(byId('client-verdict'), 'Asking every server…');
    byId('client-held').replaceChildren();
    byId('client-facts').replaceChildren();
    byId('place-list').replaceChildren();
    setText(byId('place-note'), '');
    const point = await this.#refresh(signal);
    if (!signal.aborted && point) {
      this.#showPlaces();
      this.#keepFresh(signal);
    }
    return point;
  }

  async #keepFresh(signal) {
    while (!signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, REFRESH));
      if (!signal.aborted && !document.hidden) await this.#refresh(signal);
    }
  }

  async #refresh(signal) {
    try {
      const located = await this.api.locate(this.#id, signal);
      if (signal.aborted) return null;
      return this.#draw(located);
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
      return null;
    }
  }

  #fail(error) {
    const text = error.status === 404 ? 'No server has a report of this client.' : error.message;
    setText(byId('client-verdict'), text);
    byId('client-verdict').className = 'bad';
  }

  #draw({ newest, held, unknown_to: without, errors, agree }) {
    const point = newest && parsePosition(newest.position);
    const verdict = byId('client-verdict');
    verdict.className = agree && errors.length === 0 ? 'good' : 'bad';
    setText(verdict, verdictText(agree, held, without, errors));
    byId('client-facts').replaceChildren(...facts(newest, point, this.colourOf));
    byId('client-held').replaceChildren(heldTable(held, newest));
    if (point) this.events.located(this.#id, point);
    return point;
  }

  async #showPlaces() {
    const id = this.#id;
    const { signal } = this.#controller;
    setText(byId('place-note'), 'Asking…');
    try {
      const answer = await this.api.get(
        'places',
        { client: id, radius: RADIUS, limit: LIMIT },
        signal,
      );
      if (!signal.aborted) this.#drawPlaces(answer);
    } catch (error) {
      if (!signal.aborted) setText(byId('place-note'), error.message);
    }
  }

  #drawPlaces({ center, places, at_line: line }) {
    const list = places.results.map(({ name, vicinity, geometry: { location } }) => {
      const point = [location.lng, location.lat];
      return { name, vicinity, point, meters: distanceKm(center, point) * 1000 };
    });
    const status = places.status === 'OK' || places.status === 'ZERO_RESULTS';
    const note = status
      ? `${list.length} within ${RADIUS} km`
      : places.error_message ?? places.status;
    setText(byId('place-note'), note);
    byId('place-list').replaceChildren(
      ...list.map(({ name, vicinity, meters }) =>
        h(
          'li',
          {},
          h('strong', {}, name),
          h('span', { class: 'muted' }, ` ${distance(meters)}`),
          h('br'),
          h('span', { class: 'muted' }, vicinity ?? ''),
        )
      ),
    );
    setText(byId('at-line'), line ?? '');
    this.events.places(list);
  }
}

function verdictText(agree, held, without, errors) {
  const answered = held.length + without.length;
  const silent = errors.length
    ? `; no answer from ${errors.map((it) => it.server).join(', ')}`
    : '';
  if (agree) {
    return `The same report at ${answered} of ${answered + errors.length} servers${silent}`;
  }
  const missing = without.length ? `; none at ${without.join(', ')}` : '';
  return `Servers differ${missing}${silent}`;
}

function facts(newest, point, colourOf) {
  if (!newest) return [];
  const rows = [
    ['Position', point ? pointText(point) : newest.position],
    ['Reported to', h('span', {}, swatch(colourOf(newest.origin)), newest.origin)],
    ['Clock', skewText(newest.skew_nanos / 1e9)],
  ];
  return rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]);
}

const skewText = (skew) =>
  `the client's is ${seconds(Math.abs(skew))} ${skew >= 0 ? 'behind' : 'ahead'}, delay included`;

function heldTable(held, newest) {
  const rows = held.map((it) => [
    it.server,
    h('span', { title: it.at_line ?? '' }, seconds(it.age_seconds)),
    clock(it.learned_at),
    it.learned_from ?? (it.recovered ? 'its storage' : 'the client'),
    it.time === newest.time && it.position === newest.position ? 'yes' : 'no',
  ]);
  return table('The report at every server', ['Server', 'Age', 'Learned', 'From', 'Newest'], rows);
}
