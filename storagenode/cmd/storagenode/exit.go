package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode"
)

// exitPause lies between two looks at how an exit goes.
const exitPause = 500 * time.Millisecond

func newExitCommand() *cobra.Command {
	var dir string
	var noWait bool
	cmd := newCommand("exit", "Hand over all slots of the running node, so that it may be stopped for good", func(cmd *cobra.Command) error {
		if err := needDir(dir); err != nil {
			return err
		}
		err := storagenode.AskExit(cmd.Context(), dir)
		if _, departed := storagenode.ReadDeparture(dir); err != nil && departed != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if noWait {
			fmt.Fprintf(out, "the satellite was asked; the node has to run until its slots are handed over, as shown by: storagenode info --dir %s\n", dir)
			return nil
		}
		w := exitWatch{out: out, dir: dir}
		return w.wait(cmd.Context())
	})
	addDir(cmd, &dir)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once; the same command goes on watching later")
	return cmd
}

// An exitWatch tells how an exit goes, a line whenever that has changed.
type exitWatch struct {
	out  io.Writer
	dir  string
	last string
}

// wait returns when the node may be stopped, or never may by itself.
func (w *exitWatch) wait(ctx context.Context) error {
	tick := time.NewTicker(exitPause)
	defer tick.Stop()
	for {
		done, err := w.look(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: the exit goes on; run the same again to watch it", context.Cause(ctx))
		}
	}
}

// look tells what there is to tell, and reports whether the exit is complete. The
// node and the satellite may be restarted meanwhile.
func (w *exitWatch) look(ctx context.Context) (done bool, err error) {
	if d, err := storagenode.ReadDeparture(w.dir); err == nil {
		w.say(fmt.Sprintf("all %d slots are handed over, and the satellite has signed that: departure.json in %s\n"+
			"the node may be stopped and its directory removed", d.Slots, w.dir))
		return true, nil
	} else if !errors.Is(err, storagenode.ErrNotDeparted) {
		return false, err
	}
	info, err := storagenode.AskInfo(ctx, w.dir)
	switch {
	case ctx.Err() != nil:
		return false, nil
	case errors.Is(err, storagenode.ErrNotRunning):
		w.say("the node is not running: it has to run until its slots are handed over")
		return false, nil
	case err != nil: // it is being stopped, perhaps
		w.say("the node does not answer")
		return false, nil
	}
	return false, w.tell(info.Standing)
}

func (w *exitWatch) tell(s *pb.Standing) error {
	switch s.GetState() {
	case pb.NodeState_NODE_STATE_DISQUALIFIED:
		return fmt.Errorf("the satellite has disqualified this node (%s): its slots are given to others, and nothing is left to hand over", s.Reason)
	case pb.NodeState_NODE_STATE_EXITING:
		if s.Leaving > 0 {
			w.say(fmt.Sprintf("slots still to be handed over: %d", s.Leaving))
		} else {
			w.say("all slots are handed over; waiting until others have made what was stored last")
		}
	case pb.NodeState_NODE_STATE_GONE:
		w.say("all slots are handed over; waiting for the satellite's signature")
	default:
		w.say("waiting for the satellite to begin")
	}
	return nil
}

// say prints a line unless it was the last.
func (w *exitWatch) say(line string) {
	if line != w.last {
		fmt.Fprintln(w.out, line)
	}
	w.last = line
}
