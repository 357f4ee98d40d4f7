package load

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports hands out free ports of the loopback address, each once. They are below the range
// from which the kernel takes those of connections.
type Ports struct {
	mu   sync.Mutex
	used map[int]bool
}

// NewPorts returns Ports that have given nothing yet.
func NewPorts() *Ports { return &Ports{used: map[int]bool{}} }

func (p *Ports) next() (int, error) {
	const first, last = 4000, 12000
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 200 {
		port := first + rand.IntN(last-first) //nolint:gosec // any will do
		if p.used[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		p.used[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port in %d … %d", first, last)
}

// take returns n of them as addresses.
func (p *Ports) take(n int) ([]string, error) {
	var out []string
	for range n {
		port, err := p.next()
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return out, nil
}
