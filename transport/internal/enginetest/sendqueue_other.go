//go:build !linux

package enginetest

import (
	"net"
	"testing"
)

func sendQueue(testing.TB, net.Conn) (int, bool) { return 0, false }
