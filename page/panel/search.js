/** The search for clients by the beginning of their ID: a combobox of the ARIA patterns. */

import { h, setText } from '../lib/dom.js';
import { number, seconds, visible } from '../lib/format.js';

const DELAY = 200;
const SHOWN = 8;
// The white space that no ID has. Other spaces may be part of one.
const AROUND = /^[\t-\r ]+|[\t-\r ]+$/g;

/** The search field. `select(id)` is called when the user chooses a client. */
export class Search {
  #controller = null;
  #timer = 0;
  #ids = [];
  #active = -1;

  constructor({ input, list, note, form }, api, select) {
    Object.assign(this, { input, list, note, api, select });
    input.addEventListener('input', () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#ask(), DELAY);
    });
    input.addEventListener('keydown', (event) => this.#key(event));
    input.addEventListener('blur', () => setTimeout(() => this.#close(), 150));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const id = this.#ids[this.#active] ?? input.value.replace(AROUND, '');
      if (id) this.#choose(id);
    });
  }

  async #ask() {
    this.#controller?.abort();
    const prefix = this.input.value.replace(AROUND, '');
    if (prefix === '') {
      this.#close();
      return;
    }
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    try {
      const answer = await this.api.get('clients', { prefix, limit: 1000 }, signal);
      if (!signal.aborted) this.#show(answer);
    } catch (error) {
      if (!signal.aborted) this.#message(error.message);
    }
  }

  #show({ matched, cell_degrees: cell, features }) {
    const shown = cell === null ? features.slice(0, SHOWN) : [];
    this.#ids = shown.map(({ id }) => id);
    this.#active = -1;
    this.list.replaceChildren(...shown.map((it, i) => this.#option(it, i)));
    const rest = matched > shown.length ? `${number(matched)} clients begin with this` : '';
    const hint = rest && shown.length === 0 ? `${rest}: write more of the ID` : rest;
    this.#message(matched === 0 ? 'No client begins with this' : hint);
    this.#open(shown.length > 0);
  }

  #option({ id, properties: { age_seconds: age, origin } }, i) {
    const choose = (event) => {
      event.preventDefault();
      this.#choose(id);
    };
    return h(
      'li',
      { role: 'option', id: `option-${i}`, 'aria-selected': 'false', onpointerdown: choose },
      h('strong', {}, visible(id)),
      h('span', { class: 'muted' }, `${origin}, ${seconds(age)} old`),
    );
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.#ids.length) {
      event.preventDefault();
      const places = this.#ids.length + 1;
      this.#active = ((this.#active + 1 + step + places) % places) - 1;
      this.#mark();
    } else if (event.key === 'Escape') {
      this.#close();
    }
  }

  #mark() {
    [...this.list.children].forEach((option, i) => {
      option.setAttribute('aria-selected', String(i === this.#active));
    });
    const active = this.#active < 0 ? '' : `option-${this.#active}`;
    if (active) this.input.setAttribute('aria-activedescendant', active);
    else this.input.removeAttribute('aria-activedescendant');
  }

  #choose(id) {
    this.input.value = id;
    this.#close();
    this.select(id);
  }

  #message(text) {
    setText(this.note, text);
    this.note.hidden = text === '';
  }

  #open(isOpen) {
    this.list.hidden = !isOpen;
    this.input.setAttribute('aria-expanded', String(isOpen));
    this.#mark();
  }

  #close() {
    this.#ids = [];
    this.#active = -1;
    this.#open(false);
    this.#message('');
  }
}
