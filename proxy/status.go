package proxy

import (
	"context"

	"github.com/duet-video/duet/internal/nodepb"
)

// statusServer answers nodepb.Proxy from memory.
type statusServer struct {
	nodepb.UnimplementedProxyServer
	p *Proxy
}

// Status implements nodepb.ProxyServer.
func (s statusServer) Status(context.Context, *nodepb.StatusRequest) (*nodepb.ProxyStatus, error) {
	return s.p.Status(), nil
}

// Status returns what the proxy knows of its cameras and their copies. It waits for
// nothing and may be called at any time.
func (p *Proxy) Status() *nodepb.ProxyStatus {
	st := &nodepb.ProxyStatus{Name: p.opts.Name, Version: p.opts.Version, StartedNs: p.startedNS}
	for _, c := range p.order {
		st.Cameras = append(st.Cameras, c.status())
		st.Alarms = append(st.Alarms, c.alarms()...)
	}
	return st
}

func (c *camera) status() *nodepb.ProxyCamera {
	state, why, _ := c.now()
	tail := c.log.Tail()
	pc := &nodepb.ProxyCamera{
		Camera: c.cfg.Name, State: string(state), Error: why,
		NextOffset:   tail.Offset,
		LastPacketNs: c.lastPacketNS.Load(),
		Records:      c.records.Load(), Bytes: c.bytes.Load(),
		Sessions: c.sessions.Load(), PacketsLost: c.lost.Load(),
		Readers: uint32(max(0, c.readers.now.Load())),
		Tracks:  c.trackNames(), LogBytes: uint64(c.log.Bytes()),
	}
	if !tail.Epoch.IsZero() {
		pc.Epoch = tail.Epoch[:]
	}
	for _, k := range c.copies {
		i := k.info()
		pc.Copies = append(pc.Copies, &nodepb.ProxyCopy{
			Recorder: k.recorder, Role: k.role, Connected: i.Linked,
			Durable:      &nodepb.Position{Epoch: i.Durable.Epoch[:], Offset: i.Durable.Offset},
			DurableEndNs: i.EndNS, AckedAtNs: i.AckedNS,
			BehindRecords: c.behind(i), OffsetsLost: i.Lost, Standby: i.Held,
		})
	}
	return pc
}
