package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

const (
	defaultTTL = time.Hour
	maxTTL     = 10 * 366 * 24 * time.Hour
)

func tokenCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "token",
		Usage:     "make a token that lets somebody into a room of a server with --token-secret",
		UsageText: "ROOMTAPE_TOKEN_SECRET=… roomtape token --room standup --peer-id recorder --rights record --ttl 2h",
		Description: `The token is a JWT (HS256) with the claims room, peer_id, rights and exp. Give it to record and publish as
ROOMTAPE_TOKEN or --token-file, to the page as ?token=. Arguments can be read by others on the machine, and
secrets are better kept out of them.

Rights: publish (send media), subscribe (receive media), record (be there as a recorder; includes
subscribe), admin (all of them; with --room '*' in any room).

` + exitCodes(exitOK, exitInternal, exitUsage),
		Flags: withEnv(
			tokenSecretFlag(),
			&cli.StringFlag{Name: "room", Usage: "`NAME` of the room; * is any, for admin only"},
			&cli.StringFlag{Name: "peer-id", Usage: "the `ID` to join under (default: any)"},
			&cli.StringFlag{Name: "rights", Value: "publish,subscribe", Usage: "`LIST` of publish, subscribe, record, admin"},
			&cli.DurationFlag{Name: "ttl", Value: defaultTTL, Usage: "the token is good for `TIME`"},
			&cli.BoolFlag{Name: "json", Usage: "the token and what it says as JSON"},
		),
		Action: func(c *cli.Context) error {
			secret, claims, err := claimsOf(c, time.Now())
			if err != nil {
				return err
			}
			return printToken(std, secret, claims, c.Bool("json"))
		},
	}
}

// claimsOf reads the flags of token and checks them; its errors are usage
// errors.
func claimsOf(c *cli.Context, now time.Time) (secret []byte, claims token.Claims, err error) {
	if err := noArguments(c); err != nil {
		return nil, claims, err
	}
	if secret, err = tokenSecretOf(c); err != nil {
		return nil, claims, err
	}
	ttl := c.Duration("ttl")
	claims = token.Claims{Room: c.String("room"), PeerID: c.String("peer-id"), Expires: now.Add(ttl).Truncate(time.Second)}
	switch {
	case secret == nil:
		return nil, claims, usagef("--token-secret is missing: it is that of the server")
	case !c.IsSet("room"):
		return nil, claims, usagef("--room is missing: a token is for one room")
	case ttl < time.Second || ttl > maxTTL:
		return nil, claims, usagef("--ttl %v is not from 1s to ten years", ttl)
	}
	if err := server.CheckID(claims.Room); err != nil {
		return nil, claims, usagef("--room %w", err)
	}
	if c.IsSet("peer-id") {
		if err := server.CheckID(claims.PeerID); err != nil {
			return nil, claims, usagef("--peer-id %w", err)
		}
	}
	if claims.Rights, err = token.ParseRights(c.String("rights")); err != nil {
		return nil, claims, usagef("--rights: %w", err)
	}
	if claims.Room == token.AnyRoom && !claims.May(token.Admin) {
		return nil, claims, usagef("--room '*' is for --rights admin only")
	}
	return secret, claims, nil
}

func printToken(std stdio, secret []byte, claims token.Claims, asJSON bool) error {
	text, err := token.Sign(secret, claims)
	if err != nil {
		return usageError{err}
	}
	if !asJSON {
		_, err = fmt.Fprintln(std.out, text)
		return err
	}
	return printJSON(std.out, struct {
		Token   string        `json:"token"`
		Room    string        `json:"room"`
		PeerID  string        `json:"peer_id,omitempty"`
		Rights  []token.Right `json:"rights"`
		Expires time.Time     `json:"expires_at"`
	}{text, claims.Room, claims.PeerID, slices.Concat([]token.Right{}, claims.Rights), claims.Expires.UTC()})
}

func tokenSecretFlag() cli.Flag {
	return &cli.StringFlag{Name: "token-secret", Usage: "`SECRET` that tokens are signed with; better as ROOMTAPE_TOKEN_SECRET"}
}

// tokenSecretOf gives the secret, or nil when none is asked for. One that is
// empty is a mistake that would leave every door open.
func tokenSecretOf(c *cli.Context) ([]byte, error) {
	_, env := os.LookupEnv("ROOMTAPE_TOKEN_SECRET")
	secret := c.String("token-secret")
	switch {
	case secret != "":
		return []byte(secret), nil
	case env || c.IsSet("token-secret"):
		return nil, usagef("--token-secret is empty")
	}
	return nil, nil
}

// tokenFlags are those of who joins a room.
func tokenFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "token", Usage: "`TOKEN` to join with; better as ROOMTAPE_TOKEN"},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token, read each time that the room is joined"},
	}
}

// tokenOf gives what knows the token to join with, or nil when there is none; its
// errors are usage errors. No error tells the token.
func tokenOf(c *cli.Context) (func() (string, error), error) {
	text, file := c.String("token"), c.String("token-file")
	switch {
	case text != "" && file != "":
		return nil, usagef("--token and --token-file exclude each other")
	case file != "":
		read := func() (string, error) { return readToken(file) }
		if _, err := read(); err != nil {
			return nil, usagef("--token-file: %w", err)
		}
		return read, nil
	case text != "":
		if err := checkToken(text); err != nil {
			return nil, usagef("--token %w", err)
		}
		return func() (string, error) { return text, nil }, nil
	}
	return nil, nil
}

func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if err := checkToken(text); err != nil {
		return "", fmt.Errorf("%s %w", file, err)
	}
	return text, nil
}

// checkToken tells whether a text can be sent as a token (RFC 6750 §2.1).
func checkToken(text string) error {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~+/=", r)
	}
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) > token.MaxLength:
		return fmt.Errorf("is longer than %d bytes", token.MaxLength)
	case strings.ContainsFunc(text, func(r rune) bool { return !ok(r) }):
		return errors.New("has characters that no token has")
	}
	return nil
}

// needs are the rights without which joining with these options is of no use.
func (o *joinOptions) needs() []string {
	var rights []string
	if !o.peer.SendOnly {
		rights = append(rights, string(token.Record))
	}
	if o.peer.Publish != nil {
		rights = append(rights, string(token.Publish))
	}
	return rights
}

// warnOfPlainToken tells that a token can be read on its way.
func warnOfPlainToken(ctx context.Context, rawURL string, log *slog.Logger) {
	if u, err := url.Parse(rawURL); err == nil && strings.EqualFold(u.Scheme, "ws") && !isLoopback(rawURL) {
		log.WarnContext(ctx, "the token goes unencrypted over ws://; use wss://")
	}
}
