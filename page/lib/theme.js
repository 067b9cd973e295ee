/** The colours of the style sheet for what is drawn on canvas, in light and dark. */

const dark = matchMedia('(prefers-color-scheme: dark)');
const still = matchMedia('(prefers-reduced-motion: reduce)');

/** Returns whether the page is dark. */
export const isDark = () => dark.matches;

/** Returns whether the user asked for less motion. */
export const isStill = () => still.matches;

/** Returns a custom property of the style sheet, such as `colour('--land')`. */
export const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * Returns the size of text relative to that of a laptop: 1 to about 1.4, larger on a large window.
 * What is drawn on canvas grows with the text around it.
 */
export const textScale = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;

/** Calls a function when the theme changes. */
export const onThemeChange = (changed) => dark.addEventListener('change', changed);
