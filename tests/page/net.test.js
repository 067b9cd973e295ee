import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, ApiError, box, path } from '../../page/net/api.js';
import { EventParser } from '../../page/net/events.js';
import { Follower } from '../../page/net/follow.js';
import { backoff, wait } from '../../page/net/retry.js';
import { Store } from '../../page/state/store.js';
import { View } from '../../page/map/view.js';

const json = (value, status = 200, headers = {}) =>
  new Response(JSON.stringify(value), { status, headers });

function storage() {
  const values = new Map();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => values.set(key, value),
  };
}

test('paths leave out what is not given', () => {
  assert.equal(
    path('clients', { bbox: null, prefix: 'a&b', limit: 5 }),
    'clients?prefix=a%26b&limit=5',
  );
  assert.equal(path('herd'), 'herd');
  assert.equal(box([-118.123456789, 34, 180, 90]), '-118.123457,34,180,90');
  assert.equal(box(null), null);
});

test('an ID of any characters is one part of a path', async () => {
  const asked = [];
  const request = async (url) => {
    asked.push(url);
    return json({});
  };
  const api = new Api({ request, storage: storage() });
  for (const id of ['a/b', '?#%', '日本', '\u0000']) await api.locate(id);
  assert.deepEqual(asked, [
    'api/v1/clients/a%2Fb',
    'api/v1/clients/%3F%23%25',
    'api/v1/clients/%E6%97%A5%E6%9C%AC',
    'api/v1/clients/%00',
  ]);
});

test('the clients . and .. are found by prefix', async () => {
  const feature = { id: '..', properties: { position: '+1+1', origin: 'A' } };
  const request = async (url) => {
    assert.equal(url, 'api/v1/clients?prefix=..&limit=1000');
    return json({ server: 'A', features: [{ id: '...' }, feature] });
  };
  const located = await new Api({ request, storage: storage() }).locate('..');
  assert.equal(located.newest.position, '+1+1');
});

test('one dialog serves all calls that need a token', async () => {
  let dialogs = 0;
  const askForToken = async (problem) => {
    dialogs += 1;
    await wait(5);
    return problem === null ? 'wrong' : 'right';
  };
  const request = async (_, { headers }) =>
    headers.Authorization === 'Bearer right' ? json('ok') : json({ detail: 'no' }, 401);
  const api = new Api({ askForToken, request, storage: storage() });
  const answers = await Promise.all([api.get('herd'), api.get('clients'), api.get('names')]);
  assert.deepEqual(answers, ['ok', 'ok', 'ok']);
  assert.equal(dialogs, 2, 'once, and once more after a wrong token');
});

test('problems have the words and the pause of the server', async () => {
  const request = async () => json({ detail: 'too many' }, 429, { 'Retry-After': '7' });
  const error = await new Api({ request, storage: storage() }).get('herd').catch((it) => it);
  assert.ok(error instanceof ApiError);
  assert.deepEqual([error.status, error.message, error.retryAfter], [429, 'too many', 7]);
  const broken = async () => new Response('<html>', { status: 502 });
  const other = await new Api({ request: broken, storage: storage() }).get('herd').catch((it) =>
    it
  );
  assert.equal(other.message, 'the server answered 502');
});

function parse(...chunks) {
  const events = [];
  const parser = new EventParser((event) => events.push(event));
  for (const chunk of chunks) parser.push(chunk);
  return { events, parser };
}

test('events are the same however the stream is cut', () => {
  const text = 'retry: 1000\n\nid: a-1\nevent: report\ndata: {"x":\ndata: 1}\n\n' +
    ': comment\nid: a-2\n\ndata:last\r\n\r\n';
  const whole = parse(text);
  assert.deepEqual(whole.events, [
    { type: 'report', data: '{"x":\n1}', id: 'a-1' },
    { type: 'message', data: 'last', id: 'a-2' },
  ]);
  for (let cut = 1; cut < text.length; cut++) {
    assert.deepEqual(
      parse(text.slice(0, cut), text.slice(cut)).events,
      whole.events,
      `cut at ${cut}`,
    );
  }
  assert.deepEqual(parse(...text).events, whole.events, 'one character at a time');
});

test('an id without an event moves the position', () => {
  const { events, parser } = parse('id: a-9\n:\n\n');
  assert.deepEqual(events, []);
  assert.equal(parser.lastId, 'a-9');
});

test('pauses grow up to ten seconds', () => {
  assert.deepEqual([1, 2, 3, 9].map((n) => backoff(n, 1)), [500, 1000, 2000, 10_000]);
  assert.equal(backoff(1, 0), 250);
});

test('a wait ends with its signal', async () => {
  const controller = new AbortController();
  const waiting = wait(60_000, controller.signal);
  controller.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(wait(1, controller.signal), /enough/);
});

const client = (id, lon = 0) => ({
  id,
  geometry: { coordinates: [lon, 0] },
  properties: { origin: 'A', age_seconds: 0 },
});

/** A server for a follower: answers lists in turn, and gives its streams to the test. */
function fakeServer(lists) {
  const streams = [];
  const api = {
    lists: 0,
    streams,
    get: async () => {
      const list = lists[Math.min(api.lists, lists.length - 1)];
      api.lists += 1;
      if (list instanceof Error) throw list;
      return list;
    },
    open: async (target, headers, signal) => {
      let controller;
      const body = new ReadableStream({
        start: (it) => {
          controller = it;
        },
      });
      const stream = {
        target,
        cursor: headers['Last-Event-ID'],
        signal,
        send: (text) => controller.enqueue(new TextEncoder().encode(text)),
        end: () => controller.close(),
      };
      streams.push(stream);
      signal.addEventListener('abort', () => controller.error(signal.reason));
      return new Response(body);
    },
  };
  return api;
}

async function eventually(what, condition) {
  const end = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within 30 s: ${what}`);
    await wait(5);
  }
}

function follow(t, api, capacity = 10) {
  const store = new Store(capacity);
  const log = [];
  const listener = Object.fromEntries(
    ['state', 'grid', 'missed', 'matched'].map((
      name,
    ) => [name, (...all) => log.push([name, ...all])]),
  );
  const follower = new Follower({
    api,
    store,
    listener: { ...listener, clients() {}, report() {} },
  });
  const view = new View();
  view.resize(800, 600);
  view.lookAt(0, 0, 6);
  follower.show(view);
  t.after(() => follower.stop());
  return { store, log, follower, view };
}

function far() {
  const view = new View();
  view.resize(800, 600);
  view.lookAt(120, 60, 6);
  return view;
}

const list = (features, cursor = 'a-1', more = {}) => ({
  features,
  cursor,
  cell_degrees: null,
  matched: features.length,
  ...more,
});
const report = (id, feature) => `id: ${id}\nevent: report\ndata: ${JSON.stringify(feature)}\n\n`;

test('a watch continues the list, and a new stream the one before', async (t) => {
  const api = fakeServer([list([client('a')], 'a-5')]);
  const { store } = follow(t, api);
  await eventually('the watch begins', () => api.streams.length === 1);
  assert.equal(api.streams[0].cursor, 'a-5');
  assert.match(api.streams[0].target, /^watch\?bbox=/);
  api.streams[0].send(report('a-6', client('b')));
  await eventually('the report is stored', () => store.slot('b') !== undefined);
  api.streams[0].end();
  await eventually('the watch begins again', () => api.streams.length === 2);
  assert.equal(api.streams[1].cursor, 'a-6');
  assert.equal(api.lists, 1);
});

test('after a reset, and without room, the clients are listed again', async (t) => {
  const api = fakeServer([list([client('a')]), list([client('b')]), list([client('c')])]);
  const { store, log } = follow(t, api, 1);
  await eventually('the watch begins', () => api.streams.length === 1);
  api.streams[0].send(
    'event: missed\ndata: {"replaced":3}\n\nevent: reset\ndata: {"cursor":"b-1"}\n\n',
  );
  await eventually('a second watch', () => api.streams.length === 2);
  assert.deepEqual(log.filter(([name]) => name === 'missed'), [['missed', 3]]);
  assert.equal(store.slot('a'), undefined);
  api.streams[1].send(report('b-2', client('x')));
  await eventually('a third watch', () => api.streams.length === 3);
  assert.notEqual(store.slot('c'), undefined);
});

test('numbers on a grid take the place of clients', async (t) => {
  const cells = [{ properties: { count: 5 } }];
  const api = fakeServer([list(cells, 'a-1', { cell_degrees: 5.625, matched: 5 })]);
  const { store, log } = follow(t, api);
  await eventually('the grid', () => log.some(([name]) => name === 'grid'));
  assert.deepEqual(log.find(([name]) => name === 'grid')[1], cells);
  assert.equal(store.size, 0);
  assert.equal(api.streams.length, 0);
});

test('a small move asks for nothing, a far one ends the old stream', async (t) => {
  const api = fakeServer([list([])]);
  const { follower, view } = follow(t, api);
  await eventually('the watch begins', () => api.streams.length === 1);
  view.panBy(50, 20);
  follower.show(view);
  assert.equal(api.streams[0].signal.aborted, false);
  follower.show(far());
  assert.equal(api.streams[0].signal.aborted, true);
  await eventually('another watch', () => api.streams.length === 2);
});

test('a server that fails is asked again, and the page says so', async (t) => {
  const api = fakeServer([new ApiError(503, 'busy', null), list([client('a')])]);
  const { store, log } = follow(t, api);
  await eventually('the client', () => store.slot('a') !== undefined);
  const states = log.filter(([name]) => name === 'state').map(([, state]) => state);
  assert.equal(states[0], 'retrying');
  await eventually('live', () => log.at(-1)[1] === 'live');
});
