package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/roomtape/roomtape/recorder"
)

// goldenVersion is that of the form of golden files; see docs/REPLAY.md.
const goldenVersion = 1

// maxDifferences is how many differences are printed.
const maxDifferences = 40

// golden is what a replay is expected to give. It holds nothing that depends on
// the machine, the program's version, or on where the files were written.
type golden struct {
	Version int                    `json:"version"`
	Files   map[string]*goldenFile `json:"files"` // by path
}

type goldenFile struct {
	SHA256      string        `json:"sha256"`
	Bytes       int64         `json:"bytes"`
	Participant string        `json:"participant"`
	OffsetMS    int64         `json:"offset_ms"`
	DurationMS  int64         `json:"duration_ms"`
	Tracks      []goldenTrack `json:"tracks"`
}

type goldenTrack struct {
	Codec   string               `json:"codec"`
	Width   int                  `json:"width,omitempty"`
	Height  int                  `json:"height,omitempty"`
	Frames  recorder.FrameCounts `json:"frames"`
	Packets goldenPackets        `json:"packets"`
	Gaps    []recorder.Gap       `json:"gaps"`
	Sizes   []recorder.Size      `json:"sizes"`
}

type goldenPackets struct {
	Received int64 `json:"received"`
	Lost     int64 `json:"lost"`
}

// newGolden gives what a replay has given.
func newGolden(m recorder.Manifest) golden {
	g := golden{Version: goldenVersion, Files: make(map[string]*goldenFile, len(m.Files))}
	for _, f := range m.Files {
		gf := &goldenFile{
			SHA256: f.SHA256, Bytes: f.Bytes, Participant: f.Participant,
			OffsetMS: f.OffsetMS, DurationMS: f.DurationMS, Tracks: []goldenTrack{},
		}
		for _, t := range f.Tracks {
			gf.Tracks = append(gf.Tracks, goldenTrack{
				Codec: t.Codec, Width: t.Width, Height: t.Height, Frames: t.Frames,
				Packets: goldenPackets{t.Packets.Received, t.Packets.Lost}, Gaps: t.Gaps, Sizes: t.Sizes,
			})
		}
		g.Files[f.Path] = gf
	}
	return g
}

// write puts the golden file in its place as a whole.
func (g golden) write(path string) error {
	b, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the golden file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("%w: writing the golden file: %w", recorder.ErrStorage, err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error is another's
		return fmt.Errorf("%w: writing the golden file: %w", recorder.ErrStorage, err)
	}
	return nil
}

// readGolden gives the content of a golden file. Its errors are usage errors.
func readGolden(path string) (any, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--check: there is no %s; --update makes it", path)
	}
	if err != nil {
		return nil, usagef("--check: %w", err)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, usagef("--check: %s is no golden file: %w", path, err)
	}
	if head.Version != goldenVersion {
		return nil, usagef("--check: %s is no golden file of version %d", path, goldenVersion)
	}
	return decodeNumbers(b)
}

// decodeNumbers reads JSON, numbers as they are spelled.
func decodeNumbers(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return v, nil
}

// diff gives the differences between want, as readGolden gave it, and g, a line
// each.
func (g golden) diff(want any) ([]string, error) {
	b, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	got, err := decodeNumbers(b)
	if err != nil {
		return nil, err
	}
	return differences(nil, "", want, got), nil
}

// differences appends those between two JSON values at the given place.
func differences(list []string, at string, want, got any) []string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(w)
		maps.Copy(keys, g)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			place := at + "." + k
			if at == "" {
				place = k
			} else if at == "files" {
				place = k // the path says enough
			}
			wv, inWant := w[k]
			gv, inGot := g[k]
			switch {
			case !inGot:
				list = append(list, fmt.Sprintf("-%s: %s", place, short(wv)))
			case !inWant:
				list = append(list, fmt.Sprintf("+%s: %s", place, short(gv)))
			default:
				list = differences(list, place, wv, gv)
			}
		}
		return list
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		for i := range max(len(w), len(g)) {
			place := fmt.Sprintf("%s[%d]", at, i)
			switch {
			case i >= len(g):
				list = append(list, fmt.Sprintf("-%s: %s", place, short(w[i])))
			case i >= len(w):
				list = append(list, fmt.Sprintf("+%s: %s", place, short(g[i])))
			default:
				list = differences(list, place, w[i], g[i])
			}
		}
		return list
	default:
		if want == got {
			return list
		}
	}
	return append(list, fmt.Sprintf("-%s: %s", at, short(want)), fmt.Sprintf("+%s: %s", at, short(got)))
}

// short gives a JSON value on a line of bounded length.
func short(v any) string {
	const limit = 100
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(b) > limit {
		return string(b[:limit]) + "…"
	}
	return string(b)
}

// printDifferences says how the result differs from what is expected.
func printDifferences(w io.Writer, path string, list []string) {
	fmt.Fprintf(w, "The result differs from %s (-expected +replayed):\n", printable(path))
	for i, line := range list {
		if i == maxDifferences {
			fmt.Fprintf(w, "  … and %d lines more\n", len(list)-i)
			break
		}
		fmt.Fprintln(w, "  "+printable(line))
	}
}
