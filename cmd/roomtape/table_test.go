package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

func someStatus() recorder.Status {
	video := recorder.TrackStatus{
		Kind: media.Video, Codec: media.VP8, Width: 1280, Height: 720,
		Bitrate: 2_400_000, Loss: 0.0125, Recorded: 65 * time.Second,
		FrameRate: 29.97, Jitter: 4200 * time.Microsecond, Observed: true, Poor: []string{recorder.PoorLoss},
		Totals: recorder.Totals{Frames: 10, Waited: 200 * time.Millisecond, Recovered: 7, Freezes: 2, Nacks: 5, PLIs: 3},
	}
	audio := recorder.TrackStatus{Kind: media.Audio, Codec: media.Opus, Bitrate: 32_000, Recorded: 66 * time.Second}
	return recorder.Status{
		Time: 3661 * time.Second, Files: 3, Bytes: 123_456_789,
		Participants: []recorder.ParticipantStatus{
			{ID: "alice", Present: true, Bytes: 20_000_000, Tracks: []recorder.TrackStatus{audio, video}, Connections: []recorder.ConnectionStatus{{
				Number: 1, Observed: true, RoundTrip: 38 * time.Millisecond, ICEState: "connected",
				LocalCandidate: "host", RemoteCandidate: "srflx", Protocol: "udp", AVOffset: -12 * time.Millisecond, AVKnown: true,
			}}},
			{ID: "\x1b[2Jmallory\n" + strings.Repeat("x", 300), Present: true, Bytes: 5, Tracks: []recorder.TrackStatus{audio}},
			{ID: "会議室の人", Present: false, Bytes: 1234},
			{ID: "dora", Present: true, Error: "disk full", Tracks: []recorder.TrackStatus{video}},
			{ID: "erin", Present: true},
		},
	}
}

func TestStatusTableShowsEachParticipant(t *testing.T) {
	lines := statusTable("standup", someStatus(), palette{}, 600, 40)
	for i, want := range []string{
		"● standup  1:01:01  123 MB in 3 files",
		"PARTICIPANT CODEC SIZE BITRATE LOSS TIME BYTES QUALITY FPS RTT JITTER BUFFER A/V RESENT FREEZES NACK PLI ICE PATH",
		"alice VP8+Opus 1280x720 2.4 Mb/s 1.2 % 0:01:06 20.0 MB poor: loss 30 38 ms 4.2 ms 20 ms -12 ms 7 2 5 3 connected host-srflx/udp",
		`\x1b[2Jmallory\n` + strings.Repeat("x", 300) + " Opus 32.0 kb/s 0.0 % 0:01:06 5 B good 0.0 ms 0 0",
		"会議室の人 left 1.2 kB",
		"dora failed 1280x720 0 B",
		"erin no media 0 B",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != strings.Join(strings.Fields(want), " ") {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
}

func TestStatusTableFitsTheTerminal(t *testing.T) {
	for width := 1; width < 200; width++ {
		for height := 1; height < 12; height++ {
			lines := statusTable("a room with a long name", someStatus(), palette{on: true}, width, height)
			if len(lines) > max(height, 4) {
				t.Fatalf("%d lines in a terminal of %d", len(lines), height)
			}
			for _, line := range lines {
				plain := withoutColours(line)
				if n := textWidth(plain); n > max(width, 2) {
					t.Fatalf("%d columns in a terminal of %d: %q", n, width, plain)
				}
				if strings.ContainsAny(plain, "\x1b\n\r") {
					t.Fatalf("control characters in %q", plain)
				}
			}
		}
	}
}

func TestPrintableEscapesWhatATerminalObeys(t *testing.T) {
	for in, want := range map[string]string{
		"plain 名前 é":     "plain 名前 é",
		"\x1b]0;title\a": `\x1b]0;title\a`,
		"a\u202eb":       `a\u202eb`,
		"bad \xff":       `bad �`,
		"":               "",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestClipCountsColumns(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"alice", 5, "alice"}, {"alice", 4, "ali…"}, {"alice", 1, "…"}, {"alice", 0, ""}, {"alice", -1, ""},
		{"会議室", 6, "会議室"}, {"会議室", 5, "会議…"}, {"会議室", 4, "会…"},
	} {
		if got := clip(c.in, c.width); got != c.want {
			t.Errorf("clip(%q, %d) is %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func TestSizesAreShort(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 99_949: "99.9 kB", 99_950: "100 kB", 999_499: "999 kB", 999_500: "1.0 MB", 1e18: "1000000 TB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) is %q, want %q", n, got, want)
		}
	}
}

func TestShellQuoteSurvivesAnyName(t *testing.T) {
	for in, want := range map[string]string{
		"recordings/a-b_1.webm": "recordings/a-b_1.webm", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) is %s, want %s", in, got, want)
		}
	}
}

func TestFlagsMayStandBehindArguments(t *testing.T) {
	for in, want := range map[string]string{
		"record ws://h/r":                         "record -- ws://h/r",
		"record ws://h/r --json -o d --wait=1s":   "record --json -o d --wait=1s -- ws://h/r",
		"record -o - ws://h/r":                    "record -o - -- ws://h/r",
		"--log-level debug record ws://h/r --bad": "--log-level debug record --bad -- ws://h/r",
		"inspect - a --json":                      "inspect --json -- - a",
		"inspect -- --json":                       "inspect -- --json",
		"demo":                                    "demo",
		"bogus a --b":                             "bogus a --b",
		"--version":                               "--version",
	} {
		got := interleaved(append([]string{"roomtape"}, strings.Fields(in)...))
		if !slices.Equal(got[1:], strings.Fields(want)) {
			t.Errorf("%q became %q, want %q", in, got[1:], want)
		}
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	for _, f := range []func() error{
		func() error { return guarded(func() error { panic("oh\nno") }) },
		func() error { return untilSignal(t.Context(), func() error { panic("oh\nno") }) },
	} {
		if err := f(); exitCode(err) != exitInternal || printable(err.Error()) != `internal error: oh\nno (please report it)` {
			t.Errorf("exit code %d: %v", exitCode(err), err)
		}
	}
}

func TestSecretsStayOutOfTheManifest(t *testing.T) {
	for in, want := range map[string]string{
		"wss://me:secret@host:1/ws/r?token=secret#x": "wss://host:1/ws/r",
		"ws://host/r":                    "ws://host/r",
		"ws://me:secret@ho st/?a=secret": "ho st/",
	} {
		if got := redacted(in); got != want {
			t.Errorf("redacted(%q) is %q, want %q", in, got, want)
		}
	}
}
