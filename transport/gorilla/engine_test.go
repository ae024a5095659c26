package gorilla

import (
	"crypto/tls"
	"testing"

	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/enginetest"
)

func TestEngine(t *testing.T) {
	enginetest.Run(t, &enginetest.Engine{
		Name:  "gorilla",
		Kinds: []string{"http", "https", "https-own"},
		New: func(l *duplex.Limits, _ *tls.Config) enginetest.Transport {
			if l == nil {
				l = &duplex.Limits{}
			}
			return New(&Options{
				MaxMessageSize:   l.MaxMessageSize,
				HandshakeTimeout: l.HandshakeTimeout,
				MessageTimeout:   l.MessageTimeout,
				WriteTimeout:     l.WriteTimeout,
				CloseTimeout:     l.CloseTimeout,
				PingInterval:     l.PingInterval,
				PongTimeout:      l.PongTimeout,
			})
		},
	})
}

// What the tests of this engine alone share with those of all.
const upgradeRequest = enginetest.UpgradeRequest

var (
	frame     = enginetest.Frame
	frameForm = enginetest.FrameForm
	announce  = enginetest.Announce
	rawDial   = enginetest.RawDial
	answerTo  = enginetest.AnswerTo
	acceptOf  = enginetest.AcceptOf
	hostOf    = enginetest.HostOf
	serverTLS = enginetest.ServerTLS
	clientTLS = enginetest.ClientTLS
)
