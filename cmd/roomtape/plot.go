package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/roomtape/roomtape/internal/plot"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

// checkPlot tells what is wrong with the value of --plot; its errors are usage
// errors.
func checkPlot(name string, files int) error {
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case name == "":
		return nil
	case ext != ".svg" && ext != ".png":
		return usagef("--plot %q ends in neither .svg nor .png", name)
	case files > 1:
		return usagef("--plot draws one FILE, and %d are given", files)
	}
	return nil
}

// plotter collects what --plot draws; nil draws nothing.
type plotter struct {
	name      string // of the picture
	recording plot.Recording
}

func newPlotter(name string) *plotter {
	if name == "" {
		return nil
	}
	return &plotter{name: name}
}

// collect gives what takes the blocks, or nil.
func (p *plotter) collect() func(webm.Block, webm.Track) {
	if p == nil {
		return nil
	}
	return p.recording.Add
}

// write draws the picture of a file that has been read.
func (p *plotter) write(file string) error {
	if p == nil || p.recording.Frames() == 0 {
		return nil
	}
	title := printable(filepath.Base(file))
	var b []byte
	var err error
	if strings.EqualFold(filepath.Ext(p.name), ".png") {
		b, err = p.recording.PNG(title)
	} else {
		b = p.recording.SVG(title)
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.name, b, 0o666); err != nil {
		return fmt.Errorf("%w: writing the plot: %w", recorder.ErrStorage, err)
	}
	return nil
}
