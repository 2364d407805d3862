// One connection to one other participant.

const CAPTURE_TIME = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time';
export const CHANNEL = 'messages';
export const PUBLISHED = 'roomtape-'; // begins the stream ids of what a bot publishes
export const MAX_EARLY = 256; // candidates kept until the description they belong to
export const MAX_TEXT = 64 * 1024;
export const RESTART_AFTER = 3000; // ms of being disconnected

// Peer dispatches 'change' when its tracks or its state change, 'text' with the
// detail of a data channel message, 'over' when the other side has closed, and
// 'renewed' when it has answered a restart with a connection of its own.
export class Peer extends EventTarget {
  tracks = [];
  presents = false; // a screen, a page or a film rather than a person
  connection;

  #signal; // sends a message to this peer by way of the server
  #reachable; // tells whether the server is there to do so
  #media;
  #relay;
  #offerer = false;
  #senders = {};
  #channels = []; // ours first; the other side opens one too
  #work = Promise.resolve(); // what signaling asks for, one after the other
  #early = []; // their candidates, until we have their description
  #held = []; // our candidates, until they have our description
  #described = false;
  #restart = 0;
  #closed = false;

  constructor(id, media, relay, signal, reachable) {
    super();
    this.id = id;
    this.#relay = relay;
    this.connection = new RTCPeerConnection(relay.configuration);
    this.#media = media;
    this.#signal = signal;
    this.#reachable = reachable;
    const pc = this.connection;
    this.#adopt(pc.createDataChannel(CHANNEL));
    pc.ondatachannel = ({channel}) => this.#adopt(channel);
    pc.ontrack = ({track, streams}) => {
      this.presents ||= Boolean(streams[0]?.id.startsWith(PUBLISHED));
      this.#addTrack(track);
    };
    pc.onicecandidate = ({candidate}) => {
      if (!candidate?.candidate) return; // clients in the field don't know the end of candidates
      const message = {type: 'ice_candidate', candidate};
      if (this.#described) this.#signal(message);
      else this.#held.push(message);
    };
    pc.onconnectionstatechange = () => this.#stateChanged();
  }

  get state() { return this.connection.connectionState; }
  get open() { return this.#channels.some((c) => c.readyState === 'open'); }
  get works() { return this.state === 'connected' && this.open; }
  get met() { return this.connection.currentRemoteDescription !== null; }

  // offer is how the one who comes later begins.
  offer() {
    this.#offerer = true;
    for (const kind of ['audio', 'video']) {
      const transceiver = this.connection.addTransceiver(this.#media[kind] ?? kind, {
        direction: this.#media.sends ? 'sendrecv' : 'recvonly',
        streams: [this.#media.stream],
      });
      withCaptureTime(transceiver);
      this.#senders[kind] = transceiver.sender;
    }
    return this.#do(() => this.#sendOffer());
  }

  // restart begins ICE anew. From then on we are the one who does that.
  restart() {
    this.#offerer = true;
    return this.#do(() => this.#sendOffer({iceRestart: true}));
  }

  // takes tells whether an offer goes on where this connection is, rather than
  // beginning another: its origin (RFC 8866 §5.2) names the session.
  takes(offer) {
    const current = this.connection.remoteDescription;
    return !this.#closed && current !== null && origin(current.sdp) === origin(offer?.sdp);
  }

  receiveOffer(offer) {
    return this.#do(async () => {
      const pc = this.connection;
      pc.setConfiguration(this.#relay.configuration);
      await pc.setRemoteDescription(offer);
      if (!this.#senders.audio) await this.#sendInto(pc.getTransceivers());
      await this.#addEarly();
      await pc.setLocalDescription(await pc.createAnswer());
      this.#describe({type: 'answer', answer: pc.localDescription});
    });
  }

  receiveAnswer(answer) {
    return this.#do(async () => {
      if (this.connection.signalingState !== 'have-local-offer') return;
      const current = this.connection.currentRemoteDescription;
      if (current && origin(current.sdp) !== origin(answer?.sdp)) {
        this.dispatchEvent(new Event('renewed'));
        return;
      }
      await this.connection.setRemoteDescription(answer);
      await this.#addEarly();
    });
  }

  receiveCandidate(candidate) {
    return this.#do(async () => {
      if (!candidate) return;
      if (this.connection.remoteDescription) await this.#addCandidate(candidate);
      else if (this.#early.length < MAX_EARLY) this.#early.push(candidate);
    });
  }

  // sendTracks sends what the local media has now, without a negotiation.
  sendTracks() {
    return this.#do(async () => {
      for (const [kind, sender] of Object.entries(this.#senders)) {
        const track = this.#media.sends ? this.#media[kind] : null;
        if (sender.track !== track) await sender.replaceTrack(track);
      }
    });
  }

  // say sends a JSON message, and returns whether there was a way.
  say(message) {
    const channel = this.#channels.find((c) => c.readyState === 'open');
    channel?.send(JSON.stringify(message));
    return Boolean(channel);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#restart);
    this.connection.close();
  }

  // do runs one step after those before it. A step that fails ends nothing but
  // itself: the other side may be anybody.
  #do(step) {
    this.#work = this.#work.then(() => (this.#closed ? undefined : step())).catch((err) => {
      if (!this.#closed) console.warn(`connection to ${this.id}:`, err);
    });
    return this.#work;
  }

  async #sendOffer(options) {
    const pc = this.connection;
    this.#described = false;
    pc.setConfiguration(this.#relay.configuration); // with credentials of now
    await pc.setLocalDescription(await pc.createOffer(options));
    this.#describe({type: 'offer', offer: pc.localDescription});
  }

  #describe(message) {
    this.#signal(message);
    this.#described = true;
    for (const candidate of this.#held.splice(0)) this.#signal(candidate);
  }

  // sendInto gives the first audio and the first video line of an offer our
  // tracks; what it has beyond them stays as it is.
  async #sendInto(transceivers) {
    for (const kind of ['audio', 'video']) {
      const transceiver = transceivers.find((t) => t.receiver.track.kind === kind);
      if (!transceiver) continue;
      withCaptureTime(transceiver);
      this.#senders[kind] = transceiver.sender;
      if (!this.#media.sends) continue;
      transceiver.direction = 'sendrecv';
      transceiver.sender.setStreams?.(this.#media.stream);
      await transceiver.sender.replaceTrack(this.#media[kind]);
    }
  }

  async #addEarly() {
    for (const candidate of this.#early.splice(0)) await this.#addCandidate(candidate);
  }

  async #addCandidate(candidate) {
    try {
      await this.connection.addIceCandidate(candidate);
    } catch (err) {
      console.warn(`a candidate of ${this.id}:`, err);
    }
  }

  #addTrack(track) {
    if (this.tracks.includes(track)) return;
    this.tracks.push(track);
    for (const event of ['mute', 'unmute']) track.addEventListener(event, () => this.#changed());
    track.addEventListener('ended', () => {
      this.tracks = this.tracks.filter((t) => t !== track);
      this.#changed();
    });
    this.#changed();
  }

  #adopt(channel) {
    if (channel.label !== CHANNEL) return;
    this.#channels.push(channel);
    channel.onopen = () => this.dispatchEvent(new Event('open'));
    channel.onmessage = ({data}) => {
      if (typeof data !== 'string' || data.length > MAX_TEXT) return;
      this.dispatchEvent(new CustomEvent('text', {detail: data}));
    };
    channel.onclose = () => {
      this.#channels = this.#channels.filter((c) => c !== channel);
      if (!this.#closed && !this.open) this.dispatchEvent(new Event('over'));
    };
  }

  // Only the one who offered restarts, so that the two never cross. Without the
  // server it waits until the room is joined again.
  #stateChanged() {
    clearTimeout(this.#restart);
    const {connectionState} = this.connection;
    if (this.#offerer && (connectionState === 'disconnected' || connectionState === 'failed')) {
      const wait = connectionState === 'failed' ? 0 : RESTART_AFTER;
      this.#restart = setTimeout(() => { if (this.#reachable()) this.restart(); }, wait);
    }
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event('change')); }
}

function origin(sdp) {
  return /^o=\S+ \S+/m.exec(sdp ?? '')?.[0];
}

// withCaptureTime offers the header extension by which a recorder can tell when
// a frame was captured. Chromium knows it but does not offer it by itself.
export function withCaptureTime(transceiver) {
  try {
    const extensions = transceiver.getHeaderExtensionsToNegotiate();
    for (const e of extensions) if (e.uri === CAPTURE_TIME) e.direction = 'sendrecv';
    transceiver.setHeaderExtensionsToNegotiate(extensions);
  } catch { /* a browser without it sends without it */ }
}
