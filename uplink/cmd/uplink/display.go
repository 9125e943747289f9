package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// display shows what a command does as it does it: bars on a terminal, a line
// for each thing done elsewhere, or a JSON array. It is safe for concurrent
// use, and end has to be called.
type display struct {
	a    *app
	mute bool // results go to standard output

	mu    sync.Mutex
	list  *jsonList
	bars  *mpb.Progress
	total *mpb.Bar // of many transfers
	known int64    // bytes of those begun or waiting
	done  int64    // things done, and their bytes
	bytes int64
}

// event is a line of what was done.
type event struct {
	Action string `json:"action"`
	Source string `json:"source,omitempty"`
	Target string `json:"target,omitempty"`
	Size   *int64 `json:"size,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// showing says what a display is for.
type showing struct {
	bytes bool // transfers, which take their time and deserve bars
	many  bool // one bar for all of them
	mute  bool // standard output is taken by something else
}

// newDisplay begins to show.
func (a *app) newDisplay(s showing) *display {
	d := &display{a: a, mute: s.mute}
	switch {
	case a.json():
		if !s.mute {
			d.list = newJSONList(a.out)
		}
	case a.bars && s.bytes && !a.quiet:
		d.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
		if s.many {
			d.total = d.bar("total", 0)
		}
	}
	return d
}

func (d *display) bar(label string, size int64) *mpb.Bar {
	return d.bars.AddBar(size,
		mpb.PrependDecorators(
			decor.Name(shorten(printable(label), 32)+" "),
			decor.CountersKibiByte("% .1f / % .1f"),
		),
		mpb.AppendDecorators(
			decor.AverageSpeed(decor.SizeB1024(0), "% .1f"),
			decor.Name("  "),
			decor.AverageETA(decor.ET_STYLE_GO),
		),
	)
}

// shorten keeps the end of a label, which tells files apart.
func shorten(label string, width int) string {
	runes := []rune(label)
	if len(runes) <= width {
		return label
	}
	return "…" + string(runes[len(runes)-width+1:])
}

// expect makes room in the total bar for a transfer to come.
func (d *display) expect(size int64) {
	if d.total == nil || size < 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known += size
	d.total.SetTotal(d.known, false)
}

// meter counts the bytes of one transfer.
type meter struct {
	bar *mpb.Bar
	own bool // the bar is of this transfer alone
}

// meter begins a transfer.
func (d *display) meter(label string, size int64) *meter {
	switch {
	case d.bars == nil:
		return &meter{}
	case d.total != nil:
		return &meter{bar: d.total}
	}
	return &meter{bar: d.bar(label, max(size, 0)), own: true}
}

func (m *meter) add(n int) {
	if m.bar != nil {
		m.bar.IncrBy(n)
	}
}

// done ends a transfer; a bar of its own stays as it is.
func (m *meter) done(err error) {
	switch {
	case m.bar == nil || !m.own:
	case err != nil:
		m.bar.Abort(false)
	default:
		m.bar.SetTotal(-1, true)
	}
}

// reader counts what is read through it.
func (m *meter) reader(r io.Reader) io.Reader { return &meterReader{r, m} }

type meterReader struct {
	r io.Reader
	m *meter
}

func (r *meterReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.add(n)
	return n, err
}

// writer counts what is written through it.
func (m *meter) writer(w io.Writer) io.Writer { return &meterWriter{w, m} }

type meterWriter struct {
	w io.Writer
	m *meter
}

func (w *meterWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.m.add(n)
	return n, err
}

// did shows something done.
func (d *display) did(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.mute || d.a.quiet && d.list == nil:
	case d.list != nil:
		_ = d.list.add(e) // strings and numbers always marshal
	case d.bars == nil || !d.a.terminal: // bars on a terminal, lines elsewhere, perhaps both
		fmt.Fprintln(d.a.out, e.text())
	}
	d.done++
	if e.Size != nil {
		d.bytes += *e.Size
	}
}

func (e event) text() string {
	text := e.Action + " " + printable(e.Source)
	if e.DryRun {
		text = "would " + text
	}
	if e.Target != "" {
		text += " to " + printable(e.Target)
	}
	return text
}

// note tells of something that was not done, or failed, while the command goes
// on.
func (d *display) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.a.err
	if d.bars != nil {
		w = d.bars // above them
	}
	fmt.Fprintf(w, "uplink: "+format+"\n", args...)
}

// end finishes what is shown.
func (d *display) end() error {
	if d.total != nil {
		d.total.SetTotal(-1, true)
	}
	if d.bars != nil {
		d.bars.Wait()
	}
	if d.total != nil {
		fmt.Fprintf(d.a.err, "%s, %s\n", count(d.done, "object"), bytesText(d.bytes))
	}
	if d.list != nil {
		return d.list.end()
	}
	return nil
}
