/**
 * Keeps a store of clients up to date for a part of the world: lists the clients there, then
 * watches from the cursor of the list, so no report is lost between the two. Where there are
 * too many clients to list, it lists their numbers on a grid again and again.
 */

import { contains, degreesOf } from '../map/view.js';
import { box, path } from './api.js';
import { EventParser } from './events.js';
import { backoff, wait } from './retry.js';

/** Maximum number of clients to list, and to show. */
export const LIMIT = 20_000;

const PADDING = 0.25;
const GRID_INTERVAL = 4000;
// A client that left the box sends no event: the list is made again, now and then.
const LIST_INTERVAL = 60_000;
// A server sends something every 5 seconds.
const SILENCE = 15_000;

/**
 * Follows the clients of a server. `listener` is called with what changes: `state(name, detail)`
 * with "connecting", "live" or "retrying" (and the milliseconds of the wait), `clients()`,
 * `grid(features or null)`, `report(feature)`, `missed(count)`, `matched(count)`.
 */
export class Follower {
  #controller = null;
  #covered = null;
  #shown = null;
  #isGrid = false;
  #failures = 0;

  constructor({ api, store, listener, isStill = () => false }) {
    this.api = api;
    this.store = store;
    this.listener = listener;
    this.isStill = isStill;
  }

  /** Follows what a view shows. Returns at once. */
  show(view) {
    const seen = view.worldBox();
    const isSameZoom = this.#shown !== null && Math.abs(this.#shown - view.zoom) < 0.5;
    const isCovered = this.#covered !== null && contains(this.#covered, seen);
    if (isCovered && (!this.#isGrid || isSameZoom)) return;
    this.#covered = view.worldBox(PADDING);
    this.#shown = view.zoom;
    this.restart();
  }

  /** Stops following. */
  stop() {
    this.#controller?.abort(new Error('no longer wanted'));
    this.#covered = null;
  }

  /** Lists and watches anew. */
  restart() {
    this.#controller?.abort(new Error('another view'));
    this.#controller = new AbortController();
    this.#run(this.#controller.signal);
  }

  async #run(signal) {
    while (!signal.aborted) {
      try {
        await this.#listAndWatch(signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#pause(error, signal).catch(() => {});
      }
    }
  }

  async #listAndWatch(signal) {
    const bbox = box(degreesOf(this.#covered));
    const list = await this.api.get('clients', { bbox, limit: LIMIT }, signal);
    signal.throwIfAborted();
    this.#failures = 0;
    this.#isGrid = list.cell_degrees !== null;
    this.listener.matched(list.matched);
    if (this.#isGrid) {
      this.store.clear();
      this.listener.grid(list.features);
      this.listener.state('live', null);
      await wait(GRID_INTERVAL, signal);
      return;
    }
    this.store.replace(list.features, performance.now(), this.isStill());
    this.listener.grid(null);
    this.listener.clients();
    await this.#watch(bbox, list.cursor, signal);
  }

  /** Watches until the list is due again. Reconnects by itself. */
  async #watch(bbox, cursor, signal) {
    const due = AbortSignal.timeout(LIST_INTERVAL);
    const position = { cursor };
    while (!due.aborted) {
      const both = AbortSignal.any([signal, due]);
      try {
        if (await this.#read(bbox, position, both)) return;
        throw new Error('the server ended the stream');
      } catch (error) {
        signal.throwIfAborted();
        if (due.aborted) return;
        await this.#pause(error, both).catch(() => signal.throwIfAborted());
      }
    }
  }

  /** Reads one stream to its end. Returns true if the clients have to be listed again. */
  async #read(bbox, position, signal) {
    const silence = new AbortController();
    const both = AbortSignal.any([signal, silence.signal]);
    const answer = await this.api.open(path('watch', { bbox }), {
      'Last-Event-ID': position.cursor,
    }, both);
    this.#failures = 0;
    this.listener.state('live', null);
    let isStale = false;
    const parser = new EventParser((event) => {
      isStale = this.#take(event) || isStale;
    });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let timer = 0;
    try {
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(new Error('the server fell silent')), SILENCE);
        const { value, done } = await reader.read();
        if (done) return false;
        parser.push(value);
        position.cursor = parser.lastId ?? position.cursor;
        this.listener.clients();
        if (isStale) return true;
      }
    } finally {
      clearTimeout(timer);
      reader.cancel().catch(() => {});
    }
  }

  /** Takes an event. Returns true if the clients have to be listed again. */
  #take({ type, data }) {
    if (type === 'reset') return true;
    const content = JSON.parse(data);
    if (type === 'missed') this.listener.missed(content.replaced);
    if (type !== 'report') return false;
    this.listener.report(content);
    return !this.store.put(content, performance.now(), this.isStill());
  }

  async #pause(error, signal) {
    this.#failures += 1;
    const asked = error.retryAfter ? error.retryAfter * 1000 : 0;
    const milliseconds = Math.max(asked, backoff(this.#failures));
    this.listener.state('retrying', { milliseconds, cause: error.message });
    await wait(milliseconds, signal);
    this.listener.state('connecting', null);
  }
}
