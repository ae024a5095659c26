package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

// identity is a certificate for loopback that signs itself, and its files.
type identity struct {
	config            *tls.Config
	certFile, keyFile string
}

func newIdentity(t *testing.T) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	file := func(name, kind string, der []byte) string {
		name = filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return name
	}
	return identity{
		config: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			MinVersion:   tls.VersionTLS12,
		},
		certFile: file("cert.pem", "CERTIFICATE", der),
		keyFile:  file("key.pem", "PRIVATE KEY", secret),
	}
}

// mounts are the ways to reach an endpoint besides the one of interop/server. Each
// serves ln until the test ends.
var mounts = map[string]struct {
	scheme string
	serve  func(t *testing.T, ln net.Listener, id identity)
}{
	"a bare listener": {"ws", func(t *testing.T, ln net.Listener, _ identity) {
		serveBare(t, ln, nil)
	}},
	"TLS on a bare listener": {"wss", func(t *testing.T, ln net.Listener, id identity) {
		serveBare(t, ln, id.config)
	}},
	"TLS of weft's listener": {"wss", func(t *testing.T, ln net.Listener, id identity) {
		serveHTTP(t, func(s *http.Server) error { return s.Serve(transport.NewTLSListener(ln, id.config)) })
	}},
	"TLS of net/http": {"wss", func(t *testing.T, ln net.Listener, id identity) {
		serveHTTP(t, func(s *http.Server) error { return s.ServeTLS(ln, id.certFile, id.keyFile) })
	}},
}

func echoEndpoint(t *testing.T, config *tls.Config) *handler.Endpoint {
	t.Helper()
	ep := handler.NewEndpoint(
		gobwas.New(&gobwas.Options{MaxMessageSize: 16 << 20, TLS: config}),
		handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
			if r.Message.Kind != subprotocol.KindSend {
				return nil
			}
			r.Message.Kind = subprotocol.KindReply
			_, err := r.Reply(r.Message)
			return err
		}),
		handler.WithSubProtocols(raw.New(nil)),
	)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, ep.Shutdown(ctx))
	})
	return ep
}

func serveBare(t *testing.T, ln net.Listener, config *tls.Config) {
	t.Helper()
	ep := echoEndpoint(t, config)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- ep.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
}

func serveHTTP(t *testing.T, serve func(*http.Server) error) {
	t.Helper()
	srv := &http.Server{
		Handler:           echoEndpoint(t, nil),
		ReadHeaderTimeout: patience,
		ErrorLog:          log.New(io.Discard, "", 0), // the clients' broken handshakes
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(srv) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
}

// Foreign clients reach an endpoint however it is mounted. The clients learn from
// the environment whom to trust, so these tests are not parallel.
func TestInteropMounts(t *testing.T) {
	foreign(t)
	id := newIdentity(t)
	t.Setenv("NODE_EXTRA_CA_CERTS", id.certFile)
	t.Setenv("SSL_CERT_FILE", id.certFile)
	for name, m := range mounts {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			m.serve(t, ln, id)
			url := m.scheme + "://" + ln.Addr().String() + echo
			t.Run("npm", func(t *testing.T) { script(t, nil, "node", "js/client.mjs", url) })
			t.Run("python", func(t *testing.T) { script(t, nil, python, "py/client.py", url) })
			if m.scheme == "ws" {
				t.Run("invalid frames", func(t *testing.T) { script(t, nil, "node", "js/raw.mjs", url) })
			}
		})
	}
}

// weft's dialer talks to a server on npm's ws over TLS.
func TestInteropNPMServerTLS(t *testing.T) {
	foreign(t)
	t.Parallel()
	id := newIdentity(t)
	roots := x509.NewCertPool()
	cert, err := os.ReadFile(id.certFile)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(cert))
	dialerCases(t, start(t, "node", "js/server.mjs", id.certFile, id.keyFile), &tls.Config{RootCAs: roots})
}
