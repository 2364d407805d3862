package mesh

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// restartAnswer has a answer our offer to restart: by the connection that it
// was for, or by another.
func (s *stage) restartAnswer(n int, same bool) {
	s.conns[n].continues = ""
	if same {
		s.conns[n].continues = "A2"
	}
	s.answerFrom("a", "A2")
}

func TestDisconnectedConnectionMayComeBack(t *testing.T) {
	s := with(t, "a")
	s.state(1, disconnected)
	s.after(RestartAfter - 1)
	s.state(1, connected)
	s.after(time.Hour)
	s.want()
}

func TestDisconnectedConnectionIsRestarted(t *testing.T) {
	for _, why := range []linkState{disconnected, failed} {
		s := with(t, "a")
		s.state(1, why)
		if why == disconnected {
			s.after(RestartAfter)
		}
		s.want("offer 1")
		s.r.gathered(1, message.Candidate{Candidate: "c2"})
		s.state(1, connecting)
		s.described(1, "R")
		s.want("send a offer R", "send a candidate c2")
		s.restartAnswer(1, true)
		s.want("accept 1 A2")
		s.state(1, connected)
		s.after(time.Hour)
		s.want()
		s.state(1, failed) // and once more
		s.want("offer 1")
	}
}

func TestRestartIsTheirsWhoMadeTheOffer(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.offerFrom("a", "O")
	s.described(1, "A")
	s.state(1, connected)
	s.did = nil
	s.state(1, disconnected)
	s.after(TheirRestartAfter - 1)
	s.want()
	s.conns[1].continues = "R"
	s.offerFrom("a", "R")
	s.want("answer 1 R")
	s.described(1, "A2")
	s.want("send a answer A2")
	s.after(ConnectTimeout - 1)
	s.state(1, connected)
	s.after(time.Hour)
	s.want()

	s.state(1, disconnected) // now they leave it to us
	s.after(TheirRestartAfter)
	s.want("offer 1")
}

func TestRestartOfferedWhileOursIsUnderWayWaits(t *testing.T) {
	s := with(t, "a")
	s.state(1, failed)
	s.described(1, "R")
	s.want("offer 1", "send a offer R")
	s.conns[1].continues = "theirs"
	s.offerFrom("a", "theirs")
	s.after(RestartTimeout / 2)
	s.want()
	s.restartAnswer(1, true)
	s.want("accept 1 A2")
	s.conns[1].continues = "theirs"
	s.after(OfferGap)
	s.want("answer 1 theirs")
}

func TestWhoKnowsNoRestartIsOfferedAnew(t *testing.T) {
	s := with(t, "a")
	s.state(1, failed)
	s.described(1, "R")
	s.restartAnswer(1, false)
	s.want("offer 1", "send a offer R", "hang up 1", "connect 2 a", "offer 2")
	s.hungUp(1)
	s.described(2, "O2")
	s.answerFrom("a", "A3")
	s.state(2, connected)
	s.want("send a offer O2", "accept 2 A3")

	// From now on they get that at once, and the old one may come back.
	s.state(2, disconnected)
	s.after(RestartAfter)
	s.described(3, "O3")
	s.want("connect 3 a", "offer 3", "send a offer O3")
	s.state(2, connected)
	s.answerFrom("a", "A4")
	s.want("accept 3 A4")
	s.state(3, connected)
	s.want("hang up 2") // it is the newest that they change their tracks on
	s.hungUp(2)
	s.after(time.Hour)
	s.want()
}

// A restart into a network that is down comes to nothing, and is made again until
// the network is back.
func TestRestartIsRepeated(t *testing.T) {
	s := with(t, "a")
	s.state(1, disconnected)
	s.after(RestartAfter)
	s.did = nil
	began, n := s.now, 0
	for ; s.now.Sub(began)+RestartTimeout < ReviveTime-RestartAfter; n++ {
		s.state(1, connecting)
		s.described(1, "R")
		s.restartAnswer(1, true)
		if n == 2 {
			s.after(RestartTimeout / 2)
			s.state(1, failed)
		} else {
			s.after(RestartTimeout)
		}
		s.did = s.did[:len(s.did)-1]
		s.want("send a offer R", "accept 1 A2")
	}
	if n < 6 {
		t.Errorf("%d restarts", n)
	}
	s.described(1, "R")
	s.restartAnswer(1, true)
	s.did = nil
	s.after(RestartTimeout)
	s.want("hang up 1")
	s.after(OfferBackoff)
	s.want("connect 2 a", "offer 2")
}

func TestUnansweredRestartEndsInAnotherOffer(t *testing.T) {
	s := with(t, "a")
	s.state(1, failed)
	s.described(1, "R")
	s.after(RestartTimeout)
	s.want("offer 1", "send a offer R", "hang up 1", "connect 2 a", "offer 2")
}

func TestRefusedRestartEndsInAnotherOffer(t *testing.T) {
	s := with(t, "a")
	s.state(1, failed)
	s.r.described(1, message.Description{}, errors.New("no"), s.now)
	s.after(0)
	s.want("offer 1", "hang up 1", "connect 2 a", "offer 2")
	s.described(2, "O2")
	s.answerFrom("a", "A")
	s.state(2, connected)
	s.state(2, failed)
	s.described(2, "R")
	s.did = nil
	s.conns[2].continues = "A2"
	s.answerFrom("a", "A2")
	s.r.accepted(2, errors.New("bad SDP"), s.now)
	s.after(0)
	s.want("accept 2 A2", "hang up 2", "connect 3 a", "offer 3")
}

func TestFailedConnectionIsOfferedAnewABoundedNumberOfTimes(t *testing.T) {
	s := with(t, "a")
	s.after(SteadyTime)
	n := 1
	for ; n <= MaxOffers; n++ {
		s.state(n, failed)
		s.described(n, "R")
		s.did = nil
		s.after(RestartTimeout)
		s.want(fmt.Sprint("hang up ", n), fmt.Sprintf("connect %d a", n+1), fmt.Sprint("offer ", n+1))
		s.hungUp(n)
		s.described(n+1, "O")
		s.answerFrom("a", "A")
		s.state(n+1, connected) // for a moment
	}
	s.state(n, failed)
	s.described(n, "R")
	s.after(RestartTimeout)
	s.did = nil
	s.after(time.Hour)
	s.want()
	s.offerFrom("a", "O")
	s.want(fmt.Sprintf("connect %d a", n+1), fmt.Sprintf("answer %d O", n+1))
}

// A connection that never worked has nothing to restart.
func TestConnectionThatNeverWorkedIsOfferedAnew(t *testing.T) {
	s := newStage(t)
	s.joined("a")
	s.described(1, "O")
	s.answerFrom("a", "A")
	s.did = nil
	s.state(1, failed)
	s.after(OfferBackoff << 1)
	s.want("hang up 1", "connect 2 a", "offer 2")
}

func TestRestartWaitsForTheServer(t *testing.T) {
	s := with(t, "a")
	s.r.keepID = true
	s.r.socketLost(errors.New("gone"), s.now)
	s.state(1, disconnected)
	s.after(DisconnectTimeout + time.Second)
	s.want("dial rec")
	if s.err != nil {
		t.Fatal(s.err)
	}
	s.r.rejoined([]string{"a"}, s.now)
	s.after(0)
	s.want("offer 1") // they know us, and the connection

	// Under another id we are somebody new, and the connection ours alone.
	s = with(t, "a")
	s.r.socketLost(errors.New("gone"), s.now)
	s.state(1, disconnected)
	s.after(DisconnectTimeout + time.Second)
	s.want("dial rec-2")
	s.r.rejoined([]string{"a"}, s.now)
	s.after(0)
	s.want("connect 2 a", "offer 2")
	s.described(2, "O2")
	s.answerFrom("a", "A2")
	s.state(2, connected)
	s.want("send a offer O2", "accept 2 A2", "hang up 1")
}

func TestRestartThatTheServerLostIsBegunAnew(t *testing.T) {
	s := with(t, "a")
	s.r.keepID = true
	s.state(1, failed)
	s.described(1, "R")
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RestartTimeout)
	s.did = nil
	s.r.rejoined([]string{"a"}, s.now)
	s.after(0)
	s.want("hang up 1", "connect 2 a", "offer 2")
}

func TestMovingRestartsAtOnce(t *testing.T) {
	s := with(t, "a")
	s.r.moved(1, s.now)
	s.after(0)
	s.want("offer 1")
	s.r.moved(1, s.now) // again, while the offer is being made
	s.after(0)
	s.described(1, "R")
	s.want("send a offer R")
	s.restartAnswer(1, true)
	s.after(time.Second)
	s.want("accept 1 A2", "offer 1") // that of the first address is of no use
	s.described(1, "R2")
	s.restartAnswer(1, true)
	s.state(1, connecting)
	s.state(1, connected)
	s.want("send a offer R2", "accept 1 A2")
	s.after(time.Hour)
	s.want()

	s.r.moved(7, s.now) // of no connection
	s.r.socketLost(errors.New("moved"), s.now)
	s.r.hurry(s.now)
	s.after(0)
	s.want("dial rec-2")
	s.r.hurry(s.now) // one dial is under way
	s.after(0)
	s.want()
}

// Who has not left, but is not there yet when we are back, may send nothing for
// a while: their microphone may be off.
func TestMissingParticipantIsWaitedFor(t *testing.T) {
	s := with(t, "a")
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RejoinBackoff)
	s.did = nil
	s.r.rejoined(nil, s.now)
	s.after(MissingTime - 1)
	s.want()
	s.peerJoined("a")
	s.after(time.Hour)
	s.want()

	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RejoinBackoff)
	s.did = nil
	s.r.rejoined(nil, s.now)
	s.after(time.Second)
	s.state(1, disconnected) // the connection tells that they are gone
	s.after(LingerTime)
	s.want("hang up 1")
	s.hungUp(1)
	s.want("left a")
}

func TestReplacedUnderOurIDWeTakeAnother(t *testing.T) {
	s := with(t, "a")
	s.r.keepID = true
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RejoinBackoff)
	s.r.rejoined([]string{"a"}, s.now)
	s.r.socketLost(ErrReplaced, s.now)
	s.after(RejoinBackoff)
	s.want("dial rec", "dial rec-2")
}

func TestPeerWhoHangsUpAfterWeCameBackIsOfferedAnew(t *testing.T) {
	s := with(t, "a")
	s.r.keepID = true
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RejoinBackoff)
	s.r.rejoined([]string{"a"}, s.now)
	s.want("dial rec")
	s.state(1, closed)
	s.hungUp(1)
	s.after(OfferBackoff << 1)
	s.want("hang up 1", "connect 2 a", "offer 2")
}

func TestDeadConnectionDoesNotKeepALostRoom(t *testing.T) {
	s := with(t, "a")
	lost := s.now
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(DefaultGiveUp + time.Minute)
	if s.err != nil {
		t.Fatal("the room is given up while media flows")
	}
	s.state(1, disconnected)
	s.after(DisconnectTimeout - 1)
	if s.err != nil {
		t.Fatal("the room is given up while the connection may come back")
	}
	s.after(1)
	if !errors.Is(s.err, signaling.ErrLost) {
		t.Errorf("%v after the server, error %v", s.now.Sub(lost), s.err)
	}
}

func TestLostRoomIsNotWaitedForLongerThanAnEmptyOne(t *testing.T) {
	lost := func(s *stage, limit time.Duration) {
		t.Helper()
		s.after(limit - 1)
		if s.err != nil {
			t.Fatal("the room is given up too early")
		}
		s.after(1)
		if !errors.Is(s.err, signaling.ErrLost) {
			t.Errorf("the room is not given up after %v", limit)
		}
	}
	s := with(t, "a")
	s.r.emptyFor = 5 * time.Second
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(20 * time.Second)
	s.state(1, closed) // they hang up, and nobody can say whether they come back
	lost(s, 5*time.Second)

	s = with(t, "a")
	s.r.emptyFor = 5 * time.Second
	s.state(1, closed)
	s.after(time.Minute)
	s.r.socketLost(errors.New("gone"), s.now)
	lost(s, 5*time.Second)

	s = newStage(t) // nobody has come yet
	s.r.emptyFor = 5 * time.Second
	s.joined()
	s.r.socketLost(errors.New("gone"), s.now)
	lost(s, DefaultGiveUp)
}
