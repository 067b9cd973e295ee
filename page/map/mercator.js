/**
 * Web Mercator. World coordinates run from 0 to 1: x from 180° west to 180° east, y from the
 * northern edge of the map to the southern one.
 */

/** The latitude at which the map is square: the edge of every Web Mercator map. */
export const MAX_LATITUDE = 85.0511287798066;

/** Returns the x of a longitude. */
export const worldX = (longitude) => longitude / 360 + 0.5;

/** Returns the y of a latitude; those beyond the edge are at the edge. */
export function worldY(latitude) {
  const bounded = Math.max(-MAX_LATITUDE, Math.min(MAX_LATITUDE, latitude));
  const sine = Math.sin((bounded * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
}

/** Returns the longitude of an x, beyond ±180 if x is beyond 0 to 1. */
export const longitudeOf = (x) => (x - 0.5) * 360;

/** Returns the latitude of a y. */
export const latitudeOf = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;
