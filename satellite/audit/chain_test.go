package audit

import (
	"math"
	"sort"
)

// chances are the probabilities of answers of a node that does not change.
type chances struct{ missing, wrong float64 }

// honest fails as often as the test allows: once in 1,000 challenges.
var honest = chances{missing: 0.001}

func lost(share float64) chances { return chances{missing: share} }

// chain is the score of such a node as a Markov chain: LLR in steps of one proof.
// The weights of failures are no whole numbers of steps. Rounded up, the chain
// is never below the score, and rounded down never above it, so the two bracket
// every probability of the score's.
type chain struct {
	chances
	up      bool // rounds up
	bound   int  // first step that condemns; step 0 is the floor
	missing int
	wrong   int
}

func newChain(c chances, up bool) chain {
	k := chain{chances: c, up: up}
	k.bound = int(math.Ceil((condemned - floor) / -weightProved))
	k.missing, k.wrong = k.steps(weightMissing), k.steps(weightWrong)
	return k
}

func (k chain) steps(llr float64) int {
	if k.up {
		return int(math.Ceil(llr / -weightProved))
	}
	return int(math.Floor(llr / -weightProved))
}

// state is the distribution of scores that do not condemn.
type state []float64

// from is the state of a score that is certain.
func (k chain) from(llr float64) state {
	s := make(state, k.bound)
	s[k.steps(llr-floor)] = 1
	return s
}

// challenge moves the probabilities by one challenge from s to next, and
// returns those that were condemned and those that were proved at the floor,
// which stay out of next.
func (k chain) challenge(s, next state) (condemned, floored float64) {
	proved := 1 - k.chances.missing - k.chances.wrong
	for i, p := range s[1:] {
		next[i] = p * proved
	}
	next[k.bound-1] = 0
	return k.rise(s, next, k.missing, k.chances.missing) + k.rise(s, next, k.wrong, k.chances.wrong), s[0] * proved
}

// rise adds to next what a failure of the probability p, and so many steps up,
// makes of s, and returns what was condemned by it.
func (k chain) rise(s, next state, steps int, p float64) (condemned float64) {
	if p == 0 {
		return 0
	}
	stays := k.bound - steps
	above := next[steps:]
	for i, was := range s[:stays] {
		above[i] += was * p
	}
	for _, was := range s[stays:] {
		condemned += was * p
	}
	return condemned
}

// within is the probability that a score of llr condemns within so many
// challenges, for each number of them from 1.
func (k chain) within(llr float64, challenges int) []float64 {
	s, next := k.from(llr), make(state, k.bound)
	sums := make([]float64, challenges)
	sum := 0.0
	for i := range sums {
		hit, floored := k.challenge(s, next)
		next[0] += floored
		sum += hit
		sums[i] = sum
		s, next = next, s
	}
	return sums
}

// excursion is the probability that a score of llr above the floor condemns
// before it comes to the floor. What is undecided in the end, next to nothing,
// counts as condemned.
func (k chain) excursion(llr float64) float64 {
	s, next := k.from(llr), make(state, k.bound)
	sum, left := 0.0, 1.0
	for left > 1e-14 {
		for range 500 {
			hit, _ := k.challenge(s, next)
			sum += hit
			next[0] = 0
			s, next = next, s
		}
		left = 0
		for _, p := range s {
			left += p
		}
	}
	return sum + left
}

// ever bounds the probability that a new node is condemned within so many
// challenges: on its way to the floor, or after one of the failures that it
// has there, of which there are not more than failures in all.
func (k chain) ever(challenges float64) float64 {
	p := k.excursion(0) + challenges*k.chances.missing*k.excursion(floor+weightMissing)
	if k.chances.wrong > 0 {
		p += challenges * k.chances.wrong * k.excursion(floor+weightWrong)
	}
	return p
}

// quantile is the first number of challenges within which the share condemns.
func (k chain) quantile(llr, share float64) int {
	for length := 512; ; length *= 2 {
		sums := k.within(llr, length)
		if sums[length-1] >= share {
			return 1 + sort.SearchFloat64s(sums, share)
		}
	}
}
