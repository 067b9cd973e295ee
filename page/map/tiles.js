/** The raster map below the outline, if the server's config names one ([web] tiles). */

const SIZE = 256;
const MAX_TILES = 256;
const MAX_TILE_ZOOM = 19;

/** Returns the tiles that a view shows: z, x and y, and their pixel and size. */
export function tilesOf(view) {
  const z = Math.max(0, Math.min(MAX_TILE_ZOOM, Math.round(view.zoom)));
  const count = 2 ** z;
  const [west, north, east, south] = view.worldBox();
  const size = view.scale / count;
  const tiles = [];
  for (let y = Math.max(0, Math.floor(north * count)); y < Math.min(count, south * count); y++) {
    for (let x = Math.floor(west * count); x < east * count; x++) {
      const px = view.width / 2 + (x / count - view.x) * view.scale;
      const py = view.height / 2 + (y / count - view.y) * view.scale;
      tiles.push({ z, x: ((x % count) + count) % count, y, px, py, size });
    }
  }
  return tiles;
}

/** The tiles of one server, the most recently used of them in memory. */
export class Tiles {
  #images = new Map();

  /** `loaded` is called when a tile has come and can be drawn. */
  constructor(url, loaded) {
    this.url = url;
    this.loaded = loaded;
  }

  /** Draws the tiles that have come, and requests the others. */
  draw(context, view) {
    for (const tile of tilesOf(view)) {
      const image = this.#image(tile);
      if (image.complete && image.naturalWidth > 0) {
        context.drawImage(image, tile.px, tile.py, Math.ceil(tile.size), Math.ceil(tile.size));
      }
    }
  }

  #image({ z, x, y }) {
    const url = this.url.replace('{z}', z).replace('{x}', x).replace('{y}', y);
    let image = this.#images.get(url);
    if (image) {
      this.#images.delete(url);
    } else {
      image = new Image(SIZE, SIZE);
      image.onload = this.loaded;
      // Public tile servers want to know who asks; they get no path and no view.
      image.referrerPolicy = 'strict-origin';
      image.src = url;
    }
    this.#images.set(url, image);
    if (this.#images.size > MAX_TILES) this.#images.delete(this.#images.keys().next().value);
    return image;
  }
}
