package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roomtape/roomtape/signaling/message"
)

// envelope is a message as the server needs it: what is relayed stays as it
// came, since browsers may put more into a description than message.Description
// knows.
type envelope struct {
	Type      message.Type    `json:"type"`
	PeerID    string          `json:"peer_id,omitempty"`
	RoomID    *string         `json:"room_id,omitempty"`
	Needs     []string        `json:"needs,omitempty"`
	Resume    *string         `json:"resume,omitempty"`
	Received  *uint64         `json:"received,omitempty"`
	Target    string          `json:"target,omitempty"`
	From      string          `json:"from,omitempty"`
	Offer     json.RawMessage `json:"offer,omitempty"`
	Answer    json.RawMessage `json:"answer,omitempty"`
	Candidate json.RawMessage `json:"candidate,omitempty"`
}

func parseEnvelope(b []byte) (envelope, error) {
	var e envelope
	if !utf8.Valid(b) {
		return e, errors.New("the message is not UTF-8")
	}
	if err := json.Unmarshal(b, &e); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return e, fmt.Errorf("the member %q is a %s", wrong.Field, wrong.Value)
		}
		return e, errors.New("the message is not a JSON object")
	}
	if e.Type == "" {
		return e, errors.New("the message has no type")
	}
	return e, nil
}

// payload is what the type promises, or nil when it is absent.
func (e *envelope) payload() json.RawMessage {
	switch e.Type {
	case message.Offer:
		return e.Offer
	case message.Answer:
		return e.Answer
	case message.ICECandidate:
		return e.Candidate
	}
	return nil
}

// relayed gives the message as the target sees it: of the known members only
// the type and its payload, and who it is from.
func (e *envelope) relayed(from string) ([]byte, error) {
	out := envelope{Type: e.Type, From: from}
	switch e.Type {
	case message.Offer:
		out.Offer = e.Offer
	case message.Answer:
		out.Answer = e.Answer
	case message.ICECandidate:
		out.Candidate = e.Candidate
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&out); err != nil {
		return nil, fmt.Errorf("marshalling a message to relay: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// CheckID tells what is wrong with a peer's or room's id, such as that it "is
// missing or empty".
func CheckID(id string) error {
	if what := badID(id); what != "" {
		return errors.New(what)
	}
	return nil
}

// badID says what is wrong with a peer's or room's id, or "".
func badID(id string) string {
	switch {
	case id == "":
		return "is missing or empty"
	case len(id) > MaxID:
		return fmt.Sprintf("is longer than %d bytes", MaxID)
	case strings.ContainsFunc(id, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) }):
		return "has control characters or broken UTF-8"
	case strings.TrimSpace(id) == "":
		return "is only white space"
	}
	return ""
}
