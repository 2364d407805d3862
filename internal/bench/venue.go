package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

const (
	room      = "bench"
	fps       = 30
	opusBytes = 100
)

// runVenue is the process with the room server and the publishers. It prints
// the room's URL, and after a line on stdin how many video frames each
// publisher has sent; then they leave. The server stays until stdin ends.
func runVenue(ctx context.Context, s settings) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rooms := &http.Server{Handler: server.New(server.Config{}), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = rooms.Serve(listener) }() // it ends with Close
	defer func() { _ = rooms.Close() }()      // nobody is left in it
	url := fmt.Sprintf("ws://%s/ws/%s", listener.Addr(), room)

	clip := newClip(s.bitrate)
	var publishers []*synthetic.Peer
	for i := range s.publishers {
		p, err := synthetic.Join(ctx, synthetic.Config{URL: url, Room: room, PeerID: id(i), Clip: clip, Reserved: true, Loopback: true})
		if err != nil {
			return fmt.Errorf("publisher %d: %w", i, err)
		}
		defer func() { _ = p.Close() }() // again, where all goes well
		publishers = append(publishers, p)
	}
	fmt.Println(url)
	orders := bufio.NewScanner(os.Stdin)
	orders.Scan()
	sent := map[string]int64{}
	for i, p := range publishers {
		p.Stop()
		sent[id(i)], _ = p.Sent()
	}
	if err := json.NewEncoder(os.Stdout).Encode(sent); err != nil {
		return err
	}
	for _, p := range publishers {
		_ = p.Close()
	}
	orders.Scan()
	return nil
}

func id(publisher int) string { return fmt.Sprintf("p%02d", publisher) }

// newClip is a second of VP8 frames (RFC 6386 §9.1) of one size with true
// headers and no picture, and of Opus packets.
func newClip(bitrate int) *synthetic.Clip {
	var video, audio [][]byte
	for i := range fps {
		b := make([]byte, bitrate/8/fps)
		const firstPartition = 1000                 // bytes
		tag := uint32(1 | 1<<4 | firstPartition<<5) // interframe, shown
		if i == 0 {
			tag &^= 1
			copy(b[3:], []byte{0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02}) // 1280x720
		}
		b[0], b[1], b[2] = byte(tag), byte(tag>>8), byte(tag>>16)
		video = append(video, b)
	}
	for range 50 {
		b := make([]byte, opusBytes)
		b[0] = 0xfc // CELT, fullband, 20 ms, stereo, one frame (RFC 6716 §3.1)
		audio = append(audio, b)
	}
	return synthetic.NewClip(media.VP8, 1280, 720, time.Second/fps, video, audio)
}
