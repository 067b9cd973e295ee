/** Marks above the clients: the selected client, the places around it, and the circle. */

import { circle } from '../lib/sphere.js';

/** Draws a ring around a pixel. */
export function drawSelection(context, px, py, colours, scale) {
  for (const [width, colour] of [[5, colours.halo], [2.5, colours.text]]) {
    context.beginPath();
    context.arc(px, py, 9 * scale, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
}

/** Draws places: a small square and a name for each, as far as names do not overlap. */
export function drawPlaces(context, places, view, colours, scale) {
  context.font = `600 ${12 * scale}px system-ui, sans-serif`;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  context.lineJoin = 'round';
  const taken = [];
  for (const { name, point } of places) {
    const [px, py] = view.project(point);
    context.fillStyle = colours.place;
    context.strokeStyle = colours.halo;
    context.lineWidth = 2;
    context.beginPath();
    context.rect(px - 4, py - 4, 8, 8);
    context.stroke();
    context.fill();
    const right = px + 9 + context.measureText(name).width;
    if (taken.some((it) => it.left < right && px < it.right && Math.abs(it.py - py) < 15 * scale)) {
      continue;
    }
    taken.push({ left: px, right, py });
    context.lineWidth = 3;
    context.strokeText(name, px + 9, py);
    context.fillText(name, px + 9, py);
  }
}

/** Draws a circle on the earth. */
export function drawCircle(context, center, km, view, colours) {
  context.beginPath();
  let last = null;
  for (const point of [...circle(center, km), circle(center, km, 1)[0]]) {
    const [px, py] = view.project(point);
    // Where the circle crosses the edge of the window's copy of the world, it goes on there.
    const isJump = last !== null && Math.abs(px - last) > view.scale / 2;
    if (last === null || isJump) context.moveTo(px, py);
    else context.lineTo(px, py);
    last = px;
  }
  context.lineWidth = 4;
  context.strokeStyle = colours.halo;
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = colours.accent;
  context.stroke();
  context.globalAlpha = 0.12;
  context.fillStyle = colours.accent;
  context.fill();
  context.globalAlpha = 1;
}
