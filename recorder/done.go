package recorder

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// doneFile is all that is kept of a recording that is over: a session may have
// very many.
type doneFile struct {
	// serial is the recording's.
	serial int
	path   string
	// entry is its part of the manifest, as it stands there.
	entry []byte
	// hashable is set when its digest can be had, and is not there yet.
	hashable bool
}

// fileIndent is how deep the entries of files are in the manifest.
const fileIndent = "  "

func encodeFile(e FileEntry) ([]byte, error) { return json.MarshalIndent(e, fileIndent, " ") }

// forget lets recordings go that are over: nothing is kept of one that never
// became a file, and its part of the manifest of one that has.
func (s *Session) forget() {
	over := func(r *recording) bool { return r.closed && len(r.tracks) == 0 }
	if !slices.ContainsFunc(s.recordings, over) {
		return
	}
	for _, r := range s.recordings {
		if over(r) {
			s.keep(r)
		}
	}
	s.recordings = slices.DeleteFunc(s.recordings, over)
	for _, p := range s.participants {
		p.recordings = slices.DeleteFunc(p.recordings, over)
	}
}

// keep takes what is left of a recording that is over.
func (s *Session) keep(r *recording) {
	if list := r.unrecorded(); len(list) > 0 {
		s.unplaced(list...)
	}
	for _, o := range s.recordings { // tracks that stay behind go on to the last
		if o.next == r && r.next != nil {
			o.next = r.next
		}
	}
	if n := r.next; n != nil && n.chain.before == r {
		n.chain.before = nil
		if r.file != nil {
			n.chain.beforeName = r.file.Name()
		}
	}
	if r.file == nil {
		return
	}
	p := r.who
	p.bytes += r.bytes()
	p.file, p.err = r.file.Name(), r.err
	if r.muxer == nil {
		return
	}
	b, err := encodeFile(r.entry())
	if err != nil { // which its types rule out
		s.log.Error("manifest lacks a file", "file", r.file.Name(), "error", err)
		return
	}
	d := doneFile{serial: r.serial, path: r.file.Name(), entry: b, hashable: r.digest == "" && r.readable()}
	i, _ := slices.BinarySearchFunc(s.done, d, func(a, b doneFile) int { return cmp.Compare(a.serial, b.serial) })
	s.done = slices.Insert(s.done, i, d)
}

// setDigest adds the digest to a file's part of the manifest.
func (d *doneFile) setDigest(digest string) error {
	var e FileEntry
	if err := json.Unmarshal(d.entry, &e); err != nil {
		return fmt.Errorf("reading the manifest's part for %s: %w", d.path, err)
	}
	e.SHA256 = digest
	b, err := encodeFile(e)
	if err != nil {
		return err
	}
	d.entry, d.hashable = b, false
	return nil
}

// eachFile calls f for each file in the order of the recordings, with one of the
// two.
func (s *Session) eachFile(f func(d *doneFile, r *recording) error) error {
	n := 0
	for _, r := range s.recordings {
		for ; n < len(s.done) && s.done[n].serial < r.serial; n++ {
			if err := f(&s.done[n], nil); err != nil {
				return err
			}
		}
		if r.muxer != nil {
			if err := f(nil, r); err != nil {
				return err
			}
		}
	}
	for ; n < len(s.done); n++ {
		if err := f(&s.done[n], nil); err != nil {
			return err
		}
	}
	return nil
}

// encodeManifest gives what Manifest.encode gives of the session's, but does not
// make the parts of files anew that are over. The result is good until the next
// call.
func (s *Session) encodeManifest() ([]byte, error) {
	b, err := s.outline().encode()
	if err != nil {
		return nil, err
	}
	// A line end within a string is escaped: this is the list itself.
	none := []byte("\n \"files\": []")
	i := bytes.Index(b, none)
	if i < 0 {
		return nil, fmt.Errorf("the manifest has no place for files")
	}
	i += len(none) - 1
	out := append(s.manifest.buf[:0], b[:i]...)
	first := true
	err = s.eachFile(func(d *doneFile, r *recording) error {
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(out, '\n'), fileIndent...)
		if d != nil {
			out = append(out, d.entry...)
			return nil
		}
		e, err := encodeFile(r.entry())
		out = append(out, e...)
		return err
	})
	if !first {
		out = append(out, "\n "...)
	}
	s.manifest.buf = append(out, b[i:]...)
	return s.manifest.buf, err
}
