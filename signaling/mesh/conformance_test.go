package mesh

import (
	"testing"

	"github.com/roomtape/roomtape/signaling/roomtest"
)

func TestConformance(t *testing.T) {
	roomtest.Run(t, func(t *testing.T) roomtest.Venue { return roomtest.Recorded(t, newVenue(t)) })
}
