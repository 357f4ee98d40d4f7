package config

import (
	"fmt"
	"net"
	"strings"
)

// thisMachine is the host of an address that names none.
const thisMachine = ""

// hostOf returns the machine that an address belongs to, as far as the file tells.
func hostOf(a Address) string {
	host, _ := a.split()
	ip := net.ParseIP(host)
	if strings.EqualFold(host, "localhost") || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return thisMachine
	}
	return strings.ToLower(host)
}

func sameHost(a, b string) bool { return a == b }

// checkPorts finds ports that two listeners of one machine want. A node's addresses
// without a host are on the machine that its address for others names.
func (c *Config) checkPorts(r *report) {
	type listener struct{ path, node string }
	taken := make(map[string]listener)
	listen := func(path, node, home string, a Address) {
		if a.check() != nil {
			return
		}
		host := hostOf(a)
		if host == thisMachine {
			host = home
		}
		_, port := a.split()
		key := net.JoinHostPort(host, port)
		if other, ok := taken[key]; ok {
			r.add(c.nearest(path), 0, path, "port %s of %s is taken by %s of %s in line %d",
				port, node, other.path[strings.LastIndexByte(other.path, '.')+1:], other.node, c.nearest(other.path).line)
			return
		}
		taken[key] = listener{path: path, node: node}
	}
	for i, p := range c.Proxies {
		at, home := fmt.Sprintf("proxies[%d].", i), hostOf(p.Link)
		listen(at+"link", p.Name, home, p.Link)
		listen(at+"rtsp", p.Name, home, p.RTSP)
		listen(at+"http", p.Name, home, p.HTTP)
		c.checkUDP(r, at+"udp", p.UDP)
	}
	for i, p := range c.Recorders {
		listen(fmt.Sprintf("recorders[%d].http", i), p.Name, hostOf(p.HTTP), p.HTTP)
	}
	for i, p := range c.Playback {
		at := fmt.Sprintf("playback[%d].", i)
		listen(at+"http", p.Name, thisMachine, p.HTTP)
		if p.RTSP != "" {
			listen(at+"rtsp", p.Name, thisMachine, p.RTSP)
		}
		c.checkUDP(r, at+"udp", p.UDP)
	}
}

// checkUDP checks the first of a pair of ports.
func (c *Config) checkUDP(r *report, path string, port int) {
	if port%2 != 0 {
		r.add(c.nearest(path), 0, path, "%d is odd: RTP takes an even port and RTCP the next (RFC 3550 11)", port)
	}
}
