package archive

import (
	"errors"
	"net/http"
	"strings"

	"github.com/roomtape/roomtape/signaling/token"
)

// cookieName is the cookie that brings a browser's token.
const cookieName = "roomtape-recordings"

// maxForm is the largest form that is read, in bytes.
const maxForm = 2 * token.MaxLength

var errRight = errors.New("the token gives no right to record")

// admit gives what a request may, or answers it.
func (a *Archive) admit(w http.ResponseWriter, r *http.Request) (token.Claims, bool) {
	inQuery := r.URL.Query().Has("token")
	text := inQuery || r.Header.Get("Authorization") != ""
	claims, err := a.claims(r, text)
	if err != nil {
		a.askToken(w, r, err)
		return claims, false
	}
	if !text || claims.Expires.IsZero() { // the latter is where no tokens are asked for
		return claims, true
	}
	a.remember(w, r, claims)
	// A person's address is taken back; a program may have no place for cookies.
	if inQuery && strings.Contains(r.Header.Get("Accept"), "text/html") {
		q := r.URL.Query()
		q.Del("token")
		to := r.URL.EscapedPath()
		if len(q) > 0 {
			to += "?" + q.Encode()
		}
		redirect(w, r, to)
		return claims, false
	}
	return claims, true
}

// claims gives what a request may, by its own token or that of its cookie.
func (a *Archive) claims(r *http.Request, own bool) (token.Claims, error) {
	if c, err := r.Cookie(cookieName); err == nil && !own {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+c.Value)
	}
	claims, err := a.cfg.Authorize(r)
	if err == nil && !claims.May(token.Record) {
		err = errRight
	}
	return claims, err
}

// remember has the browser bring the request's token again.
func (a *Archive) remember(w http.ResponseWriter, r *http.Request, c token.Claims) {
	text := r.URL.Query().Get("token")
	if h := r.Header.Get("Authorization"); h != "" {
		_, text, _ = strings.Cut(h, " ")
		text = strings.TrimSpace(text)
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: text, Path: Prefix, Expires: c.Expires,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// askToken answers a request that may not, a person's with a form.
func (a *Archive) askToken(w http.ResponseWriter, r *http.Request, why error) {
	status := http.StatusUnauthorized
	if errors.Is(why, errRight) {
		status = http.StatusForbidden
	} else {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, why.Error(), status)
		return
	}
	problem := why.Error()
	if errors.Is(why, token.ErrMissing) {
		problem, status = "", http.StatusOK // that page is what there is to see
		w.Header().Del("WWW-Authenticate")
	}
	a.servePage(w, status, page{Ask: true, Problem: problem})
}

// takeToken takes the token of that form.
func (a *Archive) takeToken(w http.ResponseWriter, r *http.Request) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		http.Error(w, "pages of other hosts may not send this", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form can't be read", http.StatusBadRequest)
		return
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(r.PostForm.Get("token")))
	claims, err := a.claims(r, true)
	if err != nil {
		a.askToken(w, r, err)
		return
	}
	if !claims.Expires.IsZero() {
		a.remember(w, r, claims)
	}
	redirect(w, r, Prefix)
}
