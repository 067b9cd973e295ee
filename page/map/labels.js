/**
 * Names on the map. Candidates come largest first, and a name is left out if it would touch
 * one that is already there.
 */

import { worldX, worldY } from './mercator.js';

const MAX_LABELS = 160;
const GAP = 6;
const LINE = 16;
// A name stands above its place, which has a dot; the name of a country has none.
const RISE = 9;

/**
 * Prepares the content of data/labels.json.gz (described in data/make_labels.py): the names
 * with their world coordinates, and the zoom from which each may be shown.
 */
export function prepare({ countries, cities }) {
  const country = ([name, lon, lat, extent]) => ({
    ...at(name, lon, lat),
    kind: 'country',
    from: Math.log2(24 / extent) - 0.6,
    // A large country's name gives way to its cities.
    until: Math.log2(24 / extent) + 4,
  });
  const city = ([name, lon, lat, thousands]) => ({
    ...at(name, lon, lat),
    kind: 'city',
    from: 10 - Math.log2(Math.max(1, thousands)) / 2,
    until: Infinity,
  });
  return [...countries.map(country), ...cities.map(city)];
}

/** Prepares the features of /api/v1/names. They follow all others. */
export function prepareNames({ features }) {
  return features.map(({ geometry, properties }) => ({
    ...at(properties.name, ...geometry.coordinates),
    kind: 'place',
    from: 0,
    until: Infinity,
  }));
}

const at = (name, lon, lat) => ({ name, x: worldX(lon), y: worldY(lat) });

/**
 * Returns the labels to draw, each with its pixel and its width. `measure` returns the width
 * of a name of a kind; names in `omitted` are left out.
 */
export function choose(labels, view, measure, omitted = new Set()) {
  const placed = [];
  const names = new Set(omitted);
  for (const label of labels) {
    if (placed.length >= MAX_LABELS) break;
    if (view.zoom < label.from || view.zoom > label.until) continue;
    const [px, py] = view.toScreen(label.x, label.y);
    if (px < -60 || py < 0 || px > view.width + 60 || py > view.height) continue;
    if (label.kind === 'place' ? names.has(label.name) : omitted.has(label.name)) continue;
    const width = measure(label.name, label.kind);
    const rise = label.kind === 'country' ? 0 : RISE;
    const box = { left: px - width / 2 - GAP, right: px + width / 2 + GAP, py: py - rise };
    if (placed.some((other) => touches(other.box, box))) continue;
    placed.push({ label, px, py, box });
    names.add(label.name);
  }
  return placed;
}

const touches = (a, b) =>
  a.left < b.right && b.left < a.right && Math.abs(a.py - b.py) < LINE + GAP / 2;

const FONTS = { country: [600, 12], city: [400, 12], place: [400, 11] };
const widths = new Map();

/** Returns the font of a kind of name, for a scale of text. */
function fontOf(kind, scale) {
  const [weight, size] = FONTS[kind];
  return `${weight} ${size * scale}px system-ui, sans-serif`;
}

/** Returns a function that measures names on a canvas, each once. */
export function measureOn(context, scale) {
  return (name, kind) => {
    const key = `${scale} ${kind} ${name}`;
    let width = widths.get(key);
    if (width === undefined) {
      context.font = fontOf(kind, scale);
      width = context.measureText(text(name, kind)).width;
      // Names of /api/v1/names come and go with the view.
      if (widths.size > 10_000) widths.clear();
      widths.set(key, width);
    }
    return width;
  };
}

const text = (name, kind) => (kind === 'country' ? name.toUpperCase() : name);

/** Draws labels, with an outline in the colour of the ground. */
export function draw(context, chosen, colours, scale) {
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.lineJoin = 'round';
  context.lineWidth = 3;
  context.strokeStyle = colours.halo;
  for (const { label, px, py, box } of chosen) {
    context.font = fontOf(label.kind, scale);
    context.fillStyle = label.kind === 'country' ? colours.country : colours.city;
    const name = text(label.name, label.kind);
    context.strokeText(name, px, box.py);
    context.fillText(name, px, box.py);
    if (label.kind !== 'country') context.fillRect(px - 1.5, py - 1.5, 3, 3);
  }
}
