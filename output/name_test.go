package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for id, want := range map[string]string{
		"alice":          "alice",
		"Alice B. (2)":   "Alice B. (2)",
		"Zoë 日本 😀":       "Zoë 日本 😀",
		"":               "%empty",
		"%empty":         "%25empty",
		".":              "%2E",
		"..":             "%2E%2E",
		"...":            "%2E.%2E",
		"../../x":        "%2E.%2F..%2Fx",
		"/etc/passwd":    "%2Fetc%2Fpasswd",
		`C:\x`:           "C%3A%5Cx",
		"-rf":            "%2Drf",
		"a-b":            "a-b",
		"~root":          "%7Eroot",
		" a ":            "%20a%20",
		"a.":             "a%2E",
		"x\x00y\n\x1b[m": "x%00y%0A%1B[m",
		"a\u202eb":       "a%E2%80%AEb",
		"\xff\xfe":       "%FF%FE",
		"con":            "%63on",
		"NUL.txt":        "%4EUL.txt",
		"COM1":           "%43OM1",
		"lpt¹.x":         "%6Cpt¹.x",
		"COM10":          "COM10",
		"console":        "console",
		"100%":           "100%25",
	} {
		if got := Escape(id); got != want {
			t.Errorf("Escape(%q) = %q; want %q", id, got, want)
		}
	}
}

func TestEscapeShortensLongIds(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{
		strings.Repeat("a", 10_000), strings.Repeat("a", 10_001), strings.Repeat("a", 161), strings.Repeat("a", 162),
		strings.Repeat("é", 100), strings.Repeat("é", 100) + "x", strings.Repeat("/", 60), strings.Repeat("/", 61),
		strings.Repeat("ab/", 60), strings.Repeat("a", 1<<20),
	} {
		name := Escape(id)
		if len(name) > maxEscaped || !utf8.ValidString(name) || !strings.Contains(name, "%~") {
			t.Errorf("an id of %d bytes gives %q", len(id), name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("two ids, of %d and %d bytes, give %q", len(id), len(other), name)
		}
		seen[name] = id
	}
	if got := Escape(strings.Repeat("a", maxEscaped)); got != strings.Repeat("a", maxEscaped) {
		t.Errorf("an id that just fits gives %q", got)
	}
}

// checkName tells what is wrong with a name as one element of a path.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxEscaped || !utf8.ValidString(name):
		return fmt.Errorf("%q is empty, too long, or not UTF-8", name)
	case !fs.ValidPath(name) || name == "." || !filepath.IsLocal(name):
		return fmt.Errorf("%q is no safe path", name)
	case strings.ContainsAny(name, `/\:*?"<>|`) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%q has an unsafe character", name)
	case strings.ContainsAny(name[:1], ".-~ ") || strings.ContainsAny(name[len(name)-1:], ". ") || isDevice(name):
		return fmt.Errorf("%q begins or ends unsafely", name)
	}
	return nil
}

// unescape is the inverse of Escape for names that were not shortened.
func unescape(name string) string {
	if name == emptyName {
		return ""
	}
	var b []byte
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b = append(b, name[i])
			continue
		}
		var c byte
		fmt.Sscanf(name[i+1:i+3], "%02X", &c)
		b = append(b, c)
		i += 2
	}
	return string(b)
}

func TestEscapeIsSafeAndTellsIdsApart(t *testing.T) {
	ids := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`(%|empty|[./\\ ~-]|CON|com[0-9]|%~|25|é){0,12}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := ids.Draw(t, "a"), ids.Draw(t, "b")
		name := Escape(a)
		if err := checkName(name); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(name, "%~") && unescape(name) != a {
			t.Fatalf("%q gives %q, which reads as %q", a, name, unescape(name))
		}
		if a != b && name == Escape(b) {
			t.Fatalf("%q and %q both give %q", a, b, name)
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "..", "a/b", "con.txt", strings.Repeat("é/", 90), "%~", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		name := Escape(id)
		if err := checkName(name); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(name, "%~") && unescape(name) != id {
			t.Fatalf("%q gives %q", id, name)
		}
	})
}

func TestEscapedNamesCanBeMade(t *testing.T) {
	d, _ := openDir(t, DirOptions{NoSync: true, PartialSuffix: ".part"})
	for _, id := range []string{"../../x", "", strings.Repeat("日", 5000), "\x00", "a\nb", "NUL", strings.Repeat("/", 300)} {
		name, err := Expand("{room}/{participant}-{participant}", map[string]string{"room": id, "participant": id})
		if err != nil {
			t.Fatal(err)
		}
		finish(t, create(t, d, name, "x"))
		finish(t, create(t, d, name, "x"))
	}
	entries, err := os.ReadDir(d.root.Name())
	if err != nil || len(entries) != 7 {
		t.Errorf("%d folders, %v; want one for each id", len(entries), err)
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"room": "a/b", "participant": "..", "start": "20260102T030405Z", "empty": ""}
	for template, want := range map[string]string{
		"{room}/{start}":       "a%2Fb/20260102T030405Z",
		"{participant}":        "%2E%2E",
		"x-{participant}.{n}":  "",
		"plain":                "plain",
		"{empty}":              "%empty",
		"a/{room}/c":           "a/a%2Fb/c",
		"":                     "",
		"/{room}":              "",
		"{room}/":              "",
		"a//b":                 "",
		"../{room}":            "",
		"a/./b":                "",
		"{room":                "",
		"room}":                "",
		"{}":                   "",
		"a\\b":                 "",
		"a\x00":                "",
		"\xff":                 "",
		"{{room}}":             "",
		".hidden/{start}":      ".hidden/20260102T030405Z",
		"{start}{start}-again": "20260102T030405Z20260102T030405Z-again",
	} {
		got, err := Expand(template, vars)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrTemplate) {
			t.Errorf("Expand(%q) = %q, %v; want %q", template, got, err, want)
		}
	}
}
