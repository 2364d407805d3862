package server

import (
	"maps"
	"sync"
)

// Counts is what a server has done since it began, and what there is now.
type Counts struct {
	// Rooms, Peers and Sockets are there now; a socket that has not joined is
	// no peer.
	Rooms, Peers, Sockets int
	// Kept are those among the peers whose socket is lost, and who may come back.
	Kept int
	// Joins counts the peers that have joined, Resumed those that have come back by
	// another socket without having left.
	Joins, Resumed int64
	// Credentials counts those that were given for TURN.
	Credentials int64
	// MessagesIn and BytesIn were read from WebSockets, MessagesOut and
	// BytesOut written to them.
	MessagesIn, BytesIn, MessagesOut, BytesOut int64
	// Refused counts what was refused, by the code of the error that was sent,
	// or RefusedSocket or RefusedCredentials.
	Refused map[string]int64
}

// RefusedSocket is the Counts.Refused of WebSockets that were not let in, and
// RefusedCredentials that of requests for TURN credentials that came too fast or
// without a right to them.
const (
	RefusedSocket      = "socket"
	RefusedCredentials = "credentials"
)

// counts has a lock of its own, which is held for nothing else.
type counts struct {
	mu sync.Mutex
	Counts
}

func (c *counts) in(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.MessagesIn++
	c.BytesIn += int64(size)
}

func (c *counts) out(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.MessagesOut++
	c.BytesOut += int64(size)
}

func (c *counts) joined() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Joins++
}

func (c *counts) resumed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Resumed++
}

func (c *counts) gave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Credentials++
}

// refused counts by a code, which must be one of ours: there may only be so many.
func (c *counts) refused(code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Refused == nil {
		c.Refused = map[string]int64{}
	}
	c.Refused[code]++
}

// Counts gives what is counted. It may be called by any goroutine.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	rooms, peers, sockets, kept := len(s.rooms), 0, len(s.sockets), s.kept
	for _, rm := range s.rooms {
		peers += len(rm.peers)
	}
	s.mu.Unlock()
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	c := s.counts.Counts
	c.Rooms, c.Peers, c.Sockets, c.Kept = rooms, peers, sockets, kept
	c.Refused = maps.Clone(c.Refused)
	return c
}
