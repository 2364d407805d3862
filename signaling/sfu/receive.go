package sfu

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

// receive takes what the server says.
func (r *Room) receive(m message.Message, now time.Time) {
	switch m.Type {
	case message.ParticipantJoined:
		r.came(m.ParticipantID, now)
	case message.ParticipantLeft:
		if p := r.participants[m.ParticipantID]; p != nil && p.left.IsZero() {
			p.left = now
		}
	case message.TrackAvailable:
		r.available(m, now)
	case message.TrackRemoved:
		if p := r.participants[m.ParticipantID]; p != nil {
			delete(p.tracks, m.TrackID)
		}
	case message.Subscribed:
		p := r.participants[m.PublisherID]
		if p != nil && p.tracks[m.TrackID] && r.stay != nil && len(m.MID) <= maxMID {
			r.stay.tracks.own(m.MID, owner{m.PublisherID, m.TrackID, p.connection})
		}
	case message.Error:
		r.log.Warn("the server refuses", "code", clip(m.Code), "reason", clip(m.Text))
	case message.Offer, message.Answer, message.ICECandidate:
		if m.From == message.SFU && r.stay != nil {
			r.described(r.stay, m)
		}
	}
}

// maxMID is how long the name of an m-line may be.
const maxMID = 64

func clip(s string) string { return fmt.Sprintf("%.200q", s) }

// described takes a description or a candidate.
func (r *Room) described(s *stay, m message.Message) {
	switch {
	case m.Type == message.ICECandidate && m.Candidate != nil:
		if err := s.conn.AddCandidate(*m.Candidate); err != nil {
			r.log.Debug("candidate refused", "error", err)
		}
	case m.Type == message.Answer && m.Answer != nil:
		answer := *m.Answer
		r.work(s, func() {
			err := s.conn.Accept(answer)
			r.do(func(now time.Time) {
				switch {
				case r.stay != s:
				case err != nil:
					r.renew(fmt.Errorf("its answer can't be used: %w", err), now)
				default:
					r.answered(s)
				}
			})
		})
	case m.Type == message.Offer && m.Offer != nil:
		offer := *m.Offer
		r.work(s, func() {
			answer, err := s.conn.Answer(offer)
			r.do(func(now time.Time) {
				switch {
				case r.stay != s:
				case errors.Is(err, peer.ErrPending):
					// We are the polite one, but what has begun ICE anew can't be
					// taken back.
					r.renew(errors.New("our offers have crossed"), now)
				case err != nil:
					r.renew(fmt.Errorf("its offer can't be used: %w", err), now)
				default:
					r.send(message.Message{Type: message.Answer, Target: message.SFU, Answer: &answer})
				}
			})
		})
	}
}

// answered is called when the server has answered: what waited for it goes out.
func (r *Room) answered(s *stay) {
	s.ready = true
	if p := r.cfg.Peer.Publish; p != nil && !s.published {
		s.published = true
		for _, kind := range []media.Kind{media.Audio, media.Video} {
			if id := p.TrackID(kind); id != "" {
				r.send(message.Message{Type: message.PublishTrack, TrackID: id, TrackType: kind.String()})
			}
		}
	}
	for _, m := range s.waiting {
		r.send(m)
	}
	s.waiting = nil
}

// came is called when somebody is in the room.
func (r *Room) came(id string, now time.Time) {
	p := r.participants[id]
	if id == r.self || badID(id) {
		return
	}
	if p != nil && (!p.left.IsZero() || p.named) { // they have come back
		r.gone(id, now)
		p = nil
	}
	if p == nil {
		if len(r.participants) >= r.cfg.MaxPeers {
			r.log.Warn("too many participants", "participant", clip(id))
			return
		}
		p = &participant{}
		r.participants[id] = p
		r.queue.Push(signaling.Event{Kind: signaling.Joined, Time: now, Participant: id})
		if s := r.stay; s != nil && s.state == peer.Connected && r.cfg.Announce {
			r.tell(s, r.recording, id)
		}
	}
	// Each stay, theirs and ours, has a number of its own.
	r.numbers++
	p.connection, p.named, p.tracks = r.numbers, true, map[string]bool{}
}

func badID(id string) bool {
	return id == "" || len(id) > mesh.MaxPeerID || strings.ContainsFunc(id, unicode.IsControl)
}

// gone is called when the last of a participant is over.
func (r *Room) gone(id string, now time.Time) {
	p := r.participants[id]
	delete(r.participants, id)
	if r.stay != nil {
		r.stay.tracks.end(p.connection, now)
	}
	r.queue.Push(signaling.Event{Kind: signaling.Left, Time: now, Participant: id})
}

// available subscribes to a track.
func (r *Room) available(m message.Message, now time.Time) {
	p := r.participants[m.ParticipantID]
	if p == nil || !p.left.IsZero() {
		r.came(m.ParticipantID, now)
		if p = r.participants[m.ParticipantID]; p == nil {
			return
		}
	}
	only := r.cfg.Peer.Only
	if r.stay == nil || r.cfg.Peer.SendOnly || len(m.TrackID) > maxTrackID ||
		only != media.KindUnknown && m.TrackType != only.String() {
		return
	}
	if !p.tracks[m.TrackID] && len(p.tracks) >= maxTracks {
		r.log.Warn("too many tracks", "participant", clip(m.ParticipantID))
		return
	}
	p.tracks[m.TrackID] = true
	ask := message.Message{Type: message.SubscribeTrack, PublisherID: m.ParticipantID, TrackID: m.TrackID, Quality: "best"}
	if r.stay.ready {
		r.send(ask)
		return
	}
	r.stay.waiting = append(r.stay.waiting, ask)
}

// maxTrackID is how long a track's id may be.
const maxTrackID = 256
