package durability

import (
	"fmt"
	"math"
)

// Shock is the loss for good of a share of all nodes at the same time, no
// matter which.
type Shock struct {
	Share   float64 `json:"share"`    // of all nodes, above 0 and below 1
	PerYear float64 `json:"per_year"` // how often it happens
}

// DefaultShocks is what is assumed for want of a record of such losses: one node
// in a hundred vanishes once a year, and what takes x times as many is x² times
// as rare.
func DefaultShocks() []Shock {
	shares := []float64{0.01, 0.05, 0.10, 0.20, 0.30}
	shocks := make([]Shock, len(shares))
	for i, share := range shares {
		shocks[i] = Shock{Share: share, PerYear: math.Pow(100*share, -2)}
	}
	return shocks
}

func (s Shock) validate() error {
	if !(s.Share > 0 && s.Share < 1) {
		return fmt.Errorf("a loss of %g of all nodes: the share must be above 0 and below 1", s.Share)
	}
	if !(s.PerYear > 0) || math.IsInf(s.PerYear, 1) {
		return fmt.Errorf("a loss of nodes %g times a year: it must be a number above 0", s.PerYear)
	}
	return nil
}

func (s Shock) cause() string {
	return fmt.Sprintf("the loss of %.3g %% of all nodes at once", s.Share*100)
}

// ShockReport is what a shock does, given that it happens, and with what is lost
// to further failures before everything is rebuilt.
type ShockReport struct {
	Shock
	Nodes int  `json:"nodes"` // lost
	Whole Loss `json:"whole"` // of segments with all shards
	Short Loss `json:"short"` // of segments with Success shards
	// Random is the chance that any segment is lost if each, instead of being in
	// a group, had a random set of nodes of its own.
	Random Chance `json:"random_placement"`
	// Segments is how many are lost on average: as many with groups as with
	// random placement, but in fewer and larger losses.
	Segments float64 `json:"segments"`
	Yearly   Chance  `json:"yearly"` // that the network loses anything to such a shock within a year
}

// struck is the number of nodes that a shock takes.
func (m model) struck(s Shock) int {
	return int(math.Round(s.Share * float64(m.in.Nodes)))
}

func (m model) report(s Shock, nodes int, f fate) ShockReport {
	segments := float64(m.in.Segments)
	sets := min(math.Log(segments), logChoose(m.in.Nodes, m.in.Scheme.Total))
	return ShockReport{
		Shock:    s,
		Nodes:    nodes,
		Whole:    m.loss(f.whole),
		Short:    m.loss(f.short),
		Random:   chanceOf(logAny(f.whole, sets)),
		Segments: segments * math.Exp(m.mixed(f)),
		Yearly:   chanceOf(logChance(math.Log(s.PerYear) + m.anyGroup(m.worst(f)))),
	}
}

// shock is what the loss of so many of all nodes does.
func (m model) shock(nodes int) fate {
	return fate{
		whole: m.shockLoss(m.in.Scheme.Total, nodes),
		short: m.shockLoss(m.in.Scheme.Success, nodes),
	}
}

// shockLoss is the logarithm of the probability that a group, of which slots
// hold shards, loses data when so many of all nodes vanish: because too few of
// its own are left, or because more fail before those are replaced.
func (m model) shockLoss(slots, nodes int) float64 {
	if nodes >= m.in.Nodes {
		return 0
	}
	ruin := newChain(slots, m.in.Scheme.Required, m.rate.PerYear, m.detect, m.rebuild*m.load(nodes)).logRuin()
	sum := math.Inf(-1)
	for lost := 1; lost <= min(slots, nodes); lost++ {
		logP := logHypergeometric(m.in.Nodes, nodes, slots, lost)
		if lost < len(ruin) {
			logP += ruin[lost]
		}
		sum = logAdd(sum, logP)
	}
	return min(sum, 0)
}

// load is how many slots each node left has to rebuild at the same time after
// so many were lost, at least 1: it can only fetch for one at full pace.
func (m model) load(nodes int) float64 {
	slots := float64(m.in.Groups) * float64(m.in.Scheme.Total) * float64(nodes) / float64(m.in.Nodes)
	return max(1, slots/float64(m.in.Nodes-nodes))
}

// withstands is the greatest share of all nodes that can vanish at once before
// the chance that any group loses data exceeds Negligible.
func (m model) withstands() float64 {
	low, high := 0, m.in.Nodes // low is withstood, high is not
	for high-low > 1 {
		middle := low + (high-low)/2
		if m.anyGroup(m.shockLoss(m.in.Scheme.Total, middle)) <= math.Log(Negligible) {
			low = middle
		} else {
			high = middle
		}
	}
	return float64(low) / float64(m.in.Nodes)
}
