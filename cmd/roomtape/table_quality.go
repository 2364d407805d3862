package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

// poorOf gives why the quality of what a participant sends is poor.
func poorOf(s *recorder.ParticipantStatus) []string {
	var why []string
	for _, t := range s.Tracks {
		for _, reason := range t.Poor {
			if !slices.Contains(why, reason) {
				why = append(why, reason)
			}
		}
	}
	return why
}

// qualityCells gives the cells of a participant from QUALITY on: of the first
// picture, the worst of what tracks have, and the newest connection.
func qualityCells(s *recorder.ParticipantStatus) []string {
	var n recorder.Totals
	var jitter, buffer time.Duration
	fps, observed := "", false
	for i := range s.Tracks {
		t := &s.Tracks[i]
		n.Recovered += t.Totals.Recovered
		n.Freezes += t.Totals.Freezes
		n.Nacks += t.Totals.Nacks
		n.PLIs += t.Totals.PLIs + t.Totals.FIRs
		jitter = max(jitter, t.Jitter)
		if t.Totals.Frames > 0 {
			buffer = max(buffer, t.Totals.Waited/time.Duration(t.Totals.Frames))
		}
		if t.Kind == media.Video && fps == "" {
			fps = fmt.Sprintf("%.0f", t.FrameRate)
		}
		observed = observed || t.Observed
	}
	quality := "good"
	if why := poorOf(s); len(why) > 0 {
		quality = "poor: " + strings.Join(why, ", ")
	}
	cells := []string{quality, fps, "", "", msText(buffer), "", fmt.Sprint(n.Recovered), fmt.Sprint(n.Freezes), "", "", "", ""}
	if observed {
		cells[3], cells[8], cells[9] = msText(jitter), fmt.Sprint(n.Nacks), fmt.Sprint(n.PLIs)
	}
	if len(s.Connections) == 0 {
		return cells
	}
	c := &s.Connections[len(s.Connections)-1]
	if c.RoundTrip > 0 {
		cells[2] = msText(c.RoundTrip)
	}
	if c.AVKnown {
		cells[5] = fmt.Sprintf("%+d ms", c.AVOffset.Milliseconds())
	}
	cells[10] = c.ICEState
	if c.LocalCandidate != "" {
		cells[11] = c.LocalCandidate + "-" + c.RemoteCandidate + "/" + c.Protocol
	}
	return cells
}

// msText gives a short time in milliseconds.
func msText(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
