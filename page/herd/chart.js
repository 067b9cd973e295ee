/**
 * A chart of the last ten minutes on a canvas: one or more lines, and a readout. The axis of time
 * begins with one minute and grows with the samples.
 */

import { seconds } from '../lib/format.js';
import { colour, textScale } from '../lib/theme.js';

const SPANS = [1, 2, 5, 10];
const MINUTE = 60_000;
// A longer time without a sample is a gap in the line.
const GAP = 8000;

const marginOf = (scale) => ({
  scale,
  left: 48 * scale,
  right: 8,
  top: 8 * scale,
  bottom: 18 * scale,
});

/** Returns a round number that is at least a value: 1, 2 or 5 times a power of ten. */
export function niceMax(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((it) => it * power).find((it) => it >= value * (1 - 1e-12));
}

/** Returns the pieces of a line without its gaps. */
export function pieces(samples, valueOf) {
  const result = [];
  let last = null;
  for (const sample of samples) {
    const value = valueOf(sample);
    if (value === null || value === undefined) {
      last = null;
      continue;
    }
    if (last === null || sample.time - last > GAP) result.push([]);
    result.at(-1).push([sample.time, value]);
    last = sample.time;
  }
  return result;
}

/** Returns the minutes of the axis of time that hold samples, at most ten. */
export function spanOf(samples) {
  const elapsed = samples.length ? samples.at(-1).time - samples[0].time : 0;
  return SPANS.find((minutes) => minutes * MINUTE >= elapsed) ?? SPANS.at(-1);
}

/** A chart. `format` makes text of a value. */
export class Chart {
  #pointer = null;
  #last = null;

  constructor(canvas, { title, format, floor = 0 }) {
    this.canvas = canvas;
    this.title = title;
    this.format = format;
    /** The least upper end of the axis, so that noise does not look like news. */
    this.floor = floor;
    canvas.addEventListener('pointermove', (event) => this.#point(event.offsetX));
    canvas.addEventListener('pointerleave', () => this.#point(null));
    new ResizeObserver(() => this.#last && this.draw(...this.#last)).observe(canvas);
  }

  /** Draws samples; `lines` are `{ colour, valueOf, width }`, the most important last. */
  draw(samples, lines) {
    this.#last = [samples, lines];
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext('2d');
    context.scale(ratio, ratio);
    const values = lines.flatMap(({ valueOf }) => samples.map(valueOf)).filter((it) => it !== null);
    const max = niceMax(values.reduce((a, b) => Math.max(a, b ?? 0), this.floor));
    const end = samples.at(-1)?.time ?? 0;
    const frame = { width, height, max, end, span: spanOf(samples), margin: marginOf(textScale()) };
    this.#axes(context, frame);
    context.save();
    context.beginPath();
    context.rect(frame.margin.left, 0, width, height);
    context.clip();
    for (const line of lines) this.#line(context, frame, samples, line);
    context.restore();
    this.#readout(context, frame, samples, lines.at(-1));
    this.#describe(samples, lines.at(-1));
  }

  #point(x) {
    this.#pointer = x;
    if (this.#last) this.draw(...this.#last);
  }

  #x(time, { width, end, span, margin }) {
    const share = (end - time) / (span * MINUTE);
    return width - margin.right - share * (width - margin.left - margin.right);
  }

  #y(value, { height, max, margin }) {
    return height - margin.bottom - (value / max) * (height - margin.top - margin.bottom);
  }

  #axes(context, frame) {
    const { margin, width, height } = frame;
    context.font = `${11 * margin.scale}px system-ui, sans-serif`;
    context.fillStyle = colour('--muted');
    context.strokeStyle = colour('--line');
    context.lineWidth = 1;
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(this.#y(share * frame.max, frame)) + 0.5;
      context.beginPath();
      context.moveTo(margin.left, y);
      context.lineTo(width - margin.right, y);
      context.stroke();
      context.fillText(this.format(share * frame.max), margin.left - 5, y);
    }
    context.textAlign = 'center';
    for (const minutes of [frame.span, frame.span / 2, 0]) {
      const text = minutes ? `−${seconds(minutes * 60)}` : 'now';
      const x = this.#x(frame.end - minutes * MINUTE, frame);
      const inside = Math.max(margin.left + 18, Math.min(width - 16 * margin.scale, x));
      context.fillText(text, inside, height - 7 * margin.scale);
    }
  }

  #line(context, frame, samples, { colour: stroke, valueOf, width = 2 }) {
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.lineJoin = 'round';
    for (const piece of pieces(samples, valueOf)) {
      context.beginPath();
      for (const [time, value] of piece) {
        context.lineTo(this.#x(time, frame), this.#y(value, frame));
      }
      context.stroke();
    }
  }

  #readout(context, frame, samples, { valueOf }) {
    if (this.#pointer === null || samples.length === 0) return;
    const distance = (sample) => Math.abs(this.#x(sample.time, frame) - this.#pointer);
    const sample = samples.reduce((a, b) => (distance(a) <= distance(b) ? a : b));
    const value = valueOf(sample);
    const x = this.#x(sample.time, frame);
    context.strokeStyle = colour('--muted');
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, frame.margin.top);
    context.lineTo(x, frame.height - frame.margin.bottom);
    context.stroke();
    const time = new Date(sample.time).toLocaleTimeString('en', { hour12: false });
    const text = `${time}  ${value === null ? '–' : this.format(value)}`;
    context.font = `600 ${11 * frame.margin.scale}px system-ui, sans-serif`;
    context.textAlign = x > frame.width / 2 ? 'right' : 'left';
    context.fillStyle = colour('--text');
    context.fillText(text, x + (x > frame.width / 2 ? -6 : 6), frame.margin.top + 6);
  }

  #describe(samples, { valueOf }) {
    const values = samples.map(valueOf).filter((it) => it !== null && it !== undefined);
    const text = values.length
      ? `now ${this.format(values.at(-1))}, at most ${this.format(Math.max(...values))}`
      : 'no values yet';
    this.canvas.setAttribute('aria-label', `${this.title}, last ten minutes: ${text}`);
  }
}
