package durability

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// ErrInputs is returned for inputs that no estimate can be made from.
var ErrInputs = errors.New("durability cannot be estimated")

const (
	// DefaultDetect is the time to a new holder when none has been measured: the
	// default grace period of a satellite.
	DefaultDetect = 4 * time.Hour
	// DefaultHealRate is the pace of a rebuild when none has been measured, in
	// bytes a second: 80 Mbit/s, what a link of 100 Mbit/s has to spare.
	DefaultHealRate = 10_000_000

	year = 8766 * time.Hour // of 365.25 days
)

// Inputs is what an estimate is made from: the placement groups of one scheme.
type Inputs struct {
	Scheme    erasure.Scheme
	Nodes     int   // that hold slots
	Groups    int   // that exist
	Segments  int64 // live, in all groups
	SlotBytes int64 // that a slot holds, on average

	// ShortShare is the share of segments that were stored with fewer than
	// Total shards and still lack some; as few as Success is assumed.
	ShortShare float64

	Observed    Observed
	FailureRate float64 // of a node, per year; 0 is to be taken from Observed

	Detect  time.Duration // from a failure to a new holder of the slot, on average; 0 is DefaultDetect
	Rebuild time.Duration // from there until it holds all shards, on average; 0 is worked out
	// HealRate is the bytes a second that a new holder receives when it
	// rebuilds, for Rebuild to be worked out; 0 is DefaultHealRate.
	HealRate int64

	Shocks []Shock // nil is DefaultShocks
}

func (in Inputs) validate() error {
	if err := in.Scheme.Validate(); err != nil {
		return err
	}
	for _, s := range in.Shocks {
		if err := s.validate(); err != nil {
			return err
		}
	}
	switch {
	case in.Nodes < in.Scheme.Total:
		return fmt.Errorf("%d nodes cannot hold the %d slots of a group", in.Nodes, in.Scheme.Total)
	case in.Groups < 1:
		return errors.New("there are no placement groups")
	case in.Segments < 0 || in.SlotBytes < 0:
		return errors.New("segments and bytes cannot be negative")
	case !(in.ShortShare >= 0 && in.ShortShare <= 1):
		return fmt.Errorf("the share of short segments is %g: it must be from 0 to 1", in.ShortShare)
	case !countable(in.FailureRate):
		return fmt.Errorf("the failure rate is %g a year: it must be a number from 0", in.FailureRate)
	case !countable(in.Observed.NodeYears) || in.Observed.Failures < 0:
		return errors.New("node-years and failures must be numbers from 0")
	case in.Detect < 0 || in.Rebuild < 0 || in.HealRate < 0:
		return errors.New("times and rates of repair cannot be negative")
	}
	return nil
}

// countable is false for NaN, too.
func countable(x float64) bool { return x >= 0 && !math.IsInf(x, 1) }

// model is inputs with the defaults put in, times in years.
type model struct {
	in              Inputs
	rate            Rate
	detect, rebuild float64
	assumptions     []string
}

// newModel puts the defaults in and says which.
func newModel(in Inputs) model {
	m := model{in: in, rate: in.Observed.rate(), assumptions: []string{}}
	if in.FailureRate > 0 {
		m.rate = Rate{PerYear: in.FailureRate, High: in.FailureRate, Source: Given, Observed: in.Observed}
	} else if m.rate.Source == Assumed {
		m.assume("a node fails %.3g times a year: %.3g node-years have been observed, too few to tell", m.rate.PerYear, in.Observed.NodeYears)
	}
	if in.Detect == 0 {
		m.in.Detect = DefaultDetect
		m.assume("a lost slot has a new holder after %.3g hours", DefaultDetect.Hours())
	}
	if in.Shocks == nil {
		m.in.Shocks = DefaultShocks()
		m.assume("1 %% of all nodes vanish at once each year, and x times as many x² times as rarely")
	}
	m.detect, m.rebuild = m.in.Detect.Hours()/year.Hours(), in.Rebuild.Hours()/year.Hours()
	if in.Rebuild == 0 {
		m.rebuild = m.transfer()
	}
	return m
}

// transfer is the years that a rebuild takes: a new holder receives Required
// shards for each that it makes.
func (m *model) transfer() float64 {
	if m.in.HealRate == 0 {
		m.in.HealRate = DefaultHealRate
	}
	seconds := float64(m.in.SlotBytes) * float64(m.in.Scheme.Required) / float64(m.in.HealRate)
	m.assume("a slot is rebuilt in %.3g hours: its %.3g GB, times %d, at %.3g MB/s",
		seconds/3600, float64(m.in.SlotBytes)/1e9, m.in.Scheme.Required, float64(m.in.HealRate)/1e6)
	return seconds / year.Seconds()
}

func (m *model) assume(format string, args ...any) {
	m.assumptions = append(m.assumptions, fmt.Sprintf(format, args...))
}
