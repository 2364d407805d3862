package main

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/dump"
)

// defaultReplayName is the template of a file's name: it tells the files of
// several dumps in one folder apart.
const defaultReplayName = "{dump}-{participant}"

func replayCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "turn RTP dumps into recordings through the same pipeline as live, deterministically",
		UsageText: "roomtape replay --map 96=VP8/90000,111=opus/48000/2 call.pcapng",
		ArgsUsage: "DUMP...",
		Description: `DUMP is an rtpdump, pcap, pcapng, Janus .mjr or RFC 4571 file, told by its content, or what
record --dump-rtp wrote; - is stdin, and pipes are read too. Several are one room: captures that follow each other, or the sound and
the picture of one participant. What can be recorded is, and stdout says how its codecs were known.

Two replays of one dump give the same bytes on every machine, and that of record --dump-rtp gives
the bytes of the live recording. --check compares them with a golden file, for CI; without --out it
keeps no recordings. There is no manifest without --session; --json prints it.

` + exitCodes(exitOK, exitInternal, exitUsage, exitStorage, exitDamaged, exitForced),
		Flags: withEnv(
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "recordings go to `DIR` (default: beside the first DUMP, or here when that is a pipe)"},
			&cli.StringFlag{Name: "session", Usage: "`TEMPLATE` of a folder below DIR, with {room}, {start} and {dump} (default: none)"},
			&cli.StringFlag{Name: "name", Value: defaultReplayName, Usage: "`TEMPLATE` of a file's name, without its ending; also {stream}, {start}, {n}"},
			&cli.StringFlag{Name: "format", Value: "webm", Usage: "`FORMAT` of the files: " + joined(formats, func(f format) string { return f.name })},
			&cli.StringFlag{Name: "map", Usage: "what payload types are: `LIST` such as 96=VP8/90000,111=opus/48000/2"},
			&cli.StringFlag{Name: "sdp", Usage: "`FILE` with an SDP that says what payload types are"},
			&cli.StringFlag{Name: "srtp-key", Usage: "decrypt with `KEY`: 30 bytes of master key and salt in base64 or hexadecimal"},
			&cli.StringFlag{Name: "on-change", Value: "same-file", Usage: "`WHERE` a video goes on when its size changes: same-file or new-file"},
			&cli.DurationFlag{Name: "rotate-every", Usage: "begin a new file every `TIME`, at a keyframe (default: as it was live; 0: never)"},
			&cli.StringFlag{Name: "rotate-size", Usage: "begin a new file, at a keyframe, when one has about `BYTES`, such as 500M or 2GiB (default: as it was live; 0: never)"},
			&cli.DurationFlag{Name: "chunk", Value: recorder.DefaultChunk, Usage: "chunks of the file are at most `TIME` long, from 100ms to 10s"},
			&cli.DurationFlag{Name: "max-wait-loss", Value: recorder.DefaultMaxWaitLoss, Usage: "wait for a missing packet for `TIME` of the dump, while it could still be sent again"},
			&cli.Float64Flag{Name: "speed", Usage: "replay at `SPEED`: 1 is real time (default: as fast as possible)"},
			&cli.StringFlag{Name: "check", Usage: "compare the result with `GOLDEN.json`, and exit 7 when it differs"},
			&cli.BoolFlag{Name: "update", Usage: "write the file of --check instead"},
			&cli.BoolFlag{Name: "json", Usage: "the manifest, and what is in the dump, on stdout"},
		),
		Action: func(c *cli.Context) error {
			logs, err := logOptionsOf(c)
			if err != nil {
				return err
			}
			o, err := replayOptionsOf(c)
			if err != nil {
				return err
			}
			o.dump.Stdin = std.in
			return replay(c.Context, o, std, logs)
		},
	}
}

// replayOptionsOf reads the flags and checks them; its errors are usage errors.
func replayOptionsOf(c *cli.Context) (replayOptions, error) {
	o := replayOptions{
		dumps: c.Args().Slice(), out: c.String("out"), session: c.String("session"), name: c.String("name"),
		speed: c.Float64("speed"), check: c.String("check"), update: c.Bool("update"), json: c.Bool("json"),
	}
	var err error
	if !c.Args().Present() {
		return o, usagef("which DUMP? such as: roomtape replay call.pcapng")
	}
	if o.format, err = findFormat(c.String("format")); err != nil {
		return o, err
	}
	if c.IsSet("chunk") {
		o.chunk = c.Duration("chunk")
		if o.chunk < minChunk || o.chunk > maxChunk {
			return o, usagef("--chunk %v is not from %v to %v", o.chunk, minChunk, maxChunk)
		}
	}
	if c.IsSet("max-wait-loss") {
		if o.maxWaitLoss = orNone(c.Duration("max-wait-loss")); c.Duration("max-wait-loss") < 0 {
			return o, usagef("--max-wait-loss %v is less than nothing", c.Duration("max-wait-loss"))
		}
	}
	if c.IsSet("on-change") {
		o.onChange = c.String("on-change")
		if o.onChange != "same-file" && o.onChange != "new-file" {
			return o, usagef("--on-change %q is neither same-file nor new-file", o.onChange)
		}
	}
	if c.IsSet("rotate-every") || c.IsSet("rotate-size") {
		r, err := parseRotation(c.Duration("rotate-every"), c.String("rotate-size"))
		if err != nil {
			return o, err
		}
		o.rotate = &r
	}
	if o.speed < 0 || math.IsNaN(o.speed) || math.IsInf(o.speed, 0) || c.IsSet("speed") && o.speed == 0 {
		return o, usagef("--speed %v is no speed", o.speed)
	}
	if o.update && o.check == "" {
		return o, usagef("--update needs --check GOLDEN.json")
	}
	return o, o.read(c.String("map"), c.String("sdp"), c.String("srtp-key"))
}

// read sets how the dump is read, and checks the templates.
func (o *replayOptions) read(mapping, sdp, key string) (err error) {
	if mapping != "" {
		if o.dump.Map, err = dump.ParseMap(mapping); err != nil {
			return usagef("--map: %w", err)
		}
	}
	if sdp != "" {
		if o.dump.SDP, err = os.ReadFile(sdp); err != nil {
			return usagef("--sdp: %w", err)
		}
	}
	if key != "" {
		if o.dump.SRTPKey = parseKey(key); o.dump.SRTPKey == nil {
			return usagef("--srtp-key is not 30 bytes in base64 or hexadecimal")
		}
	}
	if o.session != "" {
		if _, err := output.Expand(o.session, replaySessionVars("room", "dump", time.Time{})); err != nil {
			return usagef("--session: %w", err)
		}
	}
	if _, err := output.Expand(o.name, map[string]string{"dump": "d", "participant": "p", "stream": "s", "start": "t", "n": "1"}); err != nil {
		return usagef("--name: %w", err)
	}
	return nil
}

// parseKey reads a key of 30 bytes, or gives nil.
func parseKey(s string) []byte {
	const size = 30
	for _, decode := range []func(string) ([]byte, error){
		base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString, hex.DecodeString,
	} {
		if b, err := decode(s); err == nil && len(b) == size {
			return b
		}
	}
	if len(s) == size { // as it is
		return []byte(s)
	}
	return nil
}
