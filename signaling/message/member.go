package message

import (
	"bytes"
	"encoding/json"
)

// Members of the JSON objects that a server which forwards passes on over data
// channels. Relayed adds From; what is no object is sent as one whose member is
// RelayedText, or RelayedBinary in base64.
const (
	MemberFrom    = "from"
	MemberTarget  = "target"
	RelayedText   = "relayed_text"
	RelayedBinary = "relayed_base64"
)

// WithMember gives a JSON object with a member of this name at its end, whatever
// it had under the name before, and otherwise as it was; ok is false when b is no
// JSON object. It does not change b.
func WithMember(b []byte, name, value string) (out []byte, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil || members == nil {
		return nil, false
	}
	if _, has := members[name]; has {
		delete(members, name)
		var err error
		if b, err = json.Marshal(members); err != nil {
			return nil, false
		}
	}
	tail, ok := member(name, value)
	if !ok {
		return nil, false
	}
	b = bytes.TrimSpace(b)
	out = append(make([]byte, 0, len(b)+len(tail)+1), b[:len(b)-1]...)
	if len(members) > 0 {
		out = append(out, ',')
	}
	return append(out, tail...), true
}

// WithoutMember takes away what WithMember has added.
func WithoutMember(b []byte, name, value string) []byte {
	tail, ok := member(name, value)
	if head, found := bytes.CutSuffix(b, tail); ok && found {
		head = bytes.TrimSuffix(head, []byte(","))
		return append(head[:len(head):len(head)], '}')
	}
	return b
}

// member gives a member and the end of the object.
func member(name, value string) ([]byte, bool) {
	n, err := json.Marshal(name)
	if err != nil {
		return nil, false
	}
	v, err := json.Marshal(value)
	return append(append(append(n, ':'), v...), '}'), err == nil
}
