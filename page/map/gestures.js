/**
 * Mouse, touch and keyboard on the map, as calls of one target: `pan(dx, dy)`,
 * `zoom(px, py, steps)`, `tap(px, py)`, `drag(px, py, phase)` while a tool is active
 * (`target.hasTool`), `key(event)`, and `fling(vx, vy)` in pixels for each millisecond.
 */

const WHEEL_STEP = 1 / 240;
const MAX_WHEEL = 240;
const LINE_PIXELS = 24;
const TAP_PIXELS = 6;
const FLING_MILLISECONDS = 80;

/** Listens to an element. */
export function listen(element, target) {
  const pointers = new Map();
  const at = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top, time: event.timeStamp };
  };
  let gesture = null;

  element.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    target.touch?.();
    if (pointers.size === 1) {
      const start = at(event);
      gesture = { start, trail: [start], isTap: true, isTool: target.hasTool };
      if (gesture.isTool) target.drag(start.x, start.y, 'start');
    } else if (gesture) {
      gesture.isTap = false;
    }
  });

  element.addEventListener('pointermove', (event) => {
    const before = pointers.get(event.pointerId);
    if (!before || !gesture) {
      if (!pointers.size) target.hover?.(at(event).x, at(event).y);
      return;
    }
    const after = at(event);
    const pinch = pointers.size === 2 ? pinchOf(pointers, event.pointerId, after) : null;
    pointers.set(event.pointerId, after);
    if (Math.hypot(after.x - gesture.start.x, after.y - gesture.start.y) > TAP_PIXELS) {
      gesture.isTap = false;
    }
    if (pinch) {
      target.pan(pinch.dx, pinch.dy);
      target.zoom(pinch.x, pinch.y, pinch.steps);
    } else if (gesture.isTool) {
      target.drag(after.x, after.y, 'move');
    } else if (!gesture.isTap) {
      target.pan(after.x - before.x, after.y - before.y);
      gesture.trail = [...gesture.trail.filter((it) => isRecent(it, after)), after];
    }
  });

  const end = (event) => {
    if (!pointers.delete(event.pointerId) || pointers.size || !gesture) return;
    const { x, y } = at(event);
    const { isTool, isTap, trail } = gesture;
    gesture = null;
    if (event.type === 'pointercancel') target.drag?.(x, y, 'cancel');
    else if (isTool) target.drag(x, y, 'end');
    else if (isTap) target.tap(x, y, event);
    else fling(trail, at(event), target);
  };
  element.addEventListener('pointerup', end);
  element.addEventListener('pointercancel', end);

  element.addEventListener('wheel', (event) => {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE_PIXELS;
    const delta = Math.max(-MAX_WHEEL, Math.min(MAX_WHEEL, event.deltaY * unit));
    // A pinch on a touchpad comes as a wheel with the control key, in smaller steps.
    const { x, y } = at(event);
    target.zoom(x, y, -delta * WHEEL_STEP * (event.ctrlKey ? 4 : 1));
  }, { passive: false });

  element.addEventListener('dblclick', (event) => {
    const { x, y } = at(event);
    target.glide(x, y, event.shiftKey ? -1 : 1);
  });
  element.addEventListener('keydown', (event) => target.key(event));
}

const isRecent = (one, other) => other.time - one.time < FLING_MILLISECONDS;

/** Returns how far two fingers moved, and by how many steps they zoomed. */
export function pinchOf(pointers, moved, after) {
  const before = pointers.get(moved);
  const [, other] = [...pointers].find(([id]) => id !== moved);
  const spread = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
  return {
    dx: (after.x - before.x) / 2,
    dy: (after.y - before.y) / 2,
    x: (after.x + other.x) / 2,
    y: (after.y + other.y) / 2,
    steps: Math.log2(spread(after) / spread(before)),
  };
}

function fling(trail, last, target) {
  const first = trail.find((it) => isRecent(it, last));
  const time = first ? last.time - first.time : 0;
  if (time > 0) target.fling((last.x - first.x) / time, (last.y - first.y) / time);
}
