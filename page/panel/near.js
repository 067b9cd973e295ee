/** The panel "Near": who is within a circle, drawn on the map or written in the form. */

import { announce, byId, h, setText } from '../lib/dom.js';
import { count, distance, point as pointText, seconds, visible } from '../lib/format.js';
import { parsePoint } from '../lib/position.js';

const LIMIT = 200;
const MIN_KM = 0.001;

/**
 * The panel. `events`: `circle(center, km)` to show a circle or null, `select(id)` when the user
 * chooses a client.
 */
export class NearPanel {
  #controller = null;

  constructor(api, events) {
    this.api = api;
    this.events = events;
    byId('near-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** Writes a center and a radius into the form. */
  set(center, km) {
    byId('near-center').value = `${center[1].toFixed(5)}, ${center[0].toFixed(5)}`;
    if (km > 0) byId('near-radius').value = String(Number(Math.max(MIN_KM, km).toPrecision(3)));
  }

  /** Lists who is within a circle. */
  async list(center, km) {
    const point = `${center[1]},${center[0]}`;
    await this.#ask(
      { point, radius: km },
      `within ${distance(km * 1000)} of ${pointText(center, 3)}`,
    );
  }

  /** Lists who is near a client, as far away as the form says. */
  async listAround(id, center) {
    const km = Number(byId('near-radius').value);
    if (center) {
      this.set(center, km);
      this.events.circle(center, km);
    }
    await this.#ask({ client: id, radius: km }, `within ${distance(km * 1000)} of ${visible(id)}`);
  }

  #submit() {
    const center = parsePoint(byId('near-center').value);
    const km = Number(byId('near-radius').value);
    if (!center) {
      setText(
        byId('near-note'),
        'The center must be a latitude and a longitude, such as 34.07, -118.44.',
      );
      byId('near-center').focus();
      return;
    }
    this.events.circle(center, km);
    this.list(center, km);
  }

  async #ask(parameters, where) {
    this.#controller?.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    setText(byId('near-note'), 'Asking…');
    try {
      const { features } = await this.api.get('near', { ...parameters, limit: LIMIT }, signal);
      if (signal.aborted) return;
      const more = features.length === LIMIT ? 'The nearest ' : '';
      const text = `${more}${count(features.length, 'client')} ${where}`;
      setText(byId('near-note'), text);
      announce(text);
      byId('near-list').replaceChildren(...features.map((it) => this.#row(it)));
    } catch (error) {
      if (!signal.aborted) setText(byId('near-note'), error.message);
    }
  }

  #row({ id, properties: { distance_meters: meters, age_seconds: age } }) {
    const select = () => this.events.select(id);
    return h(
      'li',
      {},
      h(
        'button',
        { class: 'row', type: 'button', onclick: select },
        h('strong', {}, visible(id)),
        h('span', { class: 'muted' }, `${distance(meters)}, ${seconds(age)} old`),
      ),
    );
  }
}
