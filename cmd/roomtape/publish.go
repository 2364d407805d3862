package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/peer"
)

// publishedCodecs are those that can be encoded.
var publishedCodecs = []media.Codec{media.VP8, media.VP9, media.AV1, media.H264}

// What is published when nothing else is asked for.
const (
	defaultFrameRate  = 30
	defaultBitrate    = 2_500_000
	defaultMinBitrate = 150_000
)

func publishCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "publish",
		Usage:     "show a screen, a web page, a file or a test picture in a room",
		UsageText: "roomtape publish --source screen wss://rooms.example.org/standup",
		ArgsUsage: "ROOM",
		Description: `Joins ROOM as one more participant, who receives nothing. What is shown is encoded once,
however many watch, and follows what the slowest of them can receive, down to --min-bitrate.

` + sourceHelp() + `
With --control, commands are {"source":"screen"} (goes over to another source, and back to the first
one when that ends), {"bitrate":800000} (at most), {"mute":true} and {"stop":true}, each on a line; each
is answered by {"ok":true} or {"ok":false,"error":"…"}.

` + exitCodes(exitOK, exitInternal, exitUsage, exitJoin, exitLost, exitDamaged, exitSource, exitForced),
		Flags: publishFlags(),
		Action: func(c *cli.Context) error {
			logs, err := logOptionsOf(c)
			if err != nil {
				return err
			}
			o, err := publishOptionsOf(c)
			if err != nil {
				return err
			}
			return publish(c.Context, o, std, logs.logger(std.err))
		},
	}
}

// publishFlags are the flags of publish, in the order of its help.
func publishFlags() []cli.Flag {
	return append(withEnv(
		&cli.StringFlag{Name: "source", Value: "screen", Usage: "`WHAT` is shown"},
		&cli.StringFlag{Name: "size", Usage: "`WIDTHxHEIGHT` of the picture at most (default: what the source has)"},
		&cli.IntFlag{Name: "fps", Value: defaultFrameRate, Usage: "`N` pictures a second"},
		&cli.StringFlag{Name: "codec", Value: "vp8", Usage: "video `CODEC`: " + codecList(publishedCodecs) + " (a file that is played as it is has its own)"},
		&cli.StringFlag{Name: "encoder", Usage: "`NAME` of an encoder of ffmpeg's in place of the usual one, such as a hardware encoder"},
		&cli.StringFlag{Name: "bitrate", Value: "2500k", Usage: "at most `N` bit/s of video, such as 800k or 2.5M"},
		&cli.StringFlag{Name: "min-bitrate", Value: "150k", Usage: "never less than `N` bit/s, however slow a viewer is"},
		&cli.StringFlag{Name: "cursor", Value: "always", Usage: "`WHEN` the pointer is in the picture: always or never (of a page: never)"},
		&cli.StringFlag{Name: "audio", Value: "none", Usage: "`WHAT` is heard: none, system, or file:PATH; pattern and file: have their own (source)"},
		&cli.BoolFlag{Name: "loop", Usage: "begin a file again when it has ended"},
		&cli.StringFlag{Name: "room", Usage: "`NAME` of the room; the URL is then used whole"},
		&cli.StringFlag{Name: "peer-id", Usage: "the bot's `ID` in the room (default: <source>-<random>)"},
		&cli.DurationFlag{Name: "join-timeout", Value: 30 * time.Second, Usage: "reach the room within `TIME`, or exit 3"},
		&cli.DurationFlag{Name: "duration", Usage: "leave after `TIME` (default: stay)", DefaultText: "none"},
		&cli.StringSliceFlag{Name: "ice-server", Usage: "`URL` of a STUN or TURN server, repeatable; stun:HOST, turn:USER:PASSWORD@HOST, turns:…"},
		turnSecretFlag(),
		&cli.StringFlag{Name: "ice-policy", Value: "all", Usage: "`POLICY`: all, or relay to force TURN"},
		metricsFlag(),
		&cli.StringFlag{Name: "control", Usage: "take commands as lines of JSON from `WHERE`: stdin, or unix:PATH"},
		&cli.BoolFlag{Name: "json", Usage: "what was sent to whom, on stdout at the end"},
	), withEnv(tokenFlags()...)...)
}

// publishOptions is what publish can be asked for.
type publishOptions struct {
	kind                  roomKind
	url, room             string // as kind.parse gave them
	source                sourceOptions
	minBitrate            int
	peerID                string
	joinTimeout, duration time.Duration
	iceServers            []peer.ICEServer
	relayOnly, json       bool
	control, metrics      string
	token                 func() (string, error) // nil: none
}

// publishOptionsOf reads the flags and checks them; its errors are usage errors.
func publishOptionsOf(c *cli.Context) (publishOptions, error) {
	o := publishOptions{
		peerID: c.String("peer-id"), joinTimeout: c.Duration("join-timeout"), duration: c.Duration("duration"),
		control: c.String("control"), json: c.Bool("json"),
	}
	rawURL, err := oneArgument(c, "ROOM", "wss://rooms.example.org/standup")
	if err != nil {
		return o, err
	}
	if o.kind, o.url, o.room, err = findRoom(rawURL, c.String("room")); err != nil {
		return o, err
	}
	if o.token, err = tokenOf(c); err != nil {
		return o, err
	}
	if o.joinTimeout <= 0 {
		return o, usagef("--join-timeout %v leaves no time to join", o.joinTimeout)
	}
	if o.duration < 0 {
		return o, usagef("--duration %v is less than nothing", o.duration)
	}
	if o.iceServers, o.relayOnly, err = iceOptionsOf(c); err != nil {
		return o, err
	}
	if err := checkControl(o.control); err != nil {
		return o, err
	}
	if o.metrics, err = metricsAddr(c); err != nil {
		return o, err
	}
	if o.minBitrate, err = parseBitrate(c.String("min-bitrate")); err != nil {
		return o, usagef("--min-bitrate: %w", err)
	}
	if o.source, err = sourceOptionsOf(c); err != nil {
		return o, err
	}
	if o.minBitrate > o.source.Bitrate {
		return o, usagef("--min-bitrate %d is more than --bitrate %d", o.minBitrate, o.source.Bitrate)
	}
	return o, nil
}

// sourceOptions is what is published, and how.
type sourceOptions struct {
	capture.Constraints
	kind  sourceKind
	what  string // as kind.parse gave it
	audio string
	loop  bool
}

// sourceOptionsOf reads the flags that concern the source; its errors are usage
// errors.
func sourceOptionsOf(c *cli.Context) (sourceOptions, error) {
	o := sourceOptions{audio: c.String("audio"), loop: c.Bool("loop")}
	var err error
	if o.kind, o.what, err = findSource(c.String("source")); err != nil {
		return o, err
	}
	o.FrameRate, o.Encoder = c.Int("fps"), c.String("encoder")
	if o.FrameRate < 1 {
		return o, usagef("--fps %d is less than 1", o.FrameRate)
	}
	if o.Width, o.Height, err = parseSize(c.String("size")); err != nil {
		return o, usagef("--size: %w", err)
	}
	if o.Bitrate, err = parseBitrate(c.String("bitrate")); err != nil {
		return o, usagef("--bitrate: %w", err)
	}
	if o.Video = media.ParseCodec(c.String("codec")); !slices.Contains(publishedCodecs, o.Video) {
		return o, usagef("--codec %q is none of %s", c.String("codec"), codecList(publishedCodecs))
	}
	o.AnyVideo = !c.IsSet("codec")
	switch c.String("cursor") {
	case "always":
		o.HideCursor = o.kind.noCursor && !c.IsSet("cursor")
	case "never":
		o.HideCursor = true
	default:
		return o, usagef("--cursor %q is neither always nor never", c.String("cursor"))
	}
	path, file := strings.CutPrefix(o.audio, "file:")
	switch {
	case o.audio == "none" && o.kind.ownSound && !c.IsSet("audio"):
		o.audio = "source"
	case o.audio == "none", o.audio == "system", o.audio == "source" && o.kind.ownSound, file && path != "":
	default:
		return o, usagef("--audio %q is none of none, system, file:PATH", o.audio)
	}
	if o.audio != "none" {
		o.Audio = media.Opus
	}
	if err := o.Check(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// parseBitrate reads a bitrate that can be published; see parseRate.
func parseBitrate(s string) (int, error) {
	b, err := parseRate(s)
	switch {
	case err != nil:
		return 0, err
	case b < capture.MinBitrate:
		return 0, fmt.Errorf("%q is less than %dk", s, capture.MinBitrate/1000)
	case b > capture.MaxBitrate:
		return 0, fmt.Errorf("%q is more than %dM", s, capture.MaxBitrate/1_000_000)
	}
	return b, nil
}

// parseRate reads a number of bit/s, with k or M after it for a thousand or a
// million: less than 1000M.
func parseRate(s string) (int, error) {
	number, unit := s, 1.0
	for suffix, times := range map[string]float64{"k": 1e3, "K": 1e3, "m": 1e6, "M": 1e6} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = n, times
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f > 0 && f*unit < 1e9) {
		return 0, fmt.Errorf("%q is no bitrate: want one as 800k or 2.5M", s)
	}
	return int(f * unit), nil
}

// parseSize reads "1280x720", and "" as nothing.
func parseSize(s string) (width, height int, err error) {
	if s == "" {
		return 0, 0, nil
	}
	w, h, ok := strings.Cut(s, "x")
	width, err1 := strconv.Atoi(w)
	height, err2 := strconv.Atoi(h)
	if !ok || err1 != nil || err2 != nil || width < 16 || height < 16 || width%2 != 0 || height%2 != 0 {
		return 0, 0, fmt.Errorf("%q is no size: want one as 1280x720, of even numbers", s)
	}
	return width, height, nil
}
