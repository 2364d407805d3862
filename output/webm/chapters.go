package webm

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bounds of a file's chapters.
const (
	// MaxChapters is how many a Writer takes.
	MaxChapters = 10_000
	// maxChapterName is the longest name, in bytes.
	maxChapterName = 1 << 10
)

// chapter is a named moment; at is in ns from the beginning of the file.
type chapter struct {
	at   int64
	name string
}

// The elements of Chapters (RFC 9559 §5.1.7), those of them that WebM has too.
type (
	chapters struct {
		EditionEntry editionEntry `ebml:"EditionEntry"`
	}
	editionEntry struct {
		ChapterAtom []chapterAtom `ebml:"ChapterAtom"`
	}
	chapterAtom struct {
		ChapterUID       uint64         `ebml:"ChapterUID"`
		ChapterTimeStart uint64         `ebml:"ChapterTimeStart"`
		ChapterDisplay   chapterDisplay `ebml:"ChapterDisplay"`
	}
	chapterDisplay struct {
		ChapString   string `ebml:"ChapString"`
		ChapLanguage string `ebml:"ChapLanguage"`
	}
)

// AddChapter names a moment of the file, in UTF-8; at counts from the beginning.
// Chapters are written by Close, where the file is an io.WriterAt: a stream has
// none. They should be added in the order of time. What has been written of the
// file does not change by it.
func (w *Writer) AddChapter(at time.Duration, name string) error {
	if err := w.usable(); err != nil {
		return err
	}
	switch {
	case w.at == nil:
		return nil
	case len(w.marks) == MaxChapters:
		return fmt.Errorf("webm: adding a chapter: there are %d already", MaxChapters)
	case len(name) > maxChapterName:
		return fmt.Errorf("webm: adding a chapter with a name of %d bytes, more than %d", len(name), maxChapterName)
	}
	w.marks = append(w.marks, chapter{milliseconds(at) * int64(time.Millisecond), strings.ToValidUTF8(name, "\uFFFD")})
	return nil
}

// marshalChapters gives the Chapters element, or nil when there are none.
func marshalChapters(seed string, list []chapter) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var c chapters
	for i, m := range list {
		c.EditionEntry.ChapterAtom = append(c.EditionEntry.ChapterAtom, chapterAtom{
			ChapterUID:       uid(seed, "chapter "+strconv.Itoa(i+1)),
			ChapterTimeStart: uint64(m.at),
			ChapterDisplay:   chapterDisplay{ChapString: m.name, ChapLanguage: "und"},
		})
	}
	return marshal(&struct {
		Chapters chapters `ebml:"Chapters"`
	}{c})
}

// writeChapters writes Chapters, if there are any, where the header has kept room
// for more tracks, so that they are found before the media, or else behind the
// media. It gives their offset; 0: there are none.
func (w *Writer) writeChapters() int64 {
	b, err := marshalChapters(w.cfg.UID, w.marks)
	if err == nil && b == nil {
		return 0
	}
	var tracks []byte
	if err == nil {
		tracks, err = marshalTracks(w.cfg.UID, w.tracks)
	}
	switch {
	case err != nil:
		_ = w.fail(err)
		return 0
	case w.header.fits(len(tracks) + len(b)):
		if w.writeTracks(append(tracks, b...)) == nil { // else it is kept in w.err
			return int64(w.header.tracks() + len(tracks))
		}
	case w.writeAt(b, w.pos, "the chapters") == nil:
		w.pos += int64(len(b))
		return w.pos - int64(len(b))
	default:
		w.truncate() // it plays without
	}
	return 0
}

// chapters reads Chapters: whether they are whole, and for a report the atoms of
// the first level.
func (r *Reader) chapters(e element) {
	r.children(e, func(edition element) {
		if edition.id != idEditionEntry {
			return
		}
		r.children(edition, func(atom element) {
			if atom.id != idChapterAtom {
				return
			}
			c := r.chapter(atom)
			if r.seen != nil && len(r.seen.chapters) < MaxChapters {
				r.seen.chapters = append(r.seen.chapters, c)
			}
		})
	})
}

// chapter reads one; its name is that of its first display.
func (r *Reader) chapter(atom element) (c Chapter) {
	r.children(atom, func(e element) {
		switch e.id {
		case idChapterTimeStart:
			c.AtMS = r.nanoseconds(e).Milliseconds()
		case idChapterDisplay:
			r.children(e, func(d element) {
				if d.id == idChapString && c.Name == "" && d.size() <= maxReadString {
					c.Name = strings.ToValidUTF8(r.string(d), "\uFFFD")
				}
			})
		}
	})
	return c
}
