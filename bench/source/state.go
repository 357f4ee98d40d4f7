package source

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// State is what a camera has done.
type State struct {
	Name string `json:"name"`
	// Number is that of the newest access unit, sent to anybody or not.
	Number int `json:"number"`
	// Clients play now; Sessions began to, since the start.
	Clients  int `json:"clients"`
	Sessions int `json:"sessions"`
	// Units and packets that were sent to clients; Lost units that a client was too slow for.
	Units   uint64 `json:"units"`
	Packets uint64 `json:"packets"`
	Lost    uint64 `json:"lost"`
	// LostPackets are the packets of those units.
	LostPackets uint64 `json:"lost_packets"`
}

// States returns the state of each camera.
func (s *Source) States() []State {
	out := make([]State, len(s.cameras))
	for i, c := range s.cameras {
		c.mu.Lock()
		out[i] = State{
			Name: Name(i), Number: int(c.number.Load()), Clients: len(c.clients), Sessions: c.sessions,
			Units: c.units, Packets: c.packets, Lost: c.lost, LostPackets: c.lostPackets,
		}
		c.mu.Unlock()
	}
	return out
}

// Drop closes the connections to a camera and refuses new ones for a while.
func (s *Source) Drop(index int, d time.Duration) {
	c := s.cameras[index]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuseUntil = time.Now().Add(d)
	for _, k := range c.clients {
		_ = k.conn.Close()
	}
}

// Handler serves GET /cameras (States as JSON) and POST /drop?camera=0&for=500ms.
func (s *Source) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cameras", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.States()) // the client has gone
	})
	mux.HandleFunc("POST /drop", func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.URL.Query().Get("camera"))
		d, err2 := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil || err2 != nil || i < 0 || i >= len(s.cameras) {
			http.Error(w, "want camera=0&for=500ms", http.StatusBadRequest)
			return
		}
		s.Drop(i, d)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
