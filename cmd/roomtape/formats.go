package main

import (
	"io"
	"slices"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/ivf"
	"github.com/roomtape/roomtape/output/ogg"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

func newWebM(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
	return webm.NewWriter(w, webm.Config{
		Chunk: o.Chunk, Matroska: o.Ext == ".mkv", Writer: o.Recorder, UID: o.UID, Date: o.Date,
	})
}

// ivfExt chooses between the two kinds of file of the format ivf: a file has one
// track, and those that it can't take go to files of their own.
func ivfExt(codecs []media.Codec) string {
	if slices.Contains(codecs, media.Opus) && !slices.ContainsFunc(codecs, func(c media.Codec) bool { return c.Kind() == media.Video }) {
		return ogg.Ext
	}
	return ivf.Ext
}

func newIVF(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error) {
	if o.Ext == ogg.Ext {
		return ogg.NewWriter(w, ogg.Config{Chunk: o.Chunk, Writer: o.Recorder, UID: o.UID}), nil
	}
	return ivf.NewWriter(w, o.Chunk), nil
}
