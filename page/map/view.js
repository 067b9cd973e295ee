/**
 * The part of the world that the map shows: its center, its zoom and the size of the window.
 * At zoom 0 the world is 256 pixels wide, and each step doubles it. The world repeats to the
 * left and right, and is at least as wide as the window, so each point is seen once.
 */

import { wrapLongitude } from '../lib/sphere.js';
import { latitudeOf, longitudeOf, worldX, worldY } from './mercator.js';

const TILE = 256;
const MAX_ZOOM = 18;

/** The state of the view. */
export class View {
  x = 0.5;
  y = 0.5;
  zoom = 0;
  width = 1;
  height = 1;

  /** Number of pixels of the whole world. */
  get scale() {
    return TILE * 2 ** this.zoom;
  }

  /** The least zoom: the world fills the width. */
  get minZoom() {
    return Math.log2(this.width / TILE);
  }

  /** Sets the size of the window, in pixels. */
  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.#bound();
  }

  /** Moves the center to a point. */
  lookAt(longitude, latitude, zoom = this.zoom) {
    this.x = worldX(longitude);
    this.y = worldY(latitude);
    this.zoom = zoom;
    this.#bound();
  }

  /** Moves what is seen by pixels. */
  panBy(dx, dy) {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
    this.#bound();
  }

  /** Changes the zoom by steps, and keeps what is at a pixel there. */
  zoomAround(px, py, steps) {
    const [x, y] = this.toWorld(px, py);
    this.zoom += steps;
    this.#bound();
    const [newX, newY] = this.toWorld(px, py);
    this.x += x - newX;
    this.y += y - newY;
    this.#bound();
  }

  /** Returns the pixel of a world point, of the copy of the world that is nearest. */
  toScreen(x, y) {
    let dx = x - this.x;
    dx -= Math.round(dx);
    return [this.width / 2 + dx * this.scale, this.height / 2 + (y - this.y) * this.scale];
  }

  /** Returns the world point of a pixel. */
  toWorld(px, py) {
    const { scale } = this;
    return [this.x + (px - this.width / 2) / scale, this.y + (py - this.height / 2) / scale];
  }

  /** Returns the pixel of a [longitude, latitude]. */
  project([longitude, latitude]) {
    return this.toScreen(worldX(longitude), worldY(latitude));
  }

  /** Returns the [longitude, latitude] of a pixel. */
  unproject(px, py) {
    const [x, y] = this.toWorld(px, py);
    return [wrapLongitude(longitudeOf(x)), latitudeOf(Math.max(0, Math.min(1, y)))];
  }

  /** The point in the middle. */
  get center() {
    return this.unproject(this.width / 2, this.height / 2);
  }

  /**
   * Returns what is seen, in world coordinates: west, north, east, south. `padding` widens it
   * by a share of its size on each side.
   */
  worldBox(padding = 0) {
    const halfWidth = (this.width / this.scale / 2) * (1 + 2 * padding);
    const halfHeight = (this.height / this.scale / 2) * (1 + 2 * padding);
    return [this.x - halfWidth, this.y - halfHeight, this.x + halfWidth, this.y + halfHeight];
  }

  #bound() {
    this.zoom = Math.max(this.minZoom, Math.min(Math.max(MAX_ZOOM, this.minZoom), this.zoom));
    this.x -= Math.floor(this.x);
    const half = Math.min(0.5, this.height / this.scale / 2);
    this.y = Math.max(half, Math.min(1 - half, this.y));
  }
}

/**
 * Returns a world box as west, south, east and north in degrees, as the API takes it: west is
 * greater than east across the antimeridian. Returns null for a box of the whole width.
 */
export function degreesOf([west, north, east, south]) {
  const latitudes = [latitudeOf(Math.min(1, south)), latitudeOf(Math.max(0, north))];
  // The map ends before the poles, and the clients there belong to its edge.
  const [bottom, top] = [south >= 1 ? -90 : latitudes[0], north <= 0 ? 90 : latitudes[1]];
  if (east - west >= 1) return bottom === -90 && top === 90 ? null : [-180, bottom, 180, top];
  return [wrapLongitude(longitudeOf(west)), bottom, wrapLongitude(longitudeOf(east)), top];
}

/** Returns whether a world box lies in another. Both may be any number of turns apart. */
export function contains(outer, inner) {
  if (Math.max(0, inner[1]) < Math.max(0, outer[1])) return false;
  if (Math.min(1, inner[3]) > Math.min(1, outer[3])) return false;
  if (outer[2] - outer[0] >= 1) return true;
  const shift = Math.round((outer[0] + outer[2] - inner[0] - inner[2]) / 2);
  return inner[0] + shift >= outer[0] && inner[2] + shift <= outer[2];
}
