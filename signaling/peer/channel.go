package peer

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// Messages is the label of the data channel that the field's clients use.
const Messages = "messages"

// channel is a data channel.
type channel struct {
	dc     *webrtc.DataChannel
	ours   bool
	open   bool
	unsent []string
}

// open opens an ordered data channel, unless we have one of this label.
func (c *Conn) open(label string) error {
	c.mu.Lock()
	have := slices.ContainsFunc(c.channels, func(ch *channel) bool { return ch.ours && ch.dc.Label() == label })
	c.mu.Unlock()
	if have {
		return nil
	}
	dc, err := c.pc.CreateDataChannel(label, nil) // nil is ordered and reliable
	if err != nil {
		return c.or(err)
	}
	c.use(dc, true)
	return nil
}

// accepts takes a data channel that the peer has opened.
func (c *Conn) accepts(dc *webrtc.DataChannel) {
	c.mu.Lock()
	full, first := len(c.channels) >= MaxChannels, !c.refused
	c.refused = c.refused || full
	if c.opened++; c.opened > MaxOpened {
		c.fail(errChannels)
	}
	c.mu.Unlock()
	if !full {
		c.use(dc, false)
		return
	}
	if first {
		c.factory.log.Warn("data channels beyond the limit are closed", "participant", c.opts.Participant, "limit", MaxChannels)
	}
	_ = dc.Close() // it is closed as soon as it is open
}

func (c *Conn) use(dc *webrtc.DataChannel, ours bool) {
	label := dc.Label()
	ch := &channel{dc: dc, ours: ours}
	c.mu.Lock()
	c.channels = append(c.channels, ch)
	c.mu.Unlock()
	if c.opts.OnMessage != nil {
		reply := func(text []byte) { c.sendOn(ch, text) }
		dc.OnMessage(func(m webrtc.DataChannelMessage) {
			if c.pace.wait(len(m.Data), c.stop) {
				c.opts.OnMessage(Message{Label: label, Text: m.IsString, Data: m.Data, Reply: reply}, c.stop)
			}
		})
	}
	dc.OnOpen(func() {
		c.mu.Lock()
		ch.open = true
		unsent := ch.unsent
		ch.unsent = nil
		c.mu.Unlock()
		for _, text := range unsent {
			_ = dc.SendText(text)
		}
	})
	dc.OnClose(func() {
		c.mu.Lock()
		c.channels = slices.DeleteFunc(c.channels, func(o *channel) bool { return o == ch })
		again := ours && !c.closed && c.state == Connected && c.reopened < MaxReopened
		if again {
			c.reopened++
		}
		c.mu.Unlock()
		if again {
			c.reopen(label)
		}
	})
}

// reopen opens a data channel of ours again that the peer has closed. It is
// called by a goroutine of the channel's own.
func (c *Conn) reopen(label string) {
	t := time.NewTimer(reopenAfter)
	defer t.Stop()
	select {
	case <-c.stop:
		return
	case <-t.C:
	}
	if err := c.open(label); err != nil {
		c.factory.log.Debug("opening a data channel again", "participant", c.opts.Participant, "label", label, "error", err)
	}
}

// sendOn sends a text by a channel, or drops it when the channel does not take
// it.
func (c *Conn) sendOn(ch *channel, text []byte) {
	if ch.dc.BufferedAmount() < maxBuffered {
		_ = ch.dc.SendText(string(text))
	}
}

// channel gives the one to send by: ours, or else the peer's latest, but one that
// is open before one that is not. It is called locked.
func (c *Conn) channel(label string) *channel {
	var best *channel
	for _, ch := range c.channels {
		if ch.dc.Label() != label {
			continue
		}
		if best == nil || ch.open && !best.open || ch.open == best.open && !best.ours {
			best = ch
		}
	}
	return best
}

// Send sends a text message on the data channel with this label: ours, or else
// one that the peer has opened. Before the channel is open, a few messages wait
// for it. The error wraps ErrChannel when there is no such channel, and ErrLimit
// when too much waits for the peer to read it.
func (c *Conn) Send(label string, text []byte) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	ch := c.channel(label)
	if ch == nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrChannel, label)
	}
	if !ch.open {
		defer c.mu.Unlock()
		if len(ch.unsent) >= maxUnsent {
			return fmt.Errorf("%w: %d messages wait for data channel %q to open", ErrLimit, maxUnsent, label)
		}
		ch.unsent = append(ch.unsent, string(text))
		return nil
	}
	c.mu.Unlock()
	if n := ch.dc.BufferedAmount(); n >= maxBuffered {
		return fmt.Errorf("%w: %d bytes wait to be sent on data channel %q", ErrLimit, n, label)
	}
	if err := ch.dc.SendText(string(text)); err != nil {
		return fmt.Errorf("peer: sending on data channel %q: %w", label, c.or(err))
	}
	return nil
}

// pace slows down who sends more than MessageRate and MessageBytes allow. The
// zero pace is ready for use, by any goroutine.
type pace struct {
	mu sync.Mutex
	// messages and bytes are when what has come so far would have come at the
	// rates that are allowed.
	messages, bytes time.Time
}

// wait waits until a message of n bytes may be taken, and tells whether it may:
// not when stop is closed before.
func (p *pace) wait(n int, stop <-chan struct{}) bool {
	const eachMessage, eachByte = time.Second / MessageRate, time.Second / MessageBytes
	p.mu.Lock()
	now := time.Now()
	p.messages = later(p.messages, now).Add(eachMessage)
	p.bytes = later(p.bytes, now).Add(time.Duration(n) * eachByte)
	due := later(p.messages.Add(-MessageBurst*eachMessage), p.bytes.Add(-BytesBurst*eachByte))
	p.mu.Unlock()
	if !due.After(now) {
		return true
	}
	t := time.NewTimer(due.Sub(now))
	defer t.Stop()
	select {
	case <-stop:
		return false
	case <-t.C:
		return true
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
