'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = 'http://www.w3.org/2000/svg';
  const WIDTH = 1200, LEFT = 150;
  const length = data.length_ms, m = data.manifest;

  const node = (name, props = {}, ...children) => {
    const n = document.createElement(name);
    Object.assign(n, props);
    n.append(...children);
    return n;
  };
  const shape = (parent, name, attributes, text) => {
    const n = document.createElementNS(SVG, name);
    for (const [k, v] of Object.entries(attributes)) n.setAttribute(k, v);
    if (text !== undefined) n.textContent = text;
    parent.append(n);
    return n;
  };
  const clock = (ms) => {
    const s = Math.floor(ms / 1000), pad = (n) => String(n).padStart(2, '0');
    return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
  };
  const short = (text, n = 18) => ([...text].length > n ? `${[...text].slice(0, n - 1).join('')}…` : text);
  const size = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.ceil(n / 1e3)} kB`);
  const rate = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} Mbit/s` : `${Math.round(n / 1e3)} kbit/s`);
  const x = (ms) => LEFT + ms / length * (WIDTH - LEFT - 10);

  // ---- The session's clock, which all players follow.

  const PICTURES = 9; // so many are decoded at a time; of the others there is the sound
  const PATIENCE = 20000; // ms that the clock waits for a player that loads
  const FAR = 2; // s by which a player may be off before it jumps rather than hurries

  let now = 0, running = false, since = 0;
  let held = 0; // since when the clock waits for players; 0: it does not
  let touched = false; // nothing is loaded before, but for the first pictures of a few players
  const players = [];
  const cursors = [];
  const position = () => (running && !held ? Math.min(length, now + performance.now() - since) : now);

  class Player {
    constructor({participant, files}) {
      this.files = files.filter((f) => f.url);
      this.video = node('video', {preload: 'none', playsInline: true});
      this.video.setAttribute('aria-label', `Recording of ${participant}`);
      this.audio = new Audio();
      this.audio.preload = 'none';
      this.media = this.video;
      this.visible = true;
      this.sound = node('button', {type: 'button', textContent: 'Mute'});
      this.sound.onclick = () => {
        this.video.muted = this.audio.muted = !this.video.muted;
        this.sound.textContent = this.video.muted ? 'Unmute' : 'Mute';
      };
      this.audio.hidden = true;
      const caption = node('figcaption', {}, node('span', {textContent: participant}));
      if (this.files.length) caption.append(this.sound);
      else caption.append(node('span', {textContent: 'a browser can’t play these files'}));
      this.figure = node('figure', {}, this.video, this.audio, caption);
      $('players').append(this.figure);
    }

    // begin shows the first picture, before anything plays.
    begin() {
      if (!this.files.length) return;
      this.video.preload = 'metadata';
      this.video.src = this.files[0].url;
    }

    at(ms) { return this.files.find((f) => ms >= f.offset_ms && ms < f.offset_ms + f.duration_ms); }

    // ready tells whether the player can go on now; one that never will is not waited for.
    get ready() {
      const v = this.media;
      return !this.file || v.error || v.ended || (!v.seeking && (v.readyState > 2 || (v.readyState > 1 && this.ahead > 1)));
    }

    // ahead is how many seconds are loaded from here on. A player that is held may say no more than that.
    get ahead() {
      const {buffered, currentTime} = this.media;
      for (let i = 0; i < buffered.length; i++) {
        if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
      }
      return 0;
    }

    leave() {
      if (!this.media.paused) this.media.pause();
    }

    // follow shows what the participant did at a time of the session, with or without the picture.
    follow(at, exactly, picture) {
      const file = this.at(at);
      this.figure.classList.toggle('absent', touched && !file);
      this.figure.classList.toggle('unseen', Boolean(file) && !picture);
      if (!file || !touched) {
        this.leave();
        if (!file) this.file = null;
        return;
      }
      const media = picture ? this.video : this.audio;
      if (this.media !== media) {
        this.leave();
        // What is not shown gives its connection back.
        this.media.removeAttribute('src');
        this.media.load();
        this.media = media;
        this.file = null;
      }
      if (this.file !== file) {
        this.file = file;
        media.preload = 'auto';
        media.src = file.url;
        exactly = true;
      }
      const want = (at - file.offset_ms) / 1000;
      const off = media.currentTime - want;
      if (exactly || (Math.abs(off) > FAR && !media.seeking)) media.currentTime = want;
      else media.playbackRate = running && Math.abs(off) > 0.03 ? 1 - Math.max(-0.25, Math.min(0.25, off)) : 1;
      const on = running && !held;
      if (on && media.paused && !media.ended) media.play().catch(() => {});
      if (!on && !media.paused) media.pause();
    }
  }

  // pictured gives the players whose pictures are shown: those in view before others.
  const pictured = (at) => new Set(players.filter((p) => p.at(at)).sort((p, q) => q.visible - p.visible).slice(0, PICTURES));

  const show = (exactly = false) => {
    const at = position(), pictures = pictured(at);
    for (const p of players) p.follow(at, exactly, pictures.has(p));
    $('seek').value = at;
    $('seek').setAttribute('aria-valuetext', clock(at));
    $('clock').textContent = `${clock(at)} / ${clock(length)}`;
    for (const c of cursors) {
      c.setAttribute('x1', x(at));
      c.setAttribute('x2', x(at));
    }
    if (running && at >= length) play(false);
  };
  // hold stops the clock while players load, and lets it go on.
  let gaveUp = false;
  const hold = () => {
    const ready = players.every((p) => p.ready);
    if (ready) gaveUp = false;
    if (held ? !ready && performance.now() - held < PATIENCE : ready || gaveUp) return;
    if (held) {
      gaveUp = !ready;
      held = 0;
      since = performance.now();
    } else {
      now = position();
      held = performance.now();
    }
    $('play').classList.toggle('loading', held > 0);
  };
  const play = (on) => {
    now = position();
    if (on && now >= length) now = 0;
    running = on;
    held = 0;
    gaveUp = false;
    touched ||= on;
    since = performance.now();
    $('play').textContent = on ? 'Pause' : 'Play';
    $('play').classList.remove('loading');
    show(true);
  };
  const seek = (ms) => {
    now = Math.max(0, Math.min(length, ms));
    since = performance.now();
    gaveUp = false;
    touched = true;
    show(true);
  };
  const inView = new IntersectionObserver((entries) => {
    for (const e of entries) {
      const p = players.find((q) => q.figure === e.target);
      if (p) p.visible = e.isIntersecting;
    }
  });

  // ---- Pictures along the time axis

  const canvas = (parent, height, label) => {
    const s = document.createElementNS(SVG, 'svg');
    s.setAttribute('viewBox', `0 0 ${WIDTH} ${height}`);
    s.setAttribute('role', 'img');
    s.setAttribute('aria-label', label);
    s.addEventListener('click', (e) => {
      const box = s.getBoundingClientRect();
      seek(((e.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - 10) * length);
    });
    parent.append(s);
    return s;
  };
  const cursor = (s, height) => cursors.push(shape(s, 'line', {class: 'now', x1: LEFT, x2: LEFT, y1: 0, y2: height}));
  const axis = (s, height) => {
    const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400].map((v) => v * 1000);
    const step = steps.find((v) => length / v <= 10) ?? length / 10;
    for (let t = 0; t <= length; t += step) shape(s, 'text', {class: 'soft', x: x(t), y: height - 6, 'text-anchor': x(t) > WIDTH - 40 ? 'end' : 'middle'}, clock(t));
  };
  const bar = (s, kind, from, duration, y, height, title) => {
    const r = shape(s, 'rect', {class: kind, x: x(from), y, height, width: Math.max(1.5, x(from + duration) - x(from)), rx: 2});
    if (title) shape(r, 'title', {}, title);
  };

  const timeline = () => {
    const ids = [...new Set([...(m.participants ?? []).map((p) => p.id), ...(m.files ?? []).map((f) => f.participant)])];
    const base = ids.length * 26 + 8, height = base + 60; // messages are below the people
    const s = canvas($('timeline'), height, 'Who was there, what was recorded, and what is missing');
    ids.forEach((id, i) => {
      const y = i * 26 + 8;
      shape(s, 'text', {x: 8, y: y + 14}, short(id));
      for (const p of m.participants ?? []) if (p.id === id) bar(s, 'stay', p.joined_ms, (p.left_ms ?? length) - p.joined_ms, y, 18, 'in the room');
      for (const f of m.files ?? []) {
        if (f.participant !== id) continue;
        bar(s, 'file', f.offset_ms, f.duration_ms, y + 5, 8, f.path);
        for (const t of f.tracks ?? []) {
          for (const g of t.gaps ?? []) {
            const lost = g.reason === 'loss';
            bar(s, lost ? 'gap' : 'silence', f.offset_ms + g.at_ms, g.duration_ms, lost ? y + 5 : t.kind === 'audio' ? y + 10 : y + 5, lost ? 8 : 3,
              lost ? `${t.kind}: ${g.packets} packets lost` : `${t.kind}: ${g.reason === 'paused' ? 'not recorded' : 'nothing was sent'}`);
          }
        }
      }
      let poor = {};
      for (const q of m.quality ?? []) {
        if (q.participant !== id) continue;
        if (q.event === 'poor') poor[q.kind] = q.at_ms;
        else if (q.kind in poor) { bar(s, 'poor', poor[q.kind], q.at_ms - poor[q.kind], y + 15, 3, `${q.kind} was poor: ${(q.reasons ?? []).join(', ')}`); delete poor[q.kind]; }
      }
      for (const [kind, from] of Object.entries(poor)) bar(s, 'poor', from, length - from, y + 15, 3, `${kind} was poor`);
    });
    const said = data.said ?? [];
    const most = Math.max(1, ...said);
    if (said.some((n) => n > 0)) {
      shape(s, 'text', {x: 8, y: base + 20}, 'Messages');
      said.forEach((n, i) => { if (n) shape(shape(s, 'line', {class: 'said', x1: x((i + 0.5) * data.bin_ms), x2: x((i + 0.5) * data.bin_ms), y1: base + 24 - 18 * n / most, y2: base + 24}), 'title', {}, `${n} messages`); });
    }
    for (const mark of m.marks ?? []) shape(shape(s, 'line', {class: 'mark', x1: x(mark.at_ms), x2: x(mark.at_ms), y1: 0, y2: height - 24}), 'title', {}, mark.name);
    axis(s, height);
    cursor(s, height);
  };

  const plots = () => {
    if (!data.curves?.length) {
      $('plots').append(node('p', {textContent: 'There are no statistics of this session.'}));
      return;
    }
    for (const id of new Set(data.curves.map((c) => c.participant))) {
      const curves = data.curves.filter((c) => c.participant === id), height = 110;
      const top = curves.flatMap((c) => c.bitrate).reduce((a, b) => Math.max(a, b), 1);
      const s = canvas($('plots'), height, `Bitrate and loss of ${id}, up to ${rate(top)}`);
      shape(s, 'text', {x: 8, y: 24}, short(id));
      shape(s, 'text', {class: 'soft', x: 8, y: 44}, `up to ${rate(top)}`);
      for (const c of curves) {
        const at = (i) => x(Math.min(length, (i + 0.5) * data.bin_ms));
        shape(s, 'polyline', {class: c.kind === 'audio' ? 'audio' : 'video', points: c.bitrate.map((v, i) => `${at(i).toFixed(1)},${(80 - v / top * 70).toFixed(1)}`).join(' ')});
        c.missing.forEach((v, i) => { if (v) shape(shape(s, 'line', {class: 'loss', x1: at(i), x2: at(i), y1: 80, y2: 90}), 'title', {}, `${v} packets lost (${c.kind})`); });
      }
      axis(s, height);
      cursor(s, height);
    }
  };

  const messages = () => {
    const list = $('messages');
    for (const said of data.messages ?? []) {
      const jump = node('button', {type: 'button', textContent: clock(said.at_ms)});
      jump.onclick = () => seek(said.at_ms);
      list.append(node('li', {}, jump, node('b', {textContent: said.participant}), ` ${said.text}`));
    }
    if (data.more_messages) list.append(node('li', {textContent: `… and ${data.more_messages} more`}));
    if (!data.messages?.length) list.append(node('li', {textContent: 'Nobody has written anything.'}));
  };

  const files = () => {
    const head = ['File', 'Participant', 'Begins', 'Length', 'Size', 'Tracks', 'Lost', 'Recovered'];
    $('files').append(node('thead', {}, node('tr', {}, ...head.map((h) => node('th', {scope: 'col', textContent: h})))));
    const body = node('tbody');
    for (const f of m.files ?? []) {
      const tracks = f.tracks ?? [], sum = (key) => tracks.reduce((n, t) => n + (t.packets?.[key] ?? 0), 0);
      const cells = [f.path, f.participant, clock(f.offset_ms), clock(f.duration_ms), size(f.bytes),
        tracks.map((t) => t.codec + (t.width ? ` ${t.width}×${t.height}` : '')).join(', '), sum('lost'), sum('recovered')];
      body.append(node('tr', {}, ...cells.map((c) => node('td', {textContent: c}))));
    }
    $('files').append(body);
  };

  $('facts').textContent = [new Date(m.started_at).toUTCString(), clock(length), `${(m.participants ?? []).length} stays`, `${(m.files ?? []).length} files`,
    m.state + (m.reason ? `: ${m.reason}` : '')].join(' · ');
  $('made').textContent = `Recorded by ${m.recorder}; report by ${data.generated}.`;
  for (const p of data.players ?? []) players.push(new Player(p));
  if (players.length <= PICTURES) for (const p of players) p.begin();
  for (const p of players) inView.observe(p.figure);
  $('seek').max = length;
  $('seek').oninput = () => seek(Number($('seek').value));
  $('play').onclick = () => play(!running);
  addEventListener('keydown', (e) => {
    if (e.target.closest('button, input') || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === ' ') { e.preventDefault(); play(!running); }
    if (e.key === 'ArrowLeft') seek(position() - 5000);
    if (e.key === 'ArrowRight') seek(position() + 5000);
  });
  timeline();
  plots();
  messages();
  files();
  show();
  setInterval(() => {
    if (!running) return;
    hold();
    show();
  }, 100);
})();
