// A room that its server forwards: one connection, with the server, by which
// everybody's tracks come. Its guests look to the page as the Peers of a mesh do.

import {withCaptureTime, CHANNEL, MAX_EARLY, MAX_TEXT, PUBLISHED, RESTART_AFTER} from './peer.js';

export const SFU = 'sfu';

// What is sent of the camera: up to three encodings (RFC 8853), of which the server
// gives each receiver one.
const RIDS = ['l', 'm', 'h'];

// What an encoding of the whole picture may take, of its half, and of its quarter.
const BITRATES = [2_000_000, 500_000, 150_000];

// How often the size of the picture is looked at, in ms; and after how many looks
// without a picture of the largest encoding more bandwidth is tried. Chromium
// takes what it sends for half of what it could, or less, and that may be too little
// for the largest for ever; when the most that it may send changes, it tries more.
const FIT_EVERY = 500;
const TRY_AFTER = 8;

// count is how many encodings Chromium makes of a picture of this size: the first
// ones, whatever their sizes are.
function count(track) {
  const {width, height} = track?.getSettings() ?? {};
  if (!width || !height || width * height >= 960 * 540) return 3; // a canvas has no size before its first picture
  return width * height >= 480 * 270 ? 2 : 1;
}

// encodings makes the last of the first n encodings the whole picture.
function encodings(list, n) {
  return list.map((encoding, i) => {
    const halved = Math.max(n - 1 - i, 0);
    return {...encoding, active: i < n, scaleResolutionDownBy: 2 ** halved, maxBitrate: BITRATES[halved]};
  });
}

// Guest is somebody else in the room.
class Guest {
  presents = false;
  lines = new Map(); // m-line → track id
  heard = false;
  speaks = false;

  constructor(hub, id) {
    this.hub = hub;
    this.id = id;
  }

  get tracks() {
    return [...this.lines.keys()].map((mid) => this.hub.track(mid)).filter(Boolean);
  }
  get connection() { return this.hub.connection; }
  get state() { return this.hub.connection.connectionState; }
  get open() { return this.hub.open; }
  get works() { return this.state === 'connected' && this.open; }

  say(message) { return this.hub.say(message, this.id); }
  sendTracks() {} // the hub's business
  close() {}
}

// Hub dispatches 'guest', 'left', 'open' and 'text' with {id, text}.
export class Hub extends EventTarget {
  connection;
  guests = new Map();

  #send; // sends a message to the server
  #media;
  #relay;
  #senders = {};
  #channels = [];
  #work = Promise.resolve();
  #early = [];
  #held = [];
  #described = false;
  #restart = 0;
  #closed = false;
  #published = false;
  #encodings = 3; // that are sent
  #fitting = 0;
  #frames = {}; // sent of each encoding
  #looks = 0; // in a row that found none of the largest
  #more = false; // it may take a little more
  #waiting = []; // subscriptions, until our first offer is answered: so that none of theirs crosses it

  constructor(media, relay, send) {
    super();
    this.#media = media;
    this.#relay = relay;
    this.#send = send;
    this.#connect();
    if (media.sends) this.#sendMedia();
    this.#do(() => this.#offer());
    this.#fitting = setInterval(() => this.#do(() => this.#fit()), FIT_EVERY);
  }

  #connect() {
    const pc = new RTCPeerConnection(this.#relay.configuration);
    this.connection = pc;
    this.#adopt(pc.createDataChannel(CHANNEL));
    pc.ondatachannel = ({channel}) => this.#adopt(channel);
    pc.ontrack = ({track}) => {
      for (const event of ['mute', 'unmute']) track.addEventListener(event, () => this.#changed());
      this.#changed();
    };
    pc.onicecandidate = ({candidate}) => {
      if (!candidate?.candidate) return;
      const message = {type: 'ice_candidate', candidate, target: SFU};
      if (this.#described) this.#send(message);
      else this.#held.push(message);
    };
    pc.onconnectionstatechange = () => this.#stateChanged();
  }

  get open() { return this.#channels.some((c) => c.readyState === 'open'); }

  track(mid) {
    const transceiver = this.connection.getTransceivers().find((t) => t.mid === mid);
    return transceiver?.receiver.track.readyState === 'live' ? transceiver.receiver.track : null;
  }

  // receive takes what the server says of this room.
  receive(m) {
    const id = m.participant_id ?? m.publisher_id;
    const guest = this.guests.get(id);
    switch (m.type) {
      case 'participant_joined':
        if (typeof id !== 'string' || guest) break;
        this.guests.set(id, new Guest(this, id));
        this.#tell('guest', id);
        break;
      case 'participant_left':
        if (guest && this.guests.delete(id)) this.#tell('left', id);
        break;
      case 'track_available':
        if (!guest) break;
        guest.presents ||= String(m.track_id).startsWith(PUBLISHED);
        this.#subscribe({type: 'subscribe_track', publisher_id: id, track_id: m.track_id});
        break;
      case 'subscribed':
        if (!guest) break;
        for (const other of this.guests.values()) other.lines.delete(m.mid);
        guest.lines.set(m.mid, m.track_id);
        this.#tell('guest', id);
        break;
      case 'track_removed':
        if (!guest) break;
        for (const [mid, track] of guest.lines) if (track === m.track_id) guest.lines.delete(mid);
        this.#tell('guest', id);
        break;
      case 'speakers':
        for (const one of this.guests.values()) {
          const speaks = Array.isArray(m.speakers) && m.speakers.includes(one.id);
          if (speaks !== one.speaks) {
            one.speaks = speaks;
            this.#tell('guest', one.id);
          }
        }
        break;
      case 'offer':
        this.#do(() => this.#answer(m.offer));
        break;
      case 'answer':
        this.#do(async () => {
          if (this.connection.signalingState !== 'have-local-offer') return;
          await this.connection.setRemoteDescription(m.answer);
          await this.#addEarly();
          if (!this.#published) this.#publish(this.connection.localDescription.sdp);
          for (const message of this.#waiting?.splice(0) ?? []) this.#send(message);
          this.#waiting = null;
        });
        break;
      case 'ice_candidate':
        this.#do(async () => {
          if (!m.candidate) return;
          if (this.connection.remoteDescription) await this.#addCandidate(m.candidate);
          else if (this.#early.length < MAX_EARLY) this.#early.push(m.candidate);
        });
        break;
    }
  }

  sendTracks() {
    return this.#do(async () => {
      for (const [kind, sender] of Object.entries(this.#senders)) {
        const track = this.#media.sends ? this.#media[kind] : null;
        if (sender.track !== track) await sender.replaceTrack(track);
      }
      await this.#fit();
    });
  }

  // fit has as many encodings sent as the picture is large enough for.
  async #fit() {
    const {video} = this.#senders;
    const n = count(video?.track);
    if (!video?.track) return;
    const missing = n === this.#encodings && await this.#lacks(RIDS[n - 1]);
    this.#looks = missing ? this.#looks + 1 : 0;
    if (n === this.#encodings && this.#looks < TRY_AFTER) return;
    this.#more = this.#looks > 0 && !this.#more;
    this.#looks = 0;
    const parameters = video.getParameters();
    parameters.encodings = encodings(parameters.encodings, n);
    if (this.#more && parameters.encodings[n - 1]) parameters.encodings[n - 1].maxBitrate *= 1.1;
    await video.setParameters(parameters);
    this.#encodings = n;
  }

  // lacks tells whether none of an encoding has been sent since the last look, while
  // others were.
  async #lacks(rid) {
    const before = this.#frames;
    this.#frames = {};
    for (const s of (await this.#senders.video.getStats()).values()) {
      if (s.type === 'outbound-rtp' && s.rid) this.#frames[s.rid] = s.framesSent ?? 0;
    }
    const more = (name) => (this.#frames[name] ?? 0) > (before[name] ?? 0);
    return !more(rid) && Object.keys(this.#frames).some(more);
  }

  // say sends a JSON message to everybody, or to one.
  say(message, target) {
    const channel = this.#channels.find((c) => c.readyState === 'open');
    channel?.send(JSON.stringify(target === undefined ? message : {...message, target}));
    return Boolean(channel);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#restart);
    clearInterval(this.#fitting);
    this.connection.close();
  }

  #do(step) {
    this.#work = this.#work.then(() => (this.#closed ? undefined : step())).catch((err) => {
      if (!this.#closed) console.warn('connection to the server:', err);
    });
    return this.#work;
  }

  #subscribe(message) {
    if (this.#waiting) this.#waiting.push(message);
    else this.#send(message);
  }

  #sendMedia() {
    this.#encodings = count(this.#media.video);
    for (const kind of ['audio', 'video']) {
      const transceiver = this.connection.addTransceiver(this.#media[kind] ?? kind, {
        direction: 'sendonly',
        streams: [this.#media.stream],
        ...(kind === 'video' ? {sendEncodings: encodings(RIDS.map((rid) => ({rid})), this.#encodings)} : {}),
      });
      withCaptureTime(transceiver);
      this.#senders[kind] = transceiver.sender;
    }
  }

  async #offer(options) {
    const pc = this.connection;
    if (pc.signalingState !== 'stable') return;
    if (options?.iceRestart) pc.setConfiguration(this.#relay.configuration); // with credentials of now
    this.#described = false;
    await pc.setLocalDescription(await pc.createOffer(options));
    this.#describe({type: 'offer', offer: pc.localDescription, target: SFU});
  }

  // publish names our tracks as the description does.
  #publish(sdp) {
    this.#published = true;
    for (const section of sdp.split(/^m=/m).slice(1)) {
      const kind = section.slice(0, 5);
      const id = /^a=msid:\S+ (\S+)/m.exec(section)?.[1];
      if (id && ['audio', 'video'].includes(kind)) this.#send({type: 'publish_track', track_id: id, track_type: kind});
    }
  }

  // answer is polite: an offer of ours that crosses theirs is taken back, and made
  // again afterwards.
  async #answer(offer) {
    const crossed = this.connection.signalingState === 'have-local-offer';
    // Of a first offer that is taken back, Chromium keeps payload types, which the
    // server may have given another meaning. So all is forgotten with it.
    const anew = crossed && !this.connection.currentRemoteDescription;
    if (anew) this.#begin();
    const pc = this.connection;
    await pc.setRemoteDescription(offer);
    await this.#addEarly();
    await pc.setLocalDescription(await pc.createAnswer());
    this.#describe({type: 'answer', answer: pc.localDescription, target: SFU});
    this.#changed();
    if (anew && this.#media.sends) this.#sendMedia();
    if (crossed) this.#do(() => this.#offer());
  }

  // begin takes another connection in place of one that never came about.
  #begin() {
    const old = this.connection;
    old.onicecandidate = old.onconnectionstatechange = null;
    old.close();
    this.#channels = [];
    this.#held = [];
    this.#described = false;
    this.#connect();
  }

  #describe(message) {
    this.#send(message);
    this.#described = true;
    for (const candidate of this.#held.splice(0)) this.#send(candidate);
  }

  async #addEarly() {
    for (const candidate of this.#early.splice(0)) await this.#addCandidate(candidate);
  }

  async #addCandidate(candidate) {
    try {
      await this.connection.addIceCandidate(candidate);
    } catch (err) {
      console.warn('a candidate of the server:', err);
    }
  }

  #adopt(channel) {
    if (channel.label !== CHANNEL) return;
    this.#channels.push(channel);
    channel.onopen = () => { for (const id of this.guests.keys()) this.#tell('open', id); };
    channel.onmessage = ({data}) => {
      if (typeof data !== 'string' || data.length > MAX_TEXT) return;
      let m;
      try {
        m = JSON.parse(data);
      } catch {
        return;
      }
      const guest = this.guests.get(m?.from);
      if (!guest) return;
      // They hear us from now on, who may have come before they did.
      if (!guest.heard) this.#tell('open', guest.id);
      guest.heard = true;
      this.#tell('text', guest.id, data);
    };
    channel.onclose = () => { this.#channels = this.#channels.filter((c) => c !== channel); };
  }

  #stateChanged() {
    clearTimeout(this.#restart);
    const {connectionState} = this.connection;
    if (connectionState === 'disconnected' || connectionState === 'failed') {
      const wait = connectionState === 'failed' ? 0 : RESTART_AFTER;
      this.#restart = setTimeout(() => this.#do(() => this.#offer({iceRestart: true})), wait);
    }
    this.#changed();
  }

  #changed() {
    for (const id of this.guests.keys()) this.#tell('guest', id);
  }

  #tell(type, id, text) {
    this.dispatchEvent(new CustomEvent(type, {detail: {id, text}}));
  }
}
