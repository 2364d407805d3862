package message

import (
	"encoding/json"
	"testing"
)

func TestMembers(t *testing.T) {
	for _, c := range []struct{ in, with, without string }{
		{`{}`, `{"from":"a\"b"}`, `{}`},
		{` {"z":1, "a":[2]} `, `{"z":1, "a":[2],"from":"a\"b"}`, `{"z":1, "a":[2]}`},
		{`{"from":"eve","x":1}`, `{"x":1,"from":"a\"b"}`, `{"x":1}`},
	} {
		got, ok := WithMember([]byte(c.in), MemberFrom, `a"b`)
		if !ok || string(got) != c.with || !json.Valid(got) {
			t.Errorf("%s becomes %s, want %s", c.in, got, c.with)
		}
		if back := WithoutMember(got, MemberFrom, `a"b`); string(back) != c.without {
			t.Errorf("%s becomes %s again, want %s", got, back, c.without)
		}
	}
	for _, bad := range []string{``, `null`, `[]`, `"x"`, `{`, `{} {}`} {
		if got, ok := WithMember([]byte(bad), "a", "b"); ok {
			t.Errorf("%s becomes %s", bad, got)
		}
	}
}
