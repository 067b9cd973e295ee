/**
 * The topology as a graph. Each link is two lines that meet in the middle: the half at a server
 * shows what that server sends.
 */

import { rate, short } from '../lib/format.js';
import { svg } from '../lib/dom.js';
import { describe, directions } from './links.js';
import { order, seats } from './layout.js';

const WIDTH = 410;
const HEIGHT = 280;
const RADIUS = 15;
const GAP = 2.2;
const RX = 100;
const RY = 92;

/** Draws the graph into an SVG element. `colourOf` returns the colour of a server. */
export function drawGraph(element, herd, history, colourOf) {
  const links = directions(herd);
  const names = order(herd.servers.map(({ server }) => server), links);
  const place = seats(names, { x: WIDTH / 2, y: HEIGHT / 2, rx: RX, ry: RY });
  const scale = Math.min(1, 9 / names.length + 0.25);
  element.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  element.setAttribute('aria-label', summary(herd, links));
  element.replaceChildren(
    ...links.filter(({ to }) => place.has(to)).map((it) => half(it, place)),
    ...herd.servers.map((it) => node(it, place.get(it.server), scale, history, colourOf)),
  );
}

function half(direction, place) {
  const [a, b] = [place.get(direction.from), place.get(direction.to)];
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  // To the right of its way, so that the two directions lie side by side.
  const [ox, oy] = [(-(b.y - a.y) / length) * GAP, ((b.x - a.x) / length) * GAP];
  const end = { x: a.x + (b.x - a.x) * 0.92 + ox, y: a.y + (b.y - a.y) * 0.92 + oy };
  const line = svg('line', {
    x1: a.x + ox,
    y1: a.y + oy,
    x2: end.x,
    y2: end.y,
    class: `link ${direction.state}`,
  });
  return svg('g', {}, line, pending(direction, a, b), svg('title', {}, describe(direction)));
}

function pending({ state, link }, a, b) {
  const isWorth = link && link.lag_reports > 0 && (state === 'down' || state === 'slow');
  if (!isWorth) return null;
  const [x, y] = [(a.x + b.x) / 2, (a.y + b.y) / 2];
  return svg(
    'text',
    { x, y: y - 4, class: 'pending', 'text-anchor': 'middle' },
    `${short(link.lag_reports)} pending`,
  );
}

function node({ server, status, error }, { x, y }, scale, history, colourOf) {
  const isUp = error === null && status !== null;
  const figures = isUp ? `${short(status.clients)} · ${rate(history.rateOf(server))}/s` : 'down';
  const radius = RADIUS * scale;
  const dot = svg('circle', { cx: x, cy: y, r: radius, class: isUp ? 'node' : 'node down' });
  if (isUp) dot.setAttribute('fill', colourOf(server));
  const label = labelPlace(x, y, radius);
  return svg(
    'g',
    {},
    dot,
    isUp ? null : svg('path', { class: 'cross', d: cross(x, y, radius * 0.45) }),
    svg('text', { ...label, class: 'name' }, server),
    svg('text', { ...label, y: label.y + 14, class: 'figures' }, figures),
    svg('title', {}, isUp ? `${server}: up` : `${server}: ${error ?? 'not asked yet'}`),
  );
}

/** Returns where a name stands, on the outer side of its server, clear of links. */
function labelPlace(x, y, radius) {
  const [dx, dy] = [(x - WIDTH / 2) / RX, (y - HEIGHT / 2) / RY];
  const isBeside = Math.abs(dx) > 0.75;
  const anchor = !isBeside ? 'middle' : dx > 0 ? 'start' : 'end';
  const side = isBeside ? Math.sign(dx) * (radius + 6) : 0;
  const below = dy >= 0 ? radius + 14 : -radius - 20;
  return { x: x + side, y: y + (isBeside ? -2 : below), 'text-anchor': anchor };
}

const cross = (x, y, r) =>
  `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;

function summary(herd, links) {
  const up = herd.servers.filter(({ error }) => error === null).length;
  const bad = links.filter(({ state }) => state !== 'up').length;
  const rest = bad
    ? `, ${bad} of ${links.length} directions of links not well`
    : ', all links well';
  return `Topology: ${up} of ${herd.servers.length} servers up${rest}. The tables below have all.`;
}
