/** Waiting between attempts. */

const FIRST = 500;
const LAST = 10_000;

/** Returns the milliseconds before an attempt, by the number of failures before it. */
export function backoff(failures, random = Math.random()) {
  const most = Math.min(LAST, FIRST * 2 ** Math.max(0, failures - 1));
  // Pages that lost the same server do not come back at the same moment.
  return most / 2 + (most / 2) * random;
}

/** Waits; a signal that aborts ends the wait with its reason. */
export function wait(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
