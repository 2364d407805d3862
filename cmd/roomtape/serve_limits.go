package main

import (
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

// guardFlags are those of serve that say who gets in, and how much of it they get.
func guardFlags() []cli.Flag {
	return []cli.Flag{
		tokenSecretFlag(),
		&cli.IntFlag{Name: "address-sockets", Value: 1000, Usage: "at most `N` WebSockets at once from one address (0: any number)"},
		&cli.IntFlag{Name: "address-joins", Value: 20, Usage: "at most `N` new WebSockets, or joins, a second from one address (0: any number)"},
		&cli.IntFlag{Name: "address-credentials", Value: 10, Usage: "at most `N` requests a second for TURN credentials from one address (0: any number)"},
		&cli.IntFlag{Name: "address-messages", Value: 2000, Usage: "at most `N` messages a second from one address (0: any number)"},
		&cli.DurationFlag{Name: "resume-within", Value: 10 * time.Second, Usage: "with --sfu: how long who has lost the WebSocket, and nothing else, may take to go on by another one (0: not at all)"},
	}
}

// guardOf reads these flags into limits; its errors are usage errors.
func guardOf(c *cli.Context, limits *server.Config) error {
	secret, err := tokenSecretOf(c)
	if err != nil {
		return err
	}
	limits.TokenSecret = secret
	number := func(name string) int {
		n := c.Int(name)
		switch {
		case n < 0:
			err = usagef("--%s %d is less than nothing", name, n)
		case n == 0:
			return -1
		}
		return n
	}
	limits.AddressSockets = number("address-sockets")
	limits.AddressJoins = float64(number("address-joins"))
	limits.AddressCredentials = float64(number("address-credentials"))
	limits.AddressMessages = float64(number("address-messages"))
	if limits.ResumeWithin = c.Duration("resume-within"); limits.ResumeWithin < 0 {
		err = usagef("--resume-within %v is less than nothing", limits.ResumeWithin)
	} else if limits.ResumeWithin == 0 {
		limits.ResumeWithin = -1
	}
	return err
}

// warnOfSecret tells that a secret can be guessed.
func warnOfSecret(secret []byte, log *slog.Logger) {
	if len(secret) > 0 && len(secret) < token.GoodSecret {
		log.Warn("the token secret is short enough to be guessed from a token; give it 32 bytes or more", "bytes", len(secret))
	}
}
