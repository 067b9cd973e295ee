/**
 * A smooth way of the view from one place to another: it zooms out, moves and zooms in, so that
 * what passes by keeps the same speed on the screen. After van Wijk and Nuij, "Smooth and
 * efficient zooming and panning", 2003.
 */

const CURVE = 1.42;
const MILLISECONDS_PER_STEP = 550;
const MAX_MILLISECONDS = 2500;

/**
 * Returns the flight between two states of a view with x, y and the width `w` of what is seen,
 * all in world coordinates: its `duration` in milliseconds, and `at`, which returns the state at
 * a share of the time.
 */
export function flight(from, to) {
  const turn = Math.round(from.x - to.x);
  const [dx, dy] = [to.x + turn - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  const path = length < 1e-9 ? zoomOnly(from, to) : curve(from.w, to.w, length);
  const at = (share) => {
    if (share >= 1) return { x: to.x, y: to.y, w: to.w };
    const [way, w] = path.at(ease(share) * path.steps);
    return { x: from.x + dx * way, y: from.y + dy * way, w };
  };
  const duration = Math.min(MAX_MILLISECONDS, Math.abs(path.steps) * MILLISECONDS_PER_STEP);
  return { duration, at };
}

const ease = (t) => (t < 0.5 ? 2 * t * t : 1 - 2 * (1 - t) * (1 - t));

function zoomOnly(from, to) {
  const steps = Math.log(to.w / from.w) / CURVE;
  return { steps, at: (s) => [1, from.w * Math.exp(CURVE * s)] };
}

function curve(w0, w1, length) {
  const rho2 = CURVE * CURVE;
  const b0 = (w1 * w1 - w0 * w0 + rho2 * rho2 * length * length) / (2 * w0 * rho2 * length);
  const b1 = (w1 * w1 - w0 * w0 - rho2 * rho2 * length * length) / (2 * w1 * rho2 * length);
  const r0 = Math.log(Math.sqrt(b0 * b0 + 1) - b0);
  const r1 = Math.log(Math.sqrt(b1 * b1 + 1) - b1);
  const at = (s) => {
    const r = CURVE * s + r0;
    const way = (w0 / (rho2 * length)) * (Math.cosh(r0) * Math.tanh(r) - Math.sinh(r0));
    return [way, (w0 * Math.cosh(r0)) / Math.cosh(r)];
  };
  return { steps: (r1 - r0) / CURVE, at };
}
