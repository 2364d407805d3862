package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/peer"
)

// The shortest and the longest chunk. A shorter one is mostly overhead, and a
// longer one costs more in a crash than anyone would want.
const (
	minChunk = 100 * time.Millisecond
	maxChunk = 10 * time.Second
)

func recordCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "record",
		Usage:     "join ROOM and record every participant until stopped",
		UsageText: "roomtape record --duration 1h wss://rooms.example.org/standup",
		ArgsUsage: "ROOM",
		Description: `ROOM is ws://HOST/PATH/NAME or wss://…: the last element of the path is the room's name.
With --room NAME the URL is used whole as the server's address.

The first SIGINT or SIGTERM finalizes every file and ends as usual; a second one ends at once,
and what was flushed stays playable. With --json, stdout is the manifest and nothing else.

When the room's server goes away, recording goes on as long as media comes, and the room is joined
again as soon as the server is back. When it has been gone for a minute and no media comes, or none
has come for --until-empty, the files are completed and the exit code is 6.

` + exitCodes(exitOK, exitInternal, exitUsage, exitJoin, exitNoMedia, exitStorage, exitLost, exitForced),
		Flags: recordFlags(),
		Action: func(c *cli.Context) error {
			logs, err := logOptionsOf(c)
			if err != nil {
				return err
			}
			o, err := recordOptionsOf(c)
			if err != nil {
				return err
			}
			return record(c.Context, o, std, logs)
		},
	}
}

// recordFlags are the flags of record, in the order of its help.
func recordFlags() []cli.Flag {
	return append(withEnv(
		&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Value: "recordings", Usage: "recordings go to `DIR`; - writes the first participant's WebM to stdout"},
		&cli.StringFlag{Name: "session", Value: defaultSession, Usage: "`TEMPLATE` of the session's folder below DIR"},
		&cli.StringFlag{Name: "name", Value: recorder.DefaultName, Usage: "`TEMPLATE` of a file's name, without its ending; also {stream}, {start}, {n}"},
		&cli.StringFlag{Name: "partial-suffix", Usage: "`SUFFIX` of a file while it grows, e.g. .part"},
		&cli.StringFlag{Name: "format", Value: "webm", Usage: "`FORMAT` of the files: " + joined(formats, func(f format) string { return f.name })},
		&cli.StringFlag{Name: "codecs", Value: codecList(videoCodecs()), Usage: "`LIST` of video codecs to offer, in order"},
		&cli.StringFlag{Name: "only", Usage: "record one `KIND` only: audio or video"},
		&cli.StringFlag{Name: "participants", Usage: "record the participants whose id matches `GLOB` only"},
		&cli.DurationFlag{Name: "chunk", Value: recorder.DefaultChunk, Usage: "a crash may cost `TIME` of media, from 100ms to 10s"},
		&cli.StringFlag{Name: "fsync", Value: recorder.FsyncChunk.String(), Usage: "`WHEN` files are made to survive a power cut: chunk, close or never"},
		&cli.StringFlag{Name: "on-change", Value: "same-file", Usage: "`WHERE` a video goes on when its size changes: same-file or new-file"},
		&cli.DurationFlag{Name: "rotate-every", Usage: "begin a new file every `TIME`, at a keyframe (default: off)"},
		&cli.StringFlag{Name: "rotate-size", Usage: "begin a new file, at a keyframe, when one has about `BYTES`, such as 500M or 2GiB (default: off)"},
		&cli.StringFlag{Name: "disk-reserve", Value: "200M", Usage: "warn when less than `BYTES` of disk are free (0: never)"},
		&cli.StringFlag{Name: "disk-floor", Usage: "finish every file and exit 5 when less than `BYTES` of disk are free, or less than that takes (0: when the disk is full)", DefaultText: "16M, or 5 % of a small disk"},
		&cli.DurationFlag{Name: "max-wait-loss", Value: recorder.DefaultMaxWaitLoss, Usage: "wait for a missing packet for `TIME`, while it can still be sent again"},
		&cli.StringFlag{Name: "room", Usage: "`NAME` of the room; the URL is then used whole"},
		&cli.StringFlag{Name: "peer-id", Usage: "the bot's `ID` in the room (default: recorder-<random>)"},
		&cli.DurationFlag{Name: "join-timeout", Value: 30 * time.Second, Usage: "reach the room within `TIME`, or exit 3"},
		&cli.DurationFlag{Name: "wait", Value: 10 * time.Minute, Usage: "media must come within `TIME`, or exit 4 (0 waits for ever)"},
		&cli.DurationFlag{Name: "until-empty", Value: time.Minute, Usage: "leave when nobody has been there for `TIME` (0: never)"},
		&cli.DurationFlag{Name: "duration", Usage: "leave after `TIME` (default: stay)", DefaultText: "none"},
		&cli.StringSliceFlag{Name: "ice-server", Usage: "`URL` of a STUN or TURN server, repeatable; stun:HOST, turn:USER:PASSWORD@HOST, turns:…"},
		turnSecretFlag(),
		&cli.StringFlag{Name: "ice-policy", Value: "all", Usage: "`POLICY`: all, or relay to force TURN"},
		&cli.BoolFlag{Name: "dump-rtp", Usage: "also keep what arrives, as dump.pcapng beside the recordings, for replay and Wireshark"},
		&cli.BoolFlag{Name: "messages", Value: true, Usage: "keep what participants say over data channels, as messages.jsonl beside the recordings"},
		&cli.BoolFlag{Name: "allow-control", Usage: "let participants pause, mark, stop and start the recording by messages"},
		&cli.BoolFlag{Name: "announce", Value: true, Usage: "tell the room that it is being recorded"},
		&cli.StringFlag{Name: "publish", Usage: "also show `SOURCE` in the room, as publish does: screen, pattern, …"},
		&cli.BoolFlag{Name: "stats", Value: true, Usage: "keep what each second was like, as stats.jsonl beside the recordings"},
		metricsFlag(),
		&cli.StringFlag{Name: "exec-after", Usage: "shell `COMMAND` to run when a file is final, with $ROOMTAPE_FILE and $ROOMTAPE_MANIFEST"},
		&cli.BoolFlag{Name: "json", Usage: "the manifest on stdout at the end"},
	), withEnv(tokenFlags()...)...)
}

// recordOptionsOf reads the flags and checks them; its errors are usage errors.
func recordOptionsOf(c *cli.Context) (recordOptions, error) {
	o := recordOptions{
		out: c.String("out"), session: c.String("session"), name: c.String("name"), partialSuffix: c.String("partial-suffix"),
		participants: c.String("participants"), chunk: c.Duration("chunk"), maxWaitLoss: c.Duration("max-wait-loss"),
		peerID: c.String("peer-id"), joinTimeout: c.Duration("join-timeout"),
		wait: c.Duration("wait"), untilEmpty: c.Duration("until-empty"), duration: c.Duration("duration"),
		stats: c.Bool("stats"), announce: c.Bool("announce"), dumpRTP: c.Bool("dump-rtp"), messages: c.Bool("messages"), allowControl: c.Bool("allow-control"), execAfter: c.String("exec-after"), json: c.Bool("json"),
	}
	rawURL, err := oneArgument(c, "ROOM", "wss://rooms.example.org/standup")
	if err != nil {
		return o, err
	}
	if o.token, err = tokenOf(c); err != nil {
		return o, err
	}
	if c.IsSet("room") && c.String("room") == "" {
		return o, usagef("--room is empty")
	}
	if o.kind, o.url, o.room, err = findRoom(rawURL, c.String("room")); err != nil {
		return o, err
	}
	if o.format, err = findFormat(c.String("format")); err != nil {
		return o, err
	}
	if o.codecs, err = parseCodecs(c.String("codecs")); err != nil {
		return o, err
	}
	lacks := func(c media.Codec) bool { return slices.Contains(o.format.lacks, c) }
	if o.codecs = slices.DeleteFunc(o.codecs, lacks); len(o.codecs) == 0 {
		return o, usagef("--codecs %q: --format %s carries none of them", c.String("codecs"), o.format.name)
	}
	if o.fsync, err = recorder.ParseFsync(c.String("fsync")); err != nil {
		return o, usagef("--fsync %q is none of chunk, close, never", c.String("fsync"))
	}
	switch c.String("only") {
	case "":
	case "audio":
		o.only = media.Audio
	case "video":
		o.only = media.Video
	default:
		return o, usagef("--only %q is neither audio nor video", c.String("only"))
	}
	switch c.String("on-change") {
	case "same-file":
	case "new-file":
		o.newFileOnChange = true
	default:
		return o, usagef("--on-change %q is neither same-file nor new-file", c.String("on-change"))
	}
	if o.diskReserve, o.diskFloor, err = diskOptionsOf(c); err != nil {
		return o, err
	}
	if o.rotate, err = parseRotation(c.Duration("rotate-every"), c.String("rotate-size")); err != nil {
		return o, err
	}
	if o.iceServers, o.relayOnly, err = iceOptionsOf(c); err != nil {
		return o, err
	}
	if c.IsSet("publish") {
		if o.publishes, err = recordSourceOf(c.String("publish"), &o); err != nil {
			return o, err
		}
	}
	if o.metrics, err = metricsAddr(c); err != nil {
		return o, err
	}
	return o, o.check()
}

// recordSourceOf gives what --publish of a recording shows, in the first codec
// offered that can be encoded; its errors are usage errors.
func recordSourceOf(text string, o *recordOptions) (*sourceOptions, error) {
	kind, what, err := findSource(text)
	if err != nil {
		return nil, err
	}
	s := &sourceOptions{kind: kind, what: what, audio: "none", Constraints: capture.Constraints{FrameRate: defaultFrameRate, Bitrate: defaultBitrate}}
	if kind.ownSound && o.only != media.Video {
		s.audio, s.Audio = "source", media.Opus
	}
	for _, codec := range o.codecs {
		if slices.Contains(publishedCodecs, codec) {
			s.Video = codec
			return s, nil
		}
	}
	return nil, usagef("--publish: --codecs has none that can be encoded, which are %s", codecList(publishedCodecs))
}

// iceOptionsOf reads the flags about ICE; its errors are usage errors.
func iceOptionsOf(c *cli.Context) (servers []peer.ICEServer, relayOnly bool, err error) {
	switch c.String("ice-policy") {
	case "all":
	case "relay":
		relayOnly = true
	default:
		return nil, false, usagef("--ice-policy %q is neither all nor relay", c.String("ice-policy"))
	}
	if servers, err = iceServersOf(c); err != nil {
		return nil, false, err
	}
	if relayOnly && !slices.ContainsFunc(servers, func(s peer.ICEServer) bool { return s.User != "" }) {
		return nil, false, usagef("--ice-policy relay needs an --ice-server turn:USER:PASSWORD@HOST, or turn:HOST and --turn-secret")
	}
	return servers, relayOnly, nil
}

// check tells what is wrong with the values of flags; its errors are usage
// errors.
func (o *recordOptions) check() error {
	if o.chunk < minChunk || o.chunk > maxChunk {
		return usagef("--chunk %v is not from %v to %v", o.chunk, minChunk, maxChunk)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"max-wait-loss", o.maxWaitLoss}, {"wait", o.wait}, {"until-empty", o.untilEmpty}, {"duration", o.duration},
	} {
		if d.value < 0 {
			return usagef("--%s %v is less than nothing", d.flag, d.value)
		}
	}
	if o.joinTimeout <= 0 {
		return usagef("--join-timeout %v leaves no time to join", o.joinTimeout)
	}
	if _, err := path.Match(o.participants, ""); err != nil {
		return usagef("--participants %q is no glob: %w", o.participants, err)
	}
	if _, err := output.Expand(o.session, sessionVars("room", time.Time{})); err != nil {
		return usagef("--session: %w", err)
	}
	if _, err := output.Expand(o.name, map[string]string{"participant": "p", "stream": "s", "start": "t", "n": "1"}); err != nil {
		return usagef("--name: %w", err)
	}
	if strings.ContainsAny(o.partialSuffix, "/\\\x00") {
		return usagef("--partial-suffix %q holds a slash", o.partialSuffix)
	}
	switch {
	case o.out == "":
		return usagef("--out is empty")
	case o.out == stdoutName && o.json:
		return usagef("--json and --out - would both write to stdout")
	case o.out == stdoutName && o.dumpRTP:
		return usagef("--dump-rtp needs a folder, and --out - has none")
	case o.out == stdoutName && o.execAfter != "":
		return usagef("--exec-after needs files, and --out - writes none")
	case o.out == stdoutName && o.rotate != rotation{}:
		return usagef("--rotate-every and --rotate-size need a folder, and --out - has none")
	}
	return nil
}

// parseCodecs reads the value of --codecs.
func parseCodecs(list string) ([]media.Codec, error) {
	supported := videoCodecs()
	var codecs []media.Codec
	for _, name := range strings.Split(list, ",") {
		c := media.ParseCodec(strings.TrimSpace(name))
		if !slices.Contains(supported, c) {
			return nil, usagef("--codecs: %q is none of %s", strings.TrimSpace(name), codecList(supported))
		}
		if !slices.Contains(codecs, c) {
			codecs = append(codecs, c)
		}
	}
	return codecs, nil
}

// codecList spells codecs as --codecs does.
func codecList(codecs []media.Codec) string {
	names := make([]string, len(codecs))
	for i, c := range codecs {
		names[i] = strings.ToLower(fmt.Sprint(c))
	}
	return strings.Join(names, ",")
}
