package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

func TestNewcomerOffersToEachResident(t *testing.T) {
	s := newStage(t)
	s.joined("a", "rec", "b", "a", "")
	s.want("joined a", "connect 1 a", "offer 1", "joined b", "connect 2 b", "offer 2")
	s.described(2, "O2")
	s.described(1, "O1")
	s.want("send b offer O2", "send a offer O1")
	s.answerFrom("a", "A")
	s.want("accept 1 A")
}

func TestResidentWaitsForTheNewcomersOffer(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.peerJoined("a")
	s.after(time.Hour)
	s.want("joined a")
	s.offerFrom("a", "O")
	s.want("connect 1 a", "answer 1 O")
	s.described(1, "A")
	s.want("send a answer A")
	s.state(1, connected)
	s.after(time.Hour)
	s.want()
}

func TestOfferFromAnUnannouncedPeerIsAnswered(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.offerFrom("a", "O")
	s.want("joined a", "connect 1 a", "answer 1 O")
}

func TestOurCandidatesFollowOurDescription(t *testing.T) {
	s := newStage(t)
	s.joined("a")
	s.want("joined a", "connect 1 a", "offer 1")
	s.r.gathered(1, message.Candidate{Candidate: "c1"})
	s.want()
	s.described(1, "O")
	s.r.gathered(1, message.Candidate{Candidate: "c2"})
	s.want("send a offer O", "send a candidate c1", "send a candidate c2")
}

func TestEarlyCandidatesWaitForTheConnection(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.candidateFrom("a", "c1") // before anything is known of them
	s.peerJoined("a")
	s.candidateFrom("a", "c2") // before their offer
	s.want("joined a")
	s.offerFrom("a", "O")
	s.candidateFrom("a", "c3") // before our answer
	s.want("connect 1 a", "answer 1 O", "candidate 1 c1", "candidate 1 c2", "candidate 1 c3")
}

func TestEarlyCandidatesOfAnotherOfferStayOut(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.peerJoined("a")
	for _, ufrag := range []string{"old", "new"} {
		s.receive(message.Message{Type: message.ICECandidate, From: "a", Candidate: &message.Candidate{Candidate: "c-" + ufrag, UsernameFragment: &ufrag}})
	}
	s.offerFrom("a", "v=0\r\na=ice-ufrag:new\r\n")
	s.want("joined a", "connect 1 a", "answer 1 v=0\r\na=ice-ufrag:new\r\n", "candidate 1 c-new")
}

func TestEarlyCandidatesAreBounded(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.peerJoined("a")
	for i := range 10 * maxEarly {
		s.candidateFrom("a", fmt.Sprint(i))
		s.candidateFrom(fmt.Sprint("stranger", i), "c")
		s.candidateFrom("stranger", "c")
	}
	if n := len(s.r.participants["a"].early); n != maxEarly {
		t.Errorf("%d candidates are kept of a participant, want %d", n, maxEarly)
	}
	if n := len(s.r.strangers.ids); n != maxStrangers || len(s.r.strangers.candidates) != n {
		t.Errorf("candidates of %d strangers are kept, want %d", n, maxStrangers)
	}
	s.candidateFrom("a", strings.Repeat("x", maxCandidate+1))
	if e := s.r.participants["a"].early; e[len(e)-1].Candidate != fmt.Sprint(10*maxEarly-1) {
		t.Error("a candidate that is too long is kept")
	}
}

func TestUnansweredOfferTimesOut(t *testing.T) {
	s := newStage(t)
	s.joined("ghost", "a")
	s.described(1, "O1")
	s.described(2, "O2")
	s.answerFrom("a", "A")
	s.state(2, connected)
	s.did = nil
	s.after(AnswerTimeout - time.Second)
	s.want()
	s.after(2 * time.Second)
	s.want("hang up 1")
	s.hungUp(1)
	s.after(time.Hour)
	s.want() // nobody is pestered, and a is undisturbed

	s.answerFrom("ghost", "late")
	s.after(OfferBackoff << 1)
	s.want("connect 3 ghost", "offer 3") // somebody is there after all
}

func TestServerThatDoesNotKnowThePeerEndsTheOffer(t *testing.T) {
	s := newStage(t)
	s.joined("ghost")
	s.described(1, "O1")
	s.did = nil
	s.receive(message.Message{Type: message.Error, Code: message.CodeUnknownPeer, PeerID: "ghost"})
	s.want("hang up 1")
}

func TestICERestartStaysOnItsConnection(t *testing.T) {
	s := with(t, "a")
	s.conns[1].continues = "restart"
	s.offerFrom("a", "restart")
	s.offerFrom("a", "restart") // again while the answer is being made
	s.r.gathered(1, message.Candidate{Candidate: "c2"})
	s.want("answer 1 restart")
	s.described(1, "A2")
	s.want("send a answer A2", "send a candidate c2")
	s.after(OfferGap)
	s.want("answer 1 restart")
	s.r.described(1, message.Description{}, errors.New("no"), s.now)
	s.after(time.Hour)
	s.want() // what works is kept
}

func TestSecondOfferReplacesTheConnectionOnceItWorks(t *testing.T) {
	s := with(t, "a")
	s.offerFrom("a", "O2")
	s.described(2, "A2")
	s.want("connect 2 a", "answer 2 O2", "send a answer A2")
	s.state(2, connected)
	s.want("hang up 1")
	s.hungUp(1)
	s.after(time.Hour)
	s.want()
}

func TestGarbageOfferLeavesWhatWorks(t *testing.T) {
	s := with(t, "a")
	s.offerFrom("a", "garbage")
	s.r.described(2, message.Description{}, errors.New("bad \x1b SDP"), s.now)
	s.want("connect 2 a", "answer 2 garbage", "hang up 2")
	s.hungUp(2)
	s.receive(message.Message{Type: message.Offer, From: "a"})
	s.offerFrom("a", strings.Repeat("x", maxSDP+1))
	s.after(time.Hour)
	s.want()
}

func TestGarbageAnswerEndsThatConnectionOnly(t *testing.T) {
	s := newStage(t)
	s.joined("a")
	s.described(1, "O1")
	s.answerFrom("a", "garbage")
	s.r.accepted(1, errors.New("bad SDP"), s.now)
	s.want("joined a", "connect 1 a", "offer 1", "send a offer O1", "accept 1 garbage", "hang up 1")
	s.hungUp(1)
	s.after(time.Hour)
	s.want()
}

func TestOffersInAHurryAreHeldBack(t *testing.T) {
	s := newStage(t)
	s.joined()
	for i := range 100 {
		s.offerFrom("a", fmt.Sprint("O", i))
	}
	s.want("joined a", "connect 1 a", "answer 1 O0")
	s.after(OfferGap)
	s.want("hang up 1", "connect 2 a", "answer 2 O99")
}

// In glare both have offered. Whichever of the two connections comes about ends
// the other, so it does not matter who gives way.
func TestGlareEndsWithOneConnection(t *testing.T) {
	for winner, loser := range map[int]int{1: 2, 2: 1} {
		s := newStage(t)
		s.joined("a")
		s.described(1, "O1")
		s.offerFrom("a", "O2")
		s.described(2, "A2")
		s.want("joined a", "connect 1 a", "offer 1", "send a offer O1", "connect 2 a", "answer 2 O2", "send a answer A2")
		if winner == 1 {
			s.answerFrom("a", "A1")
			s.want("accept 1 A1")
		}
		s.state(winner, connected)
		s.want(fmt.Sprint("hang up ", loser))
		s.hungUp(loser)
		s.after(time.Hour)
		s.want()
	}
}

func TestLeaverWhoHangsUpHasLeftAtOnce(t *testing.T) {
	s := with(t, "a")
	s.conns[1].latest = s.now
	s.state(1, closed)
	s.want("hang up 1")
	s.peerLeft("a")
	s.want() // the tracks have not ended yet
	s.hungUp(1)
	s.want("left a")
}

func TestLeaverWhoGoesSilentHasLeftSoon(t *testing.T) {
	s := with(t, "a")
	s.conns[1].latest = s.now
	s.peerLeft("a")
	s.after(LingerTime - 1)
	s.want()
	s.after(1)
	s.want("hang up 1")
	s.hungUp(1)
	s.want("left a")
}

func TestMediaOutlivesItsParticipantsSocket(t *testing.T) {
	s := with(t, "a")
	s.peerLeft("a")
	for range 100 {
		s.conns[1].latest = s.now
		s.after(time.Second)
	}
	s.want()
	s.peerJoined("a") // their socket is back, and no offer needed
	s.after(time.Hour)
	s.want()
}

func TestLeaverWhoNeverConnectedHasLeftAtOnce(t *testing.T) {
	s := newStage(t)
	s.joined("a")
	s.described(1, "O")
	s.did = nil
	s.peerLeft("a")
	s.want("hang up 1")
	s.hungUp(1)
	s.want("left a")
}

func TestReloadUnderTheSameID(t *testing.T) {
	s := with(t, "a")
	s.peerLeft("a")
	s.after(time.Second / 2)
	s.peerJoined("a")
	s.offerFrom("a", "O2")
	s.described(2, "A2")
	s.state(2, connected)
	s.want("connect 2 a", "answer 2 O2", "send a answer A2", "hang up 1")
	s.hungUp(1)
	s.want() // they are still the same participant
	s.state(2, closed)
	s.peerLeft("a")
	s.hungUp(2)
	s.want("hang up 2", "left a")

	s.peerJoined("a")
	s.offerFrom("a", "O3")
	s.want("joined a", "connect 3 a", "answer 3 O3")
}

func TestComingBackWhileHangingUpIsNotLeaving(t *testing.T) {
	s := with(t, "a")
	s.peerLeft("a")
	s.after(LingerTime)
	s.want("hang up 1")
	s.peerJoined("a")
	s.hungUp(1)
	s.want()
}

func TestWhoHangsUpIsNotCalledAgain(t *testing.T) {
	s := with(t, "a")
	s.state(1, closed)
	s.hungUp(1)
	s.after(time.Hour)
	s.want("hang up 1")
}

func TestRejoinKeepsWhatWorks(t *testing.T) {
	s := newStage(t)
	s.joined("a", "b", "c")
	s.described(1, "O1")
	s.described(2, "O2")
	s.described(3, "O3")
	s.answerFrom("a", "A1")
	s.state(1, connected)
	s.did = nil

	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RejoinBackoff)
	s.want("dial rec-2")
	s.r.dialFailed(errors.New("not yet"), s.now)
	s.after(2 * RejoinBackoff)
	s.want("dial rec-3")
	// b is still there without a connection; c has left; d is new; and what
	// is left of us is listed too.
	s.r.rejoined([]string{"rec", "rec-2", "a", "b", "d"}, s.now)
	s.want("hang up 2", "connect 4 b", "offer 4", "joined d", "connect 5 d", "offer 5", "hang up 3")
	s.hungUp(3)
	s.want("left c")

	// To a we were somebody who has left: they hang up, and wait for an offer.
	s.state(1, closed)
	s.hungUp(1)
	s.after(OfferBackoff << 1)
	s.want("hang up 1", "connect 6 a", "offer 6")
}

func TestOurNextIDIsNobodyElses(t *testing.T) {
	s := with(t, "rec-2")
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(RejoinBackoff)
	s.want("dial rec-3")
	if !s.r.isSelf("rec-3") || s.r.isSelf("rec-03") || s.r.isSelf("rec-4") || s.r.isSelf("rec-x") {
		t.Error("isSelf does not tell our ids")
	}
	if n := len(stem(strings.Repeat("é", MaxPeerID/2))); n != MaxPeerID-8 {
		t.Errorf("stem has %d bytes", n)
	}
}

func TestRoomIsLostWhenNobodyIsLeft(t *testing.T) {
	s := with(t, "a")
	lost := s.now
	s.r.socketLost(errors.New("gone"), s.now)
	for s.now.Sub(lost) < 10*DefaultGiveUp {
		s.after(MaxRejoinBackoff * 2)
		if s.err != nil {
			t.Fatalf("the room is given up while media flows: %v", s.err)
		}
		s.r.dialFailed(errors.New("connection refused"), s.now)
	}
	if len(s.did) < 20 {
		t.Errorf("only %d attempts in %v", len(s.did), 10*DefaultGiveUp)
	}
	s.state(1, failed)
	if !errors.Is(s.err, signaling.ErrLost) || !strings.Contains(s.err.Error(), "connection refused") {
		t.Errorf("the room is not lost when its last connection is: %v", s.err)
	}
}

func TestRoomIsLostAfterAWhile(t *testing.T) {
	s := newStage(t)
	s.joined()
	s.r.socketLost(errors.New("gone"), s.now)
	s.after(DefaultGiveUp - 1)
	if s.err != nil {
		t.Fatal(s.err)
	}
	s.after(1)
	if !errors.Is(s.err, signaling.ErrLost) {
		t.Fatalf("error %v after %v", s.err, DefaultGiveUp)
	}
}

func TestBadIDsAreIgnored(t *testing.T) {
	s := newStage(t)
	long := strings.Repeat("x", 10000)
	s.joined("", long, "a\nb", "\xff", "../../x", "\u202e")
	s.peerJoined("\x00")
	s.offerFrom("", "O")
	s.offerFrom(long, "O")
	s.candidateFrom(long, "c")
	s.peerLeft(long)
	s.want("joined ../../x", "connect 1 ../../x", "offer 1", "joined \u202e", "connect 2 \u202e", "offer 2")
	if len(s.r.strangers.ids) != 0 {
		t.Error("a candidate of a bad id is kept")
	}
}

func TestParticipantsAreBounded(t *testing.T) {
	s := newStage(t)
	s.joined()
	for i := range 3 * DefaultMaxPeers {
		s.peerJoined(fmt.Sprint(i))
	}
	if n := len(s.did); n != DefaultMaxPeers {
		t.Errorf("%d participants, want %d", n, DefaultMaxPeers)
	}
	s.peerLeft("0")
	s.did = nil
	s.peerJoined("new")
	s.want("joined new")
}

func TestComplaintsDoNotFloodTheLog(t *testing.T) {
	s := newStage(t)
	var log strings.Builder
	s.r.log = slog.New(slog.NewTextHandler(&log, nil))
	s.joined()
	for range 1000 {
		s.peerJoined("a\x1b[31m" + strings.Repeat("x", 5000))
	}
	if n := strings.Count(log.String(), "\n"); n != maxComplaints {
		t.Errorf("%d lines, want %d", n, maxComplaints)
	}
	if strings.Contains(log.String(), "\x1b") || log.Len() > 1000*maxComplaints {
		t.Errorf("the log holds a stranger's words unescaped or uncut:\n%s", log.String())
	}
}

func TestOtherMessagesChangeNothing(t *testing.T) {
	s := with(t, "a")
	for _, m := range []message.Message{
		{Type: message.Error, Code: "rate_limited", Text: "slow down"},
		{Type: "weather", From: "a"},
		{Type: message.Answer, From: "nobody", Answer: &message.Description{}},
		{Type: message.Answer, From: "a", Answer: &message.Description{}},
		{Type: message.Answer, From: "a"},
		{Type: message.ICECandidate, From: "a"},
		{Type: message.ICECandidate, From: "a", Candidate: &message.Candidate{}},
		{Type: message.PeerLeft, PeerID: "nobody"},
		{Type: message.PeerLeft, PeerID: "rec"},
		{Type: message.PeerJoined, PeerID: "rec"},
		{Type: message.PeerJoined, PeerID: "a"},
		{Type: message.RoomPeers, Peers: []string{"rec", "a"}},
		{Type: message.Offer, From: "rec", Offer: &message.Description{}},
	} {
		s.receive(m)
	}
	s.after(time.Hour)
	s.want()
	s.receive(message.Message{Type: message.RoomPeers, Peers: []string{"a", "b"}})
	s.after(time.Hour)
	s.want("joined b") // who waits for our offer said so when we joined
}

// Media that works does not keep somebody whose token has expired, but a fresh
// one does.
func TestExpiredTokenEndsTheConnectionUnlessTheyComeBack(t *testing.T) {
	s := with(t, "a")
	expire := func() {
		s.receive(message.Message{Type: message.PeerLeft, PeerID: "a", Code: message.CodeTokenExpired})
	}
	send := func(d time.Duration) {
		for end := s.now.Add(d); s.now.Before(end); {
			s.conns[1].latest = s.now
			s.after(time.Second)
		}
	}
	expire()
	send(ExpelTime - time.Second)
	s.peerJoined("a")
	send(time.Minute)
	s.want()
	expire()
	send(ExpelTime - time.Second)
	s.want()
	send(time.Second)
	s.want("hang up 1")
	s.hungUp(1)
	s.want("left a")
}
