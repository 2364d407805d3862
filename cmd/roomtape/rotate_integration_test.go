//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
)

// replayed again, a dump gives its files.
func replayDump(t *testing.T, dump, out string, args ...string) recorder.Manifest {
	t.Helper()
	p := start(t, append(append([]string{"replay", "--json", "--out", out, "--name", "{participant}"}, args...), dump)...)
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
	var r replayed
	if err := json.Unmarshal(p.stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r.Manifest
}

// joinedBlocks gives the frames of the files of one participant, one after the
// other, and checks that each begins with a keyframe and follows the one before.
func joinedBlocks(t *testing.T, dir, participant string, m recorder.Manifest) map[media.Kind][][]byte {
	t.Helper()
	all := map[media.Kind][][]byte{}
	var before recorder.FileEntry
	for _, f := range m.Files {
		if f.Participant != participant {
			continue
		}
		got, faults := blocks(t, filepath.Join(dir, f.Path))
		if len(faults) > 0 {
			t.Errorf("%s: %v", f.Path, faults)
		}
		for k, b := range got {
			all[k] = append(all[k], b...)
		}
		if before.Path != "" {
			if f.Continues != before.Path || f.Part != before.Part+1 {
				t.Errorf("%s is part %d and continues %q, want %d and %q", f.Path, f.Part, f.Continues, before.Part+1, before.Path)
			}
			if seam := f.OffsetMS - before.OffsetMS - before.DurationMS; seam > 150 || seam < -150 && !stoodStill(before) {
				t.Errorf("%s begins %d ms after the end of %s", f.Path, seam, before.Path)
			}
		}
		before = f
	}
	return all
}

// stoodStill tells whether the picture of a part gave nothing for so long, on a
// machine that is too busy, that sound did not wait for it at the end.
func stoodStill(f recorder.FileEntry) bool {
	return slices.ContainsFunc(f.Tracks, func(tr recorder.TrackEntry) bool {
		return tr.Kind == "video" && slices.ContainsFunc(tr.Gaps, func(g recorder.Gap) bool { return g.DurationMS >= 1900 })
	})
}

// TestRotation records people who send a keyframe only when they are asked for
// one. The parts hold every frame from the first keyframe on, and their dump
// gives the same parts again, and one file when none are asked for.
func TestRotation(t *testing.T) {
	for name, flags := range map[string][]string{
		"every": {"--rotate-every", "2s"},
		"size":  {"--rotate-size", "300k"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, dir := openRoom(t), t.TempDir()
			_, films, people := enterFilms(t, url)
			hook := filepath.Join(dir, "final")
			p := start(t, append([]string{
				"record", "--json", "--out", dir, "--session", "s", "--until-empty", "200ms", "--dump-rtp",
				"--partial-suffix", ".part", "--exec-after", `test -s "$ROOMTAPE_FILE" && echo "$ROOMTAPE_FILE" >>` + hook,
			}, append(flags, url)...)...)
			waitFor(t, "eight seconds of each", 30*time.Second, func() bool {
				a, _ := people["vp8"].Sent()
				b, _ := people["vp9"].Sent()
				return a > 240 && b > 240
			})
			sounds := map[string]int64{}
			for id, person := range people {
				person.Stop()
				_, sounds[id] = person.Sent()
				if err := person.Close(); err != nil {
					t.Error(err)
				}
			}
			if code := p.exit(t); code != 0 {
				t.Fatalf("exit code %d\n%s", code, &p.stderr)
			}
			session := filepath.Join(dir, "s")
			m := readManifest(t, session)
			if len(m.Files) < 7 {
				t.Errorf("%d files", len(m.Files))
			}
			for id, f := range films {
				got := joinedBlocks(t, session, id, m)
				same(t, id+": video", got[media.Video], f.frames[f.first:])
				if int64(len(got[media.Audio])) != sounds[id] {
					t.Errorf("%s: %d packets of sound in the files, %d were sent", id, len(got[media.Audio]), sounds[id])
				}
			}
			for _, f := range m.Files {
				if name == "every" && f.DurationMS > 2700 || name == "size" && f.Bytes > 330_000 {
					t.Errorf("%s: %d ms, %d bytes", f.Path, f.DurationMS, f.Bytes)
				}
			}
			ran, err := os.ReadFile(hook)
			for _, f := range m.Files {
				if path := filepath.Join(session, f.Path); err != nil || strings.Count(string(ran), path+"\n") != 1 {
					t.Errorf("the command for final files ran not once for %s: %q", f.Path, ran)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(session, "*.part")); len(left) > 0 {
				t.Errorf("not final: %v", left)
			}

			again := replayDump(t, filepath.Join(session, "dump.pcapng"), filepath.Join(dir, "again"))
			if len(again.Files) != len(m.Files) {
				t.Fatalf("%d files live, %d in the replay", len(m.Files), len(again.Files))
			}
			for _, f := range m.Files {
				live, err1 := os.ReadFile(filepath.Join(session, f.Path))
				past, err2 := os.ReadFile(filepath.Join(dir, "again", f.Path))
				if err1 != nil || err2 != nil || !bytes.Equal(live, past) {
					t.Errorf("%s: %d bytes live, and other %d bytes in the replay; %v, %v", f.Path, len(live), len(past), err1, err2)
				}
			}
			if one := replayDump(t, filepath.Join(session, "dump.pcapng"), filepath.Join(dir, "one"), "--rotate-every", "0"); len(one.Files) != 2 {
				t.Errorf("%d files without rotation", len(one.Files))
			}
			ivfs := replayDump(t, filepath.Join(session, "dump.pcapng"), filepath.Join(dir, "ivf"), "--format", "ivf")
			var video, sound int64
			for _, f := range ivfs.Files {
				for _, tr := range f.Tracks {
					if tr.Kind == "audio" {
						sound += tr.Frames.Written
					} else {
						video += tr.Frames.Written
					}
				}
			}
			if want := len(films["vp8"].frames) - films["vp8"].first + len(films["vp9"].frames) - films["vp9"].first; video != int64(want) || sound != sounds["vp8"]+sounds["vp9"] || len(ivfs.Files) < 8 {
				t.Errorf("%d IVF and Ogg files with %d pictures and %d packets of sound, want %d and %d", len(ivfs.Files), video, sound, want, sounds["vp8"]+sounds["vp9"])
			}
		})
	}
}

// TestBrowserIsRotated records a real Chromium: its parts satisfy every program,
// and hold the frames of the one file that the dump gives without rotation.
func TestBrowserIsRotated(t *testing.T) {
	for name, flags := range map[string][2][]string{
		"every":     {{"--rotate-every", "3s"}, {"--rotate-every", "0"}},
		"on change": {{"--on-change", "new-file"}, {"--on-change", "same-file"}},
	} {
		t.Run(name, func(t *testing.T) {
			room, dir := openRoom(t), t.TempDir()
			b := browser.Start(t)
			alice := page(t, b, room, "alice")
			record := start(t, append(append([]string{"record", "--dump-rtp", "--out", dir, "--session", "s"}, flags[0]...), room)...)
			waitFor(t, "a recording", 20*time.Second, func() bool { return len(recordings(t, dir)) > 0 })
			after(t, 5*time.Second)
			alice.Eval(`roomtape.shareTestPicture({width: 1024, height: 576, fps: 15})`, nil)
			after(t, 5*time.Second)
			record.stop(t)
			session := filepath.Join(dir, "s")
			m := readManifest(t, session)
			one := replayDump(t, filepath.Join(session, "dump.pcapng"), filepath.Join(dir, "one"), flags[1]...)
			if len(one.Files) != 1 || len(m.Files) < 2 {
				t.Fatalf("%d files, and %d without", len(m.Files), len(one.Files))
			}
			want, _ := blocks(t, filepath.Join(dir, "one", one.Files[0].Path))
			got := joinedBlocks(t, session, "alice", m)
			same(t, "video", got[media.Video], want[media.Video])
			same(t, "audio", got[media.Audio], want[media.Audio])
			var sum int64
			for i, f := range m.Files {
				sum += f.DurationMS
				if i > 0 { // parts may overlap
					before := m.Files[i-1]
					sum += min(f.OffsetMS-before.OffsetMS-before.DurationMS, 0)
				}
				whole(t, filepath.Join(session, f.Path))
				t.Logf("%s: from %d, %d ms, %d bytes", f.Path, f.OffsetMS, f.DurationMS, f.Bytes)
			}
			if d := sum - one.Files[0].DurationMS; d < -200 || d > 200 {
				t.Errorf("the parts last %d ms, the whole %d", sum, one.Files[0].DurationMS)
			}
			var files []string
			for _, f := range m.Files {
				if f.DurationMS > 1500 { // long enough to seek in
					files = append(files, filepath.Join(session, f.Path))
				}
			}
			playsInBrowser(t, b, session, files...)
		})
	}
}
