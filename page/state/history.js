/**
 * The last ten minutes of the herd: from answers of /api/v1/herd, the rates between each and the
 * one before it. Counters of a server count from its start, so a difference is taken only within
 * one incarnation.
 */

const SPAN = 600_000;
const MAX_SAMPLES = 600;

/** The rates over time, oldest first. */
export class History {
  samples = [];
  #last = new Map();

  /** Adds an answer. */
  add(herd) {
    const time = Date.parse(herd.now);
    const known = herd.servers.filter(({ status }) => status !== null);
    const deltas = known.map(({ server, status }) => [server, this.#delta(server, status)]);
    const sum = (name) => deltas.reduce((sum, [, delta]) => sum + (delta?.[name] ?? 0), 0);
    const measured = deltas.filter(([, delta]) => delta !== null);
    const newer = sum('newer');
    this.#push({
      time,
      rates: Object.fromEntries(measured.map(([server, { rate }]) => [server, rate])),
      rate: measured.length ? measured.reduce((sum, [, { rate }]) => sum + rate, 0) : null,
      redundancy: newer > 0 ? sum('duplicate') / newer : null,
      lag: Math.max(0, ...known.flatMap(({ status }) => status.links).map(lagOf)),
    });
  }

  /** Adds a gap: the server of this page gave no answer. */
  addGap(time) {
    const last = this.samples.at(-1);
    if (last && last.rate !== null) {
      this.#push({
        time: Math.max(time, last.time),
        rates: {},
        rate: null,
        redundancy: null,
        lag: null,
      });
    }
  }

  /** Returns the latest rate of a server, or null. */
  rateOf(server) {
    return this.samples.at(-1)?.rates[server] ?? null;
  }

  #push(sample) {
    this.samples.push(sample);
    const first = this.samples.findIndex(({ time }) => time >= sample.time - SPAN);
    const tooMany = this.samples.length - MAX_SAMPLES;
    this.samples.splice(0, Math.max(first, tooMany, 0));
  }

  #delta(server, status) {
    const counters = countersOf(status);
    const before = this.#last.get(server);
    this.#last.set(server, counters);
    if (!before || before.incarnation !== counters.incarnation) return null;
    const elapsed = (counters.at - before.at) / 1000;
    if (elapsed <= 0) return null;
    return {
      rate: (counters.accepted - before.accepted) / elapsed,
      newer: counters.newer - before.newer,
      duplicate: counters.duplicate - before.duplicate,
    };
  }
}

function countersOf(status) {
  const total = (name) => status.links.reduce((sum, link) => sum + link[name], 0);
  return {
    incarnation: status.incarnation,
    at: Date.parse(status.now),
    accepted: status.client_lines.accepted,
    newer: total('received_newer'),
    duplicate: total('received_duplicate'),
  };
}

const lagOf = ({ lag_seconds: lag }) => lag ?? 0;
