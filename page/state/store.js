/**
 * The clients on the map, in arrays with one entry for each: where a client is shown, where it
 * goes, and the age of its report. Their number is bounded; beyond the bound `put` reports that
 * there is no room.
 *
 * A client moves from where it is shown to its new position in the time that passed since its
 * report before, so steady reports make steady motion.
 */

import { worldX, worldY } from '../map/mercator.js';

const MIN_MOVE = 250;
const MAX_MOVE = 3000;
// A client that is farther away did not move: it is shown there at once.
const MAX_STEP = 0.02;

/** The clients, by slot. Times are those of `performance.now`, in milliseconds. */
export class Store {
  #slots = new Map();
  #free = [];
  #origins = new Map();

  constructor(capacity) {
    this.capacity = capacity;
    /** Number of slots that were ever in use; those of removed clients have no ID. */
    this.length = 0;
    this.ids = [];
    this.fromX = new Float64Array(capacity);
    this.fromY = new Float64Array(capacity);
    this.toX = new Float64Array(capacity);
    this.toY = new Float64Array(capacity);
    this.start = new Float64Array(capacity);
    this.duration = new Float32Array(capacity);
    this.reportedAt = new Float64Array(capacity);
    this.origin = new Uint16Array(capacity);
    /** The time until which a client is moving. */
    this.movingUntil = 0;
  }

  /** Number of clients. */
  get size() {
    return this.#slots.size;
  }

  /** Names of the servers that received reports, by the number in `origin`. */
  get origins() {
    return [...this.#origins.keys()];
  }

  /** Returns the number of a server. */
  numberOf(origin) {
    return this.#originOf(origin);
  }

  /** Reserves the numbers of servers, so that colours do not depend on who reports first. */
  addOrigins(names) {
    for (const name of names) this.#originOf(name);
  }

  /** Returns the slot of a client, or undefined. */
  slot(id) {
    return this.#slots.get(id);
  }

  /**
   * Stores the feature of a client. Returns false if there is no room. With `isStill` the
   * client is shown at its new position at once.
   */
  put(feature, now, isStill = false) {
    const [longitude, latitude] = feature.geometry.coordinates;
    const { origin, age_seconds: age } = feature.properties;
    const [x, y] = [worldX(longitude), worldY(latitude)];
    let slot = this.#slots.get(feature.id);
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.length;
      if (slot >= this.capacity) return false;
      this.length = Math.max(this.length, slot + 1);
      this.#slots.set(feature.id, slot);
      this.ids[slot] = feature.id;
      this.#place(slot, x, y, now);
    } else if (isStill) {
      this.#place(slot, x, y, now);
    } else {
      this.#move(slot, x, y, now);
    }
    this.reportedAt[slot] = now - age * 1000;
    this.origin[slot] = this.#originOf(origin);
    return true;
  }

  /** Keeps only these clients, and stores their features. */
  replace(features, now, isStill) {
    const ids = new Set(features.map(({ id }) => id));
    for (const id of [...this.#slots.keys()]) {
      if (!ids.has(id)) this.#remove(id);
    }
    return features.every((feature) => this.put(feature, now, isStill));
  }

  /** Removes all clients. */
  clear() {
    this.#slots.clear();
    this.#free = [];
    this.ids = [];
    this.length = 0;
  }

  /** Returns where a client is shown: its x and y, continuous across the antimeridian. */
  at(slot, now) {
    const share = Math.min(1, (now - this.start[slot]) / this.duration[slot]);
    if (!(share < 1)) return [this.toX[slot], this.toY[slot]];
    return [
      this.fromX[slot] + (this.toX[slot] - this.fromX[slot]) * share,
      this.fromY[slot] + (this.toY[slot] - this.fromY[slot]) * share,
    ];
  }

  #place(slot, x, y, now) {
    this.fromX[slot] = this.toX[slot] = x;
    this.fromY[slot] = this.toY[slot] = y;
    this.start[slot] = now;
    this.duration[slot] = 0;
  }

  #move(slot, x, y, now) {
    const [shownX, shownY] = this.at(slot, now);
    // The shorter way around the earth.
    const turn = Math.round(shownX - x);
    if (Math.hypot(x + turn - shownX, y - shownY) > MAX_STEP) {
      this.#place(slot, x, y, now);
      return;
    }
    const since = now - this.start[slot];
    this.fromX[slot] = shownX - turn;
    this.fromY[slot] = shownY;
    this.toX[slot] = x;
    this.toY[slot] = y;
    this.start[slot] = now;
    this.duration[slot] = Math.max(MIN_MOVE, Math.min(MAX_MOVE, since));
    this.movingUntil = Math.max(this.movingUntil, now + this.duration[slot]);
  }

  #remove(id) {
    const slot = this.#slots.get(id);
    this.#slots.delete(id);
    this.ids[slot] = undefined;
    this.#free.push(slot);
  }

  #originOf(name) {
    let number = this.#origins.get(name);
    if (number === undefined) {
      number = this.#origins.size;
      this.#origins.set(name, number);
    }
    return number;
  }
}
