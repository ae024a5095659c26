//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"runtime"
	"time"
)

// errSystem: what the comparison is made of is read from Linux alone.
var errSystem = errors.New("the CPU time and the memory of another process are read on Linux only, not on " + runtime.GOOS)

type placement struct {
	pinned bool
	said   string
}

func place() (*placement, func()) {
	return &placement{said: "cores are shared: pinning is for Linux"}, func() {}
}

func (p *placement) start(cmd *exec.Cmd) error { return cmd.Start() }
func processCPU(int) (time.Duration, error)    { return 0, errSystem }
func resident(int) (int64, error)              { return 0, errSystem }
func descriptors() int                         { return 1024 }
func cpuModel() string                         { return "unknown processor" }
func kernel() string                           { return runtime.GOOS }
func loadAverage() float64                     { return 0 }
