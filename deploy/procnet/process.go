package procnet

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is one daemon of the network. It can be killed and started again;
// its cost adds up over its lives.
type Process struct {
	Name string
	Path string
	Args []string
	Log  string // stdout and stderr are appended to this file

	mu      sync.Mutex
	command *exec.Cmd
	ended   chan struct{} // closed once the present life has been reaped
	wanted  bool          // nobody has asked it to end
	past    Usage         // of the lives that ended
}

// Usage is what a process has cost.
type Usage struct {
	CPU     time.Duration // user and system time
	PeakRSS int64         // bytes; of a life that nobody ended unknown
	RSS     int64         // bytes now; 0: it does not run
}

// Start begins a life of the process.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(p.Path, p.Args...)
	command.Stdout, command.Stderr = log, log
	// A harness that dies must not leave its network running.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.command, p.ended, p.wanted = command, ended, true
	p.mu.Unlock()
	go p.reap(command, ended)
	return nil
}

func (p *Process) reap(command *exec.Cmd, ended chan struct{}) {
	command.Wait() // how it ended is read from its log by who cares
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past.CPU += command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	p.command = nil
	close(ended)
}

// Signal sends a signal to the process if it runs.
func (p *Process) Signal(signal os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command != nil {
		// It may be the last: what the kernel tells of a process that has ended
		// counts the memory of who started it.
		p.past.PeakRSS = max(p.past.PeakRSS, UsageOf(p.command.Process.Pid).PeakRSS)
		p.wanted = p.wanted && signal != os.Interrupt && signal != os.Kill
		p.command.Process.Signal(signal)
	}
}

// Kill ends the process at once with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	p.wait(0)
}

// Stop asks the process to end and kills it if it does not within a minute.
func (p *Process) Stop() error {
	p.Signal(os.Interrupt)
	if p.wait(time.Minute) {
		return nil
	}
	p.Kill()
	return fmt.Errorf("%s did not stop when asked (see %s)", p.Name, p.Log)
}

// wait reports whether the process ended within the time; zero waits for ever.
func (p *Process) wait(limit time.Duration) bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return true
	}
	if limit == 0 {
		<-ended
		return true
	}
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// Running reports whether the process is alive.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.command != nil
}

// Failed reports whether the process has ended though nobody asked it to.
func (p *Process) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted && p.command == nil
}

// Usage returns the cost so far, of all its lives.
func (p *Process) Usage() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	used := p.past
	if p.command != nil {
		now := UsageOf(p.command.Process.Pid)
		used.CPU += now.CPU
		used.PeakRSS = max(used.PeakRSS, now.PeakRSS)
		used.RSS = now.RSS
	}
	return used
}

// UsageOf reads the cost of a running process from proc(5).
func UsageOf(pid int) Usage {
	const ticksPerSecond = 100 // USER_HZ on every Linux platform Go runs on
	var used Usage
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		// The command name may hold spaces; fields count from behind it.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 12 {
			user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
			system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
			used.CPU = time.Duration(user+system) * time.Second / ticksPerSecond
		}
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		used.PeakRSS, used.RSS = kibOf(status, "VmHWM:"), kibOf(status, "VmRSS:")
	}
	return used
}

// kibOf is the value of one line of /proc/PID/status in bytes.
func kibOf(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			kib, _ := strconv.ParseInt(string(bytes.Fields(value)[0]), 10, 64)
			return kib << 10
		}
	}
	return 0
}
