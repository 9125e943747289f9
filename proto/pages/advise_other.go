//go:build !linux

package pages

func advise([]byte) bool { return false }
