// The grid of pictures: a tile for each participant who sends something.

const ASPECT = 16 / 9;
const GAP = 12; // between tiles, as in style.css
const SMALLEST = 200; // px
const STRIP = 0.2; // of the stage, for everybody else while a screen is shown large

export class Tiles {
  #grid;
  #tiles = new Map(); // key → Tile

  constructor(grid) {
    this.#grid = grid;
    new ResizeObserver(() => this.#arrange()).observe(grid.parentElement);
  }

  get size() { return this.#tiles.size; }

  // show makes or changes the tile with this key.
  show(key, what) {
    let tile = this.#tiles.get(key);
    if (!tile) {
      tile = new Tile();
      this.#tiles.set(key, tile);
      this.#grid.append(tile.element);
      this.#arrange();
    }
    const {large} = tile;
    tile.update(what);
    if (tile.large !== large) this.#arrange();
  }

  // keep removes every tile whose key does not pass.
  keep(passes) {
    for (const [key, tile] of this.#tiles) {
      if (passes(key)) continue;
      this.#tiles.delete(key);
      tile.close();
    }
    this.#arrange();
  }

  // play starts what a browser has held back until somebody touched the page.
  play() {
    for (const tile of this.#tiles.values()) tile.play();
  }

  // arrange gives most of the stage to a screen that is shown, and makes the
  // other pictures as large as there is room.
  #arrange() {
    const {clientWidth: w, clientHeight: h} = this.#grid.parentElement;
    if (!w || !h) return;
    const tiles = [...this.#tiles.values()];
    const screen = tiles.find((t) => t.large);
    for (const t of tiles) t.element.classList.toggle('large', t === screen);
    const beside = w > h; // the others are at the side, or else below
    const strip = Math.floor(tiles.length > 1 ? Math.max(SMALLEST, STRIP * (beside ? w : h * ASPECT)) : 0);
    const width = Math.floor(beside ? Math.min(w - strip, h * ASPECT) : Math.min(w, (h - strip / ASPECT) * ASPECT));
    this.#grid.classList.toggle('presenting', Boolean(screen));
    this.#grid.classList.toggle('beside', beside);
    this.#grid.style.setProperty('--strip', `${strip}px`);
    this.#grid.style.setProperty('--large', `${width}px`);
    if (!screen) this.#fill(tiles.length, w, h);
  }

  // fill picks the number of columns that gives the largest pictures.
  #fill(n, w, h) {
    if (!n) return;
    const widthFor = (columns) => {
      const high = h / Math.ceil(n / columns) - GAP;
      return Math.min(w / columns, high * ASPECT + GAP);
    };
    let columns = 1;
    for (let c = 2; c <= n; c++) if (widthFor(c) > widthFor(columns)) columns = c;
    let width = widthFor(columns);
    if (width < SMALLEST) { // rather scroll than show stamps
      columns = Math.max(1, Math.floor(w / SMALLEST));
      width = w / columns;
    }
    this.#grid.style.setProperty('--columns', columns);
    this.#grid.style.setProperty('--width', `${Math.floor(width)}px`);
  }
}

class Tile {
  element = document.createElement('li');
  large = false; // a screen, which others make room for

  #video = document.createElement('video');
  #face = document.createElement('span');
  #name = document.createElement('span');
  #mic = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  #note = document.createElement('span');

  constructor() {
    this.element.className = 'tile';
    this.#video.autoplay = true;
    this.#video.playsInline = true;
    this.#face.className = 'face';
    this.#face.setAttribute('aria-hidden', 'true');
    const label = document.createElement('p');
    label.className = 'name';
    this.#mic.append(document.createElementNS('http://www.w3.org/2000/svg', 'use'));
    this.#mic.setAttribute('role', 'img');
    this.#mic.setAttribute('aria-label', 'muted');
    this.#mic.firstChild.setAttribute('href', '#i-mic-off');
    this.#note.className = 'note';
    label.append(this.#mic, this.#name, this.#note);
    this.element.append(this.#video, this.#face, label);
    this.#video.addEventListener('resize', () => this.#fit());
  }

  // update shows name, who is us, which tracks, whether the picture and the
  // sound are on, whether they speak, and a note such as "connecting…".
  update({name, own = false, mirrored = false, tracks, picture = true, sound = true, speaks = false, note = '', large = false}) {
    this.large = large;
    this.#name.textContent = own ? `${name} (you)` : name;
    this.#face.textContent = initials(name);
    this.#face.dataset.hue = hue(name);
    this.#note.textContent = note;
    this.#mic.toggleAttribute('hidden', sound);
    this.#mic.classList.toggle('gone', sound);
    this.#video.muted = own;
    this.#video.setAttribute('aria-label', `Picture of ${name}`);
    this.element.classList.toggle('mirrored', mirrored);
    this.element.classList.toggle('dark', !picture);
    this.element.classList.toggle('speaks', speaks);
    const shown = this.#video.srcObject?.getTracks() ?? [];
    if (shown.length !== tracks.length || tracks.some((t) => !shown.includes(t))) {
      this.#video.srcObject = new MediaStream(tracks);
      this.play();
    }
  }

  play() {
    this.#video.play().catch((err) => {
      if (err.name === 'NotAllowedError') dispatchEvent(new Event('held-back'));
    });
  }

  close() {
    this.#video.srcObject = null;
    this.element.remove();
  }

  // A picture much wider or narrower than its tile is shown whole.
  #fit() {
    const {videoWidth: w, videoHeight: h} = this.#video;
    this.element.classList.toggle('whole', h > 0 && Math.abs(w / h / ASPECT - 1) > 0.35);
  }
}

function initials(name) {
  const words = name.split(/[\s._-]+/u).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join('') || '?';
}

function hue(name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 6;
  return sum;
}
