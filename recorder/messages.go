package recorder

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/signaling"
)

// The name of the file that keeps what participants say over data channels, in
// Config.Messages, and its ending.
const (
	MessagesName = "messages"
	MessagesExt  = ".jsonl"
)

// MessageEntry is a line of that file: one message, in the order of coming.
type MessageEntry struct {
	// AtMS is the session time at which it came.
	AtMS        int64  `json:"at_ms"`
	Participant string `json:"participant"`
	Label       string `json:"label"`
	// Text is the message if it is text in UTF-8; else Base64 is what it holds.
	Text   *string `json:"text,omitempty"`
	Base64 *[]byte `json:"base64,omitempty"`
}

// MessagesEntry says in the manifest what became of messages.
type MessagesEntry struct {
	// Path is the file's name in the store; "" when there is none.
	Path string `json:"path,omitempty"`
	// Count is how many messages are in it, and Bytes how long it is.
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"`
	// Dropped counts the others by reason: too_large (MaxMessage), limit
	// (MaxMessageBytes, MaxSessionMessageBytes), paused, storage.
	Dropped map[string]int64 `json:"dropped,omitempty"`
	// Error is why the file ends before the session did.
	Error string `json:"error,omitempty"`
}

// The reasons for which a message is dropped.
const (
	dropTooLarge = "too_large"
	dropLimit    = "limit"
	dropPaused   = "paused"
	dropStorage  = "storage"
)

// messageLog writes the messages.
type messageLog struct {
	file output.File
	// buf are the lines that are not in the file yet, which they are to be at
	// due; held is how many.
	buf  bytes.Buffer
	due  time.Time
	held int64
	err  error

	count, bytes int64
	dropped      map[string]int64
}

// hear takes a message: it is recorded, and obeyed if it asks for something.
func (s *Session) hear(id string, m *signaling.Message) {
	if m == nil {
		return
	}
	p := s.participant(id)
	if p == nil {
		return
	}
	s.keepMessage(p, m)
	if m.Text {
		s.asked(p, m)
	}
}

// keepMessage records a message.
func (s *Session) keepMessage(p *participant, m *signaling.Message) {
	l := &s.messages
	if s.cfg.Messages == nil || !p.recorded {
		return
	}
	switch size := int64(len(m.Data)); {
	case s.paused():
		l.drop(dropPaused, 1)
	case size > MaxMessage:
		l.drop(dropTooLarge, 1)
	case p.said+size > MaxMessageBytes || l.bytes+int64(l.buf.Len())+size > MaxSessionMessageBytes:
		if l.dropped[dropLimit] == 0 {
			s.log.Warn("messages beyond the limits are not recorded", "participant", p.id)
		}
		l.drop(dropLimit, 1)
	case l.err != nil:
		l.drop(dropStorage, 1)
	default:
		p.said += size
		s.writeMessage(p, m)
	}
	s.soon(manifestSoon)
}

// drop counts messages that are not in the file.
func (l *messageLog) drop(why string, n int64) {
	if n == 0 {
		return
	}
	if l.dropped == nil {
		l.dropped = make(map[string]int64)
	}
	l.dropped[why] += n
}

func (s *Session) writeMessage(p *participant, m *signaling.Message) {
	l := &s.messages
	e := MessageEntry{AtMS: s.elapsed().Milliseconds(), Participant: p.id, Label: cutText(m.Label, MaxLabel)}
	if m.Text && utf8.Valid(m.Data) {
		text := string(m.Data)
		e.Text = &text
	} else {
		e.Base64 = &m.Data
	}
	enc := json.NewEncoder(&l.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil { // which its types rule out
		s.messagesFailed(fmt.Errorf("encoding a message: %w", err))
		return
	}
	l.held++
	if l.due.IsZero() {
		l.due = s.now.Add(s.flushAge)
		s.wake(l.due)
	}
	if l.buf.Len() >= messageChunk {
		s.flushMessages()
	}
}

// serviceMessages writes what has waited for as long as a chunk may last.
func (s *Session) serviceMessages() {
	if reached(s.messages.due, s.now) {
		s.flushMessages()
	}
	s.wake(s.messages.due)
}

// flushMessages writes what waits.
func (s *Session) flushMessages() {
	l := &s.messages
	l.due = time.Time{}
	if l.buf.Len() == 0 || l.err != nil {
		return
	}
	var err error
	if l.file == nil {
		if l.file, err = s.cfg.Messages.Create(cmp.Or(s.cfg.MessagesName, MessagesName), MessagesExt); err != nil {
			s.messagesFailed(fmt.Errorf("%w: creating the file of messages: %w", ErrStorage, err))
			return
		}
	}
	if _, err = l.file.Write(l.buf.Bytes()); err == nil && s.cfg.Fsync == FsyncChunk {
		err = l.file.Sync()
	}
	if err != nil {
		s.messagesFailed(fmt.Errorf("%w: writing %s: %w", ErrStorage, l.file.Name(), err))
		return
	}
	l.count += l.held
	l.bytes += int64(l.buf.Len())
	s.intake(l.buf.Len())
	l.held = 0
	l.buf.Reset()
}

// messagesFailed ends the recording of messages, but of nothing else.
func (s *Session) messagesFailed(err error) {
	l := &s.messages
	if l.err != nil {
		return
	}
	l.err = err
	l.drop(dropStorage, l.held)
	l.held = 0
	l.buf.Reset()
	s.storage = cmp.Or(s.storage, err)
	s.log.Error("messages are not recorded any more", "error", err)
	s.soon(manifestUrgent)
}

// closeMessages completes the file.
func (s *Session) closeMessages() {
	l := &s.messages
	s.flushMessages()
	if l.file == nil {
		return
	}
	var err error
	if s.cfg.Fsync == FsyncClose {
		err = l.file.Sync()
	}
	if e := l.file.Close(); err == nil {
		err = e
	}
	if err != nil {
		s.messagesFailed(fmt.Errorf("%w: closing %s: %w", ErrStorage, l.file.Name(), err))
	}
}

// entry gives the manifest's part; nil when there is nothing to tell.
func (l *messageLog) entry() *MessagesEntry {
	if l.file == nil && l.dropped == nil && l.err == nil {
		return nil
	}
	e := &MessagesEntry{Count: l.count, Bytes: l.bytes, Dropped: l.dropped}
	if l.file != nil {
		e.Path = l.file.Name()
	}
	if l.err != nil {
		e.Error = l.err.Error()
	}
	return e
}

// cutText gives text that is UTF-8, and of at most limit bytes.
func cutText(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 2*limit)], "\uFFFD")
	for len(s) > limit {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
