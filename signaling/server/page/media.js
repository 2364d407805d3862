// What we show and say: a camera and a microphone or the test picture, and at
// times a screen in place of the camera.

import {Pattern} from './pattern.js';

export class LocalMedia extends EventTarget {
  // stream carries the tracks as they are chosen at the start; its id is the
  // MediaStream that others see all of them in.
  stream = new MediaStream();
  source = 'none';
  pattern = null;
  screen = null; // the video track shared in place of the camera

  #audio = null;
  #audioInstead; // what is sent in place of it, undefined for nothing special
  #video = null;
  #sharedPattern = null;

  // open gets what source names. It throws what getUserMedia throws.
  static async open(source, label) {
    const media = new LocalMedia();
    media.source = source;
    if (source === 'pattern') {
      media.pattern = new Pattern({label});
      media.pattern.resume();
      media.#take(media.pattern.stream);
    } else if (source === 'camera') {
      media.#take(await devices());
    }
    return media;
  }

  #take(stream) {
    this.stream = stream;
    this.#audio = stream.getAudioTracks()[0] ?? null;
    this.#video = stream.getVideoTracks()[0] ?? null;
  }

  get sends() { return this.source !== 'none'; }
  get hasAudio() { return this.#audio !== null; }
  get hasVideo() { return this.#video !== null; }
  get micOn() { return this.#audio?.enabled ?? false; }
  get cameraOn() { return this.#video?.enabled ?? false; }

  // What the first audio and the first video sender of each connection carry.
  get audio() { return this.#audioInstead !== undefined ? this.#audioInstead : this.#audio; }
  get video() { return this.screen ?? this.#video; }

  set micOn(on) {
    if (this.#audio) this.#audio.enabled = on;
    this.#changed();
  }

  set cameraOn(on) {
    if (this.#video) this.#video.enabled = on;
    this.#changed();
  }

  // setAudioTrack sends another track, or null for none, in place of the
  // microphone; without an argument, the microphone again.
  setAudioTrack(track) {
    this.#audioInstead = track;
    this.#changed();
  }

  // share sends the stream's video in place of the camera's until it ends.
  share(stream) {
    this.unshare();
    const track = stream.getVideoTracks()[0];
    if (!track) throw new Error('the stream has no video');
    this.screen = track;
    track.addEventListener('ended', () => { if (this.screen === track) this.unshare(); });
    this.#changed();
  }

  // shareTestPicture shares a second test picture, of another size.
  shareTestPicture({width = 1280, height = 720, fps = 15} = {}) {
    const pattern = new Pattern({width, height, fps, label: 'screen', sound: false});
    this.share(pattern.stream);
    this.#sharedPattern = pattern;
  }

  unshare() {
    const track = this.screen;
    if (!track) return;
    this.screen = null;
    this.#sharedPattern?.stop();
    this.#sharedPattern = null;
    track.stop();
    this.#changed();
  }

  close() {
    this.unshare();
    this.pattern?.stop();
    for (const track of this.stream.getTracks()) track.stop();
  }

  #changed() { this.dispatchEvent(new Event('change')); }
}

// devices asks for camera and microphone, and is content with one of them.
async function devices() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new DOMException('', 'SecurityError');
  }
  const video = {width: {ideal: 1280}, height: {ideal: 720}};
  try {
    return await navigator.mediaDevices.getUserMedia({audio: true, video});
  } catch (err) {
    if (err.name !== 'NotFoundError' && err.name !== 'NotReadableError') throw err;
    for (const only of [{audio: true}, {video}]) {
      try {
        return await navigator.mediaDevices.getUserMedia(only);
      } catch { /* the first error says what is wrong */ }
    }
    throw err;
  }
}

// why says in plain words what stood between us and the camera.
export function why(err) {
  switch (err.name) {
    case 'NotAllowedError': return 'The browser was not allowed to use camera and microphone. Allow it in the address bar, or join with the test picture.';
    case 'NotFoundError': return 'There is no camera or microphone on this machine. Join with the test picture, or with nothing.';
    case 'NotReadableError': return 'Camera or microphone are in use by another program. Close it, or join with the test picture.';
    case 'SecurityError': return 'Browsers give camera and microphone only to pages from https:// or localhost. Join with the test picture, or serve this page with a certificate.';
  }
  return `Camera and microphone can't be used: ${err.message || err.name}.`;
}
