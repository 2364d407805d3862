// The page: the form at the door, the controls inside, and what connects them
// to the room. See testing.js for what window.roomtape offers.

import {Chat} from './chat.js';
import {LocalMedia, why} from './media.js';
import {listRecordings} from './recordings.js';
import {Relay} from './relay.js';
import {Room} from './room.js';
import {Tiles} from './tiles.js';
import {expose} from './testing.js';

const $ = (id) => document.getElementById(id);
const MAX_ID = 128; // bytes
const OWN = ' own'; // no id begins with a space, since ours are trimmed

const tiles = new Tiles($('grid'));
const chat = new Chat(say);
const states = new Map(); // id → what they last said of themselves
const recorders = new Set();
const pausedRecorders = new Set(); // those of them that record nothing now

let token = ''; // never shown, nor in a link
let room = null;
let media = null;
let entering = null;

// Messages of the server for people; by code, or the server's own words.
const REFUSALS = {
  bad_peer_id: 'This name can’t be used here. Try another one.',
  bad_room_id: 'This room name can’t be used. Try another one.',
  too_many_rooms: 'The server has no place for another room just now.',
  room_full: 'This room is full.',
  unauthorized: 'You need a token to come in, and this is not a valid one.',
  forbidden: 'Your token is not for this room or this name.',
  token_expired: 'Your token has expired. You need a fresh one.',
  join_timeout: 'The server did not hear from this page in time.',
};
const OF_TOKENS = ['unauthorized', 'forbidden', 'token_expired'];
const NOT_FOR_PEOPLE = ['unknown_peer', 'rate_limited', 'replaced'];

// ---- Coming in and leaving

async function enter({room: name, name: id, source = 'camera'}) {
  if (room || entering) throw new Error('already in a room');
  let relay;
  entering = (async () => {
    relay = new Relay(id, token);
    [media] = await Promise.all([LocalMedia.open(source, id), relay.renew()]);
    media.addEventListener('change', mediaChanged);
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const url = `${scheme}//${location.host}/ws/${encodeURIComponent(name)}`;
    const r = new Room({url, room: name, id, media, token, relay});
    room = r;
    watch(r, url);
    await new Promise((resolve, reject) => {
      r.addEventListener('state', () => {
        if (r.state === 'joined') resolve();
        else if (r.state === 'closed') reject(new Error(r.problem));
      });
    });
  })();
  try {
    await entering;
  } catch (err) {
    relay?.close();
    outside();
    throw err;
  } finally {
    entering = null;
  }
}

function leave() {
  room?.leave();
  outside();
}

function outside(problem = '') {
  room = null;
  media?.close();
  media = null;
  states.clear();
  recorders.clear();
  pausedRecorders.clear();
  tiles.keep(() => false);
  chat.clear();
  $('chat').hidden = true;
  $('inside').hidden = $('tools').hidden = true;
  $('door').hidden = false;
  $('notice').textContent = $('recording').textContent = '';
  $('listeners').replaceChildren();
  document.body.className = 'outside';
  document.title = 'Roomtape';
  $('join-button').disabled = false;
  $('join-button').textContent = 'Join the room';
  $('door-error').textContent = problem;
  listRecordings(token);
}

function inside() {
  $('door').hidden = true;
  $('inside').hidden = $('tools').hidden = false;
  document.body.className = 'inside-room';
  $('room-title').textContent = room.room;
  document.title = `${room.room} · Roomtape`;
  mediaChanged();
  showPeople();
  if (room.rights && !room.rights.includes('publish') && media.sends) {
    toast('Your token does not let you send: nobody sees or hears you.');
  }
}

function watch(r, url) {
  r.addEventListener('state', () => {
    if (r !== room) return;
    $('notice').textContent = $('door-error').textContent = '';
    $(r.state === 'joining' ? 'door-error' : 'notice').textContent = r.problem;
    if (r.state === 'joined' && document.body.className === 'outside') inside();
    if (r.state === 'closed') outside(r.problem);
  });
  r.addEventListener('refused', ({detail: {code, message}}) => {
    if (NOT_FOR_PEOPLE.includes(code)) return;
    if (OF_TOKENS.includes(code)) $('token-label').hidden = false;
    const words = REFUSALS[code] ?? `The server says: ${message ?? code ?? 'no'}`;
    if (r.state === 'joining' && code !== 'join_timeout') {
      r.leave(words);
    } else {
      toast(words);
    }
  });
  r.addEventListener('peer', showPeople);
  r.addEventListener('open', ({detail: {id}}) => r.say(ownState(), id));
  r.addEventListener('left', ({detail: {id}}) => {
    states.delete(id);
    pausedRecorders.delete(id);
    if (recorders.delete(id)) toast(`Recording by ${id} has ended`);
    showPeople();
  });
  r.addEventListener('text', ({detail: {id, text}}) => heard(id, text));
  $('do-copy').onclick = () => copy((r.rights ? 'ROOMTAPE_TOKEN=… ' : '') + recordCommand(url), 'Record command copied');
}

// ---- What others say on the data channel

function heard(id, text) {
  let m;
  try {
    m = JSON.parse(text);
  } catch {
    return;
  }
  if (m === null || typeof m !== 'object') return;
  switch (m.type) {
    case 'chat':
      if (typeof m.text === 'string') chat.add(id, m.text.slice(0, 4000));
      break;
    case 'state':
      states.set(id, {mic: m.mic !== false, camera: m.camera !== false, sharing: m.sharing === true});
      showPeople();
      break;
    case 'recording':
      // Whose connection it came by counts, not whom it names.
      if (m.state === 'paused') {
        pausedRecorders.add(id);
      } else {
        pausedRecorders.delete(id);
      }
      if ((m.state === 'started' || m.state === 'paused') && !recorders.has(id)) {
        recorders.add(id);
        chat.add('', `${id} is recording this room`);
      } else if (m.state === 'stopped') {
        recorders.delete(id);
      }
      showPeople();
      break;
  }
}

function say(text) {
  if (!room) return;
  room.say({type: 'chat', name: room.id, text});
  chat.add(room.id, text, true);
}

function ownState() {
  return {type: 'state', mic: media.micOn, camera: media.cameraOn, sharing: media.screen !== null};
}

// ---- What is to be seen

function showPeople() {
  if (!room || room.state === 'joining') return;
  const keys = new Set();
  const listeners = [];
  if (media.sends) {
    keys.add(OWN);
    tiles.show(OWN, {
      name: room.id, own: true, mirrored: media.source === 'camera' && !media.screen,
      tracks: media.video ? [media.video] : [],
      picture: media.screen !== null || media.cameraOn, sound: media.micOn,
      note: media.screen ? 'sharing' : '',
    });
  }
  for (const [id, peer] of room.peers) {
    const live = peer?.tracks ?? [];
    if (recorders.has(id)) continue;
    if (!live.length) {
      listeners.push(id);
      continue;
    }
    const [picture, ...more] = live.filter((t) => t.kind === 'video');
    const sounds = live.filter((t) => t.kind === 'audio');
    const says = states.get(id);
    keys.add(id);
    tiles.show(id, {
      name: id, tracks: picture ? [picture, ...sounds] : sounds,
      picture: Boolean(picture) && !picture.muted && (!says || says.camera || says.sharing),
      sound: sounds.length > 0 && (!says || says.mic),
      speaks: peer.speaks === true,
      large: Boolean(picture) && !picture.muted && (peer.presents || says?.sharing === true),
      note: {new: 'connecting…', connecting: 'connecting…', disconnected: 'reconnecting…', failed: 'no connection'}[peer.state] ??
        (says?.sharing ? 'sharing' : ''),
    });
    for (const track of more) {
      if (track.muted) continue;
      const key = `${id}\n${track.id}`; // no id has a line break
      keys.add(key);
      tiles.show(key, {name: id, tracks: [track], note: 'second picture'});
    }
  }
  tiles.keep((key) => keys.has(key));
  $('alone').hidden = room.peers.size > recorders.size;

  $('listeners').replaceChildren(...listeners.map((id) => {
    const chip = document.createElement('li');
    chip.textContent = `${id} is listening`;
    return chip;
  }));
  const by = [...recorders].map((id) => pausedRecorders.has(id) ? `${id} (paused)` : id);
  const recording = by.length ? `Recording by ${by.join(', ')}` : '';
  if ($('recording').textContent !== recording) $('recording').textContent = recording;
}

function mediaChanged() {
  if (!media || !room) return;
  control('do-mic', media.micOn, media.hasAudio, 'Mute', 'Unmute', '#i-mic');
  control('do-camera', media.cameraOn, media.hasVideo, 'Camera off', 'Camera on', '#i-cam');
  const sharing = media.screen !== null;
  $('do-share').querySelector('.label').textContent = sharing ? 'Stop sharing' : 'Share screen';
  $('do-share').classList.toggle('active', sharing);
  $('do-share').disabled = !media.sends;
  room.say(ownState());
  showPeople();
}

function control(id, on, has, offLabel, onLabel, icon) {
  const button = $(id);
  button.disabled = !has;
  button.classList.toggle('off', !on);
  button.querySelector('.label').textContent = on || !has ? offLabel : onLabel;
  button.querySelector('use').setAttribute('href', on ? icon : `${icon}-off`);
}

let toastTimer = 0;
function toast(text) {
  clearTimeout(toastTimer);
  $('toast').textContent = text;
  toastTimer = setTimeout(() => { $('toast').textContent = ''; }, 5000);
}

// ---- What the controls do

const controls = {
  m: () => { media.micOn = !media.micOn; },
  v: () => { media.cameraOn = !media.cameraOn; },
  s: share,
  c: () => chat.toggle(),
};
$('do-mic').onclick = controls.m;
$('do-camera').onclick = controls.v;
$('do-share').onclick = controls.s;
$('do-leave').onclick = () => { leave(); $('room-name').focus(); };
$('copy-link').onclick = () => {
  const link = new URL(location.href);
  link.search = new URLSearchParams({room: room.room});
  copy(link.href, 'Link copied');
};

addEventListener('keydown', (e) => {
  if (!room || e.ctrlKey || e.metaKey || e.altKey || e.repeat || e.isComposing) return;
  if (e.target.closest?.('input, textarea, select, dialog')) return;
  const control = controls[e.key.toLowerCase()];
  const button = {m: 'do-mic', v: 'do-camera', s: 'do-share', c: 'do-chat'}[e.key.toLowerCase()];
  if (!control || $(button).disabled) return;
  e.preventDefault();
  control();
});

async function share() {
  if (media.screen) {
    media.unshare();
    return;
  }
  if (!navigator.mediaDevices?.getDisplayMedia) {
    toast('This browser can’t share a screen here.');
    return;
  }
  const sharedBy = media;
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({video: true, audio: false});
    if (media === sharedBy) media.share(stream);
    else for (const track of stream.getTracks()) track.stop();
  } catch (err) {
    if (err.name !== 'NotAllowedError') toast(`The screen can’t be shared: ${err.message}`);
  }
}

function recordCommand(url) {
  // What encodeURIComponent leaves is harmless to a shell but for these.
  return `roomtape record ${url.replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;
}

async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${done}: ${text}`);
  } catch {
    // Without https there is no clipboard to write to.
    $('command-text').value = text;
    $('command').showModal();
    $('command-text').select();
  }
}

// A browser may hold back sound until the page has been touched.
addEventListener('held-back', () => {
  if (!room) return;
  $('notice').textContent = 'Click or press a key to hear the others.';
  const touched = () => {
    removeEventListener('click', touched);
    removeEventListener('keydown', touched);
    $('notice').textContent = room?.problem ?? '';
    tiles.play();
  };
  addEventListener('click', touched);
  addEventListener('keydown', touched);
});
for (const event of ['click', 'keydown']) addEventListener(event, () => media?.pattern?.resume());
addEventListener('pagehide', () => room?.leave());

// ---- The form at the door

// usable makes an id of what was typed: trimmed, without what the server
// refuses, and no longer than it takes.
function usable(text) {
  let id = text.toWellFormed?.() ?? text;
  id = id.replace(/[\p{Cc}\ufffd]/gu, '').trim();
  while (new TextEncoder().encode(id).length > MAX_ID) id = [...id].slice(0, -1).join('');
  return id.trim();
}

const suffix = () => Math.random().toString(36).slice(2, 6);

async function join({room: roomName, name, source, token: given}) {
  token = given?.trim() || token;
  const wanted = {room: usable(roomName) || 'lobby', name: usable(name) || `guest-${suffix()}`, source};
  $('room-name').value = wanted.room;
  $('your-name').value = wanted.name;
  $('door-error').textContent = '';
  $('join-button').disabled = true;
  $('join-button').textContent = 'Joining…';
  try {
    await enter(wanted);
  } catch (err) {
    const words = err instanceof DOMException ? why(err) : err.message;
    outside(words);
    throw new Error(words);
  }
  const link = new URL(location.href);
  link.search = new URLSearchParams(wanted);
  history.replaceState({token}, '', link);
}

$('join-form').addEventListener('submit', (e) => {
  e.preventDefault();
  const form = new FormData(e.target);
  join({room: form.get('room'), name: form.get('name'), source: form.get('source'), token: form.get('token')}).catch(() => {});
});

// A token in the address is taken out of it at once. It is kept with the page's
// place in the history, for when the page is loaded again.
const query = new URLSearchParams(location.search);
token = query.get('token') ?? history.state?.token ?? '';
if (query.has('token')) {
  query.delete('token');
  const link = new URL(location.href);
  link.search = query;
  history.replaceState({token}, '', link);
}
$('room-name').value = query.get('room') ?? '';
$('your-name').value = query.get('name') ?? '';
for (const choice of document.querySelectorAll('[name=source]')) {
  if (choice.value === query.get('source')) choice.checked = true;
}
expose({
  join, leave, say, chat,
  room: () => room, media: () => media,
  recorders: () => [...recorders], states: () => Object.fromEntries(states),
});
listRecordings(token);
if (query.get('join') === '1') $('join-form').requestSubmit();
else $(query.get('room') ? 'your-name' : 'room-name').focus();
