package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink"
)

// Exit codes, which scripts rely on.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2   // the command line is wrong; nothing was done
	exitNotFound    = 3   // no such bucket, object, file or access
	exitDenied      = 4   // the grant does not allow it, or has another passphrase
	exitUnavailable = 5   // satellite unreachable or refusing, too few nodes
	exitInterrupted = 130 // Ctrl-C
)

// usageError is the caller's mistake on the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errAccessNotFound: no access of that name is kept.
var errAccessNotFound = errors.New("access not found")

// failures is the error of a command that went on after some of its work
// failed and was reported.
type failures struct {
	failed, total int
	doing         string
	code          int // that all of them share, or exitFailure
}

// add counts a failure. Wrong usage is none of its own here, as other work was
// done.
func (f *failures) add(err error) {
	code := judge(err).code
	if f.failed > 0 && f.code != code || code == exitUsage {
		code = exitFailure
	}
	f.failed, f.code = f.failed+1, code
}

func (f *failures) Error() string {
	return fmt.Sprintf("%d of %d were not %s", f.failed, f.total, f.doing)
}

// verdict is what an error means to the user: the exit code, and what to do
// about it if the error itself does not say.
type verdict struct {
	code int
	hint string
}

// verdicts is checked in order.
var verdicts = []struct {
	err error
	verdict
}{
	{grant.ErrNotGrant, verdict{exitUsage, "an access grant begins with cairn1; `satellite project create` prints one"}},
	{grant.ErrDamaged, verdict{exitUsage, ""}},
	{grant.ErrNewer, verdict{exitUsage, ""}},
	{grant.ErrIncomplete, verdict{exitUsage, ""}},
	{grant.ErrNoSatellite, verdict{exitUsage, ""}},
	{uplink.ErrName, verdict{exitUsage, ""}},
	{errAccessNotFound, verdict{exitNotFound, "`uplink access ls` shows those there are"}},
	{uplink.ErrBucketNotFound, verdict{exitNotFound, "`uplink ls` shows the buckets there are, `uplink mb` makes one"}},
	{uplink.ErrObjectNotFound, verdict{exitNotFound, "`uplink ls` shows what there is"}},
	{uplink.ErrWrongKey, verdict{exitDenied, ""}},
	{uplink.ErrDenied, verdict{exitDenied, "the satellite does not accept this access grant; check it with `uplink access inspect` or ask for another"}},
	{uplink.ErrTooFewNodes, verdict{exitUnavailable, "try again when more storage nodes are online; `satellite node ls` on the satellite shows them"}},
	{uplink.ErrSatelliteUnreachable, verdict{exitUnavailable, "is the satellite running, and can this machine reach its address? `uplink access inspect` shows it"}},
	{uplink.ErrRefusing, verdict{exitUnavailable, "its operator finds the cause with `satellite status`"}},
	{satclient.ErrBusy, verdict{exitUnavailable, "try again later"}},
	{context.DeadlineExceeded, verdict{exitUnavailable, "the satellite took too long to answer; try again"}},
	{uplink.ErrBucketExists, verdict{exitFailure, ""}},
	{uplink.ErrBucketNotEmpty, verdict{exitFailure, "`uplink rb --force` deletes the objects in it, too"}},
	{fs.ErrNotExist, verdict{exitNotFound, ""}},
}

// judge finds the verdict on an error.
func judge(err error) verdict {
	var several *failures
	switch {
	case err == nil:
		return verdict{}
	case errors.As(err, &several):
		return verdict{code: several.code}
	case errors.As(err, new(usageError)):
		return verdict{code: exitUsage}
	}
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			return v.verdict
		}
	}
	return verdict{code: exitFailure}
}

// fatal tells an error that would meet every further object, too. Too few
// nodes are that for writing; for reading it depends on the object.
func fatal(err error, writes bool) bool {
	for _, always := range []error{
		uplink.ErrDenied, uplink.ErrBucketNotFound, uplink.ErrSatelliteUnreachable, uplink.ErrRefusing, context.Canceled,
	} {
		if errors.Is(err, always) {
			return true
		}
	}
	return writes && errors.Is(err, uplink.ErrTooFewNodes)
}
