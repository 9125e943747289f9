package daemon

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slack is more than threads have anyway.
const slack = 3 * time.Millisecond

// TestMain is the program that is begun anew: it tells what it is then.
func TestMain(m *testing.M) {
	if os.Getenv("CAIRN_TEST_DAEMON") == "" {
		os.Exit(m.Run())
	}
	Unhurried(slack)
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d %s %s %s %s\n", os.Getpid(), slacks(), os.Getenv(marker), strings.Join(os.Args[1:], ","), in)
}

// slacks are those of all threads, each once.
func slacks() string {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		panic(err)
	}
	var all []string
	seen := make(map[string]bool)
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if err != nil {
			panic(err)
		}
		if s := strings.TrimSpace(string(text)); !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	return strings.Join(all, ",")
}

// start runs the program and returns what it tells and its process id.
func start(t *testing.T, env ...string) (told []string, pid string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "run", "--dir")
	cmd.Env = append(append(os.Environ(), "CAIRN_TEST_DAEMON=1"), env...)
	cmd.Stdin = strings.NewReader("input")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), " "), strconv.Itoa(cmd.Process.Pid)
}

func TestUnhurried(t *testing.T) {
	before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || before >= int(slack) {
		t.Skipf("threads have a slack of %d ns here (%v)", before, err)
	}
	told, pid := start(t)
	want := []string{pid, strconv.Itoa(int(slack)), "1", "run,--dir", "input"}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", told, want)
	}
	// A kernel that has forgotten the slack is not asked again.
	told, pid = start(t, marker+"=1")
	want = []string{pid, strconv.Itoa(before), "1", "run,--dir", "input"}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("the second time: got %q, want %q", told, want)
	}
}

func TestSpareProcessor(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1")
	if SpareProcessor(); runtime.GOMAXPROCS(0) != before {
		t.Errorf("%d processors against what the environment says, before %d", runtime.GOMAXPROCS(0), before)
	}
	t.Setenv("GOMAXPROCS", "")
	if SpareProcessor(); runtime.GOMAXPROCS(0) != before+1 {
		t.Errorf("%d processors, before %d", runtime.GOMAXPROCS(0), before)
	}
}
