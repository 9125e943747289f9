package durability

import "math"

// mostNines is where nines end: what is likelier not to happen is not told
// apart, and json has no infinity.
const mostNines = 999

// Chance is the probability of an event, and the same as nines: 3 is one in a
// thousand.
type Chance struct {
	Probability float64 `json:"probability"` // 0 below 1e-308
	Nines       float64 `json:"nines"`       // at most 999
}

// Probabilities here span hundreds of orders of magnitude and are therefore
// kept as natural logarithms; sums and products of them lose no digits, for
// nothing is ever subtracted.

// chanceOf takes the logarithm of a probability.
func chanceOf(logP float64) Chance {
	nines := min(max(-logP/math.Ln10, 0), mostNines)
	return Chance{Probability: math.Exp(min(logP, 0)), Nines: nines}
}

// logAdd returns log(e^a + e^b).
func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(a, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// nearOne is the logarithm below which e^x and −log(1−e^x) are the same number.
const nearOne = -40

// hazard returns the logarithm of h in p = 1−e^−h: hazards of independent
// causes add up, and n chances in a row are n times the hazard.
func hazard(logP float64) float64 {
	if logP < nearOne {
		return logP
	}
	return math.Log(-math.Log1p(-math.Exp(logP)))
}

// logChance is the inverse of hazard: the logarithm of 1−e^−h.
func logChance(logH float64) float64 {
	if logH < nearOne {
		return logH
	}
	return math.Log(-math.Expm1(-math.Exp(logH)))
}

// logAny is the logarithm of the probability that at least one of n events
// happens, each of probability e^logP and independent of the others.
func logAny(logP, logN float64) float64 {
	if math.IsInf(logN, -1) {
		return logN
	}
	return logChance(hazard(logP) + logN)
}

// logChoose is the logarithm of the number of ways to take k of n.
func logChoose(n, k int) float64 {
	if k < 0 || k > n {
		return math.Inf(-1)
	}
	return logFactorial(n) - logFactorial(k) - logFactorial(n-k)
}

func logFactorial(n int) float64 {
	l, _ := math.Lgamma(float64(n) + 1)
	return l
}

// logHypergeometric is the logarithm of the probability that exactly j of n
// drawn items are among the marked ones of total.
func logHypergeometric(total, marked, n, j int) float64 {
	return logChoose(n, j) + logChoose(total-n, marked-j) - logChoose(total, marked)
}
