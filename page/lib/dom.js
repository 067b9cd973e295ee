/** Elements of the page, made and found. Texts are set as text, so no value becomes markup. */

/** Returns the element with an ID. */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an HTML element. Properties that begin with "on" are listeners, `class`, `for`,
 * `role`, `aria-*` and `data-*` are attributes, others are properties of the element.
 */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Makes an SVG element. All properties except listeners are attributes. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children);
}

const isAttribute = (element, name) =>
  element instanceof SVGElement || /^(class|for|role|scope|colspan|aria-.*|data-.*)$/.test(name);

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (isAttribute(element, name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((it) => it !== null && it !== undefined));
  return element;
}

/** Sets the text of an element if it differs, so that a screen reader reads changes only. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Reads a text to users of a screen reader. */
export function announce(text) {
  setText(byId('announcements'), text);
}

/**
 * Replaces the rows of a table, and keeps the focus if its element has a `data-key` that is
 * there again.
 */
export function replaceKept(parent, ...children) {
  const active = document.activeElement;
  const key = parent.contains(active) ? active?.dataset?.key : undefined;
  parent.replaceChildren(...children);
  if (key !== undefined) {
    [...parent.querySelectorAll('[data-key]')].find((it) => it.dataset.key === key)?.focus();
  }
}

/** Makes a table with a caption for screen readers. Cells are texts or elements. */
export function table(caption, headings, rows) {
  const cell = (it, i) => i === 0 ? h('th', { scope: 'row' }, it) : h('td', {}, it);
  return h(
    'table',
    {},
    h('caption', { class: 'hidden' }, caption),
    h('thead', {}, h('tr', {}, headings.map((it) => h('th', { scope: 'col' }, it)))),
    h('tbody', {}, rows.map((row) => h('tr', {}, row.map(cell)))),
  );
}
