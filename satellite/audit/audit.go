// Package audit decides what is asked of storage nodes to show that they keep
// what they claim, and what follows from their answers: scores and standings.
// It only computes: the same values in give the same values out. SCORES.md has
// the mathematics.
package audit

import "strconv"

// Verdict is what the answer to one challenge comes to. The numbers stay as
// they are: they are counted and kept.
type Verdict uint8

const (
	// Proved: the leaf came with a proof that holds.
	Proved Verdict = 1
	// Wrong: the node signed a proof that does not hold.
	Wrong Verdict = 2
	// Missing: the node said that it lacks what it claims, or that its copy is
	// damaged.
	Missing Verdict = 3
	// Late: the answer came after its time.
	Late Verdict = 4
	// Unreachable: the node could not be asked, or fell silent.
	Unreachable Verdict = 5
	// Unavailable: the node said that it cannot look just now.
	Unavailable Verdict = 6
)

var verdictNames = [...]string{"", "proved", "wrong", "missing", "late", "unreachable", "unavailable"}

func (v Verdict) String() string {
	if v == 0 || int(v) >= len(verdictNames) {
		return "verdict " + strconv.Itoa(int(v))
	}
	return verdictNames[v]
}

// OfData reports whether v says something about what the node keeps. All other
// verdicts only say that it did not answer, which may be the network's doing.
func (v Verdict) OfData() bool { return v == Proved || v == Wrong || v == Missing }
