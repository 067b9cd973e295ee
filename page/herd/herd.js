/** The panel "Herd": the graph, what is wrong, servers and links with their figures, charts. */

import { announce, byId, h, replaceKept, setText, table } from '../lib/dom.js';
import { number, rate, seconds, short } from '../lib/format.js';
import { colour } from '../lib/theme.js';
import { History } from '../state/history.js';
import { Chart } from './chart.js';
import { drawGraph } from './graph.js';
import { changes, clockLead, describe, directions } from './links.js';

const MAX_NEWS = 8;
const STATES = { up: 'up', slow: 'slow', down: 'down', unknown: 'unknown', draining: 'stopping' };

/** The panel. `colourOf` returns the colour of a server. */
export class HerdPanel {
  history = new History();
  #last = null;
  #news = [];

  constructor(colourOf) {
    this.colourOf = colourOf;
    const ratio = (value) => value.toFixed(value < 1 ? 2 : 1);
    this.charts = {
      rate: new Chart(byId('chart-rate'), {
        title: 'Reports accepted each second',
        format: rate,
        floor: 1,
      }),
      lag: new Chart(byId('chart-lag'), {
        title: 'Highest lag of a link',
        format: seconds,
        floor: 0.1,
      }),
      redundancy: new Chart(byId('chart-redundancy'), {
        title: 'Duplicates for each new report',
        format: ratio,
        floor: 1,
      }),
    };
  }

  /** Shows an answer of /api/v1/herd. */
  show(herd) {
    this.history.add(herd);
    if (this.#last) this.#tell(changes(this.#last, herd), herd.now);
    this.#last = herd;
    this.draw();
  }

  /** Notes that the server of this page gave no answer. */
  showGap() {
    this.history.addGap(Date.now());
    this.#drawCharts();
  }

  /** Draws the last answer again, for another theme or size. */
  draw() {
    if (!this.#last) return;
    drawGraph(byId('graph'), this.#last, this.history, this.colourOf);
    this.#drawProblems(this.#last.problems);
    replaceKept(byId('servers'), serverTable(this.#last, this.history, this.colourOf));
    replaceKept(byId('links'), linkTable(this.#last));
    this.#drawCharts();
  }

  #tell(lines, now) {
    if (lines.length === 0) return;
    announce(lines.join('. '));
    this.#news = [...lines.map((text) => ({ text, now })), ...this.#news].slice(0, MAX_NEWS);
    byId('news').replaceChildren(
      ...this.#news.map(({ text, now: time }) =>
        h(
          'li',
          {},
          h('time', { dateTime: time }, new Date(time).toLocaleTimeString('en', { hour12: false })),
          ` ${text}`,
        )
      ),
    );
    byId('news').hidden = false;
  }

  #drawProblems(problems) {
    const list = byId('problems');
    setText(byId('verdict'), problems.length ? 'Problems' : 'All servers and links are well.');
    byId('verdict').className = problems.length ? 'bad' : 'good';
    list.hidden = problems.length === 0;
    const key = JSON.stringify(problems);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.replaceChildren(
      ...problems.map(({ subject, description, failure }) =>
        h('li', { class: failure ? 'failure' : '' }, h('strong', {}, subject), ` ${description}`)
      ),
    );
  }

  #drawCharts() {
    const { samples } = this.history;
    const latest = samples.at(-1);
    const servers = Object.keys(latest?.rates ?? {});
    const each = servers.map((server) => ({
      colour: this.colourOf(server),
      valueOf: (sample) => sample.rates[server] ?? null,
      width: 1.2,
    }));
    const one = (name) => ({ colour: colour('--accent'), valueOf: (sample) => sample[name] });
    const total = { ...one('rate'), colour: colour('--text') };
    this.charts.rate.draw(samples, [...(each.length > 1 ? each : []), total]);
    this.charts.lag.draw(samples, [one('lag')]);
    this.charts.redundancy.draw(samples, [one('redundancy')]);
    setText(byId('value-rate'), `${rate(latest?.rate ?? null)}/s`);
    setText(byId('value-lag'), seconds(latest?.lag));
    setText(byId('value-redundancy'), latest?.redundancy?.toFixed(2) ?? '–');
  }
}

function serverTable(herd, history, colourOf) {
  const rows = herd.servers.map(({ server, status, error }) => {
    const name = h('span', {}, swatch(colourOf(server)), server);
    if (status === null) {
      return [name, badge('down', error ?? 'not asked yet'), '–', '–', '–', '–', '–', '–'];
    }
    const up = status.links.filter((link) => link.up).length;
    const lag = Math.max(0, ...status.links.map((link) => link.lag_seconds ?? 0));
    const state = badge(status.draining ? 'draining' : 'up', details(status));
    return [
      name,
      state,
      h('span', { title: number(status.clients) }, short(status.clients)),
      rate(history.rateOf(server)),
      `${up}/${status.links.length}`,
      seconds(lag),
      seconds(clockLead(status)),
      seconds(status.uptime_seconds),
    ];
  });
  const headings = ['Server', 'State', 'Clients', 'Rate/s', 'Links', 'Lag', 'Clock', 'Up for'];
  return table('Servers', headings, rows);
}

function details(status) {
  return [
    `version ${status.version}`,
    `incarnation ${status.incarnation}`,
    `up for ${seconds(status.uptime_seconds)}`,
    `clock ${seconds(clockLead(status))} ahead of its neighbours'`,
    `${number(status.client_connections)} client connections`,
  ].join(', ');
}

function linkTable(herd) {
  const rows = directions(herd).map((it) => [
    `${it.from} → ${it.to}`,
    badge(it.state, describe(it)),
    seconds(it.link?.lag_seconds ?? (it.link ? 0 : null)),
    it.link ? short(it.link.lag_reports) : '–',
    seconds(it.link?.last_round_trip_seconds),
  ]);
  return table('Links, each direction', ['Link', 'State', 'Lag', 'Pending', 'Round trip'], rows);
}

const badge = (state, title) => h('span', { class: `badge ${state}`, title }, STATES[state]);

/** Makes a small square of a colour, for a legend. */
export function swatch(fill) {
  const element = h('span', { class: 'swatch', 'aria-hidden': 'true' });
  element.style.backgroundColor = fill;
  return element;
}
