/** Positions as clients write them: ISO 6709, decimal degrees, both parts signed. */

const FORM = /^([+-]\d+(?:\.\d*)?)([+-]\d+(?:\.\d*)?)$/;

/** Returns [longitude, latitude] of a position such as +34.068930-118.445127, or null. */
export function parsePosition(text) {
  const parts = FORM.exec(text);
  return parts && [Number(parts[2]), Number(parts[1])];
}

/**
 * Returns [longitude, latitude] of what a person writes: "34.07, -118.44" or a position as
 * above; null if it is neither or is off the earth.
 */
export function parsePoint(text) {
  const parts = /^\s*([+-]?\d+(?:\.\d*)?)\s*[,;\s]\s*([+-]?\d+(?:\.\d*)?)\s*$/.exec(text);
  const point = parts ? [Number(parts[2]), Number(parts[1])] : parsePosition(text.trim());
  return point && Math.abs(point[0]) <= 180 && Math.abs(point[1]) <= 90 ? point : null;
}
