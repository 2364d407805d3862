package turn

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // as all servers and clients have agreed; HMAC does not need collisions to be hard
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxName is the length of the longest name in credentials, in bytes: a user name
// has at most 508 (RFC 8489 §14.3).
const MaxName = 480

// DefaultTTL is how long credentials are valid when nothing else is asked for.
const DefaultTTL = 24 * time.Hour

// Credentials are those of one name until a time.
type Credentials struct {
	// Username is "EXPIRY:NAME".
	Username string
	// Password is the base64 of HMAC-SHA1(secret, Username).
	Password string
}

// NewCredentials makes credentials for a name, which should be at most MaxName
// bytes long, that are valid before expires, to the second.
func NewCredentials(secret, name string, expires time.Time) Credentials {
	user := strconv.FormatInt(expires.Unix(), 10) + ":" + name
	return Credentials{Username: user, Password: password(secret, user)}
}

// String hides the password.
func (c Credentials) String() string { return c.Username }

// GoString keeps the password out of %#v too.
func (c Credentials) GoString() string { return fmt.Sprintf("turn.Credentials{%q}", c.Username) }

// Verify tells whether the password belongs to the user name, in constant time.
// It does not look at the time.
func (c Credentials) Verify(secret string) bool {
	return hmac.Equal([]byte(c.Password), []byte(password(secret, c.Username)))
}

func password(secret, user string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	_, _ = mac.Write([]byte(user)) // a hash takes everything
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

var errUsername = errors.New("the user name is not EXPIRY:NAME")

// ParseUsername reads "EXPIRY:NAME", or "EXPIRY" alone, which gives the name "".
// EXPIRY is up to 18 decimal digits and nothing else. expires is a Unix time: the
// credentials are valid while the time in seconds is less.
func ParseUsername(user string) (expires int64, name string, err error) {
	digits, name, _ := strings.Cut(user, ":")
	if digits == "" || len(digits) > 18 || len(name) > MaxName {
		return 0, "", errUsername
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, "", errUsername
		}
		expires = expires*10 + int64(c-'0')
	}
	return expires, name, nil
}
