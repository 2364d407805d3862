//go:build race

package netsim_test

// underRace tells that the race detector watches, which makes everything ten times
// as slow: what takes long is cut down.
const underRace = true
