// The test picture: a moving pattern with a clock and a frame counter, which
// flashes white in each full second of the wall clock, with a beep made in the
// same instant.

const BEEP_HZ = 1000;
const BEEP_SECONDS = 0.06;
const FLASH_FRAMES = 2; // one may be dropped by an encoder
const MAX_FLASHES = 3600;
const LEAD_FRAMES = 120;

// Bars to tell pictures apart by, chosen by their label.
const BARS = [
  ['#b8b4a8', '#b9ad4a', '#4aa7a4', '#5aa05a', '#a05a93', '#b25548', '#4a5fa0'],
  ['#e3d5b8', '#e0b15e', '#d98752', '#c4604f', '#9c4a5c', '#6b4263', '#443c60'],
  ['#d3dcd2', '#a9c8a4', '#74ad8d', '#4a8f83', '#35707a', '#31536d', '#343b58'],
  ['#dcd3dc', '#c5a8c9', '#a880b3', '#8a5f9c', '#6f5296', '#4c4f92', '#38497a'],
];

export class Pattern {
  // flashes lists, for each flash, when it was drawn on the wall clock (in
  // milliseconds since 1970), the number of its frame, and when its beep began
  // on the audio context's clock (in seconds; null without sound).
  flashes = [];
  frame = 0;

  #canvas = document.createElement('canvas');
  #draw;
  #label;
  #bars;
  #metronome = null;
  #audio = null;
  #lead = -Infinity; // audio clock minus the page's, seconds, at its highest
  #leadBefore = -Infinity;
  #second = 0;
  #white = 0;
  #push;

  constructor({width = 640, height = 360, fps = 30, label = '', sound = true} = {}) {
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#draw = this.#canvas.getContext('2d', {alpha: false, willReadFrequently: true});
    this.#label = label;
    this.#bars = BARS[[...label].reduce((sum, c) => sum + c.codePointAt(0), 0) % BARS.length];
    const {track, push} = videoTrack(this.#canvas, fps);
    this.#push = push;
    this.stream = new MediaStream([track]);
    if (sound) {
      const context = new AudioContext({latencyHint: 'interactive', sampleRate: 48000});
      const destination = context.createMediaStreamDestination();
      destination.channelCount = 1;
      // With nothing connected to it the destination would stop the track's
      // clock between beeps instead of sending silence.
      const silence = new ConstantSourceNode(context, {offset: 1e-5});
      silence.connect(destination);
      silence.start();
      this.#audio = {context, destination};
      this.stream.addTrack(destination.stream.getAudioTracks()[0]);
    }
    this.#second = Math.floor(wall() / 1000);
    this.#metronome = new Worker('/page/metronome.js');
    this.#metronome.onmessage = () => this.#tick();
    this.#metronome.postMessage(fps);
  }

  // resume starts the sound, which browsers hold back until somebody has
  // touched the page.
  resume() {
    return this.#audio?.context.resume();
  }

  stop() {
    this.#metronome.terminate();
    this.#audio?.context.close();
    for (const track of this.stream.getTracks()) track.stop();
  }

  #tick() {
    const now = wall();
    const second = Math.floor(now / 1000);
    this.#followAudioClock();
    this.frame++;
    if (second !== this.#second) {
      this.#second = second;
      this.#white = FLASH_FRAMES;
      this.flashes.push({wall: now, frame: this.frame, audio: this.#beep()});
      if (this.flashes.length > MAX_FLASHES) this.flashes.shift();
    }
    this.#paint(now, this.#white-- > 0);
    this.#push();
  }

  // The audio clock advances in steps of some milliseconds, whenever a buffer
  // is filled. Where it stands just after a step, seen over some seconds, is its
  // even course: a beep placed by that is never late and hardly jitters. What
  // was seen longer ago no longer holds, since a busy machine may lose samples.
  #followAudioClock() {
    if (this.#audio?.context.state !== 'running') return;
    const lead = this.#audio.context.currentTime - performance.now() / 1000;
    if (this.frame % LEAD_FRAMES === 0) [this.#leadBefore, this.#lead] = [this.#lead, lead];
    this.#lead = Math.max(this.#lead, lead);
  }

  #beep() {
    if (this.#audio?.context.state !== 'running') return null;
    const {context, destination} = this.#audio;
    const at = performance.now() / 1000 + Math.max(this.#lead, this.#leadBefore);
    const tone = new OscillatorNode(context, {frequency: BEEP_HZ});
    const volume = new GainNode(context, {gain: 0.4});
    tone.connect(volume).connect(destination);
    tone.start(at);
    tone.stop(at + BEEP_SECONDS);
    return at;
  }

  #paint(now, white) {
    const d = this.#draw;
    const {width: w, height: h} = this.#canvas;
    if (white) {
      d.fillStyle = '#fff';
      d.fillRect(0, 0, w, h);
      return;
    }
    const bar = w / this.#bars.length;
    this.#bars.forEach((color, i) => {
      d.fillStyle = color;
      d.fillRect(Math.floor(i * bar), 0, Math.ceil(bar), h);
    });
    d.fillStyle = '#20272b';
    d.fillRect(0, h * 0.54, w, h * 0.46);

    // A hand that goes round once in two seconds, and a block that crosses.
    const turn = (now % 2000) / 2000 * 2 * Math.PI;
    const r = h * 0.18;
    d.save();
    d.translate(w / 2, h * 0.27);
    d.fillStyle = '#20272b';
    d.beginPath();
    d.arc(0, 0, r, 0, 2 * Math.PI);
    d.fill();
    d.strokeStyle = '#f3efe6';
    d.lineWidth = h / 60;
    d.lineCap = 'round';
    d.beginPath();
    d.moveTo(0, 0);
    d.lineTo(r * 0.8 * Math.sin(turn), -r * 0.8 * Math.cos(turn));
    d.stroke();
    d.restore();
    const across = (now % 4000) / 4000;
    d.fillStyle = '#e0a53a';
    d.fillRect(across * (w + h * 0.1) - h * 0.1, h * 0.51, h * 0.1, h * 0.03);

    d.fillStyle = '#f3efe6';
    d.textAlign = 'center';
    d.font = `600 ${Math.round(h * 0.12)}px ui-monospace, monospace`;
    d.fillText(clock(now), w / 2, h * 0.7);
    d.font = `${Math.round(h * 0.055)}px ui-monospace, monospace`;
    d.fillText(`${this.#label}  ${w}×${h}  frame ${this.frame}`.trim(), w / 2, h * 0.8, w * 0.94);
  }
}

function wall() {
  return performance.timeOrigin + performance.now();
}

function clock(ms) {
  const t = new Date(ms);
  const two = (n) => String(n).padStart(2, '0');
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${String(t.getMilliseconds()).padStart(3, '0')}`;
}

// videoTrack makes a track of what is on the canvas whenever push is called.
// A captured canvas stands still while the page is in the background; where
// frames can be written into a track directly, the picture goes on.
function videoTrack(canvas, fps) {
  if (!('MediaStreamTrackGenerator' in window) || !('VideoFrame' in window)) {
    const track = canvas.captureStream(fps).getVideoTracks()[0];
    return {track, push() {}};
  }
  const track = new MediaStreamTrackGenerator({kind: 'video'});
  const writer = track.writable.getWriter();
  return {
    track,
    push() {
      if (track.readyState !== 'live' || writer.desiredSize <= 0) return;
      const frame = new VideoFrame(canvas, {timestamp: Math.round(performance.now() * 1000), alpha: 'discard'});
      writer.write(frame).catch(() => frame.close());
    },
  };
}
