package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/cairnstorage/cairn/uplink"
)

// checkedWriter remembers the first failure of w, so that none goes unnoticed.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// jsonList writes a JSON array, an element a line, as the elements come.
type jsonList struct {
	w     *bufio.Writer
	begun bool
}

func newJSONList(w io.Writer) *jsonList { return &jsonList{w: bufio.NewWriter(w)} }

func (l *jsonList) add(value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	l.w.WriteString(l.separator())
	l.w.Write(data)
	return nil
}

func (l *jsonList) separator() string {
	if l.begun {
		return ",\n"
	}
	l.begun = true
	return "[\n"
}

// end closes the array. A list that failed half-way is closed, too, so that
// what came can be read; the exit code tells.
func (l *jsonList) end() error {
	if !l.begun {
		l.w.WriteString("[")
	}
	l.w.WriteString("\n]\n")
	return l.w.Flush()
}

// objectJSON is an object as -o json shows it.
type objectJSON struct {
	Key      string            `json:"key,omitempty"`
	Prefix   string            `json:"prefix,omitempty"`
	Size     *int64            `json:"size,omitempty"` // of objects
	Created  *time.Time        `json:"created,omitempty"`
	Modified *time.Time        `json:"modified,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Segments *int              `json:"segments,omitempty"`
}

func toJSON(o uplink.Object) objectJSON {
	out := objectJSON{Key: o.Key, Size: &o.Size, Metadata: o.Metadata, Segments: &o.Segments}
	created := o.Created.UTC()
	out.Created = &created
	if !o.Modified.IsZero() {
		modified := o.Modified.UTC()
		out.Modified = &modified
	}
	return out
}

// stamp is a time as text output shows it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// bytesText is a size for people.
func bytesText(n int64) string { return humanize.IBytes(uint64(n)) }

// count is a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return humanize.Comma(n) + " " + noun + "s"
}

// printable keeps control characters in names away from the terminal.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "\\u%04x", r)
	}
	return b.String()
}
