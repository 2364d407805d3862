package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/sfu"
)

// This is the one page that lists the parts: a new kind of room or format is a
// folder of its own and a line here.

// rooms are the kinds of room, told apart by the URL's scheme.
var rooms = []roomKind{
	{schemes: []string{"ws", "wss"}, form: "ws://HOST/PATH/ROOM", parse: mesh.ParseURL, dial: dialMesh},
}

// formats are the kinds of file.
var formats = []format{
	{name: "webm", ext: webm.Ext, newMuxer: newWebM},
	{name: "ivf", ext: ivfExt, newMuxer: newIVF, lacks: []media.Codec{media.H264}},
}

// A roomKind knows how to join one kind of room.
type roomKind struct {
	schemes []string
	form    string // for people
	// parse checks the URL and gives the address to dial and the room's name.
	parse func(rawURL, room string) (dialURL, roomID string, err error)
	// dial joins the room. Errors wrap signaling.ErrJoin.
	dial func(ctx context.Context, o joinOptions) (signaling.Room, error)
}

// joinOptions is what joining a room of any kind may need.
type joinOptions struct {
	kind      roomKind
	url, room string // as kind.parse gave them
	timeout   time.Duration
	peerID    string
	announce  bool
	messages  bool                   // of data channels are wanted
	token     func() (string, error) // nil: none
	// untilEmpty is how long to stay when nobody is there.
	untilEmpty time.Duration
	peer       peer.Config
	log        *slog.Logger
}

// A format knows how to make one kind of file.
type format struct {
	name     string
	ext      func([]media.Codec) string
	newMuxer func(w io.Writer, o recorder.MuxerOptions) (output.Muxer, error)
	lacks    []media.Codec // what it does not carry
}

// findRoom reads a ROOM argument. Its errors are usage errors.
func findRoom(rawURL, room string) (kind roomKind, dialURL, roomID string, err error) {
	var forms []string
	for _, k := range rooms {
		for _, s := range k.schemes {
			if len(rawURL) < len(s)+3 || !strings.EqualFold(rawURL[:len(s)+3], s+"://") {
				continue
			}
			dialURL, roomID, err = k.parse(rawURL, room)
			if err != nil {
				err = usageError{err}
			}
			return k, dialURL, roomID, err
		}
		forms = append(forms, k.form)
	}
	return roomKind{}, "", "", usagef("%q is no room: want %s", redacted(rawURL), strings.Join(forms, " or "))
}

func findFormat(name string) (format, error) {
	i := slices.IndexFunc(formats, func(f format) bool { return f.name == name })
	if i < 0 {
		return format{}, usagef("--format %q: only %s can be written", name, joined(formats, func(f format) string { return f.name }))
	}
	return formats[i], nil
}

// videoCodecs lists the video codecs that can be recorded, in the order in
// which they are offered by default.
func videoCodecs() []media.Codec {
	return slices.DeleteFunc([]media.Codec{media.VP8, media.VP9, media.AV1, media.H264}, func(c media.Codec) bool {
		_, err := depacket.New(c, depacket.Config{})
		return err != nil
	})
}

func dialMesh(ctx context.Context, o joinOptions) (signaling.Room, error) {
	room, err := mesh.Dial(ctx, mesh.Config{
		URL: o.url, Room: o.room, PeerID: o.peerID, Peer: o.peer, Announce: o.announce, Messages: o.messages, UntilEmpty: o.untilEmpty, Logger: o.log,
		Token: o.token, Needs: o.needs(),
	})
	if errors.Is(err, mesh.ErrURL) || errors.Is(err, mesh.ErrPeerID) {
		return nil, usageError{err}
	}
	var forwarded *mesh.ForwardedError
	if errors.As(err, &forwarded) { // which only the server knows
		return enterForwarded(forwarded)
	}
	if err != nil {
		return nil, err
	}
	return room, nil
}

func enterForwarded(way *mesh.ForwardedError) (signaling.Room, error) {
	room, err := sfu.Enter(way)
	if err != nil {
		return nil, err
	}
	return room, nil
}

// programName is how files and manifests name what made them.
func programName() string { return "roomtape " + versionString() }

// redacted gives a URL without user, password and query, which may be secrets.
func redacted(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		before, _, _ := strings.Cut(rawURL, "?")
		return before[strings.LastIndexByte(before, '@')+1:]
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	return u.String()
}

// isLoopback tells whether a server's address is this machine's own.
func isLoopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost") || ip != nil && ip.IsLoopback()
}

// joined lists things for people.
func joined[T any](list []T, name func(T) string) string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = name(v)
	}
	return strings.Join(names, ", ")
}
