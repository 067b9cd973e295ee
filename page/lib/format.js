/** Numbers, times and distances as text for people. */

const LOCALE = 'en';
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat(LOCALE, { notation: 'compact', maximumSignificantDigits: 3 });

/** Returns a whole number with separators: 12,345. */
export const number = (value) => whole.format(value);

/** Returns a number in at most three digits: 12.3K. */
export const short = (value) => compact.format(value);

/** Returns a rate for each second, precise where it is small. */
export function rate(value) {
  if (value === null) return '–';
  return value < 10 ? String(Math.round(value * 10) / 10) : short(value);
}

/** Returns seconds in one or two units: 0.7 ms, 12 s, 3 min 20 s, 2 d 4 h. */
export function seconds(value) {
  if (value === null || value === undefined) return '–';
  const sign = value < 0 ? '−' : '';
  const size = Math.abs(value);
  if (size === 0) return '0 s';
  if (size < 0.9995) return `${sign}${Number((size * 1000).toPrecision(2))} ms`;
  if (size < 9.95) return `${sign}${Number(size.toFixed(1))} s`;
  if (size < 59.5) return `${sign}${Math.round(size)} s`;
  return sign + units(Math.round(size));
}

function units(total) {
  const steps = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = steps.findIndex(([length]) => total >= length);
  const [length, unit] = steps[first];
  const count = Math.floor(total / length);
  const [restLength, restUnit] = steps[first + 1] ?? [1, ''];
  const rest = restUnit ? Math.floor((total % length) / restLength) : 0;
  return rest ? `${count} ${unit} ${rest} ${restUnit}` : `${count} ${unit}`;
}

/** Returns a distance: 487 m, 4.9 km, 1,234 km. */
export function distance(meters) {
  if (meters < 999.5) return `${Math.round(meters)} m`;
  if (meters < 9950) return `${(meters / 1000).toFixed(1)} km`;
  return `${number(meters / 1000)} km`;
}

/** Returns a point in degrees with its hemispheres: 34.06893° N, 118.44513° W. */
export function point([lon, lat], digits = 5) {
  const part = (value, positive, negative) =>
    `${Math.abs(value).toFixed(digits)}° ${value < 0 ? negative : positive}`;
  return `${part(lat, 'N', 'S')}, ${part(lon, 'E', 'W')}`;
}

/** Returns the time of day of an RFC 3339 time, in the time zone of the browser. */
export function clock(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleTimeString(LOCALE, { hour12: false });
}

/** Returns "1 client" or "2 clients". */
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? '' : 's'}`;

// Characters without a shape of their own, and those that change the direction of text.
const INVISIBLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Returns a client ID with its invisible characters written out: U+202E. */
export function visible(id) {
  return id.replace(INVISIBLE, (it) => {
    const code = it.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
    return `⟨U+${code}⟩`;
  });
}
