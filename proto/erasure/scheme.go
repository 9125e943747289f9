// Package erasure is how a segment becomes shards: the scheme of a placement
// group, the layout of a segment and the coding of its stripes.
package erasure

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxTotal is the greatest number of shards a segment can have.
const MaxTotal = 255

// ErrScheme is returned for a scheme that is not well formed.
var ErrScheme = errors.New("bad scheme")

// A Scheme says how many shards a segment has and what losing some means. It
// belongs to a placement group.
type Scheme struct {
	Required    int // any so many shards give the segment back
	RepairBelow int // with fewer shards than this it is healed at once
	Success     int // so many durable shards make an upload count as stored
	Total       int // shards that are made, one for each slot of the group
}

// ParseScheme reads the form "4/6/8/10": required, repair below, success, total.
func ParseScheme(text string) (Scheme, error) {
	fields := strings.Split(text, "/")
	var n [4]int
	if len(fields) != len(n) {
		return Scheme{}, fmt.Errorf("%w %q: want required/repair-below/success/total, like 4/6/8/10", ErrScheme, text)
	}
	for i, field := range fields {
		var err error
		if n[i], err = strconv.Atoi(field); err != nil || strconv.Itoa(n[i]) != field {
			return Scheme{}, fmt.Errorf("%w %q: %q is not a plain number", ErrScheme, text, field)
		}
	}
	s := Scheme{Required: n[0], RepairBelow: n[1], Success: n[2], Total: n[3]}
	return s, s.Validate()
}

// String is the form ParseScheme reads.
func (s Scheme) String() string {
	return fmt.Sprintf("%d/%d/%d/%d", s.Required, s.RepairBelow, s.Success, s.Total)
}

// Validate checks 1 ≤ Required ≤ RepairBelow ≤ Success ≤ Total ≤ MaxTotal and
// Required < Total.
func (s Scheme) Validate() error {
	if err := validateCode(s.Required, s.Total); err != nil {
		return fmt.Errorf("%w %v: %w", ErrScheme, s, err)
	}
	if s.Required > s.RepairBelow || s.RepairBelow > s.Success || s.Success > s.Total {
		return fmt.Errorf("%w %v: the numbers must not descend", ErrScheme, s)
	}
	return nil
}

// Layout is the layout of a segment of size ciphertext bytes under s.
func (s Scheme) Layout(size int64) (Layout, error) {
	return NewLayout(s.Required, s.Total, size)
}

func validateCode(required, total int) error {
	switch {
	case required < 1:
		return errors.New("at least 1 shard must be required")
	case total > MaxTotal:
		return fmt.Errorf("at most %d shards are possible", MaxTotal)
	case required >= total:
		return errors.New("fewer shards must be required than there are in total")
	}
	return nil
}
