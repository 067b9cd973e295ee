/** The address of the page: it holds the view and the client, so it can be shared and reloaded. */

/** Returns the fragment of a state. */
export function write({ zoom, center: [longitude, latitude], client }) {
  const map = `map=${zoom.toFixed(2)}/${latitude.toFixed(5)}/${longitude.toFixed(5)}`;
  return client === null ? `#${map}` : `#${map}&client=${encodeURIComponent(client)}`;
}

/** Returns the state of a fragment: `view` and `client`, each null if it is not there. */
export function read(fragment) {
  const parts = new URLSearchParams(fragment.replace(/^#/, '').replaceAll('+', '%2B'));
  const numbers = (parts.get('map') ?? '').split('/').map(Number);
  const [zoom, latitude, longitude] = numbers;
  const isView = numbers.length === 3 && numbers.every(Number.isFinite) && Math.abs(latitude) <= 90;
  return {
    view: isView ? { zoom, center: [longitude, latitude] } : null,
    client: parts.get('client'),
  };
}
