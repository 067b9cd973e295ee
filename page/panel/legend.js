/** The legend of the map: what the colours of clients mean. */

import { byId, h } from '../lib/dom.js';
import { AGE_STEPS, ageStyle, serverStyle, SHAPES } from '../lib/palette.js';
import { svg } from '../lib/dom.js';
import { seconds } from '../lib/format.js';

/** Draws the legend: servers or ages, or that discs are numbers. */
export function drawLegend({ colourBy, origins, isGrid, isDark }) {
  byId('colour-by').hidden = isGrid;
  const items = isGrid
    ? [h('li', {}, 'The area of a disc is the number of clients')]
    : colourBy === 'age'
    ? AGE_STEPS.map((last, i) => item(ageStyle(i, isDark), ageText(last, i)))
    : origins.map((name, i) => item(serverStyle(i, isDark), name));
  const key = JSON.stringify([colourBy, origins, isGrid, isDark]);
  const list = byId('legend');
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...items);
}

const ageText = (last, i) =>
  last === Infinity ? `over ${seconds(AGE_STEPS[i - 1])}` : `under ${seconds(last)}`;

function item({ colour, shape }, text) {
  const mark = svg('svg', { viewBox: '-6 -6 12 12', class: 'mark', 'aria-hidden': 'true' });
  mark.append(svg('path', { d: PATHS[shape], fill: colour }));
  return h('li', {}, mark, text);
}

const PATHS = Object.fromEntries(
  SHAPES.map((shape, i) => [
    shape,
    [
      'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0',
      'M-4 -4H4V4H-4Z',
      'M0 -5L5 4H-5Z',
      'M0 -5L5 0L0 5L-5 0Z',
    ][i],
  ]),
);
