package audit

import "github.com/cairnstorage/cairn/proto/order"

// Judge says what an answer comes to, by the 32 bytes of the segment root in the
// challenge alone: no other node is asked and nothing else is known of the
// segment. The challenge must be valid; else there is nothing to judge, and no
// blame.
//
// Missing only repeats what the node says. Whether it should have had the shard
// is decided by its claim and the journal, both of which may have moved on while
// it answered.
func Judge(challenge order.Challenge, answer order.Answer) Verdict {
	if challenge.Validate() != nil {
		return Unavailable
	}
	switch answer.Status {
	case order.Proved:
		if challenge.Verify(&answer) != nil {
			return Wrong
		}
		return Proved
	case order.Missing, order.Corrupt:
		return Missing
	default:
		return Unavailable
	}
}
