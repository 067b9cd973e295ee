/**
 * Distances and circles on a sphere of the earth's mean radius, as the servers compute them.
 * Points are [longitude, latitude] in degrees, distances in kilometres.
 */

const RADIUS_KM = 6371.0088;

const radians = (degrees) => (degrees * Math.PI) / 180;
const degrees = (radians) => (radians * 180) / Math.PI;

/** Returns a longitude between -180 and 180. */
export function wrapLongitude(longitude) {
  const turned = (((longitude + 180) % 360) + 360) % 360;
  return turned - 180;
}

/** Returns the distance of two points. */
export function distanceKm([lon1, lat1], [lon2, lat2]) {
  const dLat = Math.sin(radians(lat2 - lat1) / 2);
  const dLon = Math.sin(radians(lon2 - lon1) / 2);
  const h = dLat * dLat + Math.cos(radians(lat1)) * Math.cos(radians(lat2)) * dLon * dLon;
  return 2 * RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(h)));
}

/** Returns the point at a distance from another, in the direction of a bearing in degrees. */
export function destination([lon, lat], km, bearing) {
  const angle = km / RADIUS_KM;
  const lat1 = radians(lat);
  const lat2 = Math.asin(
    Math.sin(lat1) * Math.cos(angle) +
      Math.cos(lat1) * Math.sin(angle) * Math.cos(radians(bearing)),
  );
  const dLon = Math.atan2(
    Math.sin(radians(bearing)) * Math.sin(angle) * Math.cos(lat1),
    Math.cos(angle) - Math.sin(lat1) * Math.sin(lat2),
  );
  return [wrapLongitude(lon + degrees(dLon)), degrees(lat2)];
}

/** Returns the points of a circle, in order of bearing. */
export function circle(center, km, points = 96) {
  return Array.from({ length: points }, (_, i) => destination(center, km, (i * 360) / points));
}
