package load

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// ports hands out free ports of the loopback address, each once. They are below the range
// from which the kernel takes those of connections.
type ports struct{ used map[int]bool }

func (p *ports) next() (int, error) {
	const first, last = 12000, 32000
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
		if p.used == nil {
			p.used = map[int]bool{}
		}
		p.used[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port in %d … %d", first, last)
}

// take returns n of them as addresses.
func (p *ports) take(n int) ([]string, error) {
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
