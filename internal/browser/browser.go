// Package browser drives a real Chromium in tests: it opens pages, evaluates
// JavaScript in them and takes pictures of them.
//
// A browser of its own is started for each [Start], headless, with a fresh
// profile, a fake camera and microphone that ask nobody, WebRTC over loopback
// and no connections of its own to anywhere. It ends with the test. Every page
// is a window of its own and believes itself visible and focused, so that none
// is throttled.
//
// Failures end the test by way of testing.TB, so a page's methods belong on the
// test's own goroutine; those that return an error may be called by any.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Patience is how long a page may take for one evaluation or to come to what
// Wait waits for. It is long, since a machine that encodes video for several
// pages is slow.
const Patience = 40 * time.Second

// Browser is a running Chromium.
type Browser struct {
	tb  testing.TB
	ctx context.Context
}

// options beside those that chromedp gives by default.
var options = []chromedp.ExecAllocatorOption{
	chromedp.NoSandbox,
	chromedp.DisableGPU,
	chromedp.Flag("headless", "new"),
	chromedp.Flag("disable-quic", true),
	chromedp.Flag("disable-component-update", true),
	chromedp.Flag("allow-loopback-in-peer-connection", true),
	chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
	chromedp.Flag("use-fake-ui-for-media-stream", true),
	chromedp.Flag("use-fake-device-for-media-stream", true),
	chromedp.Flag("disable-features", "WebRtcHideLocalIpsWithMdns,Translate,MediaRouter"),
}

// Start starts a browser with more flags ("name" or "name=value", without
// dashes) if there are any. It skips the test when there is no Chromium: name
// one in ROOMTAPE_CHROMIUM if it is not in the path.
func Start(tb testing.TB, extra ...string) *Browser {
	tb.Helper()
	path, err := find()
	if err != nil {
		tb.Skipf("no browser to test with: %v", err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], options...)
	opts = append(opts, chromedp.ExecPath(path), chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
		for _, flag := range extra {
			cmd.Args = append(cmd.Args, "--"+flag)
		}
	}))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	tb.Cleanup(cancel)
	// The protocol grows with every Chromium, and what chromedp does not know
	// yet it would log.
	quiet := func(string, ...any) {}
	ctx, stop := chromedp.NewContext(alloc, chromedp.WithErrorf(quiet), chromedp.WithLogf(quiet))
	tb.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("starting %s: %v", path, err)
	}
	return &Browser{tb: tb, ctx: ctx}
}

func find() (string, error) {
	if path := os.Getenv("ROOMTAPE_CHROMIUM"); path != "" {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("neither chromium nor google-chrome is in the path")
}

// Page is one window.
type Page struct {
	tb     testing.TB
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	errors []string
}

// Open opens a URL in a new window and waits until it has loaded. The page is
// closed with the test, if not before.
func (b *Browser) Open(url string) *Page {
	b.tb.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewWindow(true))
	p := &Page{tb: b.tb, ctx: ctx, cancel: cancel}
	b.tb.Cleanup(cancel)
	console := chromedp.Console(ctx) // opens the window, without a deadline
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			p.note(m)
		}
	}()
	if err := p.do(call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}), chromedp.Navigate(url)); err != nil {
		b.tb.Fatalf("opening %s: %v", url, err)
	}
	return p
}

// call makes an action of a protocol command without a result.
func call[P any](command cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (p *Page) note(m chromedp.ConsoleMessage) {
	if !m.IsException() && m.Type != "error" && m.Type != "warning" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errors) < 100 {
		p.errors = append(p.errors, m.String())
	}
}

// Errors gives the exceptions that nobody caught and what was written to the
// console as a warning or an error.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.errors...)
}

func (p *Page) do(actions ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	return chromedp.Do(ctx, actions...)
}

// Try evaluates an expression, waits for it when it is a promise, and decodes
// its value, as JSON, into out, which may be nil.
func (p *Page) Try(expression string, out any) error {
	var err error
	if out == nil {
		err = p.do(chromedp.Evaluate[chromedp.Void](expression, chromedp.EvalAwaitPromise))
	} else {
		ctx, cancel := context.WithTimeout(p.ctx, Patience)
		defer cancel()
		var b []byte
		if b, err = chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise)); err == nil {
			err = json.Unmarshal(b, out)
		}
	}
	if err != nil {
		return fmt.Errorf("evaluating %s: %w", expression, err)
	}
	return nil
}

// Eval is Try that fails the test.
func (p *Page) Eval(expression string, out any) {
	p.tb.Helper()
	if err := p.Try(expression, out); err != nil {
		p.tb.Fatalf("%v\nconsole: %q", err, p.Errors())
	}
}

// Wait waits until an expression is truthy, and fails the test when it does not
// become so within Patience. The expression may be a promise; one that throws
// counts as false.
func (p *Page) Wait(expression string) {
	p.tb.Helper()
	poll := fmt.Sprintf(`new Promise((resolve, reject) => {
		const end = performance.now() + %d;
		let last = 'false';
		const look = async () => {
			try { if (await (async () => (%s))()) return resolve(true); last = 'false'; } catch (err) { last = String(err); }
			if (performance.now() > end) return reject(new Error('it stays ' + last));
			setTimeout(look, 50);
		};
		look();
	})`, (Patience - 2*time.Second).Milliseconds(), expression)
	if err := p.Try(poll, nil); err != nil {
		p.tb.Fatalf("waiting for %s: %v\nconsole: %q", expression, err, p.Errors())
	}
}

// Size makes the page width by height CSS pixels, with the given number of
// device pixels to one of them.
func (p *Page) Size(width, height int64, scale float64, mobile bool) {
	p.tb.Helper()
	if err := p.do(call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: scale, Mobile: mobile,
	})); err != nil {
		p.tb.Fatalf("resizing the page: %v", err)
	}
}

// Prefer sets media features such as prefers-color-scheme to dark.
func (p *Page) Prefer(feature, value string) {
	p.tb.Helper()
	features := []*emulation.MediaFeature{{Name: feature, Value: value}}
	if err := p.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})); err != nil {
		p.tb.Fatalf("preferring %s %s: %v", feature, value, err)
	}
}

// Press types keys as a person would; see package kb of chromedp for those that
// have no character.
func (p *Page) Press(keys string) {
	p.tb.Helper()
	if err := p.do(chromedp.KeyEvent(keys)); err != nil {
		p.tb.Fatalf("pressing %q: %v", keys, err)
	}
}

// Screenshot gives what the page shows as a PNG.
func (p *Page) Screenshot() []byte {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.tb.Fatalf("taking a screenshot: %v", err)
	}
	return png
}

// Close closes the window, as a person would, without waiting for the page.
func (p *Page) Close() { p.cancel() }
