/** The layer of numbers: where there are too many clients, a disc for each cell of a grid. */

import { short } from '../lib/format.js';
import { worldX, worldY } from './mercator.js';

/** Returns the discs of a view, the largest last: pixel, radius and count. */
export function discs(features, view) {
  const most = features.reduce((most, { properties }) => Math.max(most, properties.count), 1);
  return features
    .map(({ bbox, geometry, properties: { count } }) => {
      const [px, py] = view.project(geometry.coordinates);
      const cell = (worldX(bbox[2]) - worldX(bbox[0])) * view.scale;
      // The area stands for the number.
      const radius = Math.max(3, Math.min(44, cell * 0.75) * Math.sqrt(count / most));
      return { px, py, radius, count, bbox };
    })
    .filter(({ px, py, radius }) => isSeen(px, py, radius, view))
    .sort((a, b) => a.radius - b.radius);
}

const isSeen = (px, py, radius, view) =>
  px > -radius && py > -radius && px < view.width + radius && py < view.height + radius;

/** Returns the box in degrees of the cell at a pixel, or null. */
export function cellAt(features, view, px, py) {
  const hit = discs(features, view).findLast(
    (disc) => Math.hypot(disc.px - px, disc.py - py) <= Math.max(disc.radius, 8),
  );
  return hit ? hit.bbox : null;
}

/** Draws the numbers of clients. */
export function drawGrid(context, features, view, colours, scale) {
  const all = discs(features, view);
  context.globalAlpha = 0.75;
  context.fillStyle = colours.accent;
  for (const { px, py, radius } of all) {
    context.beginPath();
    context.arc(px, py, radius, 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
  context.fillStyle = colours.onAccent;
  context.font = `600 ${11 * scale}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (const { px, py, radius, count } of all) {
    const text = short(count);
    if (context.measureText(text).width < 2 * radius - 2) context.fillText(text, px, py);
  }
}

/** Returns the zoom at which a cell fills half of a window, for a view. */
export function zoomInto(bbox, view) {
  const width = worldX(bbox[2]) - worldX(bbox[0]);
  const height = worldY(bbox[1]) - worldY(bbox[3]);
  const share = Math.max(width / view.width, height / view.height, 1e-9);
  return Math.log2(0.8 / (share * 256));
}
