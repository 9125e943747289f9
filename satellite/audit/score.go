package audit

import "math"

// Score is a node's account of kept data: Wald's sequential probability ratio
// test, with a floor. The zero value is that of a new node. It is a value and
// is kept by storing its fields.
//
// The test weighs two hypotheses: that of a node's segments one in 1,000 fails
// when asked for, which may happen to an honest one, against one in 80. LLR is
// the logarithm of how much better the answers so far fit the second, so every
// answer adds the logarithm of the ratio of its probabilities:
//
//	missing  ln(0.0125 / 0.001)   = +2.526
//	proved   ln(0.9875 / 0.999)   = -0.0116
//	wrong    ln(1000)             = +6.908
//
// At ln(10⁶) the node is condemned (Wald 1945, 1947). While one in 1,000 or
// fewer fail, the ratio itself is a supermartingale that begins at 1, and by
// Ville's inequality (1939) it ever reaches 10⁶ with a probability of at most
// 10⁻⁶, however long the test goes on and whenever one looks.
//
// Years of proofs would earn so much credit that a node might lose half of its
// data before it showed. So LLR never falls below -12. That makes further
// beginnings: each time a node at the floor fails, LLR reaches the bound
// before it is back at the floor with a probability of at most
// 12.5 · e^-(12+ln 10⁶) = 7.7·10⁻¹¹, again by Ville's inequality. An honest node
// fails 1,000 times in a million challenges: these add 7.7·10⁻⁸. Both bounds
// are twice too high, as a failure carries LLR beyond the bound. Computed, the
// whole is at most 5.3·10⁻⁷ in a million challenges and 8.6·10⁻⁷ in ten million.
type Score struct {
	LLR     float64
	Proved  uint64
	Missing uint64
	Wrong   uint64
}

const (
	// condemned is ln(10⁶).
	condemned = 13.815510557964274104
	// floor is where credit ends. A deeper one makes wrongful condemnation
	// rarer and discovery of old nodes slower.
	floor = -12

	weightProved  = -0.011578281873276584597 // ln(0.9875/0.999)
	weightMissing = 2.5257286443082554398    // ln(0.0125/0.001)
	// An honest node checks a proof before it signs it, so that only broken
	// memory makes a wrong one. Two in a row condemn a new node, four one that
	// has all the credit there is.
	weightWrong = 6.9077552789821370521 // ln(1000)
)

// Add returns s after more verdicts, in the order of their challenges. Late,
// Unreachable and Unavailable say nothing about data and change nothing. Nor
// does anything change a score that condemns: the test has ended.
func (s Score) Add(verdicts ...Verdict) Score {
	for _, v := range verdicts {
		if s.Condemns() {
			break
		}
		switch v {
		case Proved:
			s.Proved++
			s.LLR += weightProved
		case Missing:
			s.Missing++
			s.LLR += weightMissing
		case Wrong:
			s.Wrong++
			s.LLR += weightWrong
		}
		s.LLR = math.Max(s.LLR, floor)
	}
	return s
}

// Condemns reports whether the node has failed so often that it must be taken
// to have lost data.
func (s Score) Condemns() bool { return s.LLR >= condemned }

// Suspicion is how far failures have gone towards condemning: 0 for a new node
// and all better ones, 1 when s condemns.
func (s Score) Suspicion() float64 {
	if s.Condemns() {
		return 1
	}
	return math.Max(s.LLR, 0) / condemned
}

// Challenges is how many answers the score has counted.
func (s Score) Challenges() uint64 { return s.Proved + s.Missing + s.Wrong }
