package mux

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is that of a session that was closed here.
	ErrClosed = errors.New("the session is closed")
	// ErrSilent is that of a session whose peer no longer answers.
	ErrSilent = errors.New("the peer is silent")
	// ErrProtocol is that of a session whose peer broke the rules.
	ErrProtocol = errors.New("not as yamux has it")
	// ErrStreamClosed is that of a write after CloseWrite.
	ErrStreamClosed = errors.New("the stream is closed for writing")
	// ErrReset is that of a stream whose session has ended, and of a read after
	// CloseRead.
	ErrReset = errors.New("the stream is gone")
)

// A StreamError says who reset a stream, and why.
type StreamError struct {
	Remote bool // the peer did
	Code   uint32
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("the stream was reset by %s with code %d", who(e.Remote), e.Code)
}

// Is has ErrReset be found.
func (e *StreamError) Is(target error) bool { return target == ErrReset }

// A GoAwayError says who ended a session, and why.
type GoAwayError struct {
	Remote bool // the peer did
	Code   uint32
}

func (e *GoAwayError) Error() string {
	return fmt.Sprintf("the session was ended by %s with code %d", who(e.Remote), e.Code)
}

func who(remote bool) string {
	if remote {
		return "the peer"
	}
	return "this side"
}
