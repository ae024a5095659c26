package handlertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"time"
)

// certificate is self-signed, for loopback, and never leaves this process. It is made
// once, because a key takes time.
var certificate = sync.OnceValue(func() (c struct {
	server tls.Certificate
	roots  *x509.CertPool
}) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("handlertest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("handlertest: " + err.Error())
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic("handlertest: " + err.Error())
	}
	c.server = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	c.roots = x509.NewCertPool()
	c.roots.AddCert(parsed)
	return c
})

func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate().server}, MinVersion: tls.VersionTLS12}
}

func clientTLS() *tls.Config {
	return &tls.Config{RootCAs: certificate().roots, MinVersion: tls.VersionTLS12}
}
