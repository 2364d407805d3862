package unit

import (
	"time"

	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server/forward"
)

// relieve judges the client's connection, and sees to it that less is chosen while
// it is poor.
func (c *Client) relieve(now time.Time, conn *peer.Conn, demands []*forward.Demand) {
	receivable, least := conn.Receivable(), forward.Least(demands)
	severe := c.judge.Severe()
	changed := c.judge.Look(now, conn.Loss(), !forward.Fits(least, receivable))
	if c.judge.Relief() {
		forward.Relieve(receivable, c.judge.Severe(), demands)
	} else {
		for _, d := range demands {
			d.Paused = false
		}
	}
	if !severe && c.judge.Severe() {
		c.room.unit.log.Info("what is forwarded stays poor: pictures are left out", "peer", c.id, "receivable", receivable, "least", least)
	}
	if !changed {
		return
	}
	c.poor.Store(c.judge.Poor())
	log := c.room.unit.log.With("peer", c.id, "reasons", c.judge.Reasons(),
		"loss", conn.Loss(), "receivable", receivable, "least", least)
	if c.judge.Poor() {
		log.Info("what is forwarded becomes poor: less is sent")
	} else {
		log.Info("what is forwarded has recovered")
	}
}
