// Package token has the signed tokens that let somebody into a room: JSON Web
// Tokens (RFC 7519) with an HMAC-SHA256 signature (HS256, RFC 7518 §3.2), by a
// secret that the server shares with whoever hands them out.
//
// The claims are room, peer_id (absent: any id), rights (a list of names; absent:
// none), exp, and nbf if there is one. Claims and rights of other names are
// ignored. No other algorithm is accepted, whatever a token's header says.
package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Right is something that a token allows.
type Right string

// The rights. Record includes Subscribe, and Admin all others.
const (
	Publish   Right = "publish"   // send media
	Subscribe Right = "subscribe" // receive media
	Record    Right = "record"    // be in the room as a recorder
	Admin     Right = "admin"     // any of these; with AnyRoom in any room
)

// Rights lists all there are.
var Rights = []Right{Publish, Subscribe, Record, Admin}

// AnyRoom as a token's room stands for all rooms. Only Admin may have it.
const AnyRoom = "*"

// MaxLength is how long a token may be, in bytes.
const MaxLength = 4096

// GoodSecret is how long a secret should be at least, in bytes (RFC 7518 §3.2).
const GoodSecret = 32

// Claims is what a token says.
type Claims struct {
	Room   string
	PeerID string // "": any
	Rights []Right
	// Expires is when the token ends, to the second; it is not valid any more
	// at that time. The zero time: never, which no token says.
	Expires time.Time
}

// Unlimited is what everybody may where no tokens are asked for.
func Unlimited() Claims { return Claims{Room: AnyRoom, Rights: []Right{Admin}} }

// May tells whether the claims include a right.
func (c Claims) May(r Right) bool {
	return slices.Contains(c.Rights, r) || slices.Contains(c.Rights, Admin) ||
		r == Subscribe && slices.Contains(c.Rights, Record)
}

// The errors of Verify. None of them, nor what wraps them, has any part of the
// token in its text.
var (
	ErrMissing = errors.New("a token is needed")
	ErrInvalid = errors.New("the token is not valid")
	ErrExpired = errors.New("the token has expired")
	ErrEarly   = errors.New("the token is not valid yet")
)

// wire is the claims as they are in a token.
type wire struct {
	Room   string   `json:"room"`
	PeerID *string  `json:"peer_id,omitempty"`
	Rights []string `json:"rights"`
	jwt.RegisteredClaims
}

// check tells what is wrong with claims, whoever has signed them.
func (w *wire) check() error {
	switch {
	case w.Room == "":
		return errors.New("it names no room")
	case w.Room == AnyRoom && !slices.Contains(w.Rights, string(Admin)):
		return errors.New("any room is for the right admin only")
	case w.PeerID != nil && *w.PeerID == "":
		return errors.New("its peer_id is empty")
	}
	return nil
}

// Sign makes a token. An error says which claim can't be.
func Sign(secret []byte, c Claims) (string, error) {
	w := wire{Room: c.Room, RegisteredClaims: jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(c.Expires)}}
	if c.PeerID != "" {
		w.PeerID = &c.PeerID
	}
	for _, r := range c.Rights {
		w.Rights = append(w.Rights, string(r))
	}
	if err := w.check(); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	if len(secret) == 0 {
		return "", errors.New("making a token: the secret is empty")
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &w).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	if len(s) > MaxLength {
		return "", fmt.Errorf("making a token: it would have %d bytes, more than %d", len(s), MaxLength)
	}
	return s, nil
}

// Verify reads a token at a time. It returns ErrMissing for "", and otherwise
// errors that wrap ErrExpired, ErrEarly or ErrInvalid.
func Verify(secret []byte, text string, now time.Time) (Claims, error) {
	switch {
	case text == "":
		return Claims{}, ErrMissing
	case len(text) > MaxLength:
		return Claims{}, fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, MaxLength)
	case len(secret) == 0:
		return Claims{}, fmt.Errorf("%w: there is no secret to check it with", ErrInvalid)
	}
	var w wire
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return now }))
	t, err := parser.ParseWithClaims(text, &w, func(*jwt.Token) (any, error) { return secret, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Claims{}, fmt.Errorf("%w: its signature is not by our secret, or not HS256", ErrInvalid)
	case errors.Is(err, jwt.ErrTokenExpired):
		return Claims{}, ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return Claims{}, ErrEarly
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return Claims{}, fmt.Errorf("%w: it has no exp", ErrInvalid)
	case err != nil:
		return Claims{}, fmt.Errorf("%w: it is no JWT with claims that we know", ErrInvalid)
	}
	// Extensions that must be understood (RFC 7515 §4.1.11): we know none.
	if _, ok := t.Header["crit"]; ok {
		return Claims{}, fmt.Errorf("%w: it has critical extensions", ErrInvalid)
	}
	if err := w.check(); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c := Claims{Room: w.Room, Expires: w.ExpiresAt.Time}
	if w.PeerID != nil {
		c.PeerID = *w.PeerID
	}
	for _, r := range Rights {
		if slices.Contains(w.Rights, string(r)) {
			c.Rights = append(c.Rights, r)
		}
	}
	return c, nil
}

// ParseRights reads a list such as "publish,subscribe".
func ParseRights(list string) ([]Right, error) {
	var rights []Right
	for _, name := range strings.Split(list, ",") {
		r := Right(strings.TrimSpace(name))
		if r == "" {
			continue
		}
		if !slices.Contains(Rights, r) {
			return nil, fmt.Errorf("%q is none of publish, subscribe, record, admin", name)
		}
		if !slices.Contains(rights, r) {
			rights = append(rights, r)
		}
	}
	return rights, nil
}
