package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

// Bounds of the look for orphans: it must not hold up a recording.
const (
	maxOrphanEntries  = 20_000 // files and folders looked at
	maxOrphans        = 1_000
	maxOrphanManifest = 4 << 20 // bytes
	maxOrphanPaths    = 5       // named in the log
	// orphanAge is how long a session has been quiet that is taken for dead
	// where folders have no locks.
	orphanAge = 15 * time.Minute
)

// findOrphans gives the recordings below a folder that were not finished, and
// that nobody is writing any more: their session's manifest says that it is
// recording, and its process is gone. Those that have been repaired are left out.
func findOrphans(dir, partialSuffix string, now time.Time) []string {
	var orphans []string
	entries := 0
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if entries++; entries > maxOrphanEntries || len(orphans) >= maxOrphans {
			return fs.SkipAll
		}
		if err == nil && e.Type().IsRegular() && e.Name() == recorder.ManifestName {
			orphans = append(orphans, orphansOf(path, partialSuffix, now)...)
		}
		return nil // what can't be read is nobody's orphan
	})
	return orphans
}

// orphansOf gives the orphans of one session.
func orphansOf(manifest, partialSuffix string, now time.Time) []string {
	f, err := os.Open(manifest)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	var m recorder.Manifest
	if json.NewDecoder(io.LimitReader(f, maxOrphanManifest)).Decode(&m) != nil || m.State != recorder.StateRecording {
		return nil
	}
	dir := filepath.Dir(manifest)
	if !abandoned(dir, f, now) {
		return nil
	}
	var orphans []string
	for _, file := range m.Files {
		path := filepath.FromSlash(file.Path)
		if !filepath.IsLocal(path) || len(orphans) == maxOrphans {
			continue
		}
		path = filepath.Join(dir, path)
		for _, p := range []string{path, path + partialSuffix} {
			if unfinished(p) {
				orphans = append(orphans, p)
				break
			}
		}
	}
	return orphans
}

// abandoned tells whether the process that records into a folder is gone.
func abandoned(dir string, manifest *os.File, now time.Time) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer func() { _ = d.Close() }() // and the lock is given back
	taken, err := lockFolder(d)
	if err == nil {
		return taken
	}
	info, err := manifest.Stat()
	return err == nil && now.Sub(info.ModTime()) > orphanAge
}

// unfinished tells whether a file is a recording that is not whole, and has no
// repaired one beside it.
func unfinished(path string) bool {
	f, info, err := openRegular(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	if webm.Finished(f, info.Size()) {
		return false
	}
	stem, ext := repairedName(filepath.Base(path))
	_, err = os.Lstat(filepath.Join(filepath.Dir(path), stem+ext))
	return err != nil
}

// tellOrphans logs one line about recordings that a crash has left.
func tellOrphans(orphans []string, log *slog.Logger) {
	if len(orphans) == 0 {
		return
	}
	named := orphans[:min(len(orphans), maxOrphanPaths)]
	command := "roomtape repair"
	for _, path := range named {
		command += " " + shellQuote(path)
	}
	if len(named) < len(orphans) {
		command += " …"
	}
	log.Warn("earlier recordings were cut off and can be repaired", "files", len(orphans),
		"folders", strings.Join(foldersOf(named), ", "), "repair", command)
}

// foldersOf gives the folders of paths, each once.
func foldersOf(paths []string) []string {
	var folders []string
	for _, p := range paths {
		if d := filepath.Dir(p); len(folders) == 0 || folders[len(folders)-1] != d {
			folders = append(folders, d)
		}
	}
	return folders
}
