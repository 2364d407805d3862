// The chat panel.

const MAX_LINES = 500;

export class Chat {
  lines = []; // {from, text}

  #panel = document.getElementById('chat');
  #log = document.getElementById('chat-log');
  #text = document.getElementById('chat-text');
  #button = document.getElementById('do-chat');
  #badge = document.getElementById('unread');
  #unread = 0;

  constructor(say) {
    this.#button.addEventListener('click', () => this.toggle());
    document.getElementById('chat-close').addEventListener('click', () => this.toggle(false));
    this.#panel.addEventListener('keydown', (e) => { if (e.key === 'Escape') this.toggle(false); });
    document.getElementById('chat-form').addEventListener('submit', (e) => {
      e.preventDefault();
      const text = this.#text.value.trim();
      if (text) say(text);
      this.#text.value = '';
    });
  }

  toggle(open = this.#panel.hidden) {
    this.#panel.hidden = !open;
    this.#button.setAttribute('aria-expanded', String(open));
    if (open) {
      this.#count(0);
      this.#log.scrollTop = this.#log.scrollHeight;
      this.#text.focus();
    } else {
      this.#button.focus();
    }
  }

  // add shows a message; from is '' for what the room itself has to tell.
  add(from, text, own = false) {
    if (from) this.lines.push({from, text});
    if (this.lines.length > MAX_LINES) this.lines.shift();
    const line = document.createElement('li');
    line.className = own ? 'own' : from ? '' : 'told';
    if (from) {
      const who = document.createElement('b');
      who.textContent = own ? 'You' : from;
      const when = document.createElement('time');
      when.textContent = new Date().toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
      line.append(who, ' ', when);
    }
    const body = document.createElement('p');
    body.textContent = text;
    line.append(body);
    const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 60;
    this.#log.append(line);
    while (this.#log.childElementCount > MAX_LINES) this.#log.firstChild.remove();
    if (atEnd || own) this.#log.scrollTop = this.#log.scrollHeight;
    if (from && this.#panel.hidden) this.#count(this.#unread + 1);
  }

  clear() {
    this.lines.length = 0;
    this.#log.replaceChildren();
    this.#count(0);
  }

  #count(n) {
    this.#unread = n;
    this.#badge.hidden = n === 0;
    this.#badge.textContent = n > 99 ? '99+' : String(n);
    this.#badge.setAttribute('aria-label', `${n} unread`);
  }
}
