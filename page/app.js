/** The page: connects the map, the panels and the server. */

import { drawList } from './panel/list.js';
import { drawLegend } from './panel/legend.js';
import { ClientPanel } from './panel/client.js';
import { NearPanel } from './panel/near.js';
import { Search } from './panel/search.js';
import { Tabs } from './panel/tabs.js';
import { askForToken } from './panel/token.js';
import { HerdPanel } from './herd/herd.js';
import { announce, byId, setText } from './lib/dom.js';
import { count, visible } from './lib/format.js';
import { read, write } from './lib/address.js';
import { serverStyle } from './lib/palette.js';
import { isDark, isStill, onThemeChange } from './lib/theme.js';
import { decode } from './map/outline.js';
import { prepare, prepareNames } from './map/labels.js';
import { WorldMap } from './map/map.js';
import { degreesOf } from './map/view.js';
import { Api, box } from './net/api.js';
import { Follower, LIMIT } from './net/follow.js';
import { wait } from './net/retry.js';
import { Store } from './state/store.js';

const HERD_INTERVAL = 2000;
const LIST_INTERVAL = 2000;
const NAMES_FROM_ZOOM = 8.5;
const CLIENT_ZOOM = 11;

// Clients that left the box stay until the next list: room for them beyond the limit of a list.
const store = new Store(LIMIT * 1.25);
const api = new Api({ askForToken });
const colourOf = (server) => serverStyle(store.numberOf(server), isDark()).colour;

const map = new WorldMap(byId('map'), store, {
  select: (id) => select(id, false),
  settle: (view) => settled(view),
  hover: showTip,
  circle: circleDrawn,
});
const follower = new Follower({ api, store, isStill, listener: followerEvents() });
const herdPanel = new HerdPanel(colourOf);
const nearPanel = new NearPanel(api, {
  circle: (center, km) => {
    map.circle = center && { center, km };
    map.redrawTop();
  },
  select: (id) => select(id, true),
});
const clientPanel = new ClientPanel(api, {
  located: (id, point) => {
    map.selected = { id, point };
    map.redrawTop();
  },
  places: (places) => {
    map.places = places;
    map.redraw();
  },
  near: (id) => {
    tabs.open('near');
    nearPanel.listAround(id, map.selected.point);
  },
  close: () => select(null, false),
}, colourOf);
const tabs = new Tabs(byId('tabs'), (name) => {
  if (name === 'herd') herdPanel.draw();
  if (name === 'list') drawList(map, store, (id) => select(id, true));
});

new Search(
  {
    input: byId('search'),
    list: byId('options'),
    note: byId('search-note'),
    form: byId('search-form'),
  },
  api,
  (id) => select(id, true),
);

/** Follows the herd itself: its servers and links. */
async function followHerd() {
  for (;;) {
    let pause = HERD_INTERVAL;
    try {
      const herd = await api.get('herd', {});
      store.addOrigins(herd.servers.map(({ server }) => server));
      document.title = `${herd.herd} · ${herd.server} · proxyherd`;
      setText(byId('herd-name'), `${herd.herd}, as ${herd.server} sees it`);
      showTiles(herd.tiles);
      herdPanel.show(herd);
      showLegend();
    } catch (error) {
      pause = Math.max(pause, (error.retryAfter ?? 0) * 1000);
      herdPanel.showGap();
      setText(byId('verdict'), `This server gives no answer: ${error.message}`);
      byId('verdict').className = 'bad';
    }
    await wait(pause);
  }
}

function followerEvents() {
  let lastState = '';
  return {
    state: (name, detail) => {
      const seconds = detail ? Math.max(1, Math.round(detail.milliseconds / 1000)) : 0;
      const text = {
        connecting: 'connecting…',
        live: 'live',
        retrying: `no connection; next try in ${seconds} s`,
      }[name];
      const chip = byId('state');
      setText(chip, text);
      chip.className = `chip ${name}`;
      chip.title = detail?.cause ?? '';
      if (name === 'retrying' && lastState === 'live') {
        announce('The connection is lost; trying again.');
      }
      if (name === 'live' && lastState === 'retrying') announce('Connected again.');
      if (name !== 'connecting') lastState = name;
    },
    clients: () => {
      map.clients.noteReports();
      showCount();
    },
    report: () => {},
    grid: (features) => {
      map.grid = features;
      map.redrawTop();
      showCount();
      showLegend();
    },
    missed: (replaced) => {
      byId('state').title = `This page is slow: the server replaced ${
        count(replaced, 'change')
      } by newer ones`;
    },
    matched: (matched) => {
      byId('count').dataset.matched = String(matched);
    },
  };
}

function showCount() {
  const shown = map.grid ? Number(byId('count').dataset.matched) : store.size;
  setText(byId('count'), count(shown, 'client'));
  byId('empty').hidden = shown > 0;
}

/** Selects a client, or none. With `isFlight` the map moves there. */
async function select(id, isFlight) {
  map.selected = { id, point: null };
  map.redrawTop();
  if (id !== null) tabs.open('client');
  remember();
  const point = await clientPanel.show(id);
  if (point && isFlight && clientPanel.id === id) {
    map.flyTo(point, Math.max(CLIENT_ZOOM, map.view.zoom));
  }
  if (point) announce(`${visible(id)} is selected.`);
}

function circleDrawn(center, km, isDone) {
  nearPanel.set(center, km);
  if (!isDone) return;
  setTool(false);
  if (km > 0) {
    tabs.open('near');
    nearPanel.list(center, km);
  }
}

function setTool(isOn) {
  map.hasTool = isOn;
  byId('map').classList.toggle('tool', isOn);
  byId('circle-tool').setAttribute('aria-pressed', String(isOn));
  if (isOn) {
    announce('Drag on the map to draw a circle. By keyboard, use the form of the panel Near.');
  }
}

function showTip(id, px, py) {
  const tip = byId('tip');
  tip.hidden = id === null;
  if (id === null) return;
  setText(tip, visible(id));
  tip.style.left = `${px + 12}px`;
  tip.style.top = `${py + 12}px`;
}

function settled(view) {
  follower.show(view);
  remember();
  showNames(view);
}

let namesController = null;

/** Asks the server for the names of what is seen, where the page's own list has too few. */
async function showNames(view) {
  namesController?.abort();
  if (view.zoom < NAMES_FROM_ZOOM) {
    map.setMoreLabels([]);
    return;
  }
  namesController = new AbortController();
  const { signal } = namesController;
  try {
    const bbox = box(degreesOf(view.worldBox(0.1)));
    const answer = await api.get('names', { bbox, limit: 300 }, signal);
    if (!signal.aborted) map.setMoreLabels(prepareNames(answer));
  } catch {
    // The map is useful without them, and the next view asks again.
  }
}

function remember() {
  const { zoom, center } = map.view;
  history.replaceState(null, '', write({ zoom, center, client: map.selected.id }));
}

function showTiles(tiles) {
  map.setTiles(tiles?.url ?? null);
  setText(byId('tiles-credit'), tiles ? `${tiles.attribution} · ` : '');
}

function showLegend() {
  const { colourBy } = map.clients;
  drawLegend({ colourBy, origins: store.origins, isGrid: map.grid !== null, isDark: isDark() });
}

async function unpacked(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: the server answered ${answer.status}`);
  return new Response(answer.body.pipeThrough(new DecompressionStream('gzip')));
}

async function loadMap() {
  const outline = unpacked('data/outline.bin.gz').then((it) => it.arrayBuffer());
  const labels = unpacked('data/labels.json.gz').then((it) => it.json());
  map.setOutline(decode(await outline));
  map.setLabels(prepare(await labels));
}

function listenToButtons() {
  const { view } = map;
  byId('zoom-in').addEventListener('click', () => map.glide(view.width / 2, view.height / 2, 1));
  byId('zoom-out').addEventListener('click', () => map.glide(view.width / 2, view.height / 2, -1));
  byId('whole-world').addEventListener('click', () => map.showWorld());
  byId('circle-tool').addEventListener('click', () => setTool(!map.hasTool));
  byId('near-clear').addEventListener('click', () => {
    map.circle = null;
    map.redrawTop();
  });
  byId('near-here').addEventListener('click', () => nearPanel.set(view.center, 0));
  byId('help-button').addEventListener('click', () => byId('help').showModal());
  byId('help-close').addEventListener('click', () => byId('help').close());
  byId('colour-by').addEventListener('change', (event) => {
    map.clients.colourBy = event.target.value;
    map.redrawTop();
    showLegend();
  });
}

/** Keys that work everywhere except in fields. */
function listenToKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, select, dialog')) return;
    const action = {
      '/': () => byId('search').focus(),
      m: () => byId('map').focus(),
      c: () => setTool(!map.hasTool),
      '?': () => byId('help').showModal(),
      Escape: () => (map.hasTool ? setTool(false) : select(null, false)),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** Draws now and then what changes by time alone. */
function keepTime() {
  setInterval(() => {
    if (document.hidden) return;
    if (map.clients.colourBy === 'age') map.redrawTop();
    if (tabs.current === 'list') drawList(map, store, (id) => select(id, true));
  }, LIST_INTERVAL);
}

function start() {
  const { view, client } = read(location.hash);
  if (view) map.view.lookAt(...view.center, view.zoom);
  else map.view.lookAt(0, 25, 0);
  listenToButtons();
  listenToKeys();
  keepTime();
  onThemeChange(() => {
    herdPanel.draw();
    showLegend();
  });
  loadMap().catch((error) => announce(`The outline of the map cannot be loaded: ${error.message}`));
  followHerd();
  follower.show(map.view);
  if (client !== null) select(client, view === null);
}

start();

/** What the browser test measures. */
window.proxyherd = { map, store, herdPanel };
