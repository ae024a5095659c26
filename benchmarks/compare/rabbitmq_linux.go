package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const rabbitmqHome = "/usr/lib/rabbitmq" // Debian's

func rabbitmqRow() row {
	r := rabbitmq
	const name = "rabbitmq_server-"
	found, _ := filepath.Glob(filepath.Join(rabbitmqHome, "lib", name+"*"))
	if len(found) == 0 {
		r.Unavailable = "rabbitmq-server is not installed"
		return r
	}
	r.Version = strings.TrimPrefix(filepath.Base(found[0]), name)
	r.start = startRabbitMQ
	return r
}

// startRabbitMQ starts it in a folder of its own, without any of the system's settings.
// Its processes end with this one.
func startRabbitMQ(s site) (*server, error) {
	runtime.LockOSThread() // whose end would end the processes
	dir, err := os.MkdirTemp("", "compare-rabbitmq")
	if err != nil {
		return nil, err
	}
	var ports [4]string
	for i := range ports {
		if ports[i], err = freePort(s.addr, i == 0); err != nil {
			return nil, err
		}
	}
	ws, stomp, dist, names := ports[0], ports[1], ports[2], ports[3]
	conf := fmt.Sprintf(rabbitmqConf, stomp, ws)
	in := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(os.WriteFile(in("rabbitmq.conf"), []byte(conf), 0o600),
		os.WriteFile(in("plugins"), []byte(rabbitmqPlugins), 0o600))
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(),
		"HOME="+dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+names, "RUNNING_UNDER_SYSTEMD=yes", // no shell in between
		"RABBITMQ_NODENAME=compare"+dist+"@localhost", "RABBITMQ_DIST_PORT="+dist,
		"RABBITMQ_CONF_ENV_FILE="+in("none"), "RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+in("none.config"), "RABBITMQ_ENABLED_PLUGINS_FILE="+in("plugins"),
		"RABBITMQ_MNESIA_BASE="+in("mnesia"), "RABBITMQ_LOG_BASE="+in("log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE="+in("pid"), "RABBITMQ_GENERATED_CONFIG_DIR="+in("config"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
	)
	var started []*exec.Cmd
	stop := func() {
		for _, cmd := range started {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = os.RemoveAll(dir)
	}
	launch := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Env, cmd.Stderr = env, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		if err == nil {
			started = append(started, cmd)
		}
		return err
	}
	if err := launch("epmd", "-address", "127.0.0.1", "-port", names); err != nil {
		return nil, err
	}
	if err := launch(filepath.Join(rabbitmqHome, "bin", "rabbitmq-server")); err != nil {
		stop()
		return nil, err
	}
	// It connects, and answers, when it has started.
	var publish func() error
	for deadline := time.Now().Add(time.Minute); publish == nil; time.Sleep(50 * time.Millisecond) {
		publish, err = stompPublisher("127.0.0.1:"+stomp, rabbitmqConnect, "/topic/bench")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("not ready after a minute: %w", err)
		}
	}
	return &server{addr: "127.0.0.1:" + ws, publish: publish, pid: started[1].Process.Pid, stop: stop}, nil
}

// freePort is the port of addr if it says one and that is asked for, else one that was
// free a moment ago.
func freePort(addr string, asked bool) (string, error) {
	if !asked {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}
