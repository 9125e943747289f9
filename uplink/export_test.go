package uplink

import "time"

// LimitSegments makes segments of at most so many stripes, so that objects of
// many segments need not be large.
func (p *Project) LimitSegments(stripes int) { p.transfers.maxStripes = stripes }

// PauseAfter makes a segment end when its source has yielded nothing for so
// long.
func (p *Project) PauseAfter(d time.Duration) { p.transfers.idlePause = d }

// Held is how many buffers of payload are in use, of uploads and of downloads.
func (p *Project) Held() (put, get int) {
	t := p.transfers
	t.put.mu.Lock()
	defer t.put.mu.Unlock()
	t.get.mu.Lock()
	defer t.get.mu.Unlock()
	return t.put.used, t.get.used
}
