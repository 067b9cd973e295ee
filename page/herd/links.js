/** What a link is, for people: its state, and what is wrong in a herd. */

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

/** Returns what is wrong, a line for each: servers without an answer, links, clocks. */
export function problems(herd) {
  const silent = herd.servers
    .filter(({ error }) => error !== null)
    .map(({ server, error }) => `${server} gives no answer: ${error}`);
  const draining = herd.servers
    .filter(({ status }) => status?.draining)
    .map(({ server }) => `${server} is shutting down`);
  const links = directions(herd)
    .filter(({ state }) => state === 'down' || state === 'slow')
    .map(describe);
  const clocks = herd.servers
    .map(({ server }) => [server, clockOffset(herd, server)])
    .filter(([, offset]) => Math.abs(offset) > SLOW)
    .map(([server, offset]) => {
      const side = offset > 0 ? 'ahead' : 'behind';
      return `the clock of ${server} is ${seconds(Math.abs(offset))} ${side}`;
    });
  return [...silent, ...draining, ...links, ...clocks];
}

/** Returns how far a server's clock is ahead of its neighbours': the median of their views. */
export function clockOffset(herd, server) {
  const offsets = herd.servers
    .flatMap(({ status }) => status?.links ?? [])
    .filter((link) => link.neighbour === server && link.clock_offset_seconds !== null)
    .map((link) => link.clock_offset_seconds)
    .sort((a, b) => a - b);
  return offsets[Math.floor((offsets.length - 1) / 2)] ?? 0;
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
