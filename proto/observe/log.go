package observe

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger is a logger for daemons: format is "text" or "json", level is
// "debug", "info", "warn" or "error". The error says which of them is none.
func NewLogger(out io.Writer, format, level string) (*slog.Logger, error) {
	var options slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn and error", level)
	}
	options.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(out, &options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, &options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", format)
}
