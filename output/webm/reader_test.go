package webm

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/muxertest"
)

// el makes an element of known size.
func el(id uint32, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	b := appendID(nil, id)
	b = append(b, 0x01)
	b = appendUint(b, uint64(len(data)), 7)
	return append(b, data...)
}

// open makes the head of an element of unknown size.
func open(id uint32, parts ...[]byte) []byte {
	return append(append(appendID(nil, id), unknownSize...), bytes.Join(parts, nil)...)
}

func appendID(b []byte, id uint32) []byte {
	n := 1
	for id>>(8*n) != 0 {
		n++
	}
	return appendUint(b, uint64(id), n)
}

func num(id uint32, v uint64) []byte { return el(id, binary.BigEndian.AppendUint64(nil, v)) }

func text(id uint32, s string) []byte { return el(id, []byte(s)) }

// body makes the inside of a block.
func body(track, rel int, flags byte, data string) []byte {
	return append([]byte{0x80 | byte(track), byte(rel >> 8), byte(rel), flags}, data...)
}

var (
	docHead  = el(idEBML, text(idDocType, "webm"))
	oneTrack = el(idTracks, el(idTrackEntry, num(idTrackNumber, 1), text(idCodecID, "V_VP8"), num(idDefaultDuration, 10e6),
		el(idVideo, num(idPixelWidth, 64), num(idPixelHeight, 48))))
)

// describe gives the blocks and faults of a stream as a text.
func describe(t *testing.T, b []byte) string {
	t.Helper()
	var out strings.Builder
	r := NewReader(iotest.HalfReader(bytes.NewReader(b)))
	for {
		x, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%d@%v %s", x.Track, x.Time, x.Data)
		for _, f := range []struct {
			on   bool
			name string
		}{{x.Key, " key"}, {x.Hidden, " hidden"}, {x.Droppable, " droppable"}, {x.Duration > 0, " for " + x.Duration.String()}} {
			if f.on {
				out.WriteString(f.name)
			}
		}
		out.WriteString("; ")
	}
	for _, f := range r.Faults() {
		fmt.Fprintf(&out, "%d: %s; ", f.Offset, f.What)
	}
	return strings.TrimSuffix(out.String(), "; ")
}

func TestReader(t *testing.T) {
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cut := func(n int, parts ...[]byte) []byte {
		b := join(parts...)
		return b[:len(b)-n]
	}
	simple := func(rel int, data string) []byte { return el(idSimpleBlock, body(1, rel, flagKey, data)) }
	at := func(ms uint64) []byte { return num(idTimestamp, ms) }
	void := el(idVoid, make([]byte, 100_000))
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"known sizes": {
			join(docHead, el(idSegment, oneTrack, el(idCluster, at(1000), simple(0, "a"), simple(-5, "b")), el(idCluster, at(2000), simple(0, "c")))),
			"1@1s a key; 1@995ms b key; 1@2s c key",
		},
		"unknown sizes": {
			join(docHead, open(idSegment, oneTrack, open(idCluster, at(0), simple(0, "a")), open(idCluster, at(9), simple(0, "b")), el(idTags, []byte("tags")))),
			"1@0s a key; 1@9ms b key",
		},
		"two documents": {
			join(docHead, open(idSegment, oneTrack, open(idCluster, at(0), simple(0, "a"))), docHead, el(idSegment, oneTrack, el(idCluster, at(5), simple(0, "b"))), docHead, el(idSegment)),
			"1@0s a key; 1@5ms b key",
		},
		"voids and checksums": {
			join(docHead, void, open(idSegment, void, el(idCRC32, []byte("1234")), oneTrack, void, el(idCluster, el(idCRC32, []byte("1234")), void, at(0), void, simple(0, "a"), void), void)),
			"1@0s a key",
		},
		"block groups": {
			join(docHead, el(idSegment, oneTrack, el(idCluster, at(0),
				el(idBlockGroup, el(idBlock, body(1, 0, 0, "a")), num(idBlockDuration, 40)),
				el(idBlockGroup, num(idBlockDuration, 20), el(idReferenceBlock, []byte{0xFF}), el(idBlock, body(1, 40, flagInvisible|flagDroppable, "b")), el(idDiscardPadding, []byte{1})),
				el(idBlockGroup), el(idEncryptedBlock, []byte("secret")), simple(60, "c")))),
			"1@0s a key for 40ms; 1@40ms b hidden for 20ms; 1@60ms c key",
		},
		"laces": {
			join(docHead, el(idSegment, oneTrack, el(idCluster, at(0),
				el(idSimpleBlock, body(1, 0, laceXiph, "\x02\x01\x02abbc")),
				el(idSimpleBlock, body(1, 100, laceFixed, "\x01aabb")),
				el(idSimpleBlock, body(1, 200, laceEBML, "\x02\x83\xbeaaabbcc")),
				el(idSimpleBlock, body(1, 300, laceXiph, "\x01\xff\x01"+strings.Repeat("x", 256)+"y"))))),
			"1@0s a; 1@10ms bb; 1@20ms c; 1@100ms aa; 1@110ms bb; 1@200ms aaa; 1@210ms bb; 1@220ms cc; 1@300ms " + strings.Repeat("x", 256) + "; 1@310ms y",
		},
		"laces that don't add up": {
			join(docHead, el(idSegment, oneTrack, el(idCluster, at(0),
				el(idSimpleBlock, body(1, 0, laceXiph, "")),
				el(idSimpleBlock, body(1, 0, laceXiph, "\x01\xff")),
				el(idSimpleBlock, body(1, 0, laceXiph, "\x01\x09abc")),
				el(idSimpleBlock, body(1, 0, laceFixed, "\x01abc")),
				el(idSimpleBlock, body(1, 0, laceEBML, "\x02\x81\x80abc")),
				el(idSimpleBlock, body(1, 0, laceEBML, "\x01")),
				el(idSimpleBlock, []byte{0x81, 0}), simple(1, "a")))),
			"1@1ms a key; 181: a block whose lacing does not add up; 194: a block whose lacing does not add up; 209: a block whose lacing does not add up; 227: a block whose lacing does not add up; 244: a block whose lacing does not add up; 263: a block whose lacing does not add up; 277: a block too short for its head",
		},
		"unknown elements": {
			join(docHead, el(idSegment, oneTrack, el(0x4FFE, []byte("new")), el(idCluster, at(0), el(0x4FFF, []byte("new")), simple(0, "a"), el(0x4FFF)))),
			"1@0s a key",
		},
		"garbage between clusters": {
			join(docHead, open(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a")), make([]byte, 5000), el(idCluster, at(5), simple(0, "b")))),
			"1@0s a key; 1@5ms b key; 195: 5000 bytes that are no element that belongs there",
		},
		"garbage in a cluster": {
			join(docHead, open(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a"), []byte("\x42garbage"), simple(1, "x")), el(idCluster, at(5), simple(0, "b")))),
			"1@0s a key; 1@5ms b key; 195: 22 bytes that are no element that belongs there",
		},
		"a stray byte before a cluster": {
			join(docHead, open(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a")), []byte{0x42}, el(idCluster, at(5), simple(0, "b")))),
			"1@0s a key; 1@5ms b key; 195: 1 bytes that are no element that belongs there",
		},
		"a block longer than its cluster": {
			join(docHead, open(idSegment, oneTrack, el(idCluster, at(0), append(appendSize([]byte{idSimpleBlock}, 1000), "x"...)), el(idCluster, at(5), simple(0, "b")))),
			"1@5ms b key; 181: 4 bytes that are no element that belongs there",
		},
		"a cluster shorter than it says": {
			join(docHead, open(idSegment, oneTrack, append(append(appendID(nil, idCluster), 0x01, 0, 0, 0, 0, 0xFF, 0, 0), join(at(0), simple(0, "a"))...), el(idCluster, at(5), simple(0, "b")))),
			"1@0s a key; 1@5ms b key; 195: a cluster that is shorter than its size says",
		},
		"a segment shorter than it is": {
			join(docHead, el(idSegment, oneTrack), el(idCluster, at(5), simple(0, "b"))),
			"1@5ms b key; 152: an element of a segment outside of any",
		},
		"no track, no time, no header": {
			join(open(idSegment, oneTrack, el(idCluster, el(idSimpleBlock, body(1, 0, 0, "x"))), el(idCluster, at(0), el(idSimpleBlock, body(2, 0, 0, "x")), el(idSimpleBlock, body(2, 0, 0, "x")), num(idTimestamp, 1<<63)))),
			"0: a segment without an EBML header before it; 138: a block in a cluster without a timestamp; 181: a block of track 2, which is not among the tracks; 209: a cluster's timestamp out of range",
		},
		"cut in a block": {
			cut(5, docHead, open(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a"), simple(0, "b")))),
			"1@0s a key; 195: the file ends at 204 inside a block",
		},
		"cut in a head": {
			cut(12, docHead, open(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a"), simple(0, "b")))),
			"1@0s a key; 195: the file ends at 197 inside the head of an element",
		},
		"cut between blocks": {
			cut(14, docHead, open(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a"), simple(0, "b")))),
			"1@0s a key; 195: the file ends inside a cluster, 14 bytes before its end",
		},
		"cut between clusters": {
			cut(13, docHead, el(idSegment, oneTrack, el(idCluster, at(0), simple(0, "a")), el(idTags, []byte("x")))),
			"1@0s a key; 195: the file ends 13 bytes before its segment does",
		},
		"nothing":       {nil, "0: the file is empty"},
		"another thing": {[]byte("#!/bin/sh\necho hello\n"), "0: this is neither WebM nor Matroska"},
		"another document": {
			el(idEBML, text(idDocType, "other")),
			`0: a document of type "other"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := describe(t, c.file); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestReaderGoesOnAfterDamageAnywhere(t *testing.T) {
	var file muxertest.File
	w := start(t, &file, Config{}, vp8, opus)
	for at := time.Duration(0); at < 5*time.Second; at += 100 * ms {
		put(t, w, 1, at, at%time.Second == 0, "video at "+at.String())
		put(t, w, 2, at, true, "audio at "+at.String())
	}
	end(t, w)
	// The third of five chunks is damaged.
	from, to := file.Ends[1], file.Ends[2]
	for at := from; at < to-8; at++ {
		for _, damage := range []string{"\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff", "\xa3\x1f\x43\xb6\x75\x01\x02\x03"} {
			b := bytes.Clone(file.Data)
			copy(b[at:], damage)
			if bytes.Equal(b, file.Data) {
				continue
			}
			rep := inspect(t, b)
			got := rep.Tracks[0].Frames + rep.Tracks[1].Frames
			// Four whole chunks and what is before the damage.
			if want := 80; got < want {
				t.Fatalf("%x at %d: %d frames are left; want %d at least: %v", damage, at, got, want, rep.Faults)
			}
			for _, f := range rep.Faults {
				if int(f.Offset) < from || int(f.Offset) > to && !strings.Contains(f.What, "index") {
					t.Fatalf("%x at %d: a fault at %d, %s", damage, at, f.Offset, f.What)
				}
			}
		}
	}
}

func TestReaderGivesTheStreamsError(t *testing.T) {
	failed := errors.New("the network is down")
	file := bytes.Join([][]byte{docHead, open(idSegment, oneTrack, el(idCluster, num(idTimestamp, 0), el(idSimpleBlock, body(1, 0, 0, "x"))))}, nil)
	r := NewReader(io.MultiReader(bytes.NewReader(file), iotest.ErrReader(failed)))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, failed) {
			t.Errorf("the error is %v", err)
		}
	}
	if _, err := Inspect(iotest.ErrReader(failed), -1); !errors.Is(err, failed) {
		t.Errorf("the error is %v", err)
	}
}

func TestReaderTakesMemoryOnlyForWhatIsThere(t *testing.T) {
	// A block and a decoder configuration that promise 60 MB and have none.
	block := append(appendSize([]byte{idSimpleBlock}, 60<<20), "x"...)
	private := append(appendSize(appendID(nil, idCodecPrivate), 60<<20), "x"...)
	for _, file := range [][]byte{
		bytes.Join([][]byte{docHead, open(idSegment, oneTrack, open(idCluster, num(idTimestamp, 0), block))}, nil),
		bytes.Join([][]byte{docHead, open(idSegment, el(idTracks, append(appendSize([]byte{idTrackEntry}, 1<<27), private...)))}, nil),
	} {
		r := NewReader(bytes.NewReader(file))
		if _, err := r.Next(); err != io.EOF || len(r.Faults()) == 0 {
			t.Errorf("%v, faults %v", err, r.Faults())
		}
		if cap(r.buf) > 2<<20 {
			t.Errorf("%d bytes are taken", cap(r.buf))
		}
	}
}

// TestReaderSeesWhatABrowserSees compares with the packets that the demuxer of
// a browser has listed beside each file.
func TestReaderSeesWhatABrowserSees(t *testing.T) {
	lists, err := filepath.Glob(filepath.Join(captures(t), "mozilla-nestegg", "test", "media", "*.ok"))
	if err != nil || len(lists) == 0 {
		t.Fatal(lists, err)
	}
	for _, list := range lists {
		t.Run(filepath.Base(list), func(t *testing.T) { compareList(t, list) })
	}
}

func compareList(t *testing.T, list string) {
	b, err := os.ReadFile(strings.TrimSuffix(list, ".ok"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := NewReader(bytes.NewReader(b))
	lines := bufio.NewScanner(l)
	lines.Buffer(nil, 1<<20)
	packets := 0
	for lines.Scan() {
		// Track, keyframe (2: not known), time in ns, frames, discarded, and
		// hash and size of additions, then of each frame.
		fields := strings.Fields(lines.Text())
		if fields[0] == "seek" {
			break
		}
		if len(fields) < 7 || len(fields[5]) != 2*sha1.Size {
			continue
		}
		packets++
		count, err := strconv.Atoi(fields[3])
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			x, err := r.Next()
			if err != nil {
				t.Fatalf("packet %d: %v", packets, err)
			}
			frame := fields[len(fields)-2*(count-i):]
			place := strconv.Itoa(r.index[x.Track])
			hash := fmt.Sprintf("%x", sha1.Sum(x.Data))
			if place != fields[0] || hash != frame[0] || strconv.Itoa(len(x.Data)) != frame[1] {
				t.Fatalf("packet %d: track %s, %s, %d bytes; want %q", packets, place, hash, len(x.Data), fields)
			}
			if i > 0 {
				continue
			}
			if at := strconv.FormatInt(int64(x.Time), 10); at != fields[2] {
				t.Errorf("packet %d is at %s; want %s", packets, at, fields[2])
			}
			if fields[1] != "2" && x.Key != (fields[1] == "1") {
				t.Errorf("packet %d: keyframe %v; want %s", packets, x.Key, fields[1])
			}
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	if x, err := r.Next(); err == nil && packets > 0 {
		t.Errorf("after %d packets there is one more, at %v", packets, x.Time)
	}
}

func FuzzReader(f *testing.F) {
	var file muxertest.File
	w := start(f, &file, Config{UID: "fuzz"}, vp8, opus)
	for at := time.Duration(0); at < 3*time.Second; at += 200 * ms {
		put(f, w, 1, at, at == 0, "video")
		put(f, w, 2, at, true, "audio")
	}
	end(f, w)
	f.Add(file.Data)
	f.Add(bytes.Join([][]byte{docHead, open(idSegment, oneTrack, open(idCluster, num(idTimestamp, 0), el(idSimpleBlock, body(1, 0, laceEBML, "\x02\x83\xbeaaabbcc"))))}, nil))
	if dir, err := filepath.Abs("../../../shared/captures"); err == nil {
		for _, pattern := range []string{"mozilla-nestegg/test/media/*.webm", "webmproject-libwebm/testing/testdata/*.*", "at-wat-ebml-go/examples/*/*.webm"} {
			names, _ := filepath.Glob(filepath.Join(dir, pattern))
			for _, name := range names {
				if b, err := os.ReadFile(name); err == nil && len(b) < 50_000 {
					f.Add(b)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rep := inspect(t, b)
		frames := 0
		for _, tr := range rep.Tracks {
			frames += tr.Frames
		}
		// A block is four bytes at least, and a lace gives 256 frames at most.
		if frames > 64*len(b) || len(rep.Faults) > maxFaults || len(rep.Tracks) > maxReadTracks {
			t.Fatalf("%d frames, %d faults, %d tracks in %d bytes", frames, len(rep.Faults), len(rep.Tracks), len(b))
		}
		for _, f := range rep.Faults {
			if f.Offset < 0 || f.Offset > int64(len(b)) {
				t.Fatalf("a fault at %d of %d: %s", f.Offset, len(b), f.What)
			}
		}
	})
}

func TestInspect(t *testing.T) {
	track := el(idTracks, el(idTrackEntry, num(idTrackNumber, 7), text(idCodecID, "V_THEORA"), el(idVideo)))
	var vp8Only muxertest.File
	w := start(t, &vp8Only, Config{}, media.Track{Codec: media.VP8, Width: 16, Height: 8})
	put(t, w, 1, 0, true, "a")
	put(t, w, 1, 30*ms, false, "b")
	put(t, w, 1, 200*ms, false, "c")
	growing := inspect(t, vp8Only.Data)
	if growing.Finalized || len(growing.Faults) != 1 || growing.Faults[0].What != "the file is empty" {
		t.Errorf("before the first chunk: %+v", growing)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	growing = inspect(t, vp8Only.Data)
	if growing.Finalized || growing.Seekable || len(growing.Faults) != 0 || growing.DurationMS != 200 {
		t.Errorf("a growing file: %+v", growing)
	}
	end(t, w)
	got := inspect(t, vp8Only.Data)
	want := TrackReport{Number: 1, Codec: "VP8", Width: 16, Height: 8, Frames: 3, Keyframes: 1, LastMS: 200, MaxGapMS: 170}
	if len(got.Tracks) != 1 || got.Tracks[0] != want || !got.Finalized || !got.Seekable || got.DurationMS != 370 || got.Clusters != 1 || got.Cues != 1 {
		t.Errorf("%+v", got)
	}

	got = inspect(t, bytes.Join([][]byte{docHead, open(idSegment, track)}, nil))
	if len(got.Tracks) != 1 || got.Tracks[0].Codec != "V_THEORA" || len(got.Faults) != 0 {
		t.Errorf("a codec of others: %+v", got)
	}

	// An index that points to nothing is a fault.
	bad := bytes.Clone(vp8Only.Data)
	i := bytes.LastIndex(bad, []byte{idCueClusterPosition, 0x88})
	bad[i+9]++
	got = inspect(t, bad)
	if got.Seekable || len(got.Faults) != 1 || !strings.Contains(got.Faults[0].What, "1 of 1 entries of the index") {
		t.Errorf("a wrong index: %+v", got)
	}
	bad = bytes.Clone(vp8Only.Data)
	i = bytes.Index(bad, []byte{0x1C, 0x53, 0xBB, 0x6B, 0x53, 0xAC, 0x88})
	bad[i+14]++
	got = inspect(t, bad)
	if got.Seekable || len(got.Faults) != 1 || !strings.Contains(got.Faults[0].What, "SeekHead") {
		t.Errorf("a wrong SeekHead: %+v", got)
	}
}
