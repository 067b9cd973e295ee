// A server of a herd, on Node.js: node herd.mjs CONFIG NAME
//
// Text is held as Latin-1 strings: one character for each byte, whatever the client sends. The
// answers to the lines of one segment leave in one write, and so do the reports that arrive in one
// turn of the event loop.

import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import net from 'node:net'

const MAX_LINE = 4096
const MAX_FUTURE_SECONDS = 86_400
const MAX_AHEAD_SECONDS = 10
const MIN_RETRY_MS = 50
const MAX_RETRY_MS = 1000
const NANOS = 1_000_000_000

// \s is more than the white space of the protocol: a no-break space is part of a field.
const pattern = (text) =>
  new RegExp(`^${text.replaceAll('%S', '[^ \\t\\r\\v\\f]').replaceAll('%s', '[ \\t\\r\\v\\f]')}$`)
const IAMAT = pattern(
  String.raw`%s*IAMAT%s+(%S{1,255})` +
    String.raw`%s+((?=[+-][\d.]{1,31}[+-][\d.]{1,31}\/?%s)` +
    String.raw`[+-]0*(?:[1-8]?\d(?:\.\d+)?|90(?:\.0+)?)` +
    String.raw`[+-]0*(?:(?:1[0-7]\d|[1-9]?\d)(?:\.\d+)?|180(?:\.0+)?)\/?)` +
    String.raw`%s+((?=[\d.]{1,32}(?:%s|$))(\d+)(?:\.(\d{1,18}))?)%s*`,
)
const WHATSAT = pattern(
  String.raw`%s*WHATSAT%s+(%S{1,255})` +
    String.raw`%s+0*(?:[1-4]?\d(?:\.\d+)?|50(?:\.0+)?)%s+0*(?:1?\d|20)%s*`,
)
const IS_ASCII = /^[\0-\x7f]*$/

const NO_PLACES = `\
{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}

`

/** The system's clock. Date.now() alone has no more than milliseconds. */
class Clock {
  #base = Clock.#offset()

  static #offset() {
    return BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint()
  }

  constructor() {
    // Follows the system's clock when somebody sets it.
    const follow = () => {
      const ahead = Number(Clock.#offset() - this.#base)
      if (Math.abs(ahead) > 2_000_000) this.#base += BigInt(ahead)
    }
    setInterval(follow, 1000).unref()
  }

  /** Returns seconds and nanoseconds: a double cannot hold both. */
  now() {
    const nanos = this.#base + process.hrtime.bigint()
    const seconds = Number(nanos / 1_000_000_000n)
    return [seconds, Number(nanos - BigInt(seconds) * 1_000_000_000n)]
  }
}

const fractionNanos = (fraction = '') => Number(fraction.slice(0, 9).padEnd(9, '0'))

/** Parses the time of an AT line: seconds and nanoseconds. */
function parseTime(text) {
  const point = text.indexOf('.')
  if (point < 0) return [Number(text), 0]
  return [Number(text.slice(0, point)), fractionNanos(text.slice(point + 1))]
}

function parseSkew(text) {
  const [seconds, nanos] = parseTime(text.slice(1))
  return text[0] === '-' ? [-seconds, -nanos] : [seconds, nanos]
}

/** Returns the time by which reports are ordered: at most 10 s after they were received. */
function orderTime([seconds, nanos], [skewSeconds, skewNanos]) {
  const ahead = skewSeconds + MAX_AHEAD_SECONDS
  if (ahead > 0 || (ahead === 0 && skewNanos >= 0)) return [seconds, nanos]
  const total = nanos + skewNanos
  const carry = Math.floor(total / NANOS)
  return [seconds + ahead + carry, total - carry * NANOS]
}

/** Returns the keys that decide between two reports of one order time, in their order. */
function tieBreak(line) {
  const [, origin, skew, , position, time] = line.slice(0, -1).split(' ')
  const [skewSeconds, skewNanos] = parseSkew(skew)
  return [...parseTime(time), origin, position, -skewSeconds, -skewNanos, time]
}

function isGreater(one, other) {
  const index = one.findIndex((key, index) => key !== other[index])
  return index >= 0 && one[index] > other[index]
}

class Report {
  constructor([seconds, nanos], line) {
    this.seconds = seconds
    this.nanos = nanos
    this.line = line
  }

  beats(held) {
    if (this.seconds !== held.seconds) return this.seconds > held.seconds
    if (this.nanos !== held.nanos) return this.nanos > held.nanos
    return this.line !== held.line && isGreater(tieBreak(this.line), tieBreak(held.line))
  }
}

/** The reports of one server, and its links. */
class Herd {
  reports = new Map()
  links = []
  #clock = new Clock()
  #isFlushDue = false

  constructor(name) {
    this.name = name
  }

  answer(line) {
    if (line.length > MAX_LINE) return `? ${line.slice(0, MAX_LINE)}\n`
    return this.#iamat(line) ?? this.#whatsat(line) ?? `? ${line}\n`
  }

  #iamat(line) {
    const match = IAMAT.exec(line)
    if (match === null) return undefined
    const [, client, position, text, wholeSeconds, fraction] = match
    const seconds = Number(wholeSeconds)
    const nanos = fractionNanos(fraction)
    const [nowSeconds, nowNanos] = this.#clock.now()
    let skewSeconds = nowSeconds - seconds
    let skewNanos = nowNanos - nanos
    const future = -skewSeconds - MAX_FUTURE_SECONDS
    if (future > 0 || (future === 0 && skewNanos < 0)) return undefined
    if (!IS_ASCII.test(client) && !isUtf8(Buffer.from(client, 'latin1'))) return undefined
    // Both parts get the sign of the whole.
    if (skewSeconds > 0 && skewNanos < 0) {
      skewSeconds -= 1
      skewNanos += NANOS
    } else if (skewSeconds < 0 && skewNanos > 0) {
      skewSeconds += 1
      skewNanos -= NANOS
    }
    const sign = skewSeconds < 0 || skewNanos < 0 ? '-' : '+'
    const skewFraction = String(Math.abs(skewNanos)).padStart(9, '0')
    const skew = `${sign}${Math.abs(skewSeconds)}.${skewFraction}`
    const at = `AT ${this.name} ${skew} ${client} ${position} ${text}\n`
    const order = orderTime([seconds, nanos], [skewSeconds, skewNanos])
    this.merge(client, new Report(order, at))
    return at
  }

  #whatsat(line) {
    const report = this.reports.get(WHATSAT.exec(line)?.[1])
    return report && report.line + NO_PLACES
  }

  /** Keeps a report that is newer than the one held, and passes it on. */
  merge(client, report, sender) {
    const held = this.reports.get(client)
    if (held !== undefined && !report.beats(held)) return
    this.reports.set(client, report)
    for (const link of this.links) {
      if (link.name !== sender) link.pending.set(client, report)
    }
    if (!this.#isFlushDue) {
      this.#isFlushDue = true
      setImmediate(() => {
        this.#isFlushDue = false
        for (const link of this.links) link.flush()
      })
    }
  }
}

/** Serves a connection of a client. */
function serveClient(herd, socket) {
  let rest = ''
  socket.setEncoding('latin1')
  socket.on('data', (data) => {
    const lines = (rest + data).split('\n')
    // Of a line that is too long, one byte more than the limit and a CR is enough.
    rest = lines.pop().slice(0, MAX_LINE + 2)
    let answers = ''
    for (const line of lines) answers += herd.answer(line.endsWith('\r') ? line.slice(0, -1) : line)
    if (answers !== '' && !socket.write(answers, 'latin1')) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('end', () => {
    if (rest !== '') socket.write(herd.answer(rest), 'latin1')
    socket.end()
  })
  socket.on('error', () => socket.destroy())
}

/** Serves a connection on which a neighbour sends its name and then AT lines. */
function serveNeighbour(herd, socket) {
  let rest = ''
  let sender
  socket.setEncoding('latin1')
  socket.on('data', (data) => {
    const lines = (rest + data).split('\n')
    rest = lines.pop()
    if (sender === undefined) sender = lines.shift()
    for (const line of lines) {
      const [, , skew, client, , text] = line.split(' ')
      const sent = parseTime(text)
      // Only a negative skew, that of a client whose clock is ahead, can change the order.
      const order = skew[0] === '+' ? sent : orderTime(sent, parseSkew(skew))
      herd.merge(client, new Report(order, `${line}\n`), sender)
    }
  })
  socket.on('error', () => socket.destroy())
}

/** The connection on which this server sends to one neighbour. */
class Link {
  // At most one report for each client, however long the neighbour takes.
  pending = new Map()
  #herd
  #port
  #socket
  #isPaused = false
  #retryMs = MIN_RETRY_MS

  constructor(herd, name, port) {
    this.name = name
    this.#herd = herd
    this.#port = port
    this.#connect()
  }

  #connect() {
    const socket = net.connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    socket.on('connect', () => {
      this.#socket = socket
      this.#isPaused = false
      this.#retryMs = MIN_RETRY_MS
      socket.write(`${this.#herd.name}\n`, 'latin1')
      // Nothing tells what the neighbour has, so it gets everything.
      this.pending = new Map(this.#herd.reports)
      this.flush()
    })
    socket.on('drain', () => {
      this.#isPaused = false
      this.flush()
    })
    // Without a reader, the end of the connection would go unnoticed.
    socket.resume()
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.#socket = undefined
      this.pending.clear()
      setTimeout(() => this.#connect(), this.#retryMs)
      this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS)
    })
  }

  flush() {
    if (this.#socket === undefined) {
      this.pending.clear()
    } else if (this.pending.size > 0 && !this.#isPaused) {
      let lines = ''
      for (const report of this.pending.values()) lines += report.line
      this.pending.clear()
      this.#isPaused = !this.#socket.write(lines, 'latin1')
    }
  }
}

function readConfig(path) {
  const servers = new Map()
  const links = []
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [kind, ...fields] = line.replace(/#.*/, '').trim().split(/\s+/)
    if (kind === 'server') servers.set(fields[0], fields.slice(1).map(Number))
    if (kind === 'link') links.push(fields, fields.toReversed())
  }
  return { servers, links }
}

const [config, name] = process.argv.slice(2)
const { servers, links } = readConfig(config)
const herd = new Herd(name)
for (const [one, other] of links) {
  if (one === name) herd.links.push(new Link(herd, other, servers.get(other)[1]))
}
const [clients, peers] = servers.get(name)
const listen = (port, options, serve) =>
  net
    .createServer({ noDelay: true, ...options }, (socket) => serve(herd, socket))
    .listen({ port, host: '127.0.0.1', backlog: 4096 })
listen(clients, { allowHalfOpen: true }, serveClient)
listen(peers, {}, serveNeighbour)
