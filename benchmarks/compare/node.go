package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// inNode completes a row that a script of this folder serves with the package r.Library.
// node takes this process's place, so that its CPU time is its own.
func inNode(r row, script string) row {
	_, self, _, _ := runtime.Caller(0)
	dir := filepath.Dir(self)
	node, err := exec.LookPath("node")
	if err != nil {
		r.Unavailable = "node is not installed"
		return r
	}
	var pkg struct{ Version string }
	b, err := os.ReadFile(filepath.Join(dir, "node_modules", r.Library, "package.json"))
	if err != nil || json.Unmarshal(b, &pkg) != nil {
		r.Unavailable = "its packages are missing: run npm ci in benchmarks/compare"
		return r
	}
	r.Version = pkg.Version
	r.start = func(s site) (*server, error) {
		host, port, err := net.SplitHostPort(s.addr)
		if err != nil {
			return nil, err
		}
		env := append(os.Environ(), "ROW_NAME="+r.Name, "ROW_HOST="+host, "ROW_PORT="+port, "ROW_MESSAGE="+string(message))
		if s.tls != nil {
			cert := s.tls.Certificates[0]
			key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
			if err != nil {
				return nil, err
			}
			env = append(env,
				"ROW_KEY="+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
				"ROW_CERT="+string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
		}
		return nil, syscall.Exec(node, []string{node, filepath.Join(dir, script)}, env)
	}
	return r
}
