package interop

import (
	"context"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const echo = "/gobwas/echo"

// echoes has the same endpoint on each engine.
var echoes = []string{echo, "/gorilla/echo"}

// npm's ws talks to weft.
func TestInteropNPMClient(t *testing.T) {
	foreign(t)
	t.Parallel()
	for _, path := range echoes {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			_, url := server(t, path)
			script(t, nil, "node", "js/client.mjs", url)
		})
	}
}

// python3-websockets talks to weft.
func TestInteropPythonClient(t *testing.T) {
	foreign(t)
	t.Parallel()
	for _, path := range echoes {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			_, url := server(t, path)
			script(t, nil, python, "py/client.py", url)
		})
	}
}

// What no library would send gets the close code or the status of the RFC.
func TestInteropInvalidFrames(t *testing.T) {
	foreign(t)
	t.Parallel()
	for _, path := range echoes {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			_, url := server(t, path)
			script(t, nil, "node", "js/raw.mjs", url)
		})
	}
}

// A server that is told to end says so to its clients and ends without an error.
func TestInteropServerEnds(t *testing.T) {
	foreign(t)
	t.Parallel()
	srv, url := server(t, echo)
	script(t, map[string]func(*process){
		"ready": func(*process) { require.NoError(t, srv.cmd.Process.Signal(syscall.SIGTERM)) },
	}, "node", "js/goaway.mjs", url)
	require.NoError(t, srv.stop())
}

// The server listens on loopback only.
func TestServerRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	bin := build(t, "./server")
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "localhost", ""} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := exec.CommandContext(ctx, bin, "-addr", addr).CombinedOutput()
		cancel()
		exit := new(exec.ExitError)
		require.ErrorAs(t, err, &exit, "address %q: %s", addr, out)
		require.Equal(t, 1, exit.ExitCode(), "address %q: %s", addr, out)
	}
}
