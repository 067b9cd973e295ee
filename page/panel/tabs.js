/** Tabs, by the pattern of the ARIA Authoring Practices: arrow keys move between them. */

/** Makes tabs of a tab list. `shown(name)` is called when a panel comes to the front. */
export class Tabs {
  constructor(list, shown) {
    this.tabs = [...list.querySelectorAll('[role=tab]')];
    this.shown = shown;
    for (const tab of this.tabs) tab.addEventListener('click', () => this.open(tab.dataset.name));
    list.addEventListener('keydown', (event) => this.#key(event));
  }

  /** The name of the panel in front. */
  get current() {
    return this.tabs.find((it) => it.getAttribute('aria-selected') === 'true').dataset.name;
  }

  /** Brings a panel to the front. */
  open(name) {
    for (const tab of this.tabs) {
      const isOpen = tab.dataset.name === name;
      tab.setAttribute('aria-selected', String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      document.getElementById(tab.getAttribute('aria-controls')).hidden = !isOpen;
    }
    this.shown(name);
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const at = this.tabs.indexOf(document.activeElement);
    const next = this.tabs[(at + step + this.tabs.length) % this.tabs.length];
    this.open(next.dataset.name);
    next.focus();
    event.preventDefault();
  }
}
