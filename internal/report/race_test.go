//go:build race

package report_test

// raced is set under the race detector.
const raced = true
