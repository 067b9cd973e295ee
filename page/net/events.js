/**
 * Server-sent events, read from a stream of text. The browser's own EventSource cannot send a
 * token, so this is its parser (https://html.spec.whatwg.org/#parsing-an-event-stream), except
 * `retry`, which the caller decides.
 */

/** Parses chunks of a stream; `emit` is called with each event. */
export class EventParser {
  #rest = '';
  #data = [];
  #type = '';
  #isAfterCr = false;

  constructor(emit) {
    this.emit = emit;
    /** The last `id` of the stream: the position to resume from. */
    this.lastId = null;
  }

  /** Reads a chunk of text. */
  push(chunk) {
    let text = this.#rest + chunk;
    // A line feed that belongs to the carriage return before it is not an empty line.
    if (this.#isAfterCr && text.startsWith('\n')) text = text.slice(1);
    if (text !== '') this.#isAfterCr = text.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#type = value;
    else if (name === 'id' && !value.includes('\0')) this.lastId = value;
  }

  #dispatch() {
    if (this.#data.length > 0) {
      this.emit({ type: this.#type || 'message', data: this.#data.join('\n'), id: this.lastId });
    }
    this.#data = [];
    this.#type = '';
  }
}
