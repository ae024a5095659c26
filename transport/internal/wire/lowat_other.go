//go:build !linux

package wire

func setNotSentLowat(uintptr, int) {}
