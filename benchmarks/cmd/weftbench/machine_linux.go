package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// placement says on which cores servers and client run.
type placement struct {
	pinned         bool
	client, server unix.CPUSet
	said           string
}

// place gives the last core to the servers, one after the other, and the others to
// this process. restore undoes the latter.
func place() (p *placement, restore func()) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return &placement{said: "cores are shared: " + err.Error()}, func() {}
	}
	if all.Count() < 2 {
		return &placement{said: "there is one core: server and client share it, and wall-clock times are those of both"}, func() {}
	}
	p = &placement{pinned: true, client: all}
	core := 0
	for i := range len(all) * 64 {
		if all.IsSet(i) {
			core = i
		}
	}
	p.client.Clear(core)
	p.server.Set(core)
	if err := pinAll(&p.client); err != nil {
		return &placement{said: "cores are shared: " + err.Error()}, func() {}
	}
	procs := runtime.GOMAXPROCS(p.client.Count())
	p.said = fmt.Sprintf("servers run on core %d, the client on the %s left", core, plural(p.client.Count(), "core"))
	return p, func() {
		runtime.GOMAXPROCS(procs)
		_ = pinAll(&all)
	}
}

// pinAll pins the threads that there are; those to come inherit it.
func pinAll(set *unix.CPUSet) error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// start starts a server: it inherits the core of the thread that makes it, and
// with it, in Go, its GOMAXPROCS.
func (p *placement) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process: it ends the servers
	if !p.pinned {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &p.server); err != nil {
		return err
	}
	err := cmd.Start()
	if err := unix.SchedSetaffinity(0, &p.client); err != nil {
		return err
	}
	return err
}

// processCPU is the user and system time of a process, all threads together.
// The clock of the process has nanoseconds; /proc has ticks of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0, err
	}
	return pages * int64(os.Getpagesize()), nil
}

// descriptors is how many files this process may have open.
func descriptors() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<20))
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown processor"
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "linux"
	}
	return "linux " + unix.ByteSliceToString(u.Release[:])
}

func loadAverage() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	var load float64
	_, _ = fmt.Sscan(string(b), &load)
	return load
}
