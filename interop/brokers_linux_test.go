package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// debianBroker is somebody else's broker on loopback, with the user guest/guest. It may be
// stopped and started again, on the same addresses.
type debianBroker struct {
	tcp   string // speaks STOMP
	tls   string // does so over TLS, "" for none
	ws    string // the URL for STOMP over WebSocket, "" for none
	vhost string

	launch func(t *testing.T) []*daemon
	up     []*daemon // the last one first
}

// start returns when the broker accepts connections.
func (b *debianBroker) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	b.up = b.launch(t)
	t.Logf("%s: ready after %s", b.up[0].name, time.Since(began).Round(time.Millisecond))
}

// stop ends all processes of the broker, gently if they let it.
func (b *debianBroker) stop(t *testing.T) {
	t.Helper()
	for _, d := range b.up {
		d.stop(t)
	}
	b.up = nil
}

// kill ends them at once, as a crash would.
func (b *debianBroker) kill(t *testing.T) {
	t.Helper()
	for _, d := range b.up {
		d.signal(-d.pid, syscall.SIGKILL)
	}
	b.stop(t)
}

// rabbitmq starts Debian's RabbitMQ with the plugins for STOMP, in a folder of its own
// and without any of the system's settings.
func rabbitmq(t *testing.T, id identity) *debianBroker {
	t.Helper()
	dir, ports := t.TempDir(), freePorts(t, 5)
	stomp, secure, ws, dist, epmd := ports[0], ports[1], ports[2], ports[3], ports[4]
	write(t, dir, "plugins", "[rabbitmq_stomp,rabbitmq_web_stomp].\n")
	write(t, dir, "rabbitmq.conf", fmt.Sprintf(`
		listeners.tcp = none
		stomp.listeners.tcp.1 = 127.0.0.1:%s
		stomp.listeners.ssl.1 = 127.0.0.1:%s
		ssl_options.certfile = %s
		ssl_options.keyfile = %s
		web_stomp.tcp.ip = 127.0.0.1
		web_stomp.tcp.port = %s
		disk_free_limit.absolute = 1MB
		log.console = true
		log.console.level = info
		log.file = false
	`, stomp, secure, id.certFile, id.keyFile, ws))
	env := append(os.Environ(),
		"HOME="+dir, // of the cookie
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+epmd,
		"RABBITMQ_NODENAME=weft"+dist+"@localhost", "RABBITMQ_DIST_PORT="+dist,
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(dir, "none"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+filepath.Join(dir, "none.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+filepath.Join(dir, "config"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
	)
	b := &debianBroker{tcp: "127.0.0.1:" + stomp, tls: "127.0.0.1:" + secure, ws: "ws://127.0.0.1:" + ws + "/ws", vhost: "/"}
	b.launch = func(t *testing.T) []*daemon {
		// Erlang would leave its name server behind.
		names := launch(t, env, "", "epmd", "-address", "127.0.0.1", "-port", epmd)
		up := false
		defer func() {
			if !up {
				names.stop(t)
			}
		}()
		listening(t, names, "127.0.0.1:"+epmd)
		server := launch(t, env, "Server startup complete", "/usr/lib/rabbitmq/bin/rabbitmq-server")
		server.ready(t)
		up = true
		return []*daemon{server, names}
	}
	b.start(t)
	t.Cleanup(func() { b.stop(t) })
	return b
}

// activemq starts Debian's ActiveMQ in a folder of its own. Debian leaves out its
// connector for WebSocket.
func activemq(t *testing.T) *debianBroker {
	t.Helper()
	dir, port := t.TempDir(), freePorts(t, 1)[0]
	write(t, dir, "log4j.properties", `
		log4j.rootLogger = INFO, out
		log4j.appender.out = org.apache.log4j.ConsoleAppender
		log4j.appender.out.layout = org.apache.log4j.SimpleLayout
	`)
	const beans, core = "http://www.springframework.org/schema/beans", "http://activemq.apache.org/schema/core"
	write(t, dir, "activemq.xml", fmt.Sprintf(`
		<beans xmlns="%[1]s" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
			xsi:schemaLocation="%[1]s %[1]s/spring-beans.xsd %[2]s %[2]s/activemq-core.xsd">
		<broker xmlns="%[2]s" brokerName="weft" persistent="false" useJmx="false" dataDirectory="%[3]s">
			<plugins><simpleAuthenticationPlugin><users>
				<authenticationUser username="guest" password="guest" groups="guests"/>
			</users></simpleAuthenticationPlugin></plugins>
			<destinationPolicy><policyMap><policyEntries><policyEntry queue=">">
				<deadLetterStrategy><individualDeadLetterStrategy queuePrefix="DLQ." processNonPersistent="true"/></deadLetterStrategy>
			</policyEntry></policyEntries></policyMap></destinationPolicy>
			<transportConnectors>
				<transportConnector name="stomp" uri="stomp://127.0.0.1:%[4]s"/>
			</transportConnectors>
		</broker>
		</beans>
	`, beans, core, filepath.Join(dir, "data"), port))
	const home = "/usr/share/activemq"
	b := &debianBroker{tcp: "127.0.0.1:" + port, vhost: "weft"}
	b.launch = func(t *testing.T) []*daemon {
		server := launch(t, os.Environ(), "Connector stomp started", "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-Dactivemq.home="+home, "-Dactivemq.base="+dir, "-Dactivemq.conf="+dir, "-Djava.io.tmpdir="+dir,
			"-Dlog4j.configuration=file:"+filepath.Join(dir, "log4j.properties"),
			"-jar", home+"/bin/activemq.jar", "start", "xbean:file:"+filepath.Join(dir, "activemq.xml"))
		server.ready(t)
		return []*daemon{server}
	}
	b.start(t)
	t.Cleanup(func() { b.stop(t) })
	return b
}

// daemon is a program that runs until it is stopped, in a process group of its own.
type daemon struct {
	name  string
	pid   int
	out   *output
	ended chan struct{}
	state *os.ProcessState // once it has ended
}

// launch starts a program. It ends with this process and, at the latest, after its
// lifetime. What it prints with the text sign in it says that it is ready.
func launch(t *testing.T, env []string, sign, name string, args ...string) *daemon {
	t.Helper()
	d := &daemon{
		name:  filepath.Base(name),
		out:   &output{sign: []byte(sign), found: make(chan struct{})},
		ended: make(chan struct{}),
	}
	cmd := exec.Command("timeout", append([]string{"--kill-after=10s", fmt.Sprintf("%.0fs", lifetime.Seconds()), name}, args...)...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = d.out, d.out
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		defer close(d.ended)
		// The signal comes when the thread that started the program ends.
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			d.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
			d.state = cmd.ProcessState
		}
	}()
	require.NoError(t, <-started)
	return d
}

// ready waits for the sign.
func (d *daemon) ready(t *testing.T) {
	t.Helper()
	select {
	case <-d.out.found:
	case <-d.ended:
		require.FailNow(t, d.name+" ended", "%s\n%s", d.state, d.out)
	case <-time.After(patience):
		defer d.stop(t)
		require.FailNow(t, d.name+" does not get ready", "%s", d.out)
	}
}

// signal does nothing once the program has ended: its number may be another's.
func (d *daemon) signal(pid int, sig syscall.Signal) {
	select {
	case <-d.ended:
	default:
		_ = syscall.Kill(pid, sig)
	}
}

// stop ends the program, and with it all that it has started.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	d.signal(d.pid, syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.signal(-d.pid, syscall.SIGKILL)
		require.Fail(t, d.name+" does not end", "%s", d.out)
		return
	}
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(-d.pid, 0), syscall.ESRCH) },
		patience, 10*time.Millisecond, "%s left processes behind", d.name)
}

// output keeps the end of what a program prints and looks for a sign in it.
type output struct {
	mu    sync.Mutex
	text  []byte
	sign  []byte // nil once it was found
	found chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if len(o.sign) > 0 && bytes.Contains(o.text, o.sign) {
		o.sign = nil
		close(o.found)
	}
	if n := len(o.text); n > 64<<10 {
		o.text = slices.Delete(o.text, 0, n-32<<10)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// listening waits until a program that says nothing accepts connections.
func listening(t *testing.T, d *daemon, addr string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 20*time.Millisecond, "%s: %s", d.name, d.out)
}

// freePorts returns ports that nobody listens on.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close() // all at the end, so that none comes twice
		_, port, err := net.SplitHostPort(ln.Addr().String())
		require.NoError(t, err)
		ports = append(ports, port)
	}
	return ports
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.TrimSpace(text)+"\n"), 0o600))
}
