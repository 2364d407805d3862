// The room: the WebSocket to its server and the connections to everybody in it.

import {Hub, SFU} from './hub.js';
import {Peer} from './peer.js';
import {Thread} from './thread.js';

const REPLACED = 4001; // another socket has joined under our id
const TOKEN_EXPIRED = 4002;
const FORBIDDEN = 4003; // no token, or not one for this
const FIRST_WAIT = 500; // ms before the first attempt to come back
const LONGEST_WAIT = 15000;
const EXPEL = 5000; // ms that somebody whose token has expired has to come back with a fresh one
const LINGER = 8000; // ms between looks at media that outlives its owner's socket

// Room dispatches
//   state   when state or problem has changed
//   peer    {id} when somebody has come, or something about them has changed
//   left    {id} when somebody has gone
//   text    {id, text} for a message on a data channel
//   refused {code, message} when the server refuses something
export class Room extends EventTarget {
  state = 'joining'; // joining, joined, reconnecting, closed
  problem = ''; // what the people should know about state
  rights = null; // what our token allows; null: no tokens are asked for
  peers = new Map(); // id → Peer, or null while we wait for their offer

  #url;
  #token;
  #media;
  #relay;
  #hub = null; // what everything goes by when the server forwards
  #thread = null; // by which a forwarded room goes on after a socket's end
  #socket = null;
  #entered = false; // the server has answered the join on this socket
  #attempt = 0;
  #timer = 0;
  #lingering = new Map(); // id → timer
  #kept = new Set(); // ids whose connection we have kept when we came back: it is on us to make another

  constructor({url, room, id, media, relay, token = ''}) {
    super();
    this.#url = url;
    this.#token = token;
    this.room = room;
    this.id = id;
    this.#media = media;
    this.#relay = relay;
    media.addEventListener('change', () => {
      this.#hub?.sendTracks();
      this.#each((peer) => peer.sendTracks());
    });
    addEventListener('online', this.#hurry);
    this.#connect();
  }

  // say sends a JSON message to everybody, or to one.
  say(message, id) {
    if (this.#hub && id === undefined) return this.#hub.say(message);
    if (id !== undefined) return this.peers.get(id)?.say(message);
    this.#each((peer) => peer.say(message));
  }

  // leave closes everything; problem is why, if it was not by choice.
  leave(problem = '') {
    this.#close(problem);
  }

  #each(f) {
    for (const peer of this.peers.values()) if (peer) f(peer);
  }

  #connect() {
    const socket = new WebSocket(this.#token ? `${this.#url}?token=${encodeURIComponent(this.#token)}` : this.#url);
    this.#socket = socket;
    this.#entered = false;
    socket.onopen = () => socket.send(JSON.stringify({
      type: 'join', peer_id: this.id, room_id: this.room, resume: this.#thread?.token ?? '', received: this.#thread?.received,
    }));
    socket.onmessage = ({data}) => {
      if (this.#socket !== socket) return;
      if (this.#entered && this.#thread) this.#thread.received++;
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      if (message && typeof message === 'object') this.#receive(message);
    };
    socket.onclose = ({code}) => {
      if (this.#socket === socket) this.#lost(code);
    };
  }

  #send(message) {
    const text = JSON.stringify(message);
    this.#thread?.add(text);
    const waits = this.#thread && !this.#entered; // until it is known what was lost
    if (this.#socket?.readyState === WebSocket.OPEN && !waits) this.#socket.send(text);
  }

  #lost(code) {
    if (this.state === 'closed') return;
    if (code === REPLACED) {
      this.#close('You have joined this room under the same name somewhere else, so this page has left it.');
      return;
    }
    if (code === TOKEN_EXPIRED || code === FORBIDDEN) {
      this.#close(code === FORBIDDEN ? 'The server does not let this page in any more.' : 'Your token has expired. To come back, you need a fresh one.');
      return;
    }
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempt++) * (0.75 + Math.random() / 2);
    const words = code === 1001 ? 'The room server is restarting' : 'The room server can’t be reached';
    this.#become(this.state === 'joining' ? 'joining' : 'reconnecting',
      `${words}. Trying again${wait < 2000 ? '' : ` in ${Math.round(wait / 1000)} s`}…`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #hurry = () => {
    if (this.#socket?.readyState !== WebSocket.CLOSED || this.state === 'closed') return;
    clearTimeout(this.#timer);
    this.#connect();
  };

  #become(state, problem = '') {
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event('state'));
  }

  #close(problem) {
    if (this.state === 'closed') return;
    clearTimeout(this.#timer);
    removeEventListener('online', this.#hurry);
    for (const id of [...this.peers.keys()]) this.#remove(id);
    this.#hub?.close();
    this.#socket?.close(1000);
    this.#relay.close();
    this.#become('closed', problem);
  }

  #receive(m) {
    if (this.#hub && m.type !== 'room_peers' && m.type !== 'error') {
      this.#hub.receive(m);
      return;
    }
    switch (m.type) {
      case 'room_peers':
        this.rights = Array.isArray(m.rights) ? m.rights : null;
        this.#entered = true;
        if (this.#thread && Number.isInteger(m.received)) {
          this.#resume(m.received);
          break;
        }
        this.#thread = typeof m.resume === 'string' ? new Thread(m.resume) : null;
        this.#enter(Array.isArray(m.peers) ? m.peers.filter((id) => typeof id === 'string') : []);
        break;
      case 'peer_joined':
        this.#came(m.peer_id);
        break;
      case 'peer_left':
        this.#left(m.peer_id, m.code === 'token_expired');
        break;
      case 'offer': {
        let peer = this.peers.get(m.from);
        if (!peer?.takes(m.offer)) peer = this.#meet(m.from);
        peer.receiveOffer(m.offer);
        break;
      }
      case 'answer':
        this.peers.get(m.from)?.receiveAnswer(m.answer);
        break;
      case 'ice_candidate':
        this.peers.get(m.from)?.receiveCandidate(m.candidate);
        break;
      case 'error':
        this.dispatchEvent(new CustomEvent('refused', {detail: m}));
        break;
    }
  }

  // resume goes on where the last socket has ended, of which the server has got so many
  // messages; nobody else has noticed.
  #resume(received) {
    const missed = this.#thread.since(received);
    if (!missed) {
      this.#thread = null; // we join anew
      this.#socket.close(1000);
      return;
    }
    this.#attempt = 0;
    this.#become('joined');
    for (const text of missed) this.#socket.send(text);
  }

  // enter is called each time the server lets us in anew: the newcomer offers. When
  // we come back, what works is kept, and what does not is mended. Who is not
  // there may be on their way as well.
  #enter(ids) {
    this.#attempt = 0;
    this.#kept.clear();
    this.#become('joined');
    const forwarded = ids.length === 1 && ids[0] === SFU;
    if (forwarded || this.#hub) {
      for (const id of [...this.peers.keys()]) this.#remove(id);
      this.#hub?.close();
      this.#hub = forwarded ? this.#gather() : null;
      if (forwarded) return;
    }
    for (const id of [...this.peers.keys()]) if (!ids.includes(id)) this.#left(id);
    for (const id of ids) {
      if (id === this.id) continue;
      clearTimeout(this.#lingering.get(id));
      this.#lingering.delete(id);
      const peer = this.peers.get(id);
      if (!peer?.met || peer.state === 'closed') {
        this.#meet(id).offer();
        continue;
      }
      this.#kept.add(id);
      if (!peer.works) peer.restart();
    }
  }

  // gather begins in a room whose server forwards.
  #gather() {
    const hub = new Hub(this.#media, this.#relay, (message) => this.#send(message));
    const on = (type, f) => hub.addEventListener(type, ({detail}) => { if (this.#hub === hub) f(detail); });
    on('guest', ({id}) => {
      this.peers.set(id, hub.guests.get(id));
      this.#tell('peer', id);
    });
    on('left', ({id}) => this.#remove(id));
    on('open', ({id}) => this.#tell('open', id));
    on('text', ({id, text}) => this.#tell('text', id, text));
    return hub;
  }

  // came: their offer will follow. A connection that still works is kept until
  // then.
  #came(id) {
    if (typeof id !== 'string' || id === this.id) return;
    clearTimeout(this.#lingering.get(id));
    this.#lingering.delete(id);
    if (!this.peers.has(id)) this.peers.set(id, null);
    this.#tell('peer', id);
  }

  // left: the socket has closed. As long as the connection to them works, they
  // may have lost nothing but that; unless their token has expired.
  #left(id, expelled = false) {
    if (!this.peers.get(id)?.open) {
      this.#remove(id);
      return;
    }
    this.#kept.delete(id);
    clearTimeout(this.#lingering.get(id));
    if (expelled) {
      this.#lingering.set(id, setTimeout(() => this.#remove(id), EXPEL));
      return;
    }
    const look = () => {
      if (this.peers.get(id)?.works) this.#lingering.set(id, setTimeout(look, LINGER));
      else this.#remove(id);
    };
    this.#lingering.set(id, setTimeout(look, LINGER));
  }

  // meet makes a new connection in place of any there was.
  #meet(id) {
    clearTimeout(this.#lingering.get(id));
    this.#lingering.delete(id);
    this.#kept.delete(id);
    this.peers.get(id)?.close();
    const peer = new Peer(id, this.#media, this.#relay, (message) => this.#send({...message, target: id}), () => this.state === 'joined');
    this.peers.set(id, peer);
    const current = () => this.peers.get(id) === peer;
    peer.addEventListener('change', () => { if (current()) this.#tell('peer', id); });
    peer.addEventListener('open', () => { if (current()) this.#tell('open', id); });
    peer.addEventListener('text', ({detail}) => { if (current()) this.#tell('text', id, detail); });
    peer.addEventListener('over', () => {
      if (!current()) return;
      if (this.#lingering.has(id)) this.#remove(id);
      else if (this.#kept.has(id)) this.#meet(id).offer();
    });
    peer.addEventListener('renewed', () => { if (current()) this.#meet(id).offer(); });
    this.#tell('peer', id);
    return peer;
  }

  #remove(id) {
    clearTimeout(this.#lingering.get(id));
    this.#lingering.delete(id);
    this.#kept.delete(id);
    if (!this.peers.has(id)) return;
    this.peers.get(id)?.close();
    this.peers.delete(id);
    this.#tell('left', id);
  }

  #tell(type, id, text) {
    this.dispatchEvent(new CustomEvent(type, {detail: {id, text}}));
  }
}
