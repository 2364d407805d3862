package main

import (
	"log/slog"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/internal/archive"
	"github.com/roomtape/roomtape/signaling/server"
)

func recordingsFlag() cli.Flag {
	return &cli.StringFlag{Name: "recordings", Usage: "show the sessions below `DIR` at /recordings/, each with its report; with --token-secret to those with the right to record"}
}

// recordingsOf opens the folder of --recordings, or gives nil; its errors are
// usage errors. The caller must close it.
func recordingsOf(c *cli.Context) (*os.Root, error) {
	dir := c.String("recordings")
	if dir == "" {
		if c.IsSet("recordings") {
			return nil, usagef("--recordings is empty")
		}
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, usagef("--recordings: %w", err)
	}
	return root, nil
}

// withRecordings answers what is below /recordings/, if there are any, and leaves
// everything else, WebSockets to any path included, to next.
func withRecordings(next http.Handler, root *os.Root, rooms *server.Server, log *slog.Logger) http.Handler {
	if root == nil {
		return next
	}
	shown := archive.New(archive.Config{Root: root, Authorize: rooms.Authorize, Generator: programName(), Logger: log})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if archive.Handles(r) {
			shown.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
