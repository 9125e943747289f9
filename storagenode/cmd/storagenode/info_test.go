package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

func testInfo() *pb.InfoResponse {
	return &pb.InfoResponse{
		Id:        append(make([]byte, 31), 1),
		Addresses: []string{"/ip4/192.0.2.1/tcp/7700"}, Version: "v1", Started: 1_700_000_000, Satellite: "there",
		Capacity: 1 << 40, Used: 1 << 30, Free: 1<<40 - 1<<30, Shards: 1000, Staged: 3, Missing: 7,
		Standing: &pb.Standing{
			State: pb.NodeState_NODE_STATE_EXITING, Reason: "the operator asked", Since: 1_700_000_100,
			Proved: 12345, Failed: 2, Suspicion: 0.168, Presence: 0.9987, Full: true, Slots: 5, Leaving: 2,
		},
		Departure: "/dir/departure.json",
		Healing:   &pb.Healing{Shards: 40, Written: 10 << 20, Read: 40 << 20, Failed: 2, Bad: 1, Left: 6 << 20, Rate: 1 << 20, Seconds: 6},
		Scrubbing: &pb.Scrubbing{Shards: 900, Damaged: 7, Unreadable: 1, Finished: 1_700_000_050},
		Data:      []*pb.DataDir{{Path: "/data", Used: 1 << 30, Free: 1 << 40, Shards: 1000}},
		Groups: []*pb.GroupFollow{
			{Group: 7, Epoch: 3, Slot: 4, Cursor: 90, Head: 100, Missing: 7},
			{Group: 9, Epoch: 1, Slot: 0, Successor: true, Cursor: 5, Head: 4},
		},
	}
}

const infoText = `node           12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwix
address        /ip4/192.0.2.1/tcp/7700
version        v1
started        2023-11-14T22:13:20Z
satellite      there
last check-in  none yet
standing       exiting since 2023-11-14T22:15:00Z: the operator asked
               no new data until what was lost is healed
audits         12345 proved, 2 failed, 17 % of the way to disqualification
presence       99.87 %
slots          5, 2 still to be handed over
departure      signed by the satellite, in /dir/departure.json: the node may be stopped and its directory removed
space          1.0 GiB used, 1023 GiB free of 1.0 TiB
shards         1000, of which 3 staged; 7 missing
healing        40 shards made (10 MiB of 40 MiB read); 6.0 MiB to make, 1.0 MiB/s, 6s left; 2 attempts failed; 1 segments were encoded wrong by their uplinks
scrubbing      900 shards read, 7 found damaged; a disk failed 1 times; all were read last on 2023-11-14T22:14:10Z
data           /data: 1000 shards, 1.0 GiB used, 1.0 TiB free
group          7: slot 4, epoch 3, journal followed to 90 of 100, 7 missing
group          9: slot 0 to be taken over, epoch 1, journal followed to 5 of 5, 0 missing
`

func TestInfoText(t *testing.T) {
	info, err := newInfo(testInfo())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := info.print(&out); err != nil || out.String() != infoText {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), infoText)
	}
}

func TestInfoJSON(t *testing.T) {
	info, err := newInfo(testInfo())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Missing  int `json:"missing"`
		Standing struct {
			State     string  `json:"state"`
			Since     string  `json:"since"`
			Proved    int     `json:"audits_proved"`
			Suspicion float64 `json:"suspicion"`
			Presence  float64 `json:"presence"`
			Leaving   int     `json:"leaving"`
		} `json:"standing"`
		Groups []struct {
			Missing   int  `json:"missing"`
			Successor bool `json:"successor"`
		} `json:"groups"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	s := got.Standing
	if got.Missing != 7 || s.State != "exiting" || s.Since != "2023-11-14T22:15:00Z" || s.Proved != 12345 ||
		s.Suspicion != 0.168 || s.Presence != 0.9987 || s.Leaving != 2 || got.Groups[0].Missing != 7 || !got.Groups[1].Successor {
		t.Errorf("%s", raw)
	}
	bare := testInfo()
	bare.Standing = nil
	if info, err := newInfo(bare); err != nil || info.Standing != nil {
		t.Errorf("without a standing: %+v, %v", info, err)
	}
}
