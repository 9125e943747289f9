package durability

import "math"

const (
	// DefaultFailureRate is what is assumed of a node before it is known better:
	// one failure in eight node-years, 12.5 % a year, about 1 % a month. Disks
	// alone are replaced at 1.5 % (Backblaze, 2024) to 13 % a year (Schroeder
	// and Gibson, FAST'07); the rest is operators who stop without an exit.
	DefaultFailureRate = 1.0 / 8
	// PriorNodeYears is how much observation the assumption weighs.
	PriorNodeYears = 8
)

// Observed is what a satellite has seen of its nodes.
type Observed struct {
	NodeYears float64 `json:"node_years"` // that nodes held slots, summed over all nodes
	// Failures counts nodes whose slots had to be filled anew: gone for longer
	// than the grace period, even if they came back later, or disqualified. A
	// graceful exit is no failure.
	Failures int64 `json:"failures"`
}

// Where a Rate comes from.
const (
	Given    = "given"
	Measured = "measured"
	Assumed  = "assumed" // less was observed than the assumption weighs
)

// Rate is how often a node fails for good.
type Rate struct {
	PerYear float64 `json:"per_year"`
	// High is exceeded with a probability of 5 %, as far as the observation
	// tells; PerYear when that was given.
	High     float64  `json:"high"`
	Source   string   `json:"source"`
	Observed Observed `json:"observed"`
}

// rate estimates the failure rate from observation: failures come as a Poisson
// process, whose rate is Gamma distributed beforehand, with the weight of one
// failure in PriorNodeYears.
func (o Observed) rate() Rate {
	failures := float64(o.Failures) + DefaultFailureRate*PriorNodeYears
	years := o.NodeYears + PriorNodeYears
	r := Rate{PerYear: failures / years, High: gammaHigh(failures) / years, Source: Measured, Observed: o}
	if o.NodeYears < PriorNodeYears {
		r.Source = Assumed
	}
	return r
}

// gammaHigh is the 95 % quantile of the Gamma distribution of this shape and
// scale 1, by the cube of a normal variable (Wilson and Hilferty): within 1 %
// for shapes from 1.
func gammaHigh(shape float64) float64 {
	const z = 1.6448536269514722 // 95 % of the normal distribution
	v := 1 / (9 * shape)
	return shape * math.Pow(1-v+z*math.Sqrt(v), 3)
}
