/**
 * Small pictures that are written into an array of pixels. Each has versions for quarters of a
 * pixel, so that slow motion is smooth.
 */

const PARTS = 4;

/** Makes the stamp of a dot with a border in the colour of the ground. */
export function stampOf(style, radius, ground) {
  const half = Math.ceil(radius * 1.25 + 1.5);
  const size = 2 * half + 1;
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const versions = Array.from({ length: PARTS * PARTS }, (_, i) => {
    const [dx, dy] = [(i % PARTS) / PARTS, Math.floor(i / PARTS) / PARTS];
    context.clearRect(0, 0, size, size);
    context.setTransform(1, 0, 0, 1, half + dx, half + dy);
    shape(context, style.shape, radius);
    context.fillStyle = style.colour;
    context.fill();
    context.lineWidth = Math.max(1, radius / 4);
    context.strokeStyle = ground;
    context.stroke();
    context.setTransform(1, 0, 0, 1, 0, 0);
    return new Uint32Array(context.getImageData(0, 0, size, size).data.buffer);
  });
  return { half, size, versions };
}

/** Writes a stamp around a point; what lies outside is left out. Opaque pixels cover. */
export function write(pixels, width, height, { half, size, versions }, x, y) {
  const left = Math.floor(x) - half;
  const top = Math.floor(y) - half;
  if (left <= -size || top <= -size || left >= width || top >= height) return;
  const part = Math.floor((y - Math.floor(y)) * PARTS) * PARTS +
    Math.floor((x - Math.floor(x)) * PARTS);
  const stamp = versions[part];
  const firstRow = Math.max(0, -top);
  const lastRow = Math.min(size, height - top);
  const firstColumn = Math.max(0, -left);
  const lastColumn = Math.min(size, width - left);
  for (let row = firstRow; row < lastRow; row++) {
    let from = row * size + firstColumn;
    let to = (top + row) * width + left + firstColumn;
    for (let column = firstColumn; column < lastColumn; column++, from++, to++) {
      const colour = stamp[from];
      if (colour === 0) continue;
      const below = pixels[to];
      pixels[to] = below === 0 || colour >>> 24 === 255 ? colour : blend(colour, below);
    }
  }
}

/** Returns a colour, as in the memory of ImageData (little-endian), laid over another. */
export function blend(colour, below) {
  const alpha = colour >>> 24;
  const rest = 255 - alpha;
  // Below lies a dot, which is nearly opaque: the sum of both is taken as opaque.
  const red = ((colour & 255) * alpha + (below & 255) * rest) / 255;
  const green = (((colour >> 8) & 255) * alpha + ((below >> 8) & 255) * rest) / 255;
  const blue = (((colour >> 16) & 255) * alpha + ((below >> 16) & 255) * rest) / 255;
  const opacity = alpha + ((below >>> 24) * rest) / 255;
  return ((opacity << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** Adds a shape of data around the origin to the path of a context. */
export function shape(context, name, radius) {
  context.beginPath();
  if (name === 'circle') context.arc(0, 0, radius, 0, 2 * Math.PI);
  else polygon(context, CORNERS[name], radius);
}

const CORNERS = {
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  triangle: [[0, -1.1], [1.05, 0.8], [-1.05, 0.8]],
  diamond: [[0, -1.2], [1.1, 0], [0, 1.2], [-1.1, 0]],
};

function polygon(context, corners, radius) {
  for (const [x, y] of corners) context.lineTo(x * radius, y * radius);
  context.closePath();
}
