/**
 * The map: two canvases, one above the other. The lower one has the ground (raster tiles, land,
 * borders, names) and is drawn when the view changes; the upper one has clients and marks, and is
 * drawn when something moves.
 */

import { colour, isDark, isStill, onThemeChange, textScale } from '../lib/theme.js';
import { distanceKm } from '../lib/sphere.js';
import { ClientLayer } from './clients.js';
import { flight } from './flight.js';
import { listen } from './gestures.js';
import { cellAt, drawGrid, zoomInto } from './grid.js';
import * as labels from './labels.js';
import { drawCircle, drawPlaces, drawSelection } from './marks.js';
import { worldX, worldY } from './mercator.js';
import { Outline, trace } from './outline.js';
import { Tiles } from './tiles.js';
import { View } from './view.js';

const SETTLED = 180;
const KEY_PIXELS = 120;
// How far from a client a finger, and the cross in the middle, may be to choose it.
const FINGER = 14;
const CROSS = 40;
const GLIDE = 220;
const FRICTION = 0.004;
const MIN_SPEED = 0.02;
// Backing stores beyond this many pixels cost more frames than their sharpness is worth.
const MAX_PIXELS = 9_000_000;
// While the view moves, a ground that takes longer is drawn less often, and moved as a picture.
const SLOW_GROUND = 30;
const GROUND_SHARE = 5;

const COLOURS = {
  water: '--water',
  land: '--land',
  coast: '--coast',
  border: '--border',
  halo: '--halo',
  country: '--label-country',
  city: '--label-city',
  accent: '--accent',
  onAccent: '--on-accent',
  place: '--place',
  text: '--text',
};

/**
 * The map in an element. `events` are called with what the user does: `select(id)`,
 * `settle(view)` when the view has come to rest, `hover(id, px, py)`, `circle(center, km, isDone)`.
 */
export class WorldMap {
  view = new View();
  /** Features with counts in place of clients; null while clients are shown. */
  grid = null;
  /** The selected client's [longitude, latitude] while the store has none. */
  selected = { id: null, point: null };
  /** Places to mark: `{ name, point }`. */
  places = [];
  /** The circle: `{ center, km }`. */
  circle = null;
  /** Whether a drag draws a circle. */
  hasTool = false;

  #labels = [];
  #moreLabels = [];
  #outline = null;
  #tiles = null;
  #motion = null;
  #isGroundStale = true;
  #isTopStale = true;
  #groundView = { x: 0, y: 0, zoom: 0 };
  #groundCost = 0;
  #groundDrawnAt = 0;
  #lastFrame = 0;
  #settleTimer = 0;
  #isMoving = false;
  #hoverFrame = 0;
  #hasKeyboard = false;

  constructor(element, store, events) {
    this.element = element;
    this.events = events;
    this.store = store;
    this.clients = new ClientLayer(store);
    this.ground = element.querySelector('#ground').getContext('2d', { alpha: false });
    // The processor writes its pixels.
    this.top = element.querySelector('#top').getContext('2d', { willReadFrequently: true });
    this.#readColours();
    onThemeChange(() => this.#readColours());
    new ResizeObserver(() => this.#resize()).observe(element);
    this.#resize();
    listen(element, this);
    element.addEventListener('focus', () => this.#focus(element.matches(':focus-visible')));
    element.addEventListener('blur', () => this.#focus(false));
    element.addEventListener('pointerleave', () => this.hover(-1000, -1000));
    /** Number of frames drawn, for measurements. */
    this.frames = 0;
    const frame = (now) => {
      this.#frame(now);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Sets the outline, as `decode` returned it. */
  setOutline(source) {
    this.#outline = new Outline(source);
    this.redraw();
  }

  /** Sets the names that the page has for the whole world. */
  setLabels(prepared) {
    this.#labels = prepared;
    this.redraw();
  }

  /** Sets the names that the server gave for what is seen. */
  setMoreLabels(prepared) {
    this.#moreLabels = prepared;
    this.redraw();
  }

  /** Sets the URL of raster tiles, or null. */
  setTiles(url) {
    if ((this.#tiles?.url ?? null) === url) return;
    this.#tiles = url ? new Tiles(url, () => this.redraw()) : null;
    this.redraw();
  }

  /** Draws everything with the next frame. */
  redraw() {
    this.#isGroundStale = true;
    this.#isTopStale = true;
  }

  /** Draws clients and marks with the next frame. */
  redrawTop() {
    this.#isTopStale = true;
  }

  /** Moves the view to a point, as smoothly as the user likes. */
  flyTo([longitude, latitude], zoom) {
    const { view } = this;
    const target = new View();
    target.resize(view.width, view.height);
    target.lookAt(longitude, latitude, zoom);
    const from = { x: view.x, y: view.y, w: view.width / view.scale };
    const way = flight(from, { x: target.x, y: target.y, w: target.width / target.scale });
    this.#animate(way.duration, (share) => {
      const { x, y, w } = way.at(share);
      view.x = x;
      view.y = y;
      view.zoom = Math.log2(view.width / w / 256);
      view.panBy(0, 0);
    });
  }

  /** Shows the whole world. */
  showWorld() {
    this.flyTo([0, 25], 0);
  }

  // What `listen` calls.

  touch() {
    this.#motion = null;
  }

  pan(dx, dy) {
    this.view.panBy(dx, dy);
    this.#moved();
  }

  zoom(px, py, steps) {
    this.view.zoomAround(px, py, steps);
    this.#moved();
  }

  glide(px, py, steps) {
    let done = 0;
    this.#animate(GLIDE, (share) => {
      this.view.zoomAround(px, py, (share - done) * steps);
      done = share;
    });
  }

  fling(vx, vy) {
    if (isStill() || Math.hypot(vx, vy) < 0.1) return;
    let last = performance.now();
    let [dx, dy] = [vx, vy];
    this.#motion = (now) => {
      const time = now - last;
      last = now;
      this.view.panBy(dx * time, dy * time);
      const slower = Math.exp(-FRICTION * time);
      [dx, dy] = [dx * slower, dy * slower];
      return Math.hypot(dx, dy) < MIN_SPEED;
    };
  }

  tap(px, py) {
    this.#choose(px, py, FINGER);
  }

  #choose(px, py, reach) {
    const id = this.grid ? null : this.clients.find(this.view, px, py, performance.now(), reach);
    if (id !== null) {
      this.events.select(id);
      return;
    }
    const cell = this.grid && cellAt(this.grid, this.view, px, py);
    if (cell) this.#zoomTo(cell);
  }

  hover(px, py) {
    cancelAnimationFrame(this.#hoverFrame);
    this.#hoverFrame = requestAnimationFrame((now) => {
      const id = this.grid ? null : this.clients.find(this.view, px, py, now, FINGER);
      this.element.classList.toggle('over', id !== null);
      this.events.hover(id, px, py);
    });
  }

  drag(px, py, phase) {
    const point = this.view.unproject(px, py);
    if (phase === 'start') this.circle = { center: point, km: 0 };
    else if (this.circle && phase !== 'cancel') {
      this.circle.km = distanceKm(this.circle.center, point);
    }
    this.#isTopStale = true;
    if (this.circle) this.events.circle(this.circle.center, this.circle.km, phase === 'end');
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = this.view;
    const action = {
      ArrowLeft: () => this.#glidePan(KEY_PIXELS, 0),
      ArrowRight: () => this.#glidePan(-KEY_PIXELS, 0),
      ArrowUp: () => this.#glidePan(0, KEY_PIXELS),
      ArrowDown: () => this.#glidePan(0, -KEY_PIXELS),
      '+': () => this.glide(width / 2, height / 2, 1),
      '=': () => this.glide(width / 2, height / 2, 1),
      '-': () => this.glide(width / 2, height / 2, -1),
      0: () => this.showWorld(),
      Enter: () => this.#choose(width / 2, height / 2, CROSS),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #glidePan(dx, dy) {
    let done = 0;
    this.#animate(GLIDE, (share) => {
      this.view.panBy(dx * (share - done), dy * (share - done));
      done = share;
    });
  }

  #zoomTo(cell) {
    const [west, south, east, north] = cell;
    this.flyTo([(west + east) / 2, (south + north) / 2], zoomInto(cell, this.view));
  }

  #animate(duration, step) {
    if (isStill() || duration === 0) {
      step(1);
      this.#moved();
      return;
    }
    const start = performance.now();
    this.#motion = (now) => {
      const share = Math.max(0, Math.min(1, (now - start) / duration));
      step(share);
      return share === 1;
    };
  }

  #focus(hasKeyboard) {
    this.#hasKeyboard = hasKeyboard;
    this.#isTopStale = true;
  }

  #moved() {
    this.redraw();
    this.#isMoving = true;
    clearTimeout(this.#settleTimer);
    this.#settleTimer = setTimeout(() => {
      this.#isMoving = false;
      this.redraw();
      this.events.settle(this.view);
    }, SETTLED);
  }

  #readColours() {
    this.colours = Object.fromEntries(
      Object.entries(COLOURS).map(([name, property]) => [name, colour(property)]),
    );
    this.clients.reset();
    this.redraw();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.ratio = Math.min(devicePixelRatio || 1, Math.sqrt(MAX_PIXELS / (width * height)));
    for (const { canvas } of [this.ground, this.top]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.textScale = textScale();
    const { width: across, height: down } = this.top.canvas;
    this.clients.resize(across, down, 4 * this.textScale * this.ratio);
    this.view.resize(width, height);
    this.#moved();
  }

  #frame(now) {
    if (this.#motion) {
      if (this.#motion(now)) this.#motion = null;
      this.#moved();
    }
    if (this.#isGroundStale) this.#showGround(now);
    this.#lastFrame = now;
    if (this.#isTopStale || (!this.grid && this.clients.hasMoved(now))) this.#drawTop(now);
    this.#isGroundStale = this.#isTopStale = false;
  }

  /** Draws the ground or, if that is slow and the view is moving, moves its last picture. */
  #showGround(now) {
    // The time from the frame that drew it to the next is what it cost.
    if (this.#lastFrame === this.#groundDrawnAt) {
      this.#groundCost = (this.#groundCost + Math.min(500, now - this.#lastFrame)) / 2;
    }
    const isDue = now - this.#groundDrawnAt > GROUND_SHARE * this.#groundCost;
    if (this.#isMoving && this.#groundCost > SLOW_GROUND && !isDue) {
      this.#moveGround();
      return;
    }
    this.#drawGround();
    this.#groundDrawnAt = now;
    const { x, y, zoom } = this.view;
    this.#groundView = { x, y, zoom };
    this.ground.canvas.style.transform = '';
  }

  #moveGround() {
    const { view } = this;
    const growth = 2 ** (view.zoom - this.#groundView.zoom);
    let dx = this.#groundView.x - view.x;
    dx -= Math.round(dx);
    const dy = this.#groundView.y - view.y;
    const left = (view.width / 2) * (1 - growth) + dx * view.scale;
    const top = (view.height / 2) * (1 - growth) + dy * view.scale;
    this.ground.canvas.style.transform = `translate(${left}px, ${top}px) scale(${growth})`;
  }

  #drawGround() {
    const { ground: context, view, colours, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = colours.water;
    context.fillRect(0, 0, view.width, view.height);
    this.#tiles?.draw(context, view);
    if (this.#outline) this.#drawOutline(context);
    const all = this.#labels.concat(this.#moreLabels);
    const marked = new Set(this.places.map(({ name }) => name));
    const chosen = labels.choose(all, view, labels.measureOn(context, this.textScale), marked);
    labels.draw(context, chosen, colours, this.textScale);
  }

  #drawOutline(context) {
    const paths = { land: new Path2D(), coast: new Path2D(), borders: new Path2D() };
    trace(this.#outline, this.view, paths);
    if (!this.#tiles) {
      context.fillStyle = this.colours.land;
      context.fill(paths.land, 'evenodd');
    }
    context.lineJoin = 'round';
    context.lineWidth = 0.8;
    context.strokeStyle = this.colours.border;
    context.stroke(paths.borders);
    context.strokeStyle = this.colours.coast;
    context.stroke(paths.coast);
  }

  #drawTop(now) {
    const { top: context, view, colours, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.grid) {
      context.clearRect(0, 0, view.width, view.height);
      drawGrid(context, this.grid, view, colours, this.textScale);
    } else {
      this.clients.draw(context, view, now, { isDark: isDark(), ratio, ground: colours.halo });
    }
    if (this.circle && this.circle.km > 0) {
      drawCircle(context, this.circle.center, this.circle.km, view, colours);
    }
    drawPlaces(context, this.places, view, colours, this.textScale);
    const selected = this.#selectedPixel(now);
    if (selected) drawSelection(context, ...selected, colours, this.textScale);
    if (this.#hasKeyboard) this.#drawCross(context);
    this.frames += 1;
  }

  #selectedPixel(now) {
    const { id, point } = this.selected;
    if (id === null) return null;
    const slot = this.grid ? undefined : this.store.slot(id);
    if (slot !== undefined) return this.view.toScreen(...this.store.at(slot, now));
    return point ? this.view.toScreen(worldX(point[0]), worldY(point[1])) : null;
  }

  #drawCross(context) {
    const [x, y] = [this.view.width / 2, this.view.height / 2];
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 14 * dx, y + 14 * dy);
    }
    context.lineWidth = 2;
    context.strokeStyle = this.colours.text;
    context.stroke();
  }
}
