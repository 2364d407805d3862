// The latest recordings below the form at the door, where the server shows any.

const SHOWN = 8;
const $ = (id) => document.getElementById(id);

const length = (ms) => {
  const s = Math.floor(ms / 1000), pad = (n) => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
};

// listRecordings shows what the token, if one is needed, gives a right to see.
// The server has the browser show the token again where the links lead.
export async function listRecordings(token) {
  const who = document.body.dataset.recordings;
  if (!who) return;
  $('recordings').hidden = false;
  $('recordings-all').href = '/recordings/';
  if (who === 'token' && !token) {
    $('recordings-note').textContent = 'They are shown to those who have a token.';
    return;
  }
  let sessions, more;
  try {
    const response = await fetch('/recordings/sessions.json', {
      headers: token ? {Authorization: `Bearer ${token}`} : {}, cache: 'no-store',
    });
    if (!response.ok) {
      $('recordings-list').replaceChildren();
      $('recordings-note').textContent = await response.text();
      return;
    }
    ({sessions, more} = await response.json());
  } catch {
    return; // the server is gone, which joining tells of
  }
  more += Math.max(0, sessions.length - SHOWN);
  $('recordings-note').textContent = sessions.length === 0 ? 'Nothing has been recorded yet.' : more ? `The latest ${SHOWN} of ${SHOWN + more}:` : '';
  $('recordings-list').replaceChildren(...sessions.slice(0, SHOWN).map((s) => {
    const item = document.createElement('li'), link = document.createElement('a'), facts = document.createElement('small');
    link.href = s.report; // a path of the server's own
    link.textContent = s.room || '(no name)';
    facts.textContent = [new Date(s.started_at).toLocaleString(), length(s.duration_ms), `${s.participants} people`,
      s.state === 'complete' ? '' : s.state].filter(Boolean).join(' · ');
    item.append(link, facts);
    return item;
  }));
}
