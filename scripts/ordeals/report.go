package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"
)

// Figure is one thing that an ordeal measured.
type Figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Must   string  `json:"must,omitempty"` // what it has to be, such as "0" or "≤ 1.1"
	Failed bool    `json:"failed,omitempty"`
}

// Report is what came of an ordeal, as -o json prints it.
type Report struct {
	Ordeal   string   `json:"ordeal"`
	Network  string   `json:"network"`
	Passed   bool     `json:"passed"`
	Seconds  float64  `json:"seconds"`
	Figures  []Figure `json:"figures"`
	Failures []string `json:"failures"` // in words: what had to hold and did not

	mu    sync.Mutex
	begun time.Time
}

func newReport(ordeal string) *Report {
	return &Report{Ordeal: ordeal, Figures: []Figure{}, Failures: []string{}, begun: time.Now()}
}

// say tells on stderr what is going on.
func (r *Report) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}

// add notes a figure.
func (r *Report) add(name string, value float64, unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Figures = append(r.Figures, Figure{Name: name, Value: value, Unit: unit})
}

// must notes a figure that the ordeal stands or falls by.
func (r *Report) must(ok bool, name string, value float64, unit, want string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Figures = append(r.Figures, Figure{Name: name, Value: value, Unit: unit, Must: want, Failed: !ok})
	if !ok {
		r.Failures = append(r.Failures, fmt.Sprintf("%s: %s, must be %s", name, number(value, unit), want))
	}
}

// fail notes what had to hold and did not.
func (r *Report) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const enough = 20 // to see what is wrong
	if len(r.Failures) < enough {
		r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
	}
}

// end closes the report with the error that cut the ordeal short, if any.
func (r *Report) end(err error) {
	if err != nil {
		r.fail("%v", err)
	}
	r.Seconds = time.Since(r.begun).Seconds()
	r.Passed = len(r.Failures) == 0
}

// print writes the report in the format, "text" or "json".
func (r *Report) print(out io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nordeal\t%s\nnetwork\t%s\n", r.Ordeal, r.Network)
	for _, f := range r.Figures {
		must := ""
		if f.Must != "" {
			must = "must be " + f.Must
		}
		if f.Failed {
			must += "  FAILED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, number(f.Value, f.Unit), must)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, failure := range r.Failures {
		fmt.Fprintln(out, "FAILED:", failure)
	}
	verdict := "passed"
	if !r.Passed {
		verdict = "failed"
	}
	_, err := fmt.Fprintf(out, "%s in %.0f s\n", verdict, r.Seconds)
	return err
}

// number is a value with its unit, with as many digits as say something.
func number(value float64, unit string) string {
	text := fmt.Sprintf("%.4g", value)
	if value == float64(int64(value)) {
		text = fmt.Sprintf("%d", int64(value))
	}
	if unit != "" {
		text += " " + unit
	}
	return text
}

func mib[N int | int64 | uint64 | float64](bytes N) float64 { return float64(bytes) / (1 << 20) }
