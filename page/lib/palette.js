/**
 * The colours of data. Servers have the eight colours of Okabe and Ito, which people with any
 * kind of colour blindness tell apart; further servers have them again with another shape.
 * Ages go from yellow to violet, and lighter is always younger.
 */

const LIGHT = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#6a4c93',
  '#3b3b3b',
];
const DARK = [
  '#56b4e9',
  '#ff8c42',
  '#2fd6a3',
  '#f0a3c8',
  '#f5c542',
  '#9ad4ff',
  '#b79df0',
  '#e6e6e6',
];

/** The shapes of dots, in the order of use. */
export const SHAPES = ['circle', 'square', 'triangle', 'diamond'];

/** The last age of each step of the age colours, in seconds. */
export const AGE_STEPS = [5, 15, 60, 300, 3600, Infinity];

const AGES_LIGHT = ['#e8a200', '#d9662b', '#c0386b', '#8c2d91', '#55329b', '#2d2a6e'];
const AGES_DARK = ['#fde724', '#f8a13c', '#ea6a7a', '#c062b8', '#8e6fd0', '#6c7fc4'];

/** Returns the colour and shape of the server with a number. */
export function serverStyle(number, isDark) {
  const colours = isDark ? DARK : LIGHT;
  return {
    colour: colours[number % colours.length],
    shape: SHAPES[Math.floor(number / colours.length) % SHAPES.length],
  };
}

/** Returns the number of the step of an age. */
export function ageStep(seconds) {
  return AGE_STEPS.findIndex((last) => seconds < last || last === Infinity);
}

/** Returns the colour and shape of a step of age. */
export function ageStyle(step, isDark) {
  return { colour: (isDark ? AGES_DARK : AGES_LIGHT)[step], shape: 'circle' };
}
