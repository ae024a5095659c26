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

// node with ws.mjs takes this process's place, so that its CPU time is its own.
func nodeRow() row {
	r := row{
		Name: "node-ws", Library: "ws", Kind: "echo", Framing: "websocket", TLS: true,
		URL:  "https://github.com/websockets/ws/blob/8.23.0/README.md#simple-server",
		UTF8: true, Limit: "100 MiB",
		Note: "JavaScript, in node; its stats are empty; its queues have no bound",
	}
	_, self, _, _ := runtime.Caller(0)
	dir := filepath.Dir(self)
	node, err := exec.LookPath("node")
	if err != nil {
		r.Unavailable = "node is not installed"
		return r
	}
	var pkg struct{ Version string }
	b, err := os.ReadFile(filepath.Join(dir, "node_modules", "ws", "package.json"))
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
		env := append(os.Environ(), "ROW_HOST="+host, "ROW_PORT="+port, "ROW_MESSAGE="+string(message))
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
		return nil, syscall.Exec(node, []string{node, filepath.Join(dir, "ws.mjs")}, env)
	}
	return r
}
