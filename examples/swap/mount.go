package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/sockjs"
)

// inProcess needs no mount: the pipe was bound to its endpoint.
func inProcess(*handler.Endpoint, *certificate) (url string, stop func() error, err error) {
	return "pipe://swap", func() error { return nil }, nil
}

func overHTTP(ep *handler.Endpoint, _ *certificate) (url string, stop func() error, err error) {
	return serveHTTP("ws", ep, func(s *http.Server, ln net.Listener) error { return s.Serve(ln) })
}

func overTLSListener(ep *handler.Endpoint, c *certificate) (url string, stop func() error, err error) {
	return serveHTTP("wss", ep, func(s *http.Server, ln net.Listener) error {
		return s.Serve(transport.NewTLSListener(ln, c.server))
	})
}

func overHTTPS(ep *handler.Endpoint, c *certificate) (url string, stop func() error, err error) {
	return serveHTTP("wss", ep, func(s *http.Server, ln net.Listener) error {
		s.TLSConfig = c.server.Clone()
		return s.ServeTLS(ln, "", "")
	})
}

// overSockJS has a SockJS at each of the paths that the clients use.
func overSockJS(ep *handler.Endpoint, _ *certificate) (url string, stop func() error, err error) {
	h := sockjs.Mount("/ask", ep, sockjs.Mount("/listen", ep, nil))
	return serveHTTP("http", h, func(s *http.Server, ln net.Listener) error { return s.Serve(ln) })
}

func serveHTTP(scheme string, h http.Handler, serve func(*http.Server, net.Listener) error) (string, func() error, error) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	return listen(scheme, func(ln net.Listener) error { return serve(s, ln) }, http.ErrServerClosed, s.Close)
}

func overListener(ep *handler.Endpoint, _ *certificate) (url string, stop func() error, err error) {
	return serveBare("ws", ep)
}

func overSecureListener(ep *handler.Endpoint, _ *certificate) (url string, stop func() error, err error) {
	return serveBare("wss", ep)
}

// serveBare needs no net/http. Shutdown ends it.
func serveBare(scheme string, ep *handler.Endpoint) (string, func() error, error) {
	return listen(scheme, func(ln net.Listener) error { return ep.Serve(context.Background(), ln) },
		handler.ErrShutdown, func() error { return nil })
}

// listen serves on any port of this machine. stop waits for the end of serve, which
// ends with the error over.
func listen(scheme string, serve func(net.Listener) error, over error, end func() error) (string, func() error, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ln) }()
	stop := func() error {
		if err := end(); err != nil {
			return err
		}
		if err := <-ended; !errors.Is(err, over) {
			return err
		}
		return nil
	}
	return scheme + "://" + ln.Addr().String(), stop, nil
}

// certificate is for this machine and this run alone.
type certificate struct{ server, client *tls.Config }

func newCertificate() (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &certificate{
		server: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		client: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}, nil
}
