package main

import (
	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/signaling/peer"
)

// turnSecretFlag is for those who use TURN servers.
func turnSecretFlag() cli.Flag {
	return &cli.StringFlag{Name: "turn-secret", Usage: "`SECRET` shared with the TURN servers that are given as turn:HOST, for time-limited credentials"}
}

// iceServersOf reads --ice-server and --turn-secret; its errors are usage errors.
func iceServersOf(c *cli.Context) ([]peer.ICEServer, error) {
	secret, name := c.String("turn-secret"), c.String("peer-id")
	if name == "" {
		name = "roomtape"
	}
	if c.IsSet("turn-secret") && secret == "" {
		return nil, usagef("--turn-secret is empty")
	}
	var servers []peer.ICEServer
	made := false
	for _, text := range c.StringSlice("ice-server") {
		server, err := peer.ParseICEServer(text)
		if secret != "" {
			server, err = peer.ParseICEServerWithSecret(text, secret, name)
		}
		if err != nil {
			return nil, usagef("--ice-server: %w", err)
		}
		made = made || server.Secret != ""
		servers = append(servers, server)
	}
	if secret != "" && !made {
		return nil, usagef("--turn-secret needs an --ice-server turn:HOST without user and password")
	}
	return servers, nil
}
