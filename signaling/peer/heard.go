package peer

import (
	"time"

	"github.com/pion/rtcp"

	"github.com/roomtape/roomtape/media"
)

// first tells whether a source is the first that a packet is about. SRTP gives a
// packet once for each of them, and what it says must not count so often.
func first(p rtcp.Packet, ssrc uint32) bool {
	about := p.DestinationSSRC()
	return len(about) == 0 || about[0] == ssrc
}

// heard takes the RTCP that concerns one of the outlets, by its source.
func (out *outlets) heard(b []byte, ssrc uint32, now time.Time, roundTrip time.Duration) {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return // a stranger's
	}
	for _, p := range packets {
		if !first(p, ssrc) || out.estimate.feedback(p, now) {
			continue
		}
		switch p := p.(type) {
		case *rtcp.PictureLossIndication:
			out.keyframe(p.MediaSSRC)
		case *rtcp.FullIntraRequest:
			for _, f := range p.FIR {
				out.keyframe(f.SSRC)
			}
		case *rtcp.TransportLayerNack:
			if o := out.find(p.MediaSSRC); o != nil {
				out.ask(o.nacked(p, now, roundTrip))
			}
		case *rtcp.ReceiverReport:
			out.reported(p.Reports, now)
		case *rtcp.SenderReport:
			out.reported(p.Reports, now)
		}
	}
}

func (out *outlets) find(ssrc uint32) *Outlet {
	out.mu.Lock()
	defer out.mu.Unlock()
	for _, o := range out.all {
		o.mu.Lock()
		found := o.ssrc == ssrc && ssrc != 0
		o.mu.Unlock()
		if found {
			return o
		}
	}
	return nil
}

func (out *outlets) keyframe(ssrc uint32) {
	o := out.find(ssrc)
	if o == nil {
		return
	}
	o.mu.Lock()
	o.stats.Keyframes++
	o.mu.Unlock()
	if o.cfg.OnKeyframe != nil {
		o.cfg.OnKeyframe()
	}
}

// reported takes reports on what we send: of the video tracks, or of all when none
// is of video, as while that is paused, the one that loses most tells how the way is.
func (out *outlets) reported(reports []rtcp.ReceptionReport, now time.Time) {
	most := map[media.Kind]float64{media.Audio: -1, media.Video: -1}
	for _, r := range reports {
		o := out.find(r.SSRC)
		if o == nil {
			continue
		}
		loss := float64(r.FractionLost) / 256
		o.mu.Lock()
		o.stats.Loss = loss
		o.mu.Unlock()
		kind := o.cfg.Codec.Kind()
		most[kind] = max(most[kind], loss)
	}
	if most[media.Video] >= 0 {
		out.estimate.lost(most[media.Video], now)
	} else if most[media.Audio] >= 0 {
		out.estimate.lost(most[media.Audio], now)
	}
}

// nacked takes what is asked for again, and gives what of it can be sent.
func (o *Outlet) nacked(p *rtcp.TransportLayerNack, now time.Time, roundTrip time.Duration) (list []again) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Nacks++
	for _, pair := range p.Nacks {
		for _, number := range pair.PacketList() {
			if o.history.ask(number, now, roundTrip) {
				list = append(list, again{o, number})
			}
		}
	}
	return list
}

// resend sends a packet again that was asked for, and gives its size in bytes.
func (o *Outlet) resend(number uint16, now time.Time) int {
	o.mu.Lock()
	s := o.history.asked(number)
	if s == nil {
		o.mu.Unlock()
		return 0
	}
	s.at = now
	h, payload := o.repeat(s)
	o.stats.Retransmitted++
	o.mu.Unlock()
	_ = o.conn.outlets.Load().estimate.write(&h, payload) // a connection that is down tells so elsewhere
	return len(payload) + wireHeaders
}

// forget takes it back that a packet was asked for.
func (o *Outlet) forget(number uint16) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.history.asked(number)
}
