/** What a link is, for people, and what changed in a herd. */

import { count, seconds } from '../lib/format.js';

const SLOW = 1;

/**
 * Returns the links of a herd in one direction each: `{ from, to, state, link }`. The state is
 * "up", "slow" (a second or more of lag), "down", or "unknown" if the sender gave no answer.
 */
export function directions(herd) {
  const status = new Map(herd.servers.map((it) => [it.server, it.status]));
  return herd.servers.flatMap(({ server, neighbours }) =>
    neighbours.map((to) => {
      const link = status.get(server)?.links.find(({ neighbour }) => neighbour === to) ?? null;
      return { from: server, to, link, state: stateOf(link) };
    })
  );
}

function stateOf(link) {
  if (link === null) return 'unknown';
  if (!link.up) return 'down';
  return (link.lag_seconds ?? 0) >= SLOW || (link.stalled_seconds ?? 0) >= SLOW ? 'slow' : 'up';
}

/** Returns one line about a direction: "Riley → Jaquez: up, lag 0 s, round trip 0.7 ms". */
export function describe({ from, to, state, link }) {
  if (state === 'unknown') return `${from} → ${to}: unknown, since ${from} gives no answer`;
  const pending = link.lag_reports > 0 ? `, ${count(link.lag_reports, 'report')} pending` : '';
  if (state === 'down') return `${from} → ${to}: down: ${link.reason}${pending}`;
  const trip = seconds(link.last_round_trip_seconds);
  return `${from} → ${to}: up, lag ${seconds(link.lag_seconds ?? 0)}, round trip ${trip}${pending}`;
}

/**
 * Returns how many seconds a server's clock is ahead of those of most of its neighbours, as
 * `proxyherd status` does: the median of its links, less the error of each; null if none knows.
 */
export function clockLead({ links }) {
  const leads = links
    .filter((link) => link.clock_offset_seconds !== null)
    .map(({ clock_offset_seconds: offset, clock_offset_error_seconds: error }) =>
      -Math.sign(offset) * Math.max(0, Math.abs(offset) - (error ?? 0))
    )
    .sort((a, b) => Math.abs(a) - Math.abs(b));
  return leads[Math.floor((leads.length - 1) / 2)] ?? null;
}

/** Returns what changed between two answers, a line for each: servers and links, down or up. */
export function changes(before, after) {
  const was = new Map(before.servers.map((it) => [it.server, it]));
  const news = after.servers.flatMap(({ server, error, status }) => {
    const old = was.get(server);
    if (!old) return [];
    if (old.error === null && error !== null) return [`${server} is down`];
    if (old.error !== null && error === null) return [`${server} is back`];
    const [one, other] = [old.status?.incarnation, status?.incarnation];
    return one && other && one !== other ? [`${server} has restarted`] : [];
  });
  return news;
}
