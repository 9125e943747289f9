package durability

import "math"

// chain is a birth–death chain of one placement group. State i is the number
// of slots whose shards are lost and not rebuilt yet; one more lost than the
// last state, and fewer shards are left than are required. Rates are per year.
type chain struct {
	fail   []float64 // from i to i+1; from the last state to loss
	repair []float64 // from i to i−1; repair[0] is 0
}

// newChain is the chain of a group of which slots hold shards and required of
// them are needed, with nodes that fail at rate per year. A lost slot has a new
// holder after detect years, which takes rebuild years to fetch the shards.
//
// Slots are rebuilt beside one another. Once fewer are left than are rebuilt
// from them, their links are the bottleneck and not those of the new holders.
func newChain(slots, required int, rate, detect, rebuild float64) chain {
	states := slots - required + 1
	c := chain{fail: make([]float64, states), repair: make([]float64, states)}
	for i := range states {
		left := float64(slots - i)
		c.fail[i] = left * rate
		if i > 0 {
			lost := float64(i)
			c.repair[i] = lost / (detect + rebuild*max(1, lost/left))
		}
	}
	return c
}

// logYears is the logarithm of the expected time from state 0 to loss. The time
// to get from i to i+1 for the first time is 1/fail when that comes first, and
// otherwise a way back from i−1 besides.
func (c chain) logYears() float64 {
	step := -math.Log(c.fail[0])
	sum := step
	for i := 1; i < len(c.fail); i++ {
		up, down := math.Log(c.fail[i]), math.Log(c.repair[i])
		step = logAdd(-up, down-up+step)
		sum = logAdd(sum, step)
	}
	return sum
}

// logLoss is the logarithm of the probability of loss within so many years from
// state 0, as if loss came at the constant rate 1/logYears. The time to loss of
// a birth–death chain is a sum of independent exponential times and so has an
// increasing hazard rate; up to its mean the constant rate is therefore never
// below the truth.
func (c chain) logLoss(years float64) float64 {
	return logChance(math.Log(years) - c.logYears())
}

// logRuin is, by state, the logarithm of the probability that loss comes before
// state 0 is reached; that of state 0 is left at −∞, that of loss at 0.
func (c chain) logRuin() []float64 {
	ruin := make([]float64, len(c.fail)+1)
	weight, sum := 0.0, math.Inf(-1)
	for i := range c.fail {
		ruin[i] = sum
		if i > 0 {
			weight += math.Log(c.repair[i]) - math.Log(c.fail[i])
		}
		sum = logAdd(sum, weight)
	}
	for i := range c.fail {
		ruin[i] -= sum
	}
	return ruin
}
