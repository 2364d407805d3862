package webpage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/process"
)

// browser is a Chromium that shows one page. It is told what to show through a
// pair of pipes (the DevTools protocol, with messages that end with a zero byte),
// which, other than a port, nobody else on the machine can reach.
type browser struct {
	process *process.Process
	to      *os.File
	from    *os.File
	reader  *bufio.Reader
	id      int
}

// startBrowser starts a browser and has it show the page.
func startBrowser(ctx context.Context, cfg Config, profile string, env []string) (*browser, error) {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		_, _ = theirIn.Close(), ourOut.Close()
		return nil, fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	b := &browser{to: ourOut, from: ourIn, reader: bufio.NewReader(ourIn)}
	args := []string{
		"--remote-debugging-pipe", "--user-data-dir=" + profile, "--kiosk",
		"--window-position=0,0", fmt.Sprintf("--window-size=%d,%d", cfg.Width, cfg.Height),
		"--no-first-run", "--no-default-browser-check", "--disable-infobars", "--hide-crash-restore-bubble",
		"--disable-session-crashed-bubble", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-breakpad", "--disable-notifications", "--password-store=basic", "--use-mock-keychain", "--test-type",
		"--autoplay-policy=no-user-gesture-required", "--disable-features=Translate,MediaRouter",
		"--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // Chromium's own can't be had as root
	}
	b.process, err = process.Start(process.Config{
		Name: cfg.Browser, Args: append(args, "about:blank"), Env: env, Files: []*os.File{theirIn, theirOut},
	})
	_, _ = theirIn.Close(), theirOut.Close() // they are the browser's now
	if err != nil {
		_, _ = ourIn.Close(), ourOut.Close()
		return nil, err
	}
	go func() { _ = b.process.Wait() }() // so that Done is told
	if err := b.show(ctx, cfg.URL); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// close ends the browser.
func (b *browser) close() {
	b.process.Stop()
	_, _ = b.to.Close(), b.from.Close() // nobody is at their other end
}

// show navigates the browser's page to the URL and waits until that has worked, or
// tells why it has not.
func (b *browser) show(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = b.from.SetReadDeadline(time.Now()) })
	defer stop()

	var targets struct {
		TargetInfos []struct {
			TargetID string `json:"targetId"`
			Type     string `json:"type"`
		} `json:"targetInfos"`
	}
	page := ""
	for page == "" {
		if err := b.call("", "Target.getTargets", nil, &targets); err != nil {
			return b.failed(ctx, url, err)
		}
		for _, t := range targets.TargetInfos {
			if t.Type == "page" {
				page = t.TargetID
			}
		}
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := b.call("", "Target.attachToTarget", map[string]any{"targetId": page, "flatten": true}, &attached); err != nil {
		return b.failed(ctx, url, err)
	}
	var went struct {
		ErrorText string `json:"errorText"`
	}
	if err := b.call(attached.SessionID, "Page.navigate", map[string]any{"url": url}, &went); err != nil {
		return b.failed(ctx, url, err)
	}
	if went.ErrorText != "" {
		return fmt.Errorf("%w: the page does not load: %s", capture.ErrUnavailable, went.ErrorText)
	}
	go b.drain()
	return nil
}

// failed says why the browser could not be used.
func (b *browser) failed(ctx context.Context, url string, err error) error {
	select {
	case <-b.process.Done():
		if said := b.process.Said(); said != "" {
			return fmt.Errorf("%w: the browser has ended: %s", capture.ErrUnavailable, said)
		}
		return fmt.Errorf("%w: the browser has ended by itself", capture.ErrUnavailable)
	default:
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: the page %q does not load within %v", capture.ErrUnavailable, url, loadWait)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: telling the browser what to show: %w", capture.ErrUnavailable, err)
}

// call has the browser do something and waits for the result.
func (b *browser) call(session, method string, params, result any) error {
	b.id++
	request, err := json.Marshal(struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params,omitempty"`
	}{b.id, session, method, params})
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(request, 0)); err != nil {
		return err
	}
	for {
		line, err := b.reader.ReadBytes(0)
		if err != nil {
			return err
		}
		var answer struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line[:len(line)-1], &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != b.id: // an event
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", method, answer.Error.Message)
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

// drain reads what the browser says, so that it never waits for us.
func (b *browser) drain() {
	for {
		if _, err := b.reader.Discard(1 << 10); err != nil {
			return
		}
	}
}
