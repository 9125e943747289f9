package audit

import (
	"math"
	"time"
)

// HalfLife is after how long an observation of a node's presence counts half.
const HalfLife = 7 * 24 * time.Hour

// Share is how much of something a node kept, of late: what is older by a
// HalfLife counts half. The zero value has observed nothing.
type Share struct {
	Kept float64
	Due  float64
	At   time.Time // of the last observation
}

// Value is between 0 and 1: 1 while nothing was due.
func (s Share) Value() float64 {
	if !(s.Due > 0) {
		return 1
	}
	return min(max(s.Kept/s.Due, 0), 1)
}

// at is s as it counts later; a clock set back makes no time go by.
func (s Share) at(now time.Time) Share {
	if s.At.IsZero() {
		s.At = now
	}
	if age := now.Sub(s.At); age > 0 {
		fade := math.Exp2(-float64(age) / float64(HalfLife))
		s.Kept, s.Due, s.At = s.Kept*fade, s.Due*fade, now
	}
	return s
}

// add counts weight as due now, and as kept if it was.
func (s Share) add(now time.Time, weight float64, kept bool) Share {
	s = s.at(now)
	s.Due += weight
	if kept {
		s.Kept += weight
	}
	return s
}

// Presence is how reliably a node is there: apart from its Score, since being
// away loses no data. It never disqualifies. The zero value is that of a new
// node.
type Presence struct {
	Time    Share // of the time: checking in, or away
	Answers Share // of the challenges: answered in time, or not
}

// Watch returns p after a span of time that ends now in which the node was
// there, or was not. It makes no difference into how many spans a time is cut.
func (p Presence) Watch(now time.Time, span time.Duration, there bool) Presence {
	// What all moments of the span count now, of what all time ever would.
	weight := -math.Expm1(-math.Ln2 * float64(max(span, 0)) / float64(HalfLife))
	p.Time = p.Time.add(now, weight, there)
	return p
}

// Add returns p after verdicts reached now.
func (p Presence) Add(now time.Time, verdicts ...Verdict) Presence {
	for _, v := range verdicts {
		p.Answers = p.Answers.add(now, 1, v.OfData())
	}
	return p
}

// Value is between 0 and 1: about how likely the node is to be there, and to
// answer.
func (p Presence) Value() float64 { return p.Time.Value() * p.Answers.Value() }
