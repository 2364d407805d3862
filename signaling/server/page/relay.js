// The TURN servers of the room's server, if it has any.

const PATIENCE = 3000; // ms that joining may wait for them
const AGAIN = 60000; // ms to the next attempt when they can't be had
const LONGEST = 24 * 3600 * 1000; // ms between looks

// Relay keeps credentials that are valid for another half of their time.
export class Relay {
  configuration = {}; // for an RTCPeerConnection

  #name;
  #token;
  #timer = 0;
  #closed = false;

  constructor(name, token = '') {
    this.#name = name;
    this.#token = token;
  }

  // renew gets credentials, and again before they expire. It never fails: what
  // can't be relayed may do without.
  async renew() {
    clearTimeout(this.#timer);
    let wait = AGAIN;
    try {
      const response = await fetch(`/turn?${new URLSearchParams({user: this.#name})}`, {
        headers: this.#token ? {Authorization: `Bearer ${this.#token}`} : {},
        cache: 'no-store', signal: AbortSignal.timeout(PATIENCE),
      });
      if (response.status === 204) return; // there are none
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      const {username, password, ttl, uris} = await response.json();
      this.configuration = {iceServers: [{urls: uris, username, credential: password}]};
      wait = Math.min(LONGEST, ttl * 500);
    } catch (err) {
      console.warn('TURN:', err);
    }
    if (!this.#closed) this.#timer = setTimeout(() => this.renew(), wait);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}
