// Package durability estimates how likely a network is to lose data, from how
// often its nodes fail, how fast it repairs and how many nodes may vanish at
// once, and says which of these it would lose most to. docs/durability.md has
// the model, its assumptions and its sources. It only computes: the same values
// in give the same values out.
package durability

import (
	"fmt"
	"math"
)

// Negligible is the probability below which causes that the model leaves out
// are taken to be likelier than those it has.
const Negligible = 1e-6

// Loss is the chance that data is lost.
type Loss struct {
	Group   Chance `json:"group"`   // by a given group; for a segment in it the same
	Network Chance `json:"network"` // by any group
}

// Independent is what is lost to nodes that fail independently of each other,
// within a year.
type Independent struct {
	Years float64 `json:"years_to_loss"` // expected, of one group, with all shards in place at first
	Whole Loss    `json:"whole"`         // with all shards in place at first
	// Short is the loss of segments that were stored with Success shards, as
	// long as those missing are not healed.
	Short Loss `json:"short"`
	// Healing is the chance that a segment that was stored with Success shards
	// is lost before it has all, if those missing are healed at once.
	Healing Chance `json:"healing"`
	High    Loss   `json:"at_high_rate"` // Whole with nodes that fail at Rate.High
}

// Report is an estimate. Chances are within a year, but for those of a shock,
// which are given that it happens.
type Report struct {
	Scheme     string  `json:"scheme"`
	Nodes      int     `json:"nodes"`
	Groups     int     `json:"groups"`
	Segments   int64   `json:"segments"`
	ShortShare float64 `json:"short_share"`

	FailureRate    Rate    `json:"failure_rate"`
	DetectSeconds  float64 `json:"detect_seconds"`
	RebuildSeconds float64 `json:"rebuild_seconds"`

	Independent Independent   `json:"independent"`
	Shocks      []ShockReport `json:"shocks"`
	// Withstands is the share of nodes that may vanish at once before the chance
	// that a group with all its shards loses data exceeds Negligible.
	Withstands float64 `json:"withstands"`

	Segment     Chance   `json:"segment"`      // that a given segment is lost, to any cause
	Network     Chance   `json:"network"`      // that anything is lost, to any cause
	DominatedBy string   `json:"dominated_by"` // the cause that Network owes most to
	Assumptions []string `json:"assumptions"`  // where nothing was measured
}

// Estimate estimates the durability of a network. The error is ErrInputs and
// says what is wrong with the inputs.
func Estimate(in Inputs) (Report, error) {
	if err := in.validate(); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrInputs, err)
	}
	m := newModel(in)
	r := Report{
		Scheme: in.Scheme.String(), Nodes: in.Nodes, Groups: in.Groups, Segments: in.Segments, ShortShare: in.ShortShare,
		FailureRate:    m.rate,
		DetectSeconds:  m.detect * year.Seconds(),
		RebuildSeconds: m.rebuild * year.Seconds(),
		Independent:    m.independent(),
		Withstands:     m.withstands(),
		Assumptions:    m.assumptions,
	}
	causes := tally{segment: math.Inf(-1), network: math.Inf(-1), greatest: math.Inf(-1)}
	f := m.yearly(m.rate.PerYear)
	causes.add(m.failures(), hazard(m.mixed(f)), hazard(m.anyGroup(m.worst(f))))
	for _, s := range m.in.Shocks {
		nodes := m.struck(s)
		f, often := m.shock(nodes), math.Log(s.PerYear)
		causes.add(s.cause(), often+m.mixed(f), often+m.anyGroup(m.worst(f)))
		r.Shocks = append(r.Shocks, m.report(s, nodes, f))
	}
	r.Segment, r.Network = chanceOf(logChance(causes.segment)), chanceOf(logChance(causes.network))
	r.DominatedBy = causes.dominant()
	return r, nil
}

// fate is the logarithm of the probability that a group loses data.
type fate struct {
	whole float64 // segments with all shards
	short float64 // segments with Success shards
}

// mixed is the fate of a segment that may be a short one.
func (m model) mixed(f fate) float64 {
	return logAdd(math.Log1p(-m.in.ShortShare)+f.whole, math.Log(m.in.ShortShare)+f.short)
}

// worst is the fate of a group, which is that of its short segments if there
// are any.
func (m model) worst(f fate) float64 {
	if m.in.ShortShare > 0 {
		return max(f.whole, f.short)
	}
	return f.whole
}

// anyGroup is the logarithm of the probability that any group loses data, as if
// groups were lost independently. It is never more than the sum of their
// chances, and less where groups share nodes and are lost together.
func (m model) anyGroup(group float64) float64 {
	return logAny(group, math.Log(float64(m.in.Groups)))
}

func (m model) loss(group float64) Loss {
	return Loss{Group: chanceOf(group), Network: chanceOf(m.anyGroup(group))}
}

func (m model) chain(slots int, rate float64) chain {
	return newChain(slots, m.in.Scheme.Required, rate, m.detect, m.rebuild)
}

// yearly is what a year of independent failures does.
func (m model) yearly(rate float64) fate {
	return fate{
		whole: m.chain(m.in.Scheme.Total, rate).logLoss(1),
		short: m.chain(m.in.Scheme.Success, rate).logLoss(1),
	}
}

func (m model) independent() Independent {
	s, f := m.in.Scheme, m.yearly(m.rate.PerYear)
	c := m.chain(s.Total, m.rate.PerYear)
	return Independent{
		Years:   min(math.Exp(c.logYears()), math.MaxFloat64),
		Whole:   m.loss(f.whole),
		Short:   m.loss(f.short),
		Healing: chanceOf(c.logRuin()[s.Total-s.Success]),
		High:    m.loss(m.yearly(m.rate.High).whole),
	}
}

// tally adds up what different causes do within a year, as logarithms of
// hazards.
type tally struct {
	segment, network float64
	greatest         float64 // of the network
	cause            string
}

func (t *tally) add(cause string, segment, network float64) {
	t.segment, t.network = logAdd(t.segment, segment), logAdd(t.network, network)
	if network > t.greatest {
		t.greatest, t.cause = network, cause
	}
}

func (t *tally) dominant() string {
	if t.network < math.Log(Negligible) {
		return "what the model leaves out: faults of software, of operators, of the satellite"
	}
	return t.cause
}

func (m model) failures() string {
	if s := m.in.Scheme; m.in.ShortShare > 0 && s.Success < s.Total {
		return fmt.Sprintf("independent failures, of segments stored with only %d shards", s.Success)
	}
	return "independent failures"
}
