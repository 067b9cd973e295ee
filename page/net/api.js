/** Calls of the server's API (docs/api.md), with the token if the server wants one. */

const TOKEN_KEY = 'proxyherd-token';
const ROOT = 'api/v1/';

/** An answer that is not a success. `message` is what the server said is wrong. */
export class ApiError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    /** Seconds to wait before the next call; null if the server did not say. */
    this.retryAfter = retryAfter;
  }
}

/** Returns a path and its query, without parameters that are null or undefined. */
export function path(name, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) =>
    value !== null && value !== undefined
  );
  const query = new URLSearchParams(given.map(([key, value]) => [key, String(value)]));
  return given.length ? `${name}?${query}` : name;
}

/** Returns a bbox parameter of degrees, or null. */
export const box = (degrees) => degrees && degrees.map((it) => Number(it.toFixed(6))).join(',');

/**
 * The API of the server that the page came from. `askForToken(problem)` returns a promise of a
 * token; it is called when the server wants one, or another.
 */
export class Api {
  #asking = null;

  constructor({ askForToken, storage = sessionStorage, request = (...all) => fetch(...all) }) {
    this.askForToken = askForToken;
    this.storage = storage;
    this.request = request;
  }

  /** Returns the JSON of a path. */
  async get(name, parameters, signal) {
    const answer = await this.open(path(name, parameters), {}, signal);
    return answer.json();
  }

  /** Returns the response of a path. Waits for a token if one is needed. */
  async open(target, headers, signal) {
    for (;;) {
      const token = this.storage.getItem(TOKEN_KEY);
      const credentials = token === null ? {} : { Authorization: `Bearer ${token}` };
      const answer = await this.request(ROOT + target, {
        headers: { ...headers, ...credentials },
        signal,
        cache: 'no-store',
        credentials: 'omit',
      });
      if (answer.ok) return answer;
      const problem = await problemOf(answer);
      if (problem.status !== 401) throw problem;
      await this.#newToken(token, problem);
      signal?.throwIfAborted();
    }
  }

  /** Returns the reports of a client at every server, as `/clients/{id}` answers. */
  async locate(id, signal) {
    if (id !== '.' && id !== '..') return this.get(`clients/${encodeURIComponent(id)}`, {}, signal);
    // These two cannot stand in a path. What this server holds is better than nothing.
    const list = await this.get('clients', { prefix: id, limit: 1000 }, signal);
    const feature = list.features.find((it) => it.id === id);
    if (!feature) throw new ApiError(404, `no client has the ID ${id}`, null);
    const held = { server: list.server, ...feature.properties };
    return { client: id, agree: true, newest: held, held: [held], unknown_to: [], errors: [] };
  }

  // Several calls may fail at once: one dialog serves them all.
  async #newToken(used, problem) {
    if (this.storage.getItem(TOKEN_KEY) !== used) return;
    this.#asking ??= this.askForToken(used === null ? null : problem)
      .then((token) => this.storage.setItem(TOKEN_KEY, token))
      .finally(() => {
        this.#asking = null;
      });
    await this.#asking;
  }
}

async function problemOf(answer) {
  const body = await answer.json().catch(() => ({}));
  const seconds = Number(answer.headers.get('Retry-After'));
  const text = body.detail ?? body.title ?? `the server answered ${answer.status}`;
  return new ApiError(answer.status, text, seconds > 0 ? seconds : null);
}
