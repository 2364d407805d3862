package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and commit are set by the linker in builds that know them; else what
// the go command recorded is used.
var (
	version string
	commit  string
)

// versionString gives the version alone, such as "v1.2.3" or "devel".
func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// versionLine is what --version prints: version, commit and Go version.
func versionLine() string {
	hash, modified := commit, ""
	if info, ok := debug.ReadBuildInfo(); ok && hash == "" {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				hash = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = ", modified"
			}
		}
	}
	if hash == "" {
		hash = "unknown"
	}
	return fmt.Sprintf("roomtape %s (commit %.12s%s, %s %s/%s)", versionString(), hash, modified, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
