// What a page and its server say to each other in a forwarded room, by one WebSocket
// after another: both count what has come and keep what they have sent last, so that
// the next socket can bring what was on its way when one broke.

const MAX_MESSAGES = 1024;
const KEEP = 60000; // ms

export class Thread {
  received = 0; // messages of the server's

  #sent = 0;
  #kept = []; // {at, text}, the last that were sent

  constructor(token) {
    this.token = token;
  }

  // add keeps a message that is sent, or is to be when there is a socket again.
  add(text) {
    const now = performance.now();
    this.#sent++;
    this.#kept.push({at: now, text});
    while (this.#kept.length > MAX_MESSAGES || this.#kept[0].at < now - KEEP) this.#kept.shift();
  }

  // since gives all messages but the first n, or null when they are gone.
  since(n) {
    const missing = this.#sent - n;
    if (!(missing >= 0 && missing <= this.#kept.length)) return null;
    return this.#kept.slice(this.#kept.length - missing).map(({text}) => text);
  }
}
