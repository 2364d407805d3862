package main

import "testing"

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1500000": 1_500_000, "500M": 500_000_000, "500m": 500_000_000, "500MB": 500_000_000, "2G": 2_000_000_000,
		"2GiB": 2 << 30, "16MiB": 16 << 20, "1.5k": 1500, "0.5KiB": 512, "3 TB": 3_000_000_000_000, "7B": 7, "1TiB": 1 << 40,
		"": -1, "M": -1, "-1": -1, "+1": -1, "1e3": -1, "1.2.3": -1, "0x10": -1, "inf": -1, "NaN": -1, "5 X": -1, "9223372036854775808": -1, "9999999T": -1, "1MiBs": -1,
	} {
		got, ok := parseBytes(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %t; want %d", text, got, ok, want)
		}
	}
}
