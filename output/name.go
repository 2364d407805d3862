package output

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrTemplate is wrapped by the errors of Expand.
var ErrTemplate = errors.New("bad name template")

const (
	// maxEscaped is the longest that Escape returns, and maxElement the
	// longest element of a path that Expand returns, in bytes: most file
	// systems take 255, and endings, counters and suffixes come after it.
	maxEscaped = 160
	maxElement = 200
	// emptyName stands for an empty id. No other id gives it, as a % is
	// otherwise followed by two digits, or ~ where a name was cut.
	emptyName = "%empty"
)

// Escape turns an id, which may hold anything, into one element of a path that
// is safe and readable on every common system. Different ids give different
// names.
//
// Printable characters of any script are kept, and so are spaces inside. What
// is escaped, byte by byte as % and two upper-case hexadecimal digits, is:
//
//   - % itself, / \ : * ? " < > |, control and other unprintable characters,
//     and bytes that are not UTF-8;
//   - a dot, a dash, a tilde or a space at the beginning, so that nothing is hidden, an
//     option or "..";
//   - a dot or a space at the end, which Windows would drop;
//   - the first letter of the names that Windows keeps for devices (CON, NUL,
//     COM1 and others), with or without an ending.
//
// An empty id is "%empty". What would be longer than 160 bytes is cut, and gets
// %~ and 128 bits of the id's SHA-256 in hexadecimal.
func Escape(id string) string {
	if id == "" {
		return emptyName
	}
	var b strings.Builder
	for i, n := 0, 0; i < len(id); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(id[i:])
		char := id[i : i+n]
		switch {
		case r == utf8.RuneError && n == 1,
			!unicode.IsPrint(r),
			strings.ContainsRune(`%/\:*?"<>|`, r),
			i == 0 && strings.ContainsRune(".-~ ", r),
			i == 0 && isDevice(id),
			i+n == len(id) && (r == '.' || r == ' '):
			for _, c := range []byte(char) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		default:
			b.WriteString(char)
		}
		if b.Len() > 2*maxEscaped {
			break // it will be cut anyway
		}
	}
	return shorten(b.String(), id, maxEscaped)
}

// isDevice tells whether Windows takes a file of this name for a device.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if digit, ok := strings.CutPrefix(base, port); ok {
			return utf8.RuneCountInString(digit) == 1 && strings.Contains("0123456789¹²³", digit)
		}
	}
	return false
}

// shorten cuts an escaped name of more than limit bytes, and marks it with what
// tells it from others that were cut: a hash of the whole, whole.
func shorten(name, whole string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(whole))
	mark := fmt.Sprintf("%%~%x", sum[:16])
	cut := limit - len(mark)
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	// Neither an escape nor an earlier mark is cut in two.
	if i := strings.LastIndexByte(name[:cut], '%'); i >= 0 && cut-i < 3 {
		cut = i
	}
	return name[:cut] + mark
}

// Expand replaces each {name} in a template by the value of that name in vars,
// escaped by [Escape]; a / in the template, unlike one in a value, separates
// folders. The result is a relative, slash-separated path that leads nowhere
// outside. The error wraps ErrTemplate, and says what is wrong with the
// template: a name that vars lacks, a brace without its other, or a path that
// is empty, absolute, or has an element that is not safe as a name.
func Expand(template string, vars map[string]string) (string, error) {
	var b strings.Builder
	for rest := template; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		end := strings.IndexByte(rest, '}')
		if rest[i] == '}' || end < 0 {
			return "", fmt.Errorf("%w %q: a brace without its other", ErrTemplate, template)
		}
		name := rest[i+1 : end]
		value, ok := vars[name]
		if !ok {
			return "", fmt.Errorf("%w %q: there is no {%s}", ErrTemplate, template, name)
		}
		b.WriteString(Escape(value))
		rest = rest[end+1:]
	}
	elements := strings.Split(b.String(), "/")
	for i, e := range elements {
		if err := checkElement(e); err != nil {
			return "", fmt.Errorf("%w %q: %w", ErrTemplate, template, err)
		}
		elements[i] = shorten(e, e, maxElement)
	}
	return strings.Join(elements, "/"), nil
}

// checkElement tells what makes a name unsafe as one element of a path.
func checkElement(e string) error {
	switch {
	case e == "":
		return errors.New("it has an empty element")
	case e == "." || e == "..":
		return fmt.Errorf("it has the element %q", e)
	case !utf8.ValidString(e):
		return errors.New("it is not UTF-8")
	case strings.ContainsFunc(e, func(r rune) bool { return r < ' ' || r == 0x7F || r == '\\' || r == ':' }):
		return fmt.Errorf("%q has a character that file names lack on some systems", e)
	}
	return nil
}
