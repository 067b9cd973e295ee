/** Where servers stand in the graph: on a circle, in an order with short links. */

const MAX_ROUNDS = 20;

/**
 * Returns an order of servers in which the links are as short as exchanging pairs can make them.
 * The same herd always has the same order.
 */
export function order(names, links) {
  const at = new Map(names.map((name, i) => [name, i]));
  const pairs = links.map(({ from, to }) => [at.get(from), at.get(to)]).filter(([, b]) =>
    b !== undefined
  );
  const seat = names.map((_, i) => i);
  let best = cost(seat, pairs);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const before = best;
    for (let a = 0; a < seat.length; a++) {
      for (let b = a + 1; b < seat.length; b++) {
        [seat[a], seat[b]] = [seat[b], seat[a]];
        const changed = cost(seat, pairs);
        if (changed < best - 1e-9) best = changed;
        else [seat[a], seat[b]] = [seat[b], seat[a]];
      }
    }
    if (best === before) break;
  }
  const result = [];
  seat.forEach((place, i) => {
    result[place] = names[i];
  });
  return result;
}

/** The length of all links, and a penalty for each pair that crosses. */
function cost(seat, pairs) {
  const n = seat.length;
  const chords = pairs.map(([a, b]) => [Math.min(seat[a], seat[b]), Math.max(seat[a], seat[b])]);
  const length = chords.reduce((sum, [a, b]) => sum + Math.sin((Math.PI * (b - a)) / n), 0);
  return length + 4 * crossings(chords);
}

function crossings(chords) {
  let total = 0;
  for (let i = 0; i < chords.length; i++) {
    for (let j = i + 1; j < chords.length; j++) {
      const [[a, b], [c, d]] = [chords[i], chords[j]];
      if ((a < c && c < b && b < d) || (c < a && a < d && d < b)) total += 1;
    }
  }
  return total;
}

/** Returns the point of each server on an ellipse, the first at the top. */
export function seats(names, { x, y, rx, ry }) {
  if (names.length === 1) return new Map([[names[0], { x, y }]]);
  return new Map(
    names.map((name, i) => {
      const angle = (2 * Math.PI * i) / names.length - Math.PI / 2;
      return [name, { x: x + rx * Math.cos(angle), y: y + ry * Math.sin(angle) }];
    }),
  );
}
